"""group_metrics.v1 against fairlearn's definitions written out by hand, and its intervals' coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.statistics.group_metrics import GroupMetrics, group_rates, worst_group
from luthier.statistics.laws import check_statistic


def by_hand(group: np.ndarray, target: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """fairlearn 0.12: demographic_parity_difference, equalized_odds_difference (worst case), equal_opportunity_difference."""
    selection, tpr, fpr, accuracy = [], [], [], []
    for name in np.unique(group):
        mine = group == name
        selection.append((predicted[mine] == 1).mean())
        tpr.append((predicted[mine & (target == 1)] == 1).mean())
        fpr.append((predicted[mine & (target == 0)] == 1).mean())
        accuracy.append((predicted[mine] == target[mine]).mean())
    return {
        "demographic_parity_difference": max(selection) - min(selection),
        "equalized_odds_difference": max(max(tpr) - min(tpr), max(fpr) - min(fpr)),
        "equal_opportunity_difference": max(tpr) - min(tpr),
        "fpr_difference": max(fpr) - min(fpr),
        "accuracy_difference": max(accuracy) - min(accuracy),
        "worst_accuracy": min(accuracy),
    }


@pytest.mark.parametrize("groups", [2, 3, 7])
def test_the_definitions_are_fairlearns(groups: int) -> None:
    rng = np.random.default_rng(groups)
    for _ in range(20):
        group, target = rng.integers(0, groups, 900), rng.integers(0, 2, 900)
        predicted = (rng.random(900) < 0.2 + 0.5 * target + 0.04 * group).astype(int)
        statistic = GroupMetrics()
        state = statistic.observe({"group": group, "target": target, "predicted": predicted})
        found, expected = statistic.read(state), by_hand(group, target, predicted)
        for name, value in expected.items():
            assert found[name].value == pytest.approx(value, abs=1e-12), name
        worst = worst_group(state)
        assert found[f"accuracy[{worst}]"].value == found["worst_accuracy"].value
        assert set(group_rates(state)) == {"accuracy", "selection_rate", "tpr", "fpr"}


def test_a_gap_of_two_groups_is_covered_as_often_as_promised() -> None:
    """Signed gap 0.15, far from the fold at 0: 1,000 draws."""
    statistic, covered = GroupMetrics(shown=0), 0
    rng = np.random.default_rng(1)
    group = np.repeat(["a", "b"], [300, 200])
    for _ in range(1000):
        predicted = (rng.random(500) < np.where(group == "a", 0.3, 0.45)).astype(int)
        found = statistic.read(statistic.observe({"group": group, "target": np.ones(500, int), "predicted": predicted}))
        covered += found["demographic_parity_difference"].low <= 0.15 <= found["demographic_parity_difference"].high
    assert 936 <= covered <= 964


def test_without_a_gap_the_interval_reaches_zero() -> None:
    statistic, rng, wrong = GroupMetrics(), np.random.default_rng(2), 0
    for _ in range(300):
        table = {
            "group": rng.integers(0, 6, 600),
            "target": rng.integers(0, 2, 600),
            "predicted": rng.integers(0, 2, 600),
        }
        wrong += statistic.read(statistic.observe(table))["demographic_parity_difference"].low > 0
    assert wrong <= 24  # 300 at 5 %: binomial upper bound at 98 %


@pytest.mark.parametrize("options", [{}, {"limit": 2}, {"positive": 3}])
def test_parts_make_the_whole(options: dict[str, int]) -> None:
    rng = np.random.default_rng(3)
    table = {
        "group": np.array([None, float("nan"), "", "x", "y" * 200, "z", 3, True], object)[rng.integers(0, 8, 400)],
        "target": rng.integers(-1, 5, 400), "predicted": rng.integers(-1, 5, 400),
    }  # fmt: skip
    for seed in range(5):
        check_statistic(GroupMetrics(**options), table, seed)


def test_what_a_group_does_not_have_takes_no_part() -> None:
    statistic = GroupMetrics()
    one = {"group": np.array(["a", "a", "b"]), "target": np.array([1, 0, 0]), "predicted": np.array([1, 1, 0])}
    found = statistic.read(statistic.observe(one))
    assert math.isnan(found["equal_opportunity_difference"].value), "b has no positives"
    assert math.isnan(found["equalized_odds_difference"].value)
    assert found["fpr_difference"].value == 1.0
    assert found["tpr[b]"].n == 0
    alone = statistic.read(statistic.observe({name: values[:2] for name, values in one.items()}))
    assert math.isnan(alone["demographic_parity_difference"].value)
    lost = statistic.read(statistic.observe(one | {"target": np.array([math.nan, -1, 0])}))
    assert lost["missing"].value == pytest.approx(2 / 3)


def test_bad_input_is_named() -> None:
    statistic = GroupMetrics()
    with pytest.raises(StateError, match="no column 'group'"):
        statistic.observe({"target": np.zeros(2), "predicted": np.zeros(2)})
    with pytest.raises(StateError, match="have 3, 2 and 2 rows"):
        statistic.observe({"group": np.zeros(3), "target": np.zeros(2), "predicted": np.zeros(2)})
    with pytest.raises(ValueError, match="limit is 1"):
        GroupMetrics(limit=1)
    with pytest.raises(StateError, match="positive"):
        statistic.merge(statistic.observe({}), GroupMetrics(positive=2).observe({}))
