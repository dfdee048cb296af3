"""The data-quality report: every fault by its rule, with rows and the way out, and silence on good rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import luthier
from luthier.evidence import clopper_pearson
from luthier.reports.quality import RULES


def table(n: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "id": np.array([f"{seed}-{i}" for i in range(n)]), "age": rng.normal(40, 9, n),
        "plan": rng.choice(["basic", "pro", "team"], n).astype(object), "note": np.array([f"text {i % 40}" for i in range(n)], object),
        "at": np.datetime64("2026-03-01") + (np.arange(n) * 86_400 * 4 // max(n, 1)).astype("timedelta64[s]"),
    }  # fmt: skip


def broken(rule: str) -> dict[str, Any]:
    rows = table(400, 1)
    some = slice(100, 140)
    if rule == "missing":
        rows["age"][some] = np.nan
    elif rule == "empty":
        rows["note"][some] = "  "
    elif rule == "range":
        rows["age"][some] *= 100
    elif rule == "new":
        rows["plan"][some] = "enterprise"
    elif rule == "constant":
        rows["age"][:] = 41.0
    elif rule == "schema":
        del rows["note"]
    elif rule == "duplicate":
        rows = {name: np.concatenate([values, values[:30]]) for name, values in rows.items()}
    else:
        rows["id"] = np.concatenate([rows["id"][:370], rows["id"][:30]])
    return rows


@pytest.mark.parametrize("rule", list(RULES))
def test_every_rule_finds_its_fault_and_says_the_way_out(rule: str) -> None:
    report = luthier.report("quality", table(2000), broken(rule))
    found = {finding.check: finding for finding in report.alarms}
    assert rule in found
    assert set(found) <= {rule, "same id", "constant"}
    why = found[rule].why
    assert RULES[rule][1].split(";")[0][:20] in why
    assert any(char.isdigit() for char in why)
    assert report.html()


def test_numbers_are_exact() -> None:
    report = luthier.report("quality", table(2000), broken("missing"))
    (finding,) = report.alarms
    assert finding.value == 0.1
    assert "40 of 400 (10.00%) rows have no value, 0 of 2,000" in finding.why
    row = next(row for row in report.rows() if row["column"] == "age")
    assert row["missing"].value == 0.1
    assert row["faults"] == "missing"
    beyond = next(
        one for one in luthier.report("quality", table(2000), broken("range")).findings if one.check == "range"
    )
    ages, known = broken("range")["age"], table(2000)["age"]
    assert beyond.value == np.mean((ages < known.min()) | (ages > known.max()))


def test_good_rows_are_quiet_as_often_as_promised() -> None:
    runs = 100
    wrong = sum(bool(luthier.report("quality", table(300, 2 * i), table(100, 2 * i + 1)).alarms) for i in range(runs))
    assert clopper_pearson(wrong, runs, 0.01)[0] <= 0.05, f"{wrong} of {runs} good tables were called faulty"


def test_a_series_says_when_and_a_stream_is_the_same() -> None:
    rows = broken("missing")
    report = luthier.report("quality", table(2000), rows, at="at", every="day")
    assert [finding.slice for finding in report.alarms] == ["2026-03-02"]
    assert "1 fault in 1 column: age" in report.sheet.headline
    arrow = pa.table(rows)
    streamed = luthier.report(
        "quality", pa.table(table(2000)), (arrow.slice(i, 61) for i in range(0, 400, 61)), at="at", every="day"
    )
    assert [one.why for one in streamed.alarms] == [one.why for one in report.alarms]
    assert "heat" not in report.markdown()
    assert "Columns over windows" in report.html()


def test_the_same_row_in_two_parts_of_a_stream_is_found() -> None:
    rows = pa.table(broken("duplicate"))
    report = luthier.report("quality", table(2000), (rows.slice(i, 100) for i in range(0, 430, 100)))
    assert "30 of 430" in next(one.why for one in report.alarms if one.check == "duplicate")


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_rows(n: int) -> None:
    report = luthier.report("quality", table(300), table(n, 1))
    assert not report.alarms
    assert report.html()
    assert n or "no rows" in report.sheet.headline


def test_columns_of_nulls_types_and_infinities() -> None:
    good = {
        "a": np.arange(200.0),
        "b": np.array(["x", "y"] * 100, object),
        "t": np.datetime64("2026-03-01") + np.arange(200),
    }
    late = good["t"].copy()
    late[:50] = np.datetime64("NaT")
    bad = {"a": np.array([1, "x"] * 100, object), "b": np.array([None] * 200, object), "t": late}
    why = {finding.subject: finding.why for finding in luthier.report("quality", good, bad).alarms}
    assert "float64 in the reference" in why["a"]
    assert "200 of 200" in why["b"]
    assert "50 of 200" in why["t"]
    infinite = {"a": np.where(np.arange(200) < 40, np.inf, np.arange(200.0))}
    assert "missing" in {one.check for one in luthier.report("quality", {"a": good["a"]}, infinite).alarms}


def test_a_constant_that_was_always_constant_is_no_fault() -> None:
    same = {"a": np.ones(300), "b": np.array(["x"] * 300, object)}
    assert not luthier.report("quality", same, {"a": np.ones(50), "b": np.array(["x"] * 50, object)}).alarms
    rare = {"a": np.where(np.arange(1000) == 0, 1.0, 0.0)}
    assert not luthier.report("quality", rare, {"a": np.zeros(100)}).alarms, "nearly constant before"
