"""A classifier of new rows against the reference: quiet while nothing changes, names what has changed, never cheats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from luthier.checks.classifier_shift import ClassifierShift, _bounds
from luthier.checks.laws import check_check
from luthier.errors import StateError
from luthier.stages.monitor import Monitor


def categories(count: int) -> Any:
    shares = np.arange(1, count + 1) ** -1.0
    shares /= shares.sum()
    return lambda rng, n: {"c": rng.choice(count, n, p=shares).astype(str), "flag": rng.random(n) < 0.3}


def lumps(width: int) -> Any:
    """Six lumps with heavy tails, like sentence embeddings."""
    rng = np.random.default_rng(width)
    centres, axes = rng.standard_normal((6, width)), 0.4 * rng.standard_normal((6, width, 4))

    def draw(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        lump = rng.integers(0, 6, n)
        x = centres[lump] + np.einsum("ndk,nk->nd", axes[lump], rng.standard_t(5, (n, 4)))
        return {"embedding": (x + 0.5 * rng.standard_normal((n, width))).astype(np.float32)}

    return draw


DRAWS = {
    "2 categories": categories(2),
    "50 categories": categories(50),
    "4 wide": lumps(4),
    "384 wide": lumps(384),
    "table": lambda rng, n: categories(5)(rng, n) | {"count": rng.poisson(2, n), "amount": rng.lognormal(0, 2, n)},
}


@pytest.mark.parametrize("shape", DRAWS)
@pytest.mark.parametrize("size", [100, 1000])
def test_it_lies_no_more_often_than_promised(shape: str, size: int) -> None:
    """References drawn anew, nothing changed, no slack; windows of 100, 1,000 and 10 rows in turn."""
    runs, rows, draw = 8 if shape == "384 wide" else 20, 2220, DRAWS[shape]
    check, wrong, learnt = ClassifierShift(slack=0.0, arl=5000), 0, 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, size])
        memory = check.start(draw(rng, size))
        for n in (100, 1000, 10) * 2:
            memory, finding = check.step(memory, draw(rng, n))
        wrong, learnt = wrong + finding.alarm, learnt + memory["fits"]
    print(f"\nclassifier_shift.v1, {shape}, reference {size}: {wrong} of {runs} streams of {rows} alarm; {learnt} fits")
    assert wrong <= stats.binom.ppf(0.999, runs, check.delta + rows / check.arl)
    assert wrong <= runs / 5


def test_bounds_of_all_classifiers_hold_at_once() -> None:
    """Scores of classifiers drawn at random against one calibrating part: some bound of 200 fails in few draws of it."""
    rng, n, delta, wrong, runs = np.random.default_rng(0), 60, 0.1, 0, 100
    ranks = (30, 48, 57)
    for _ in range(runs):
        rows = rng.standard_normal((n, 12))
        for fits in range(200):
            w = rng.standard_normal(12)
            edges = np.sort(rows @ w / np.linalg.norm(w))[np.array(ranks) - 1]
            wrong += bool((stats.norm.sf(edges) > _bounds(n, ranks, delta, fits)).any())
            if wrong > 20:
                break
    assert wrong <= stats.binom.ppf(0.999, runs, delta)


def test_a_classifier_never_sees_the_rows_that_calibrate_it() -> None:
    """Other calibrating rows change no classifier: only where its edges lie."""
    rng = np.random.default_rng(1)
    check = ClassifierShift(arl=1e299)  # it learns until it alarms
    memory = check.start(DRAWS["4 wide"](rng, 1000))
    known = memory["reference"]
    other = {**memory, "reference": {**known, "held": known["held"][::-1] * 0.5}}
    window = DRAWS["4 wide"](rng, 800)
    window["embedding"][:, 1] += 1
    one, two = (check.step(start, window)[0] for start in (memory, other))
    assert one["fits"] == two["fits"] > 0
    np.testing.assert_array_equal(one["weights"], two["weights"])
    assert not np.array_equal(one["edges"], two["edges"])


@pytest.mark.parametrize(
    ("size", "change", "most"),
    [(1000, "mean", 900), (5000, "mean", 400), (1000, "spread", 600), (1000, "corner", 1500)],
)
def test_it_sees_a_change_soon(size: int, change: str, most: int) -> None:
    check, delays = ClassifierShift(), []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        memory = check.start({"embedding": rng.standard_normal((size, 64)).astype(np.float32)})
        memory, before = check.step(memory, {"embedding": rng.standard_normal((1000, 64))})
        x = rng.standard_normal((4000, 64))
        if change == "mean":
            x[:, :3] += 0.4
        elif change == "spread":
            x[:, 5] *= 2
        else:
            x[rng.random(4000) < 0.1] += 1.0
        memory, after = check.step(memory, {"embedding": x})
        assert (before.alarm, after.alarm) == (False, True), after.why
        delays.append(memory["alarm_n"] - 1000)
    print(f"\nclassifier_shift.v1, 64 wide, {change}, reference {size}: median delay {np.median(delays):,.0f} rows")
    assert np.median(delays) <= most


def people(rng: np.random.Generator, n: int, older: float = 0.0, bern: float = 0.3) -> dict[str, np.ndarray]:
    return {
        "age": rng.normal(40 + older, 9, n), "city": np.where(rng.random(n) < bern, "Bern", "Oslo"),
        "income": rng.lognormal(10, 1, n), "vector": rng.standard_normal((n, 6)).astype(np.float16),
        "loss": rng.random(n), "tag:team": np.array(["a"] * n), "id": np.arange(n).astype(str),
    }  # fmt: skip


def test_a_finding_names_what_separates() -> None:
    rng = np.random.default_rng(3)
    reference = people(rng, 2000)
    calm = check_check(ClassifierShift(), reference, people(rng, 900))
    older = check_check(ClassifierShift(), reference, people(rng, 900, older=-7))
    moved = check_check(ClassifierShift(), reference, people(rng, 900, bern=0.7))
    assert (calm.alarm, older.alarm, moved.alarm) == (False, True, True)
    assert "age lower" in older.why
    assert "city (" in moved.why
    assert "city = 'Bern' higher" in moved.why or "city = 'Oslo' lower" in moved.why
    assert older.value > older.limit
    assert "loss" not in older.why
    assert "shown at row" in older.why


def test_a_joint_change_that_no_column_shows_is_left_to_others_and_a_wider_one_is_named() -> None:
    rng = np.random.default_rng(4)
    reference = {"x": rng.standard_normal(2000), "y": rng.standard_normal(2000)}
    wide = {"x": rng.standard_normal(1500), "y": 2 * rng.standard_normal(1500)}
    finding = check_check(ClassifierShift(), reference, wide)
    assert finding.alarm
    assert "y wider" in finding.why


def test_missing_columns_and_kinds_are_a_change_and_no_columns_at_all_are_nothing() -> None:
    rng = np.random.default_rng(5)
    check, good = ClassifierShift(columns=("age", "city", "vector")), people(rng, 1000)
    memory = check.start(good)
    gone = {name: values for name, values in people(rng, 600).items() if name != "vector"}
    finding = check.step(memory, gone)[1]
    assert finding.alarm
    assert "vector missing higher" in finding.why
    wider = people(rng, 600) | {"vector": rng.standard_normal((600, 7))}
    assert check.step(memory, wider)[1].alarm
    words = people(rng, 600) | {"age": np.array(["old"] * 600)}
    assert "age missing higher" in check.step(memory, words)[1].why
    holes = people(rng, 600) | {"vector": np.full((600, 6), np.inf)}
    assert check.step(memory, holes)[1].alarm
    assert check.step(memory, {"other": np.ones(600)})[1].n == 0


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ({}, "0 rows: 0 columns of numbers, categories or vectors; 100 rows are needed"),
        ({"x": np.ones(99)}, "99 rows: 'x' has 99 usable values"),
        ({"x": np.full(500, np.nan)}, "500 rows: 'x' has 0 usable values"),
        ({"x": np.full((500, 3), np.inf)}, "500 rows: 'x' has 0 usable values"),
        ({"x": np.ones((500, 0))}, "500 rows: 0 columns"),
    ],
)
def test_what_cannot_be_watched_is_said(reference: dict[str, np.ndarray], why: str) -> None:
    finding = check_check(ClassifierShift(), reference, {"x": np.ones(60)})
    assert finding.why.startswith(f"not watched: the reference has {why}")
    assert math.isnan(finding.value)


def test_misuse_is_named() -> None:
    with pytest.raises(StateError, match=r"no column 'z'; it has x. Name one of these"):
        ClassifierShift(columns=("z",)).start({"x": np.ones(200)})
    with pytest.raises(StateError, match="300 columns are 2,100 features; 2,048 can be compared"):
        ClassifierShift().start({f"v{i}": np.random.default_rng(i).standard_normal((200, 6)) for i in range(300)})
    with pytest.raises(ValueError, match=r"slack is 2 and block 50; they lie in"):
        ClassifierShift(slack=2)


@pytest.mark.parametrize("width", [3, 384])
def test_constant_dimensions_huge_and_half_precision_numbers(width: int) -> None:
    rng = np.random.default_rng(6)
    reference = rng.standard_normal((150, width)).astype(np.float16)  # fewer rows than dimensions
    reference[:, 0] = 5
    memory = ClassifierShift(columns=("embedding",)).start({"embedding": reference})
    calm = rng.standard_normal((400, width)).astype(np.float16)
    calm[:, 0] = 5
    memory, finding = ClassifierShift().step(memory, {"embedding": calm})
    assert not finding.alarm
    wild = calm.astype(np.float64)
    wild[::3] *= 1e30
    wild[1::3, 0] = 5.5  # what never varied
    after = ClassifierShift().step(memory, {"embedding": wild})[1]
    assert np.isfinite(after.evidence)
    assert after.alarm
    same = {"x": np.ones(300), "y": np.array(["a"] * 300)}
    assert not check_check(ClassifierShift(), same, same).alarm


def test_a_wide_vector_is_projected_and_the_memory_stays_small() -> None:
    from luthier import codec

    rng = np.random.default_rng(7)
    check = ClassifierShift()
    memory = check.start({"embedding": rng.standard_normal((150, 1500)).astype(np.float32)})
    memory, finding = check.step(memory, {"embedding": rng.standard_normal((230, 1500)).astype(np.float32)})
    assert (finding.n, len(memory["buffer"])) == (200, 30)
    assert len(codec.pack({key: value for key, value in memory.items() if key != "reference"})) < 1_000_000


def test_a_monitor_takes_it_by_name() -> None:
    rng = np.random.default_rng(8)
    monitor = Monitor({"embedding": rng.standard_normal((1000, 8))}, checks=("classifier_shift.v1",))
    assert not monitor.observe("answer", {"embedding": rng.standard_normal((1000, 8))})[0].alarm
    assert monitor.observe("answer", {"embedding": rng.standard_normal((600, 8)) + 0.7})[0].alarm
