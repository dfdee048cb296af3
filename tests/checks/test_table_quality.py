"""Columns as they come in the wild: quiet on what is like the reference, each fault found, named and counted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from luthier.checks.laws import check_check
from luthier.checks.table_quality import RECENT, TableQuality

CITIES = np.array(["Oslo", "Bern", "Rome", "Lima", "Kyiv"])


def table(rng: np.random.Generator, n: int, first: int = 0) -> dict[str, Any]:
    missing = np.where(rng.random(n) < 0.03, np.nan, 1.0)
    return {
        "id": np.array([f"row-{first + i}" for i in range(n)]),
        "age": rng.integers(18, 90, n),
        "income": rng.lognormal(10, 1, n) * missing,
        "city": CITIES[rng.choice(5, n, p=[0.5, 0.2, 0.15, 0.14, 0.01])],
        "note": np.array([f"text {i}" for i in rng.integers(0, 10**9, n)]),
        "embedding": rng.standard_normal((n, 4)).astype(np.float32),
        "flag": np.ones(n),
        "loss": rng.random(n),
        "at": 1.7e9 + np.arange(n),
    }


@pytest.mark.parametrize("size", [40, 300])
def test_stable_rows_are_quiet_for_fresh_references(size: int) -> None:
    rng, check, runs, n = np.random.default_rng(1), TableQuality(arl=20_000), 40, 1500
    wrong = sum(check.step(check.start(table(rng, size)), table(rng, n, 10**6))[1].alarm for _ in range(runs))
    print(f"\nquality.v2, reference {size}: {wrong} of {runs} streams of {n} alarm")
    assert wrong <= stats.binom.ppf(0.999, runs, check.delta + n / check.arl)


FAULTS: dict[str, tuple[Any, str, float]] = {
    "missing": (lambda t, hit: t["income"].__setitem__(hit, np.nan), "column income: .* without a value", 0.3),
    "gone": (lambda t, hit: t.pop("age"), "column age: .* without a value", 1.0),
    "infinite": (lambda t, hit: t["income"].__setitem__(hit, np.inf), "column income: .* outside", 0.3),
    "range": (lambda t, hit: t["age"].__setitem__(hit, 900), "column age: .* outside 18 to 89", 0.3),
    "unseen": (lambda t, hit: t["city"].__setitem__(hit, "Pune"), "column city: .* category the reference does not", 0.3),
    "constant": (lambda t, hit: t["income"].fill(7e4), "column income: .* equal to the row before", 1.0),
    "duplicate": (lambda t, hit: t["id"].__setitem__(hit, "row-7"), "column id: .* an id among the last 10,000 rows", 0.3),
    "type": (lambda t, hit: t.update(age=t["age"].astype(str)), "column age: .* of another type than a number", 1.0),
    "numbers for text": (lambda t, hit: t.update(city=np.arange(600)), "column city: .* another type than text", 1.0),
    "mixed": (
        lambda t, hit: t.update(age=np.where(hit, "old", t["age"].astype(object))),
        "column age: .* of another type than a number", 0.3,
    ),
    "vector": (lambda t, hit: t["embedding"].__setitem__(hit, np.nan), "column embedding: .* without a value", 0.3),
    "width": (lambda t, hit: t.update(embedding=np.ones((600, 7))), "column embedding: .* type than 4 numbers", 1.0),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_each_fault_is_found_named_and_counted(what: str) -> None:
    rng, check = np.random.default_rng(2), TableQuality()
    memory, quiet = check.step(check.start(table(rng, 500)), table(rng, 700, 1000))
    assert not quiet.alarm
    window = table(rng, 600, 2000)
    break_it, why, share = FAULTS[what]
    hit = rng.random(600) < 0.3
    break_it(window, hit)
    _, finding = check.step(memory, window)
    assert finding.alarm
    assert re.search(why, finding.why), finding.why
    assert finding.value == pytest.approx(share, abs=0.08)
    assert "since about row" in finding.why
    assert "shown at row" in finding.why
    assert finding.why.rstrip()[-1].isalnum()  # ends with the way out


@pytest.mark.parametrize("broken", [False, True])
def test_laws(broken: bool) -> None:
    rng = np.random.default_rng(3)
    window = table(rng, 700, 2000)
    if broken:
        window["age"][rng.random(700) < 0.4] = -5
        window["id"][300:] = "the same"
    window["new"] = np.zeros(700)
    finding = check_check(TableQuality(), table(rng, 400), window)
    assert finding.alarm is broken
    assert "not in the reference: new" in finding.why
    assert ("also" in finding.why) is broken


def test_ids_are_looked_for_among_the_newest_rows_only() -> None:
    rng, check = np.random.default_rng(4), TableQuality()
    memory = check.start(table(rng, 100))
    n = RECENT + 500
    memory, _ = check.step(memory, table(rng, n, 0))
    memory, finding = check.step(memory, table(rng, 400, 0))
    assert not finding.alarm  # the first rows again, but too long ago to know
    assert check.step(memory, table(rng, 400, 0))[1].alarm


def test_many_categories_are_free_text_and_a_million_new_ones_are_handled() -> None:
    rng, check = np.random.default_rng(5), TableQuality()
    memory = check.start(table(rng, 500))
    assert ["note", "unseen"] not in memory["reference"]["rules"]
    window = {**table(rng, 20_000, 5000), "city": np.array([f"city {i}" for i in range(20_000)])}
    _, finding = check.step(memory, window)
    assert finding.alarm
    assert "column city: 20000 of 20000 rows" in finding.why


def test_rare_categories_of_a_small_reference_are_no_news() -> None:
    """Half of the categories come once: new ones must be expected."""
    rng, check, wrong = np.random.default_rng(6), TableQuality(), 0
    for _ in range(20):
        draw = rng.zipf(1.6, 2300) % 5000
        names = np.array([f"c{i}" for i in draw])
        wrong += check.step(check.start({"word": names[:300]}), {"word": names[300:]})[1].alarm
    assert wrong <= 2


@pytest.mark.parametrize(
    "reference", [{}, {"loss": np.zeros(500)}, {"age": np.zeros(29)}, {"age": np.zeros((50, 2, 2))}]
)
def test_a_reference_that_cannot_be_learnt_from_says_so(reference: dict[str, np.ndarray]) -> None:
    finding = check_check(TableQuality(), reference, table(np.random.default_rng(7), 100))
    assert finding.why.startswith("not watched: the reference has")


@pytest.mark.parametrize("values", [np.full(100, np.nan), np.full(100, np.inf), np.array([""] * 100), np.ones(100)])
def test_columns_without_content_are_no_reason_to_alarm(values: np.ndarray) -> None:
    finding = check_check(TableQuality(), {"x": values}, {"x": np.resize(values, 600)})
    assert not finding.alarm


def test_objects_of_mixed_types_are_taken_as_they_are() -> None:
    mixed = np.array([1, "a", None, 2.5, float("nan"), "", True, b"x"] * 50, dtype=object)
    check = TableQuality()
    _, finding = check.step(check.start({"x": mixed}), {"x": mixed})
    assert not finding.alarm
    _, finding = check.step(check.start({"x": np.arange(400.0)}), {"x": mixed})
    assert finding.alarm
