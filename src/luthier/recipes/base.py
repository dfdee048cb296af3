"""What a recipe is: a way to make a new version from an old one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from luthier.options import FitOptions
from luthier.tasks.base import Task
from luthier.types import Split

__all__ = ["Candidate", "Progress", "Recipe"]

Progress = Callable[[str, float, Mapping[str, float]], None]
"""Called as progress(what, share done in [0, 1], latest numbers)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model folder (loadable by transformers), with the curves of its training: name to (step, value)."""

    folder: Path
    recipe: str
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)


class Recipe(Protocol):
    """`run` is resumable: called again with the same work folder after a kill, it goes on and ends with the same weights."""

    name: str

    def run(
        self, task: Task, source: str | Path, split: Split, options: FitOptions, work: Path,
        *, deadline: float | None = None, progress: Progress | None = None,
    ) -> Candidate: ...  # fmt: skip
