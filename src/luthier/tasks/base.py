"""What a task is: the one place that knows the modality, and the only door to torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from luthier.types import Columns, Estimate, Record

__all__ = ["Adapter", "Task"]


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
    """A loaded model with its tokenizer. `answer` gives one JSON-able output a record (plus "embedding", float16 (d,))."""

    def loss(self, batch: Any) -> Any: ...
    def answer(self, records: Sequence[Record]) -> list[dict[str, Any]]: ...
    def features(self, records: Sequence[Record]) -> np.ndarray: ...
    def save(self, folder: Path) -> None: ...
    @classmethod
    def load(cls, folder: str | Path) -> Adapter: ...
