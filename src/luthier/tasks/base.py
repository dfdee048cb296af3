"""What a task is: the one place that knows the modality, and the only door to torch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from luthier.types import Columns, Estimate, Record

__all__ = ["Adapter", "Task", "answered", "latency_ms"]

_SINGLES = 60  # answers a latency is measured on; the first ten only warm up


class Task(Protocol):
    """Turns records into checked rows, numeric columns and metrics. A frozen dataclass with `labels`.

    `columns`: every record becomes one row; `loss` (n,) in [0, 1] is NaN without a target. `estimates`: what people
    read (metric name to Estimate), from columns.
    """

    name: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]

    def check(self, record: Record) -> None: ...
    def columns(self, records: Sequence[Record]) -> Columns: ...
    def estimates(self, columns: Columns, confidence: float = 0.95) -> Mapping[str, Estimate]: ...
    def adapter(self, source: str | Path) -> Adapter: ...


class Adapter(Protocol):
    """A loaded model with its tokenizer. `answer` gives one JSON-able output a record, but for "embedding" (d,)."""

    def loss(self, batch: Any) -> Any: ...
    def answer(self, records: Sequence[Record]) -> list[dict[str, Any]]: ...
    def features(self, records: Sequence[Record]) -> np.ndarray: ...
    def save(self, folder: Path) -> None: ...
    @classmethod
    def load(cls, folder: str | Path) -> Adapter: ...


def answered(adapter: Adapter, records: Sequence[Record], batch: int = 1024) -> list[Record]:
    """The records with the model's output, in their order; `batch` records are handed over at once."""
    found: list[Record] = []
    for start in range(0, len(records), batch):
        part = records[start : start + batch]
        found += [replace(record, output=output) for record, output in zip(part, adapter.answer(part), strict=True)]
    return found


def latency_ms(adapter: Adapter, records: Sequence[Record]) -> Estimate:
    """95th percentile of the milliseconds of single answers, one after the other, over at least 50 of them.

    The interval (95 %) is that of the order statistics: ranks 0.95 n ± 1.96 sqrt(0.95 · 0.05 n).
    """
    if not records:
        return Estimate()
    taken = []
    for turn in range(_SINGLES):
        began = time.perf_counter()
        adapter.answer([records[turn * 7919 % len(records)]])
        taken.append((time.perf_counter() - began) * 1000)
    times = np.sort(taken[10:])
    n = len(times)
    spread = 1.96 * (0.95 * 0.05 * n) ** 0.5
    ranks = np.clip([0.95 * n, 0.95 * n - spread, 0.95 * n + spread], 1, n)
    value, low, high = (float(times[int(np.ceil(rank)) - 1]) for rank in ranks)
    return Estimate(value, n, low, high)
