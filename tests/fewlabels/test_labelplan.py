"""Which rows a plan takes: everywhere, with the chances it tells, and worth what it says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from luthier.checks.risk import Risk
from luthier.errors import StateError
from luthier.fewlabels.labelplan import DECISIONS, asked, design, smallest_rise


def answers(rng: np.random.Generator, n: int, regions: int = 5) -> dict[str, Any]:
    """Regions of inputs with an error rate each; confidence knows some of it."""
    region = rng.integers(0, regions, n)
    right = np.clip(1 - 0.08 * region + 0.1 * rng.standard_normal(n), 0.05, 0.99)
    centres = np.random.default_rng(0).standard_normal((regions, 16)) * 8
    return {
        "embedding": (centres[region] + rng.standard_normal((n, 16))).astype(np.float32),
        "confidence": right,
        "loss": (rng.random(n) >= right).astype(float),
        "predicted": rng.integers(0, 2, n),
        "champion_predicted": (rng.random(n) < 0.1).astype(int),
        "region": region,
    }


def seen(columns: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: columns[name] for name in (*names, "embedding", "confidence")}


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_plan_has_its_budget_once_each_the_same_every_time(decision: str) -> None:
    columns = seen(answers(np.random.default_rng(1), 1000), "predicted", "champion_predicted")
    plan, again = design(columns, 90, decision, seed=4), design(columns, 90, decision, seed=4)
    assert len(set(plan.rows.tolist())) == 90
    assert (plan.rows == again.rows).all()
    assert (plan.chance == again.chance).all()
    assert set(plan.rows.tolist()) != set(design(columns, 90, decision, seed=5).rows.tolist())
    assert (plan.chance > 0).all()
    assert (plan.chance <= 1).all()
    assert plan.pool.n == 1000
    assert plan.buys.why


@pytest.mark.parametrize("decision", DECISIONS)
def test_rows_come_as_often_as_their_chance_says(decision: str) -> None:
    """Over many seeds: the mean of what 1/chance says of a total is that total, for every region."""
    columns = answers(np.random.default_rng(2), 300)
    differ = columns["predicted"] != columns["champion_predicted"]
    counted = differ if decision == "better" else np.ones(300, bool)
    totals = []
    for seed in range(300):
        plan = design(seen(columns, "predicted", "champion_predicted"), 40, decision, seed=seed)
        totals.append(np.bincount(columns["region"][plan.rows], 1 / plan.chance, 5))
    error = np.std(totals, axis=0) / math.sqrt(300)
    assert np.mean(totals, axis=0) == pytest.approx(
        np.bincount(columns["region"][counted], minlength=5), abs=4.5 * error.max()
    )


def test_labels_reach_every_region_and_a_repair_prefers_the_rare_ones() -> None:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((6, 16)) * 20
    sizes = (5000, 60, 60, 60, 60, 60)
    region = np.repeat(np.arange(6), sizes)
    points = (centres[region] + rng.standard_normal((len(region), 16))).astype(np.float32)
    columns = {"embedding": points, "confidence": np.full(len(points), 0.8)}
    shares = {
        d: np.bincount(region[design(columns, 120, d).rows], minlength=6) for d in ("worse", "accuracy", "repair")
    }
    assert (shares["worse"] >= 1).all(), "in proportion, and no region is left out by chance"
    assert abs(shares["worse"][0] - 120 * 5000 / 5300) <= 1
    assert shares["repair"].min() >= 1
    assert shares["repair"][1:].sum() > 1.5 * shares["worse"][1:].sum(), "rare inputs are learned from more often"


def test_only_a_plan_for_sequential_evidence_is_all_at_random_and_a_part_of_any_is() -> None:
    columns = seen(answers(np.random.default_rng(4), 4000), "predicted", "champion_predicted")
    assert design(columns, 200, "worse").at_random.all()
    assert design(columns, 200, "better").at_random.all()
    plan = design(columns, 400, "accuracy")
    assert 0.4 < plan.at_random.mean() < 1
    doubt = 1 - columns["confidence"]
    asked_mean, fair_mean = doubt[plan.rows].mean(), doubt[plan.rows[plan.at_random]].mean()
    assert asked_mean > doubt.mean() + 0.01, "doubtful answers are asked for more often"
    assert fair_mean == pytest.approx(doubt.mean(), abs=0.03), "the part at random is like the traffic"


def test_the_estimate_holds_the_truth_and_is_as_wide_as_the_plan_said() -> None:
    rng = np.random.default_rng(5)
    reference = answers(rng, 3000)
    truth = answers(rng, 200_000)["loss"].mean()
    for decision in ("worse", "accuracy", "repair"):
        held, widths, promised = [], [], []
        for seed in range(100):
            columns = answers(rng, 800)
            plan = design(seen(columns), 100, decision, reference=reference, seed=seed)
            made = asked(plan, [str(i) for i in range(800)], [None] * 800, columns)
            said = made.estimate({str(i): float(columns["loss"][i]) for i in plan.rows}).estimate
            held.append(said.low <= truth <= said.high)
            widths.append((said.high - said.low) / 2)
            promised.append(plan.buys.half_width)
        print(
            f"\n{decision}: holds {np.mean(held):.3f}, half-width {np.mean(widths):.4f}, promised {np.mean(promised):.4f}"
        )
        assert np.mean(held) >= 0.88  # 95 %, and 3 standard errors of 100 runs
        assert np.mean(promised) == pytest.approx(np.mean(widths), rel=0.12)


@pytest.mark.parametrize("budget", [150, 400])
def test_what_worse_would_show_is_what_the_risk_check_finds(budget: int) -> None:
    rng = np.random.default_rng(6)
    reference = {"loss": (rng.random(3000) < 0.1).astype(float)}
    check = Risk()
    memory = check.start(reference)
    limit = memory["reference"]["limit"]
    shows = design({"confidence": np.full(5000, 0.9)}, budget, limit=limit).buys.shows
    assert shows == pytest.approx(smallest_rise(budget, limit))
    delays = []
    for _ in range(31):
        stream = np.concatenate([rng.random(3000) < 0.1, rng.random(6 * budget) < shows]).astype(float)
        after = check.step(memory, {"loss": stream})[0]
        delays.append((after["alarm_n"] or len(stream)) - 3000)
    print(f"\n{budget} labels show {shows:.3f}: median delay {np.median(delays):.0f}")
    assert 0.6 * budget < np.median(delays) < 1.5 * budget
    assert smallest_rise(3, 0.9) != smallest_rise(3, 0.9), "too few labels show nothing: nan"


def test_what_better_would_show_and_when_there_is_nothing_to_tell() -> None:
    columns = {"predicted": np.arange(400) % 2, "champion_predicted": np.zeros(400, int)}
    plan = design(columns, 500, "better")
    assert len(plan.rows) == 200, "labels go only where the two differ"
    assert (plan.chance == 1).all()
    assert plan.buys.shows == pytest.approx(0.586, abs=0.01)
    assert "no case" in design(columns, 3, "better").buys.why
    with pytest.raises(StateError, match="agree on all 400"):
        design({"predicted": np.zeros(400), "champion_predicted": np.zeros(400)}, 5, "better")
    made = asked(plan, [str(i) for i in range(400)], [None] * 400, columns)
    assert made.estimate({"0": 1.0}).method == "none"


def test_hostile_columns() -> None:
    rng = np.random.default_rng(7)
    wild = rng.standard_normal((50, 4)).astype(np.float64)
    wild[::7], wild[1::7], wild[2::7] = np.nan, np.inf, 1e300
    wild[:, 3] = 0.0
    for decision in ("worse", "accuracy", "repair"):
        plan = design({"embedding": wild, "confidence": np.r_[np.full(25, np.nan), np.full(25, 7.0)]}, 20, decision)
        assert len(set(plan.rows.tolist())) == 20
        assert np.isfinite(plan.chance).all()
        assert math.isfinite(plan.buys.half_width)
        constant = design({"embedding": np.ones((30, 2)), "confidence": np.ones(30)}, 10, decision)
        assert len(set(constant.rows.tolist())) == 10
        assert len(design({"x": np.zeros(3)}, 10, decision).rows) == 3
        assert design({"confidence": np.array([0.4])}, 1, decision).chance.tolist() == [1.0]


@pytest.mark.parametrize(
    ("columns", "budget", "decision", "why"),
    [
        ({"confidence": np.ones(5)}, 0, "worse", "1 or more, not 0"),
        ({"confidence": np.ones(5)}, True, "worse", "not True"),
        ({"confidence": np.ones(5)}, 2.5, "worse", "not 2.5"),
        ({"confidence": np.ones(5)}, 2, "best", r"'best' is not a decision .* worse \(is it worse"),
        ({"confidence": np.ones(0)}, 2, "worse", "no rows to choose from"),
        ({}, 2, "worse", "no rows to choose from"),
        ({"confidence": np.ones(5), "embedding": np.ones((4, 2))}, 2, "worse", "one length"),
        ({"embedding": np.ones(5)}, 4, "worse", r"embedding must be \(n, d\)"),
        ({"confidence": np.ones(5)}, 2, "better", "needs the columns predicted and champion_predicted"),
        ({"guess": np.full(5, 1.5)}, 2, "accuracy", "guess holds 1.5"),
    ],
)
def test_bad_calls_are_named(columns: dict[str, Any], budget: Any, decision: str, why: str) -> None:
    with pytest.raises(StateError, match=why):
        design(columns, budget, decision)


def test_requests_carry_what_a_person_needs() -> None:
    columns = {"confidence": np.array([0.6, 0.9]), "predicted": np.array([1, -1])}
    made = asked(
        design(columns, 2), ["a", "b"], ["one", "two"], columns, names=("no", "yes"), model="v3", known={"b", "z"}
    )
    said = {one.id: one for one in made.requests}
    assert (said["a"].predicted, said["b"].predicted, said["a"].input) == ("yes", "", "one")
    assert [one.id for one in made.open] == ["a"]
    assert made.known == {"b"}
    assert made.id == asked(design(columns, 2), ["a", "b"], ["one", "two"], columns, names=("no", "yes"), model="v3").id
    assert made.estimate({}).method == "none"
