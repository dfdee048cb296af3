"""Progress on long work: a bar on a terminal, a line now and then elsewhere, nothing under two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

__all__ = ["Bar"]

_PATIENCE = 2.0  # seconds before anything is shown
_EVERY = 10.0  # seconds between lines where there is no terminal


class Bar:
    """`with Bar() as bar: work(progress=bar)`; called as bar(what, share done in [0, 1], latest numbers)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._begun = self._said = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._what = ""

    def __call__(self, what: str, done: float, numbers: Mapping[str, float]) -> None:
        now = time.monotonic()
        if self._quiet or now - self._begun < _PATIENCE:
            return
        detail = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if sys.stderr.isatty():
            self._draw(what, done, detail)
        elif now - self._said >= _EVERY or (what != self._what and now - self._said >= _PATIENCE):
            self._said, self._what = now, what
            print(f"  {what}: {done:.0%}  {detail}".rstrip(), file=sys.stderr, flush=True)

    def _draw(self, what: str, done: float, detail: str) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(),
                TimeRemainingColumn(), TextColumn("[dim]{task.fields[detail]}"), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
        if self._task is None or what != self._what:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._what = self._bar.add_task(what, total=1.0, detail=detail), what
        self._bar.update(self._task, completed=min(max(done, 0.0), 1.0), detail=detail)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
