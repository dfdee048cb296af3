"""Evaluation: every number with its interval, latency of single answers, and slices."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.errors import DataError, RecordError
from luthier.names import get
from luthier.stages.evaluate import by_slice, evaluate, remembered
from luthier.types import Record

TASK = get("task", "text_classification")(labels=("no", "yes"))


class Parrot:
    """Says the last word of a text, and remembers how many texts came at once."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def answer(self, records: list[Record]) -> list[dict[str, Any]]:
        self.batches.append(len(records))
        return [
            {"label": word, "confidence": 0.8, "margin": 0.6, "entropy": 0.5, "length": 3, "scores": {word: 0.8}}
            for word in (record.input.split()[-1] for record in records)
        ]


def rows(n: int, wrong: int, domain: str) -> list[Record]:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    said = ["no" if (row < wrong) == (row % 2 == 1) else "yes" for row in range(n)]
    return [
        Record(f"{domain}{row}", moment, f"text {said[row]}", target=("no", "yes")[row % 2], tags={"domain": domain})
        for row in range(n)
    ]


def test_every_estimate_has_its_interval_and_its_n() -> None:
    parrot = Parrot()
    found = evaluate(TASK, parrot, [*rows(100, 10, "a"), *rows(50, 25, "b")], batch=64)
    accuracy = found.estimates["accuracy"]
    assert accuracy.value == pytest.approx(115 / 150)
    assert accuracy.n == 150
    assert accuracy.low < accuracy.value < accuracy.high
    assert parrot.batches[:3] == [64, 64, 22]
    assert parrot.batches.count(1) >= 50  # single answers, for the latency
    latency = found.estimates["latency_ms"]
    assert 0 < latency.low <= latency.value <= latency.high
    assert latency.n >= 50
    assert found.seconds > 0


def test_slices_are_estimated_apart() -> None:
    records = [*rows(100, 10, "a"), *rows(50, 25, "b"), replace(rows(1, 0, "c")[0], tags={})]
    columns = evaluate(TASK, Parrot(), records).columns
    found = by_slice(TASK, records, columns, "domain")
    assert list(found) == ["a", "b"]
    assert found["a"]["accuracy"].value == pytest.approx(0.9)
    assert found["b"]["accuracy"].value == pytest.approx(0.5)
    assert found["b"]["accuracy"].n == 50
    assert by_slice(TASK, records, columns, "language") == {}


def test_without_targets_there_is_nothing_to_evaluate() -> None:
    with pytest.raises(DataError, match="none has a target"):
        evaluate(TASK, Parrot(), [replace(record, target=None) for record in rows(5, 0, "a")])
    with pytest.raises(DataError, match="0 records"):
        evaluate(TASK, Parrot(), [])
    with pytest.raises(RecordError, match="record a0"):
        evaluate(TASK, Parrot(), [replace(record, input="") for record in rows(5, 0, "a")])


def test_unlabelled_records_among_labelled_ones_are_answered_and_not_counted() -> None:
    records = [*rows(40, 0, "a"), *(replace(record, target=None) for record in rows(10, 0, "b"))]
    found = evaluate(TASK, Parrot(), records)
    assert found.estimates["accuracy"].n == 40
    assert np.isnan(found.columns["loss"]).sum() == 10


def test_columns_are_computed_once_and_again_when_the_file_is_broken(tmp_path: Path) -> None:
    asked = []

    def compute() -> dict[str, np.ndarray]:
        asked.append(1)
        return {"loss": np.array([0.0, 1.0]), "label": np.array(["no", "yes"])}

    path = tmp_path / "columns" / "one.columns"
    for _ in range(2):
        found = remembered(path, compute)
        assert (found["loss"].tolist(), found["label"].tolist()) == ([0.0, 1.0], ["no", "yes"])
    assert len(asked) == 1
    path.write_bytes(path.read_bytes()[:20])  # a full disk cut it short
    assert remembered(path, compute)["loss"].tolist() == [0.0, 1.0]
    assert len(asked) == 2
    for number in range(30):
        remembered(tmp_path / "columns" / f"{number}.columns", compute)
    assert len(list((tmp_path / "columns").iterdir())) <= 8
