from __future__ import annotations

import math
import time

import numpy as np
import pytest
from sklearn import metrics

from luthier.codec import pack
from luthier.errors import StateError
from luthier.statistics.confusion import Confusion, f1, matrix, per_class


def read(target, predicted, **options):
    statistic = Confusion(**options)
    return statistic.read(statistic.observe({"target": np.asarray(target), "predicted": np.asarray(predicted)}))


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    assert round(f1(0.9, 0.8), 3) == 0.847
    assert f1(0.0, 0.0) == 0.0
    target = np.repeat([1, 1, 0, 0], [72, 18, 8, 90])  # precision 72 / 80 = 0.9, recall 72 / 90 = 0.8
    found = read(target, np.repeat([1, 0, 1, 0], [72, 18, 8, 90]))
    assert (found["precision[1]"].value, found["recall[1]"].value) == (0.9, 0.8)
    assert round(found["f1[1]"].value, 3) == 0.847


@pytest.mark.parametrize("seed", range(12))
def test_every_metric_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 30))
    n = int(rng.integers(1, 400))
    target = rng.choice(classes, n, p=rng.dirichlet(np.full(classes, 0.3)))  # some classes are absent on either side
    predicted = np.where(rng.random(n) < 0.6, target, rng.choice(classes, n, p=rng.dirichlet(np.full(classes, 0.3))))
    found = read(target, predicted)
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(target, predicted), abs=1e-12)
    for average in ("macro", "micro", "weighted"):
        expected = metrics.precision_recall_fscore_support(target, predicted, average=average, zero_division=0)
        for metric, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert found[f"{metric}_{average}"].value == pytest.approx(value, abs=1e-9), (metric, average)
    labels = np.union1d(target, predicted)
    expected = metrics.precision_recall_fscore_support(target, predicted, labels=labels, zero_division=np.nan)
    for metric, values in zip(("precision", "recall", "f1"), expected, strict=False):
        ours = [found[f"{metric}[{label}]"].value for label in labels]
        assert ours == pytest.approx(values.tolist(), abs=1e-9, nan_ok=True), metric
    supported = np.isin(labels, target)
    assert found["balanced_accuracy"].value == pytest.approx(expected[1][supported].mean(), abs=1e-9)
    classes_seen, counts = matrix(Confusion().observe({"target": target, "predicted": predicted}))
    assert (classes_seen == labels).all()
    assert (counts == metrics.confusion_matrix(target, predicted)).all()


def test_the_smallest_class_is_the_one_with_least_support() -> None:
    found = read([0] * 90 + [1] * 10, [0] * 90 + [1] * 5 + [0] * 5)
    assert found["smallest_class_f1"] == found["f1[1]"]
    assert found["smallest_class_f1"].value == pytest.approx(2 / 3)
    assert found["smallest_class_f1"].low < 0.5


def test_a_class_never_predicted_has_no_precision() -> None:
    found = read([0, 1], [0, 0])
    assert math.isnan(found["precision[1]"].value)
    assert found["precision[1]"].n == 0
    assert found["recall[1]"].value == 0.0


def test_rows_without_target_or_beyond_the_classes_are_missing() -> None:
    found = read([0, -1, 1, 2**20], [0, 1, -1, 0])
    assert found["accuracy"].n == 1
    assert found["missing"].value == 0.75


def test_a_class_is_a_whole_number() -> None:
    found = read([0.0, 0.5, 1.0, np.nan, np.inf], [0.0, 0.0, 1.5, 0.0, 0.0])
    assert (found["accuracy"].n, found["missing"].value) == (1, 0.8)


AVERAGES = [f"{metric}_{average}" for metric in ("precision", "recall", "f1") for average in ("macro", "weighted")]


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.7, 0.2, 0.1]])
def test_intervals_cover(shares: list[float]) -> None:
    rng = np.random.default_rng(0)
    k = len(shares)
    cells = (np.diag(np.full(k, 0.8)) + (0.2 / (k - 1)) * (1 - np.eye(k))) * np.array(shares)[:, None]  # probabilities
    large = np.rint(cells.ravel() * 10**6).astype(int)
    true = read(*np.divmod(np.repeat(np.arange(k * k), large), k))
    covered = dict.fromkeys([*AVERAGES, "f1[1]", "accuracy", "balanced_accuracy"], 0)
    for _ in range(400):
        found = read(*np.divmod(np.repeat(np.arange(k * k), rng.multinomial(400, cells.ravel())), k))
        for name in covered:
            covered[name] += found[name].low <= true[name].value <= found[name].high
    assert min(covered.values()) >= 0.91 * 400, covered
    assert max(covered.values()) <= 0.985 * 400, covered


def test_all_right_is_not_certainty() -> None:
    found = read([0] * 10 + [1] * 10, [0] * 10 + [1] * 10)
    assert [found[name].value for name in AVERAGES] == [1.0] * 6
    assert max(found[name].low for name in AVERAGES) < 0.9


def test_a_hundred_thousand_classes_stay_bounded_and_quick() -> None:
    rng = np.random.default_rng(0)
    target, predicted = rng.integers(0, 100_000, (2, 400_000))
    predicted[::2] = target[::2]
    start = time.process_time()
    statistic = Confusion(cells=1000)
    state = statistic.observe({"target": target, "predicted": predicted})
    found = statistic.read(state)
    assert time.process_time() - start < 5
    assert len(pack(state)) < 4_000_000
    assert len(found) < 200
    assert found["f1_macro"].value == pytest.approx(metrics.f1_score(target, predicted, average="macro"), abs=1e-9)
    assert state["other"] + state["times"].sum() + state["right"].sum() == 400_000
    assert len(per_class(state)["f1"][0]) == len(state["classes"])
    with pytest.raises(StateError, match="raise `cells`"):
        matrix(state)


def test_columns_of_different_length_are_named() -> None:
    with pytest.raises(StateError, match="'target' and 'predicted' have 3 and 2 rows"):
        read([0, 1, 1], [0, 1])


def test_all_right_is_one_and_not_a_rounding_above_it() -> None:
    rng = np.random.default_rng(0)
    statistic = Confusion()
    for _ in range(300):
        labels = rng.integers(0, rng.integers(2, 8), rng.integers(2, 14))
        found = statistic.read(statistic.observe({"predicted": labels, "target": labels}))
        assert found["precision_weighted"].value <= found["precision_weighted"].high <= 1
