"""How good a model is on labelled records, with intervals: over all of them and by slice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier import codec
from luthier.errors import DataError, StateError
from luthier.tasks.base import Adapter, Task, answered, latency_ms
from luthier.types import Columns, Estimate, Record

__all__ = ["Evaluation", "by_slice", "evaluate", "remembered"]

_KEPT = 8  # sets of columns a folder keeps: two versions on a few sets of records


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Columns in the order of the records, metric name to Estimate (with `latency_ms`), and the seconds it took."""

    columns: Columns
    estimates: Mapping[str, Estimate]
    seconds: float


def evaluate(
    task: Task, adapter: Adapter, records: Sequence[Record], *, confidence: float = 0.95, batch: int = 64
) -> Evaluation:
    """Answer the records and compare with their targets; the latency is measured on single answers besides.

    Raises RecordError for a record the task cannot read, DataError when no record has a target.
    """
    if not any(record.target is not None for record in records):
        raise DataError(
            f"cannot evaluate on {len(records)} records: none has a target. Name the target column under "
            f"`data: columns: target:` in luthier.yaml, or give labelled data"
        )
    for record in records:
        task.check(record)
    began = time.monotonic()
    columns = task.columns(answered(adapter, records, batch))
    estimates = {**task.estimates(columns, confidence), "latency_ms": latency_ms(adapter, records)}
    return Evaluation(columns, estimates, time.monotonic() - began)


def remembered(path: Path, compute: Callable[[], Columns]) -> Columns:
    """The columns that lie at `path`, or what `compute` gives, kept there for the next time; the oldest files go.

    A version's weights never change, so neither does what it says about the same records: a champion is not asked again
    for every candidate it is compared with.
    """
    try:
        kept: Columns = codec.unpack(path.read_bytes())
        return kept
    except (OSError, StateError):
        columns = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    fresh.write_bytes(codec.pack(columns))
    fresh.replace(path)
    for old in sorted(path.parent.glob("*.columns"), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return columns


def by_slice(
    task: Task, records: Sequence[Record], columns: Columns, tag: str, confidence: float = 0.95
) -> dict[str, dict[str, Estimate]]:
    """Estimates for every value of a tag, sorted; row i of `columns` is record i; no tag, not counted."""
    values = np.array([record.tags.get(tag, "") for record in records], dtype=str)
    found: dict[str, dict[str, Estimate]] = {}
    for value in sorted({record.tags[tag] for record in records if tag in record.tags}):
        rows: Any = np.flatnonzero(values == value)
        part = {name: np.asarray(column)[rows] for name, column in columns.items()}
        found[value] = dict(task.estimates(part, confidence))
    return found
