"""Whole tables: what changed is named, what did not is left alone, and every odd column gets a finding or an error."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats

from luthier.errors import StateError
from luthier.evidence import e_bh
from luthier.stages.drift import Summary, drift, hour_of_week, summarise, summarise_by_hour

LEVELS = np.arange(20, 0, -1.0) / 210
RNG = np.random.default_rng(5)
WORDS = np.array([f"L{i:02d}" for i in range(20)])


def table(seed, n: int, shift: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {f"n{i}": rng.normal(0.3 * (shift and i == 0), 1, n).astype(np.float32) for i in range(5)}
    found |= {f"k{i}": rng.poisson(2, n) for i in range(2)}
    p = 0.7 * LEVELS + 0.3 * LEVELS[::-1]
    return found | {f"c{i}": rng.choice(WORDS, n, p=p if shift and i == 0 else LEVELS) for i in range(3)}


@pytest.mark.parametrize("reference", [100, 1000, 10_000])
@pytest.mark.parametrize("n", [100, 1000, 10_000])
def test_unchanged_tables_are_left_alone(reference: int, n: int) -> None:
    runs = 12
    named = [drift(table([1, seed, n], reference), table([2, seed, reference], n)).drifted for seed in range(runs)]
    assert sum(bool(names) for names in named) <= stats.binom.ppf(0.999, runs, 0.05)


@pytest.mark.parametrize("reference", [100, 1000, 10_000])
@pytest.mark.parametrize("n", [100, 1000, 10_000])
def test_every_column_keeps_the_promise_from_two_to_fifty_categories(reference: int, n: int) -> None:
    """Each column on its own, alone in its table: called changed in at most one of twenty looks."""
    rng, kinds, columns = np.random.default_rng([reference, n]), (2, 5, 10, 20, 50), 16

    def rows(size: int) -> dict[str, np.ndarray]:
        found = {f"{k} categories {i}": rng.integers(0, k, size).astype("U2") for k in kinds for i in range(columns)}
        return found | {f"numbers {i}": rng.lognormal(size=size) for i in range(columns)}

    good, now = rows(reference), rows(n)
    called = [name for name in good if drift({name: good[name]}, {name: now[name]}).drifted]
    for kind in ("numbers", *(f"{k} categories" for k in kinds)):
        wrong = sum(name.startswith(kind) for name in called)
        assert wrong <= stats.binom.ppf(0.999, columns, 0.05), f"{kind}: {wrong} of {columns}"
    assert len(called) <= stats.binom.ppf(0.999, len(good), 0.05)


def test_a_window_of_a_hundred_rows_finds_what_a_test_of_one_column_finds() -> None:
    """A mean moved by .3 standard deviations, 1,000 rows against 100, where Kolmogorov–Smirnov at 5 % finds about 72 %."""
    rng, ours, theirs = np.random.default_rng(7), 0, 0
    for _ in range(40):
        good, now = rng.normal(size=1000), rng.normal(0.3, 1, 100)
        ours += bool(drift({"x": good}, {"x": now}).drifted)
        theirs += stats.ks_2samp(good, now, method="asymp").pvalue < 0.05
    assert ours >= 0.9 * theirs > 20


def test_evidence_of_many_looks_is_decided_together() -> None:
    """Fifty days against one reference: with `looks`, no day that did not change, and the one that did."""
    rng = np.random.default_rng(3)
    good = summarise({"x": rng.normal(size=2000)})
    days = [rng.normal(0.5 * (day == 30), 1, 150) for day in range(50)]
    e = [drift(good, {"x": day}, looks=50).findings[0].evidence for day in days]
    assert e_bh(e, 0.05) == [30]
    assert sum(one >= 20 for one in e) <= 3, "each on its own keeps its promise too"
    with pytest.raises(StateError, match="looks is 0"):
        drift(good, {"x": days[0]}, looks=0)


POOLS = {
    "numbers": np.array([-3.0, -1, 0.5, 1, 2, 2.5, 4, 9, 11, 30]),
    "ties": np.array([0.0, 0, 0, 0, 1, 1, 2, 3, 3, 50]),
    "missing": np.array([np.nan, np.nan, np.nan, 1, 2, 3, 4, 5, 6, 7]),
    "categories": np.array(list("aaaabbbcde")),
    "all different": np.array(list("abcdefghij")),
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("n", [3, 5])
def test_the_mean_over_every_way_to_deal_the_rows_is_at_most_one(pool: str, n: int) -> None:
    """Unchanged data are rows dealt to the two tables at random: the whole way through, bins and views included."""
    rows, found = POOLS[pool], []
    for chosen in itertools.combinations(range(len(rows)), n):
        current = np.isin(np.arange(len(rows)), chosen)
        found.append(drift({"x": rows[~current]}, {"x": rows[current]}).findings[0].evidence)
    assert 0.2 < np.mean(found) <= 1 + 1e-9


def test_what_changed_is_found_and_told() -> None:
    result = drift(table(1, 3000), table(2, 3000, shift=True))
    assert set(result.drifted) == {"n0", "c0"}
    number, category = result.finding("n0"), result.finding("c0")
    assert number.promise.kind == "fixed"
    assert number.evidence > 1e3
    assert number.why.startswith("n0: median ")
    for word in ("kolmogorov smirnov 0.1", "wasserstein 0.2", "psi 0.", "range "):
        assert word in number.why
    assert "→" in category.why
    assert "total variation 0.1" in category.why
    assert result.distances["n0"]["wasserstein"] == pytest.approx(0.3, abs=0.06)
    assert [row["column"] for row in result.rows()][:2] == list(result.drifted)
    assert pd.DataFrame(result.rows()).drifted.sum() == 2
    assert drift(table(1, 3000), table(2, 3000, shift=True), relevant=0.9).drifted == ()


def test_a_kept_reference_and_streamed_parts_give_the_same_result(tmp_path: Path) -> None:
    reference, current = table(1, 2000), table(2, 1500, shift=True)
    whole = drift(reference, current)
    summarise(reference).save(tmp_path / "kept")
    kept = Summary.load(tmp_path / "kept")
    parts = ({name: values[low : low + 400] for name, values in current.items()} for low in range(0, 1500, 400))
    assert drift(kept, parts) == whole
    frame = pd.DataFrame(current)
    assert drift(kept, frame) == drift(pa.table(reference), pa.Table.from_pandas(frame)) == whole
    (tmp_path / "other").write_bytes(b"nonsense")
    with pytest.raises(StateError, match="cannot be read"):
        Summary.load(tmp_path / "other")


def test_columns_that_are_gone_new_or_of_another_kind_alarm() -> None:
    good, now = table(1, 500), table(2, 400)
    now["extra"] = np.arange(400)
    now["c1"] = np.arange(400)
    del now["n3"]
    result = drift(good, now)
    assert set(result.drifted) == {"n3", "extra", "c1"}
    assert "500 rows of reference, absent from current" in result.finding("n3").why
    assert "400 rows of current, absent from the reference" in result.finding("extra").why
    assert "text in 500 rows of the reference, int64 in 400 rows of current" in result.finding("c1").why
    assert result.finding("n3").promise.kind == "none"
    with pytest.raises(StateError, match="no finding on 'zz'"):
        result.finding("zz")


BAD = {
    "all missing": (np.full(500, np.nan), True, "missing 0.00% → 100.00%"),
    "all infinite": (np.full(500, np.inf), True, "missing 0.00% → 100.00%"),
    "all None": (np.full(500, None), True, "no number in current"),
    "constant": (np.full(500, 0.5), True, "median"),
    "one row": (np.array([0.5]), False, "median"),
    "no row": (np.zeros(0), False, "nothing to compare: 1,000 rows of reference and 0 of current"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_columns_get_a_finding(what: str) -> None:
    values, alarm, why = BAD[what]
    finding = drift({"x": np.random.default_rng(1).normal(size=1000)}, {"x": values}).findings[0]
    assert (finding.alarm, finding.n) == (alarm, len(values))
    assert why in finding.why
    assert math.isfinite(finding.evidence)


def test_new_and_many_categories() -> None:
    rng = np.random.default_rng(2)
    few = {"x": rng.choice(["a", "b"], 1000)}
    finding = drift(few, {"x": rng.choice(["y", "z"], 1000)}).findings[0]
    assert finding.alarm
    assert "2 new categories with 100.00% of rows" in finding.why
    ids = {"x": rng.integers(0, 10**9, 20_000).astype(str)}
    assert not drift(ids, {"x": rng.integers(0, 10**9, 20_000).astype(str)}).findings[0].alarm
    assert drift(few, ids).findings[0].alarm
    assert drift(ids, few).findings[0].alarm


def test_constant_in_both_times_and_mixed_types() -> None:
    one = {"x": np.full(200, 3.0), "y": np.full(200, "same")}
    assert drift(one, one).drifted == ()
    assert "constant: 3 in both" in drift(one, one).finding("x").why
    assert drift(one, one | {"x": np.full(200, 4.0)}).drifted == ("x",)
    days = {"at": np.arange("2026-01-01", "2026-02-01", dtype="datetime64[D]")}
    finding = drift(days, days).findings[0]
    assert not finding.alarm
    assert "a time moves on its own" in finding.why
    mixed = pd.DataFrame({"x": [1, "two"] * 100})
    assert "mixed types in the reference (100 int, 100 str)" in drift(mixed, mixed).findings[0].why
    moved = drift(pd.DataFrame({"x": ["1", "two"] * 100}), mixed).findings[0]
    assert moved.alarm
    assert "text in 200 rows of the reference, 100 int, 100 str in 200 rows" in moved.why


def test_misuse_is_named() -> None:
    with pytest.raises(StateError, match="a int is not a table"):
        drift(3, {"x": [1]})
    with pytest.raises(StateError, match="no columns"):
        drift({}, {"x": [1]})
    with pytest.raises(StateError, match="alpha is 2"):
        drift({"x": [1]}, {"x": [1]}, alpha=2)
    with pytest.raises(StateError, match="no column 'z' to read as categories; there are x"):
        drift({"x": [1]}, {"x": [1]}, categories=["z"])
    with pytest.raises(StateError, match=r"differ in the columns \['y'\]"):
        summarise(iter([{"x": [1]}, {"x": [1], "y": [2]}]))
    with pytest.raises(StateError, match="holds int64 in one part and text in another"):
        summarise(iter([{"x": [1]}, {"x": ["a"]}]))


def test_hours_of_the_week_are_those_of_the_zone() -> None:
    monday = datetime(2026, 1, 5, 0, 30, tzinfo=UTC)
    july = datetime(2026, 7, 6, 0, 30)  # a Monday, without a zone: UTC
    assert hour_of_week([monday, july]).tolist() == [0, 0]
    assert hour_of_week([monday, july], "Europe/Berlin").tolist() == [1, 2]
    assert hour_of_week(np.array(["2026-01-11T23:59:59"], "datetime64[ms]")).tolist() == [167]
    assert hour_of_week([monday.timestamp()], "Asia/Kathmandu").tolist() == [6]
    with pytest.raises(StateError, match="1 of 1 rows have no event time"):
        hour_of_week(np.array(["NaT"], "datetime64[s]"))


def test_a_season_is_no_drift_against_the_same_hours() -> None:
    def week(seed: int, level: float = 0.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
        at = np.datetime64("2026-01-05") + np.arange(0, 7 * 86_400, 60).astype("timedelta64[s]")
        day = np.sin(2 * np.pi * (at - at[0]).astype(float) / 86_400)
        return {"load": 3 * day + level + np.random.default_rng(seed).normal(size=len(at))}, at

    parts, at = zip(*[week(seed) for seed in range(4)], strict=True)
    months = {"load": np.concatenate([part["load"] for part in parts])}
    weekly = summarise_by_hour(months, np.concatenate(at))
    assert len(weekly) == 168
    for level, expected in ((0.0, False), (1.5, True)):
        now, when = week(9, level)
        noon = hour_of_week(when) == 36
        window = {"load": now["load"][noon]}
        assert bool(drift(weekly[36], window).drifted) is expected
        assert drift(months, window).drifted  # against all hours, every hour looks changed
    with pytest.raises(StateError, match="one time a row"):
        summarise_by_hour({"x": np.zeros(3)}, at[0])


def test_ids_are_not_compared() -> None:
    result = drift({"id": np.arange(500)}, {"id": np.arange(500, 1000)})
    assert result.drifted == ()
    assert "ids are new in every row" in result.finding("id").why


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.full(500, 2024), np.full(300, 2025)),
        (2020 + RNG.integers(0, 3, 500), 2023 + RNG.integers(0, 3, 300)),
        (1e6 + RNG.normal(0, 10, 500), 1e6 + 1000 + RNG.normal(0, 10, 300)),
        (1.7e12 + RNG.random(500), 1.7e12 + 5 + RNG.random(300)),
    ],
)
def test_a_shift_within_one_bucket_is_found_where_the_ranges_part(before: np.ndarray, after: np.ndarray) -> None:
    finding = drift({"x": before}, {"x": after}).finding("x")
    assert finding.alarm
    assert finding.evidence > 1e6
    assert math.isnan(finding.value)
    assert "kolmogorov" not in finding.why


def test_values_too_close_for_the_buckets_are_said_to_be_and_have_no_distance() -> None:
    finding = drift({"x": 1e6 + RNG.normal(0, 10, 500)}, {"x": 1e6 + 5 + RNG.normal(0, 10, 300)}).finding("x")
    assert not finding.alarm
    assert math.isnan(finding.value)
    assert "too coarse for this range: subtract 9999" in finding.why
    finding = drift({"x": RNG.random(500) * 1e-20}, {"x": RNG.random(300) * 1e-20}).finding("x")
    assert "sizes below 9.1e-13 count as 0" in finding.why
    assert "another unit" in finding.why


def test_evidence_of_parted_ranges_is_exact() -> None:
    def evidence(n: int, of: int) -> float:
        found = drift({"x": 1e6 + RNG.normal(0, 10, of)}, {"x": 1e6 + RNG.normal(0, 10, n)})
        return found.findings[0].evidence

    found = [evidence(2, 3) for _ in range(1500)]
    assert abs(np.mean(found) - 1) < 0.1
    assert max(found) == pytest.approx(3)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_lies_just_beside_a_constant_is_another_bin(sign: int) -> None:
    finding = drift({"x": np.zeros(500)}, {"x": np.full(300, sign)}, relevant=0.5).finding("x")
    assert finding.alarm
    assert finding.value == 1
    tens = np.repeat(np.arange(10), 50)
    finding = drift({"x": sign * tens}, {"x": sign * np.where(tens == 9, 40, tens)}).finding("x")
    assert finding.value > 0.2
    assert drift({"x": sign * tens}, {"x": sign * tens}).finding("x").value == 0


def test_durations_are_numbers_and_series_and_tensors_are_columns() -> None:
    rng = np.random.default_rng(0)
    seconds = rng.lognormal(0, 0.5, 600)
    took = pl.Series(seconds * 1e6).cast(pl.Int64).cast(pl.Duration("us"))
    found = drift({"took": took}, {"took": pd.Series(pd.to_timedelta(seconds * 2, unit="s"))})
    assert found.drifted == ("took",)
    assert "median" in found.finding("took").why
    assert drift({"took": took}, {"took": (seconds * 1e6).astype(np.int64).astype("m8[us]")}).drifted == ()
    assert drift({"x": pl.Series(seconds)}, {"x": pa.array(seconds)}).finding("x").value == 0
    torch = pytest.importorskip("torch")
    assert drift({"x": torch.tensor(seconds, requires_grad=True)}, {"x": seconds}).drifted == ()
    assert drift({"x": torch.tensor(seconds).bfloat16()}, {"x": torch.tensor(seconds * 2).bfloat16()}).drifted == ("x",)


def test_rows_that_are_dictionaries_and_columns_that_are_images_are_named() -> None:
    with pytest.raises(StateError, match=r"column 'a' has shape \(\); .*pandas.DataFrame\(rows\)"):
        drift([{"a": 1, "b": "x"}] * 3, [{"a": 1, "b": "x"}] * 3)
    with pytest.raises(StateError, match=r"column 'a' has shape \(9, 2, 2\).*flatten its rows"):
        drift({"a": np.zeros((9, 2, 2))}, {"a": np.zeros((9, 2, 2))})
