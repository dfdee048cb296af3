from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from luthier.codec import pack
from luthier.errors import StateError
from luthier.statistics.laws import check_statistic
from luthier.statistics.multilabel import Multilabel, per_label

METRICS = ("precision", "recall", "f1")


def read(target, predicted, **options):
    statistic = Multilabel(**options)
    return statistic.read(statistic.observe({"target": np.asarray(target), "predicted": np.asarray(predicted)}))


def drawn(rng, n, labels):
    """Labels of a row depend on each other through how hard and how rich the row is."""
    rich, hard = rng.normal(size=(2, n, 1))
    target = rng.normal(size=(n, labels)) + rich > np.linspace(0.2, 1.5, labels)
    return target, target ^ (rng.normal(size=(n, labels)) + hard > 2)


@pytest.mark.parametrize("seed", range(12))
def test_every_metric_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, labels = int(rng.integers(1, 300)), int(rng.integers(2, 12))
    target = (rng.random((n, labels)) < rng.random(labels) ** 3).astype(int)
    predicted = np.where(rng.random((n, labels)) < 0.3, rng.random((n, labels)) < rng.random(labels) ** 2, target)
    target[:, 0] = 0  # a label no row has
    predicted[:, 1] = 0  # and one never predicted
    found = read(target, predicted)
    assert found["subset_accuracy"].value == pytest.approx(metrics.accuracy_score(target, predicted), abs=1e-12)
    assert found["hamming_loss"].value == pytest.approx(metrics.hamming_loss(target, predicted), abs=1e-12)
    for average in ("micro", "macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(target, predicted, average=average, zero_division=0)
        for metric, value in zip(METRICS, expected, strict=False):
            ours = found[f"{metric}_{average}"]
            assert (ours.value if ours.n else 0.0) == pytest.approx(value, abs=1e-9), (metric, average)
    expected = metrics.precision_recall_fscore_support(target, predicted, average=None, zero_division=np.nan)
    for metric, values in zip(METRICS, expected, strict=False):
        ours = [found[f"{metric}[{label}]"].value for label in range(labels)]
        assert ours == pytest.approx(values.tolist(), abs=1e-9, nan_ok=True), metric


@pytest.mark.parametrize("joint", [64, 0])
def test_the_law(joint: int) -> None:
    rng = np.random.default_rng(1)
    target, predicted = drawn(rng, 3000, 5)
    wild = predicted.astype(float)
    wild[::7, 2], wild[::11, 0] = math.nan, 0.5
    for columns in ({"target": target, "predicted": predicted}, {"target": target, "predicted": wild}):
        check_statistic(Multilabel(joint=joint), columns, 3)
    check_statistic(Multilabel(joint=joint), {"target": target[:9], "predicted": np.full((9, 5), -1)}, 3)


AVERAGES = [f"{metric}_{average}" for metric in METRICS for average in ("micro", "macro", "weighted")]


@pytest.mark.parametrize("joint", [64, 0])
def test_intervals_cover(joint: int) -> None:
    rng = np.random.default_rng(2)
    true = read(*drawn(rng, 400_000, 6))
    names = [*AVERAGES, "subset_accuracy", "hamming_loss", "f1[2]"]
    covered = dict.fromkeys(names, 0)
    for _ in range(300):
        found = read(*drawn(rng, 400, 6), joint=joint)
        for name in names:
            covered[name] += found[name].low <= true[name].value <= found[name].high
    assert min(covered.values()) >= 0.91 * 300, covered
    if joint:
        assert max(covered.values()) <= 0.985 * 300, covered


def test_intervals_are_as_wide_as_a_bootstrap_says() -> None:
    rng = np.random.default_rng(5)
    first = rng.random(600) < 0.5
    target = np.stack((first, ~first & (rng.random(600) < 0.9)), axis=1)  # one label or the other, seldom none
    predicted = target ^ (rng.random((600, 2)) < [0.02, 0.45])  # one is easy, the other hard
    found, drawn = read(target, predicted), {name: [] for name in AVERAGES}
    for _ in range(400):
        rows = rng.integers(0, 600, 600)
        again = read(target[rows], predicted[rows])
        for name, values in drawn.items():
            values.append(again[name].value)
    for name, values in drawn.items():
        assert found[name].high - found[name].low == pytest.approx(3.92 * np.std(values), rel=0.12), name


def test_all_right_is_not_certainty() -> None:
    target = np.random.default_rng(0).integers(0, 2, (20, 3))
    found = read(target, target)
    assert {found[name].value for name in AVERAGES} == {1.0}
    assert max(found[name].low for name in AVERAGES) < 0.9
    assert (found["hamming_loss"].value, found["subset_accuracy"].value) == (0.0, 1.0)
    assert found["hamming_loss"].high > 0.1


def test_what_is_undefined_is_absent() -> None:
    found = read(np.array([[1, 0], [1, 0]]), np.zeros((2, 2)))
    for name in ("precision_micro", "precision_macro", "precision[0]", "recall[1]", "f1[1]"):
        assert math.isnan(found[name].value), name
        assert found[name].n == 0
    assert (found["recall_micro"].value, found["f1_macro"].value, found["f1[0]"].value) == (0.0, 0.0, 0.0)


def test_a_row_with_an_unknown_cell_is_missing() -> None:
    found = read([[0, 1], [-1, 1], [1, 1]], [[0.0, 1.0], [0, 1], [math.nan, 1]])
    assert found["subset_accuracy"].n == 1
    assert found["missing"].value == pytest.approx(2 / 3)


def test_many_labels_stay_bounded() -> None:
    rng = np.random.default_rng(4)
    target, predicted = rng.random((2, 300, 5000)) < 0.01
    state = Multilabel().observe({"target": target, "predicted": predicted})
    assert len(pack(state)) < 200_000
    expected = metrics.f1_score(target, predicted, average=None, zero_division=np.nan)
    np.testing.assert_allclose(per_label(state)["f1"][0], expected, atol=1e-12)
    assert len(Multilabel().read(state)) < 200


def weighted(rng, n):
    """Weights that are any size, often 0 or whole."""
    return rng.choice([0.0, 1.0, 3.0], n) + (rng.random(n) < 0.5) * rng.gamma(0.5, size=n).clip(1e-6) * 1000


@pytest.mark.parametrize("seed", range(12))
def test_weighted_metrics_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, labels = int(rng.integers(2, 300)), int(rng.integers(3, 12))
    target, predicted = drawn(rng, n, labels)
    target[:, 0], predicted[:, 1], cost = False, False, weighted(rng, n)
    cost[0], target[1:, 2], predicted[1:, 2] = 0.0, False, False  # a label only a row without weight has
    cost[1] += 1.0
    statistic = Multilabel(weight="cost")
    found = statistic.read(statistic.observe({"target": target, "predicted": predicted, "cost": cost}))
    for name, theirs in (("subset_accuracy", metrics.accuracy_score), ("hamming_loss", metrics.hamming_loss)):
        assert found[name].value == pytest.approx(theirs(target, predicted, sample_weight=cost), abs=1e-9), name
    options = {"sample_weight": cost}
    for average in ("micro", "macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(
            target, predicted, average=average, zero_division=0, **options
        )
        for metric, value in zip(METRICS, expected, strict=False):
            ours = found[f"{metric}_{average}"]
            assert (ours.value if ours.n else 0.0) == pytest.approx(value, abs=1e-9), (metric, average)
    expected = metrics.precision_recall_fscore_support(target, predicted, average=None, zero_division=np.nan, **options)
    for metric, values in zip(METRICS, expected, strict=False):
        ours = [found[f"{metric}[{label}]"].value for label in range(labels)]
        assert ours == pytest.approx(values.tolist(), abs=1e-9, nan_ok=True), metric


@pytest.mark.parametrize("joint", [64, 0])
def test_the_law_with_weights(joint: int) -> None:
    rng = np.random.default_rng(1)
    target, predicted = drawn(rng, 70_000, 5)  # more than a block of rows
    statistic = Multilabel(weight="cost", joint=joint)
    cost = rng.choice([0.0, 1 / 3, 2.0**-30, 2.0**31, -1, math.nan, math.inf, 1e-300, 1e300], len(target))
    columns = {"target": target, "predicted": predicted, "cost": cost}
    check_statistic(statistic, columns, 3)
    check_statistic(statistic, columns | {"cost": rng.gamma(0.3, size=len(cost))}, 4)
    check_statistic(statistic, {name: values[:9] for name, values in columns.items()} | {"cost": np.zeros(9)}, 3)


@pytest.mark.parametrize("size", [1.0, 0.1, 2.0**-20, 3e8])
@pytest.mark.parametrize("joint", [64, 0])
def test_equal_weights_change_nothing(size: float, joint: int) -> None:
    target, predicted = drawn(np.random.default_rng(3), 300, 6)
    statistic = Multilabel(weight="cost", joint=joint)
    found = statistic.read(statistic.observe({"target": target, "predicted": predicted, "cost": np.full(300, size)}))
    for name, plain in read(target, predicted, joint=joint).items():
        ours, expected = ((e.value, e.n, e.low, e.high) for e in (found[name], plain))
        assert ours == pytest.approx(expected, abs=1e-7, nan_ok=True), name


@pytest.mark.parametrize("joint", [64, 0])
def test_intervals_with_weights_cover(joint: int) -> None:
    rng = np.random.default_rng(2)
    statistic = Multilabel(weight="cost", joint=joint)

    def found(n):
        target, predicted = drawn(rng, n, 6)
        cost = rng.gamma(1, size=n) * (1 + target[:, 0])  # rows with a label weigh more
        return statistic.read(statistic.observe({"target": target, "predicted": predicted, "cost": cost}))

    true = found(300_000)
    covered = dict.fromkeys([*AVERAGES, "subset_accuracy", "hamming_loss"], 0)
    for _ in range(200):
        one = found(800)
        for name in covered:
            covered[name] += one[name].low <= true[name].value <= one[name].high
    assert min(covered.values()) >= 0.9 * 200, covered
    if joint:
        assert max(covered.values()) <= 0.99 * 200, covered


def test_rows_without_a_usable_weight_are_missing() -> None:
    target, cost = np.eye(2)[[0, 1, 0, 1, 0, 1]], np.array([2.0, -1.0, math.nan, math.inf, 1e-300, 0.0])
    statistic = Multilabel(weight="cost")
    found = statistic.read(statistic.observe({"target": target, "predicted": target, "cost": cost}))
    assert (found["missing"].value, found["missing"].n) == (pytest.approx(4 / 6), 6)
    assert (found["f1[0]"].value, found["f1[0]"].n, found["f1[1]"].n) == (1.0, 1, 0)
    none = statistic.read(statistic.observe({"target": target, "predicted": target, "cost": np.zeros(6)}))
    assert none["missing"].value == 0.0
    assert {estimate.n for name, estimate in none.items() if name != "missing"} == {0}


def test_misuse_is_named() -> None:
    with pytest.raises(StateError, match="weight '' and 'cost' cannot be merged"):
        Multilabel().merge(Multilabel().observe({}), Multilabel(weight="cost").observe({}))
    with pytest.raises(StateError, match="column 'cost' has 2 rows and 'target' 3"):
        Multilabel(weight="cost").observe({"target": np.eye(3), "predicted": np.eye(3), "cost": np.ones(2)})
    with pytest.raises(ValueError, match=r"joint is 200; it must lie in \[0, 128\] with a weight"):
        Multilabel(joint=200, weight="cost")
    with pytest.raises(StateError, match=r"shapes \(3, 2\) and \(3, 4\); they must have the same"):
        read(np.ones((3, 2)), np.ones((3, 4)))
    with pytest.raises(StateError, match=r"column 'target' is int64 of shape \(3,\)"):
        read([0, 1, 1], [0, 1, 1])
    with pytest.raises(StateError, match="labels 2 and 3 cannot be merged"):
        Multilabel().merge(
            *(Multilabel().observe({"target": np.ones((1, k)), "predicted": np.ones((1, k))}) for k in (2, 3))
        )
    with pytest.raises(ValueError, match="joint is 1000"):
        Multilabel(joint=1000)
