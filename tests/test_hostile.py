"""Odd columns and tables through every public door on tables: a finding, or an error of ours that names what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import luthier
from luthier.errors import LuthierError, StateError, UsageError
from luthier.rootcause import explain

N = 120
RNG = np.random.default_rng(0)
GOOD = RNG.normal(size=N)
TARGET = RNG.integers(0, 2, N)
ODD: dict[str, Any] = {
    "masked": np.ma.masked_array(GOOD, mask=GOOD > 0),
    "beyond 64 bits": np.array([2**80 + i for i in range(N)], object),
    "near 2**64": np.full(N, 2**64 - 1, np.uint64),
    "half a surrogate": np.array(["a\ud800b", "ok"] * (N // 2), object),
    "half a surrogate, numpy text": np.array(["a\ud800b", "ok"] * (N // 2)),
    "bytes": np.array([b"a\xff", b"b"] * (N // 2)),
    "bytes as objects": np.array([b"a\xff", b"b"] * (N // 2), object),
    "signalling NaN": np.array([Decimal("sNaN"), Decimal(1)] * (N // 2), object),
    "complex": GOOD + 1j,
    "mixed lists": np.array([[1, 2], ["a"], None, {"a": 1}] * (N // 4), object),
    "vectors": RNG.normal(size=(N, 3)),
    "text vectors": np.full((N, 2), "a"),
    "vectors, some missing": pa.array([[1.0, 2.0], None] * (N // 2)),
    "ragged": [[1.0, 2.0], [1.0]] * (N // 2),
    "structures": np.zeros(N, [("a", "f8")]),
    "dictionaries": np.array([{"a": i} for i in range(N)], object),
    "objects": np.array([object() for _ in range(N)], object),
    "far dates": np.datetime64("20000-01-01") + np.arange(N),
    "old dates": np.datetime64("1900-01-01") + np.arange(N),
    "durations": np.arange(N).astype("timedelta64[s]"),
    "NaT": np.full(N, np.datetime64("NaT", "s")),
    "infinite": np.full(N, np.inf),
    "none": np.array([None] * N, object),
    "huge": np.where(GOOD > 0, 1e308, -1e308),
    "intervals": pd.Series(pd.cut(GOOD, 3)),
    "numbered categories": pd.Series(pd.Categorical([1, 2] * (N // 2))),
    "run-end encoded": pa.RunEndEncodedArray.from_arrays(pa.array([N], pa.int32()), pa.array([1.0])),
    "markup": np.array(["<script>alert(1)</script>", "&\"'"] * (N // 2)),
}


def _page(report: Any) -> None:
    assert "<script>alert(1)" not in report.html()
    report.markdown()
    report.json()
    report.frame()


def _monitor(reference: dict[str, Any], window: dict[str, Any]) -> None:
    monitor = luthier.Monitor(reference)
    monitor.observe("answer", {name: values for name, values in window.items() if name != "target"}, at="2026-01-01")
    monitor.observe("label", window, at="2026-01-01")
    again = luthier.Monitor(reference)
    again.restore(monitor.save())
    luthier.frame(monitor.findings(), "arrow")


def _ids(values: Any) -> None:
    monitor = luthier.Monitor({"probabilities": np.clip(GOOD, 0, 1), "target": TARGET})
    monitor.answer({"id": values, "probabilities": np.clip(GOOD, 0, 1)}, at="2026-01-01")


ANSWERS = {"target": TARGET, "score": np.clip(0.6 * TARGET + 0.4 * RNG.random(N), 0, 1)}
LABELS = {"target": TARGET, "predicted": TARGET}
LOSS = {"loss": TARGET * 1.0}
NO_FRAME = {
    name for name in ODD if "surrogate" in name or "vectors" in name or name == "structures"
}  # to pandas itself
DOORS: dict[str, Callable[[Any], object]] = {
    "drift": lambda odd: luthier.drift({"x": GOOD}, {"x": odd}),
    "drift of itself": lambda odd: luthier.drift({"x": odd}, {"x": odd}),
    "drift of a frame": lambda odd: luthier.drift(pd.DataFrame({5: odd}), pd.DataFrame({5: odd})),
    "drift report": lambda odd: _page(luthier.report("drift", {"x": odd}, {"x": odd}, chunk=50)),
    "quality report": lambda odd: _page(luthier.report("quality", {"x": odd}, {"x": odd})),
    "by time": lambda odd: luthier.report("drift", {"x": GOOD}, {"x": GOOD, "at": odd}, at="at"),
    "performance": lambda odd: luthier.report("performance", ANSWERS | {"x": GOOD}, ANSWERS | {"x": odd}),
    "inputs of estimates": lambda odd: _monitor(ANSWERS | {"x": GOOD}, ANSWERS | {"x": odd}),
    "its target": lambda odd: luthier.report("performance", LABELS, LABELS | {"target": odd}),
    "its reference": lambda odd: luthier.report("performance", LABELS | {"predicted": odd}, LABELS),
    "its scores": lambda odd: luthier.report("performance", ANSWERS, ANSWERS | {"score": odd}),
    "monitor": lambda odd: _monitor(LABELS, LABELS | {"x": odd}),
    "monitor of it": lambda odd: _monitor(LABELS | {"x": odd}, LABELS | {"x": odd}),
    "its labels": lambda odd: _monitor({"predicted": odd, "target": odd}, {"predicted": odd, "target": odd}),
    "probabilities": lambda odd: _monitor(ANSWERS, {"probabilities": odd, "target": TARGET}),
    "ids": _ids,
    "times": lambda odd: luthier.Monitor(LOSS).observe("label", LOSS, at=odd),
    "cause": lambda odd: explain(LOSS | {"x": odd}, LOSS | {"x": odd}),
    "nearest examples": lambda odd: explain(LOSS | {"embedding": odd}, LOSS | {"embedding": odd}),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("door", DOORS)
def test_odd_columns_get_a_finding_or_an_error_of_ours(door: str, odd: str) -> None:
    if door == "drift of a frame" and odd in NO_FRAME:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # 1e308 squared
            DOORS[door](ODD[odd])
    except LuthierError:
        pass  # with a message of its own


ODD_TABLES: dict[str, Any] = {
    "two of one name": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "one name as text": pd.DataFrame({0: [1, 2], "0": [3, 4]}),
    "one name as text, in a dictionary": {0: np.ones(3), "0": np.zeros(3)},
    "a series": pd.Series([1, 2]),
    "a list of numbers": [1, 2],
    "rows": [{"a": 1}, {"a": 2}],
    "an array": np.zeros((5, 2)),
    "a path": "file.csv",
    "nothing": None,
}


@pytest.mark.parametrize("table", ODD_TABLES)
@pytest.mark.parametrize("kind", ["drift", "quality", "performance", "direct", "cause"])
def test_odd_tables_get_an_error_of_ours(kind: str, table: str) -> None:
    odd = ODD_TABLES[table]
    doors: dict[str, Callable[[Any, Any], object]] = {"direct": luthier.drift, "cause": explain}
    with pytest.raises(LuthierError):
        doors.get(kind, partial(luthier.report, kind))(odd, odd)  # type: ignore[arg-type]


def test_a_frame_whose_columns_are_numbers_is_read() -> None:
    good, moved = pd.DataFrame(RNG.normal(size=(500, 3))), pd.DataFrame(RNG.normal([0, 2, 0], 1, size=(500, 3)))
    assert luthier.drift(good, moved).drifted == ("1",)
    assert [one.subject for one in luthier.report("drift", good, moved).alarms] == ["1"]
    assert luthier.report("quality", good, good, chunk=200).alarms == ()


def test_masked_values_are_missing() -> None:
    masked = np.ma.masked_array(np.r_[np.zeros(200), np.full(200, 99.0)], mask=np.arange(400) >= 200)
    finding = luthier.drift({"x": np.zeros(400)}, {"x": masked}).finding("x")
    assert "missing 0.00% → 50.00%" in finding.why
    assert "99" not in finding.why
    monitor = luthier.Monitor({"loss": np.zeros(100)})
    monitor.observe("label", {"loss": np.ma.masked_array(np.ones(10), mask=[True] * 9 + [False])}, at="2026-01-01")
    assert monitor.metrics()["loss"].n == 1


def test_a_quality_report_finds_the_same_row_twice_beside_an_embedding() -> None:
    rows = {"embedding": RNG.normal(size=(100, 4)), "x": np.arange(100.0)}
    twice = {name: np.concatenate([values, values[:7]]) for name, values in rows.items()}
    (finding,) = (one for one in luthier.report("quality", rows, twice).findings if one.check == "duplicate")
    assert finding.why.startswith("7 of 107")


def test_answers_and_targets_written_in_two_ways_are_no_accuracy_of_0() -> None:
    as_bool = {"target": TARGET.astype(bool), "predicted": TARGET}
    assert luthier.report("performance", as_bool, as_bool).sheet.headline.startswith("Accuracy is 1 ")
    as_text = {"target": TARGET.astype(float).astype(str), "predicted": TARGET}
    with pytest.raises(StateError, match=r"column 'target' mixes text and numbers as labels: .*Give all in one type"):
        luthier.report("performance", as_text, as_text)


def test_half_a_surrogate_is_saved_as_its_escape(tmp_path: Path) -> None:
    table = {"x\ud800": ODD["half a surrogate"]}
    paths = luthier.report("drift", table, table).save(tmp_path)
    assert "\\ud800" in paths.markdown.read_text(encoding="utf-8")


def test_a_frame_of_what_has_no_rows_is_refused_by_name() -> None:
    for odd in (np.zeros((3, 2)), pd.DataFrame({0: [1]}), np.zeros(2, [("a", "f8")])):
        with pytest.raises(UsageError, match=r"that holds a .* has no rows"):
            luthier.frame(odd)
