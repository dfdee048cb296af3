"""What every task must obey; a plug-in's test calls `check_task` with a trained adapter and labelled records."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import RecordError
from luthier.tasks.base import Adapter, Task, answered
from luthier.types import Columns, Estimate, Record

__all__ = ["check_task"]


def check_task(task: Task, adapter: Adapter, records: Sequence[Record], folder: Path) -> Columns:
    """Raises AssertionError with the broken law; gives the columns of the answered records.

    `records` are at least ten, all with targets; `folder` is an empty one to save the adapter in.
    """
    for record in records:
        task.check(record)
    _an_answer_is_plain_data(adapter, records)
    _answers_keep_their_place(adapter, records)
    done = answered(adapter, records)
    columns = task.columns(done)
    _columns_have_one_row_a_record(columns, len(records))
    _absent_is_nan(task, done)
    _estimates_hold_their_value(task, columns)
    _a_saved_adapter_answers_the_same(adapter, records, folder)
    _nothing_is_refused(task, records[0])
    return columns


def _an_answer_is_plain_data(adapter: Adapter, records: Sequence[Record]) -> None:
    assert adapter.answer([]) == [], "no records give no answers"
    outputs = adapter.answer(records)
    assert len(outputs) == len(records), f"{len(records)} records gave {len(outputs)} answers"
    for output in outputs:
        vector = output.get("embedding")
        assert vector is None or (vector.dtype == np.float16 and vector.ndim == 1), "an embedding is float16 (d,)"
        plain = {name: value for name, value in output.items() if name != "embedding"}
        assert json.loads(json.dumps(plain)) == plain, "an answer without its embedding survives JSON"


def _answers_keep_their_place(adapter: Adapter, records: Sequence[Record]) -> None:
    forward, back = adapter.answer(records), adapter.answer(records[::-1])[::-1]
    for first, second in zip(forward, back, strict=True):
        _same_answer(first, second, "the order of the records")


def _columns_have_one_row_a_record(columns: Columns, n: int) -> None:
    for name, column in columns.items():
        assert len(column) == n, f"column {name} has {len(column)} rows for {n} records"
    loss = np.asarray(columns["loss"])
    assert np.all((loss >= 0) & (loss <= 1)), "loss of answered, labelled records lies in [0, 1]"


def _absent_is_nan(task: Task, done: Sequence[Record]) -> None:
    for part in (
        [replace(record, target=None) for record in done],
        [replace(record, output=None) for record in done],
        [],
    ):
        columns = task.columns(part)
        assert np.isnan(columns["loss"]).all(), "without a target or an answer the loss is NaN"
        assert columns.keys() >= {"loss", "predicted", "target", "confidence", "margin", "entropy", "length"}
        assert set(task.estimates(columns)) == set(task.metrics), "every metric is named, seen or not"
        accuracy = task.estimates(columns)[task.metrics[0]]
        assert math.isnan(accuracy.value), "nothing seen is NaN"
        assert accuracy.n == 0, "nothing seen has n 0"


def _estimates_hold_their_value(task: Task, columns: Columns) -> None:
    narrow, wide = task.estimates(columns, 0.9), task.estimates(columns, 0.99)
    assert set(narrow) == set(task.metrics)
    for name, estimate in narrow.items():
        _ordered(name, estimate)
        if estimate.n:
            outer = wide[name]
            assert outer.low <= estimate.low, f"{name}: more confidence gives a wider interval"
            assert outer.high >= estimate.high, f"{name}: more confidence gives a wider interval"


def _ordered(name: str, estimate: Estimate) -> None:
    if estimate.n == 0:
        assert math.isnan(estimate.value), f"{name}: nothing seen is NaN"
    else:
        assert estimate.low - 1e-12 <= estimate.value <= estimate.high + 1e-12, f"{name}: the interval holds the value"


def _a_saved_adapter_answers_the_same(adapter: Adapter, records: Sequence[Record], folder: Path) -> None:
    adapter.save(folder)
    weights = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert not weights & {".bin", ".pt", ".pth", ".pkl", ".ckpt"}, "weights are safetensors only"
    again = type(adapter).load(folder)
    for first, second in zip(adapter.answer(records), again.answer(records), strict=True):
        _same_answer(first, second, "saving and loading")


def _nothing_is_refused(task: Task, record: Record) -> None:
    for broken in (replace(record, input=None), replace(record, target=object())):
        assert record.id in _refusal(task, broken), f"{task.name} must refuse {broken.input!r}, and name the record"


def _refusal(task: Task, record: Record) -> str:
    try:
        task.check(record)
    except RecordError as error:
        return str(error)
    return ""


def _same_answer(first: Mapping[str, Any], second: Mapping[str, Any], after: str) -> None:
    assert first.keys() == second.keys(), f"{after} changes what an answer holds"
    for name, value in first.items():
        if isinstance(value, float):
            # bfloat16 keeps three digits, and padding to another length may change the last of them
            assert math.isclose(value, second[name], abs_tol=0.02), f"{after} changes {name}: {value}, {second[name]}"
