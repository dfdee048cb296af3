"""The drift report: what drifted, when, and how often it says so when nothing did."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import luthier
from luthier.errors import StateError
from luthier.evidence import clopper_pearson
from luthier.stages.drift import summarise

BAD = "<script>alert(1)</script>"


def table(n: int, moved: float = 0.0, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "age": rng.normal(40 + 9 * moved, 9, n), "spend": rng.lognormal(3, 1, n),
        "plan": rng.choice(["basic", "pro"], n), BAD: rng.choice([BAD, "b"], n),
        "at": np.datetime64("2026-03-01") + (np.arange(n) * 86_400 * 8 // max(n, 1)).astype("timedelta64[s]"),
    }  # fmt: skip


def later(n: int = 1600, seed: int = 5) -> dict[str, Any]:
    """Eight days, of which age moved in the last four."""
    found = table(n, 0, seed)
    found["age"] = found["age"] + np.where(np.arange(n) >= n // 2, 9.0, 0.0)
    return found


def test_one_window_names_what_drifted_and_by_how_much() -> None:
    report = luthier.report("drift", table(3000), table(1000, 0.5, 1))
    assert [finding.subject for finding in report.alarms] == ["age"]
    assert report.sheet.headline == "1 column of 5 drifted: age."
    rows = {row["column"]: row for row in report.rows()}
    assert rows["age"]["drifted"]
    assert not rows["plan"]["drifted"]
    assert rows["age"]["evidence"] == luthier.drift(table(3000), table(1000, 0.5, 1)).finding("age").evidence
    assert rows["age"]["wasserstein"] == pytest.approx(4.5, abs=0.8)
    assert np.isnan(rows["plan"]["wasserstein"])


def test_a_series_says_when() -> None:
    report = luthier.report("drift", table(3000), later(), at="at", every="day")
    loud = {finding.slice for finding in report.alarms}
    assert loud == {f"2026-03-0{day}" for day in (5, 6, 7, 8)}
    assert {finding.subject for finding in report.alarms} == {"age"}
    assert "First in 2026-03-05" in report.sheet.headline
    assert len(report.rows()) == 8 * 4, "a row a window and column; the column of times is not compared"
    assert {row["start"].day for row in report.rows() if row["drifted"]} == {5, 6, 7, 8}


def test_the_promise_holds_over_all_columns_and_windows() -> None:
    runs = 60
    wrong = sum(
        bool(luthier.report("drift", table(300, 0, 2 * i), table(240, 0, 2 * i + 1), chunk=120).alarms)
        for i in range(runs)
    )
    assert clopper_pearson(wrong, runs, 0.01)[0] <= 0.05, f"{wrong} of {runs} unchanged series alarmed"


def test_a_stream_is_the_same_as_the_whole() -> None:
    whole = luthier.report("drift", table(2000), later(), at="at", every="day")
    arrow = pa.table(later())
    streamed = luthier.report("drift", summarise({k: v for k, v in table(2000).items() if k != "at"}),
                              (arrow.slice(i, 97) for i in range(0, 1600, 97)), at="at", every="day")  # fmt: skip
    assert streamed.json() == whole.json()


def test_the_pages_show_it() -> None:
    one = luthier.report("drift", table(2000), table(500, 0.5, 1))
    page = one.html()
    assert len(page) < 200_000, "without a figure there is no drawing library"
    assert "script-src 'none'" in page
    assert page.count("<svg") == 4
    assert "<script" not in page
    series = luthier.report("drift", table(2000), later(), chunk=200)
    page = series.html()
    assert len(re.findall(r"<script>", page)) == 2
    assert BAD not in page
    assert "10 of 20" not in page
    assert "4 of 8" in page
    assert "▁" in one.markdown()
    assert "<script" not in one.markdown()
    told = json.loads(series.json())
    assert told["kind"] == "drift"
    assert len(told["windows"]) == 8


def test_relevance_and_categories_are_passed_on() -> None:
    big = luthier.report("drift", table(20_000), table(20_000, 0.1, 1), relevant=0.2)
    assert not big.alarms
    assert "at least 0.2" in big.sheet.notes[0]
    kinds = luthier.report("drift", {"zip": np.arange(500) % 7}, {"zip": np.arange(100) % 7}, categories=["zip"])
    assert kinds.rows()[0]["kind"] == "category"


def test_different_columns_are_a_finding() -> None:
    changed = table(500, 0, 1)
    changed["age"] = changed["age"].astype(str)
    changed["new"] = changed.pop("plan")
    report = luthier.report("drift", table(2000), changed, chunk=250)
    why = {finding.subject: finding.why for finding in report.alarms}
    assert set(why) == {"age", "new", "plan"}
    assert "absent from current" in why["plan"]
    assert "convert it" in why["age"]
    assert report.html()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_rows(n: int) -> None:
    for options in ({}, {"at": "at", "every": "day"}, {"chunk": 1}):
        report = luthier.report("drift", table(500), table(n, 0, 1), **options)
        assert not report.alarms
        assert report.html()
        assert report.markdown()
    assert "Nothing to compare" in luthier.report("drift", table(500), table(0)).sheet.headline


def test_all_missing_and_no_reference() -> None:
    gone = {"a": np.full(200, np.nan), "b": np.array([None] * 200, object)}
    good = {"a": np.arange(200.0), "b": np.array(["x"] * 200, object)}
    report = luthier.report("drift", good, gone)
    assert {finding.subject for finding in report.alarms} == {"a", "b"}
    assert all(row["missing"] == 1 for row in report.rows())
    with pytest.raises(StateError, match="the reference has no columns"):
        luthier.report("drift", {}, good)
