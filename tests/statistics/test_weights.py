"""Rows that count by a weight: scikit-learn's sample_weight to 1e-9, intervals that hold, and weights that are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from luthier.errors import StateError
from luthier.names import get
from luthier.statistics.auroc import curve
from luthier.statistics.calibration import reliability
from luthier.statistics.confusion import matrix
from luthier.statistics.curves import precision_recall, roc
from luthier.sums.weighing import usable, weighed, worth
from luthier.tables.distances import numeric_distances

WEIGHTED = {
    "mean.v1": {"column": "score"},
    "ratio.v1": {"over": "score", "under": "length"},
    "confusion.v1": {},
    "curves.v1": {},
    "calibration.v1": {"probability": "score", "outcome": "positive"},
    "regression.v1": {"target": "length", "predicted": "score"},
    "log_loss.v1": {"probability": "score", "of": "positive"},
    "auroc.v1": {},
    "histogram.v1": {"column": "score"},
}
PLAIN = ["mean.v1", "ratio.v1", "confusion.v1", "curves.v1", "calibration.v1", "auroc.v1", "histogram.v1"]


def table(rng: np.random.Generator, n: int, *, levels: int = 0) -> dict[str, np.ndarray]:
    """Scores, with ties when there are `levels`, and weights of which a tenth are 0."""
    score = rng.random(n)
    score = np.round(score * levels) / levels if levels else score
    target = (rng.random(n) < score).astype(np.int64)
    weight = rng.gamma(1, size=n) * (rng.random(n) < 0.9)
    predicted = np.where(rng.random(n) < 0.7, target, rng.integers(0, 3, n))
    return {"score": score, "target": target, "predicted": predicted, "w": weight, "length": 1 + rng.random(n)}


def read(name: str, columns: dict[str, np.ndarray], **options: object):
    statistic = get("statistic", name)(**WEIGHTED[name], **options)
    return statistic.read(statistic.observe(columns))


@pytest.mark.parametrize("seed", range(8))
def test_weights_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = table(rng, int(rng.integers(30, 300)), levels=seed % 2 * 7)
    score, target, said, w = (rows[key] for key in ("score", "target", "predicted", "w"))
    found = {key: one.value for name in WEIGHTED for key, one in read(name, rows, weight="w").items()}
    expected = {
        "mean": np.average(score, weights=w),
        "ratio": (w @ score) / (w @ rows["length"]),
        "accuracy": metrics.accuracy_score(target, said, sample_weight=w),
        "roc_auc": metrics.roc_auc_score(target, score, sample_weight=w),
        "average_precision": metrics.average_precision_score(target, score, sample_weight=w),
        "log_loss": metrics.log_loss(target, score, sample_weight=w, labels=[0, 1]),
        "mae": metrics.mean_absolute_error(rows["length"], score, sample_weight=w),
        "mse": metrics.mean_squared_error(rows["length"], score, sample_weight=w),
        "r2": metrics.r2_score(rows["length"], score, sample_weight=w),
    }
    for average in ("macro", "micro", "weighted"):
        scores = metrics.precision_recall_fscore_support(
            target, said, average=average, sample_weight=w, zero_division=0
        )
        expected |= {
            f"{key}_{average}": value for key, value in zip(("precision", "recall", "f1"), scores, strict=False)
        }
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-9), key
    brier = read("calibration.v1", rows, weight="w")["brier"].value
    assert brier == pytest.approx(metrics.brier_score_loss(target, score, sample_weight=w), abs=1e-9)
    confusion = get("statistic", "confusion.v1")(weight="w")
    classes, counts = matrix(confusion.observe(rows))
    assert counts == pytest.approx(metrics.confusion_matrix(target, said, labels=classes, sample_weight=w), abs=1e-9)


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "histogram.v1"])
def test_weights_of_one_change_nothing(name: str) -> None:
    rows = table(np.random.default_rng(3), 200, levels=9) | {"one": np.ones(200)}
    plain, weighted = read(name, rows), read(name, rows, weight="one")
    for key in plain.keys() - {"variance"}:
        ends = [[one.value, one.low, one.high, one.n] for one in (plain[key], weighted[key])]
        near = 1e-3 if key == "mean" else 1e-9  # of weighted values in [0, 1] Wilson's ends, else Student's t
        assert ends[0] == pytest.approx(ends[1], abs=near, nan_ok=True), key


@pytest.mark.parametrize("name", list(WEIGHTED))
def test_what_is_no_weight_is_missing(name: str) -> None:
    rows = table(np.random.default_rng(4), 50)
    rows["w"] = rows["w"] + 1
    bad = rows | {"w": np.concatenate((rows["w"][:46], [math.nan, -1.0, math.inf, -math.inf]))}
    kept = {key: values[:46] for key, values in rows.items()}
    found, whole = read(name, bad, weight="w"), read(name, kept, weight="w")
    assert found["missing"].value == 4 / 50
    assert all(found[key] == whole[key] for key in whole.keys() - {"missing"} if whole[key].n)
    nothing = read(name, rows | {"w": np.zeros(50)}, weight="w")
    assert all(
        math.isnan(one.value) and one.n == 0 for key, one in nothing.items() if key not in ("missing", "min", "max")
    )
    with pytest.raises(StateError, match="there is no column 'cost'"):
        read(name, rows, weight="cost")


@pytest.mark.parametrize("name", PLAIN)
def test_weighted_and_plain_states_do_not_add_up(name: str) -> None:
    rows = table(np.random.default_rng(5), 20)
    plain, weighted = get("statistic", name)(**WEIGHTED[name]), get("statistic", name)(**WEIGHTED[name], weight="w")
    with pytest.raises(StateError, match="weight '' and 'w' cannot be merged"):
        plain.merge(plain.observe(rows), weighted.observe(rows))


def test_a_huge_weight_beside_tiny_ones_is_summed_exactly() -> None:
    w = np.array([2.0**31, 2.0**-30, 1 / 3, 0.0])
    assert usable(w).all()
    assert not usable(np.array([2.0**32, 2.0**-31, -1.0, math.nan])).any()
    total, squares = worth(weighed(np.zeros(4, int), w, 1))
    assert total[0] == pytest.approx(math.fsum(w), rel=1e-15)
    assert squares[0] == pytest.approx(math.fsum(w * w), rel=1e-15)
    many = np.full(3_000_000, 1 / 3)
    assert worth(weighed(np.zeros(len(many), int), many, 1))[0][0] == pytest.approx(1e6, rel=1e-12)


def test_curves_and_reliability_of_weighted_rows() -> None:
    rows = table(np.random.default_rng(6), 300, levels=20)
    statistic = get("statistic", "curves.v1")(weight="w")
    state = statistic.observe(rows)
    false, true, _ = roc(state)
    assert metrics.auc(false, true) == pytest.approx(statistic.read(state)["roc_auc"].value, abs=1e-9)
    precision, recall, _ = precision_recall(state)
    steps = np.diff(recall, prepend=0)
    assert steps @ precision == pytest.approx(statistic.read(state)["average_precision"].value, abs=1e-9)
    calibration = get("statistic", "calibration.v1")(probability="score", outcome="positive", weight="w", bins=10)
    for one in reliability(calibration.observe(rows)):
        inside = (rows["score"] >= one["low"]) & (rows["score"] < one["high"] + (one["high"] == 1)) & (rows["w"] > 0)
        inside |= (rows["score"] == one["low"]) & (rows["w"] > 0)
        assert one["outcome"].low <= one["outcome"].value <= one["outcome"].high


@pytest.mark.parametrize("name", PLAIN)
def test_weighted_intervals_hold_in_95_of_100(name: str) -> None:
    keys = (
        "mean",
        "ratio",
        "accuracy",
        "f1_macro",
        "roc_auc",
        "average_precision",
        "brier",
        "gap",
        "auroc",
        "p25",
        "p50",
        "p75",
    )
    rng = np.random.default_rng(7)
    true = read(name, table(rng, 400_000))  # weights are independent of the rest, so they change no expectation
    hits = dict.fromkeys(true.keys() & set(keys), 0)
    for _ in range(200):
        found = read(name, table(rng, 150), weight="w")
        for key in hits:
            hits[key] += found[key].low <= true[key].value <= found[key].high
    assert min(hits.values()) >= 180, hits  # 200 at 95 %: binomial lower bound at 99.9 %


@pytest.mark.parametrize("levels", [0, 9])
def test_weighted_areas_of_wide_bins_are_scikit_learns(levels: int) -> None:
    rows = table(np.random.default_rng(8), 5000, levels=levels)
    exact = metrics.roc_auc_score(rows["target"], rows["score"], sample_weight=rows["w"])
    found = read("auroc.v1", rows, weight="w")["auroc"]
    assert found.value == pytest.approx(exact, abs=1e-9 if levels else 5e-4)  # within a bin scores tie
    statistic = get("statistic", "auroc.v1")(weight="w")
    false, true = curve(statistic.observe(rows))
    assert np.trapezoid(true, false) == pytest.approx(found.value, abs=1e-12)


@pytest.mark.parametrize("shape", ["normal", "lognormal", "zeros"])
def test_weighted_quantiles_are_numpys(shape: str) -> None:
    rng = np.random.default_rng(9)
    x = {"normal": rng.normal(size=4000), "lognormal": rng.lognormal(0, 3, 4000), "zeros": rng.poisson(0.7, 4000) * 1.0}
    rows = {"x": x[shape], "w": rng.gamma(1, size=4000) * (rng.random(4000) < 0.9)}
    statistic = get("statistic", "histogram.v1")(column="x", weight="w", accuracy=0.002)
    found = statistic.read(statistic.observe(rows))
    for q in statistic.quantiles:
        exact = np.quantile(rows["x"], q, weights=rows["w"], method="inverted_cdf")
        one = found[f"p{100 * q:g}"]
        assert one.value == pytest.approx(exact, rel=0.002, abs=1e-12), q
        assert not one.low > exact
        assert not one.high < exact


def test_a_quantile_whose_rows_weigh_much_has_a_wider_interval() -> None:
    """Where the weight grows with the value, few rows tell the upper quantiles: 200 samples, 95 %."""
    rng, hits = np.random.default_rng(10), 0
    statistic = get("statistic", "histogram.v1")(column="x", weight="w", quantiles=(0.9,))
    true = 3.8897  # of Gamma(2, 1), what an exponential weighted by its own value is
    for _ in range(200):
        x = rng.exponential(size=400)
        one = statistic.read(statistic.observe({"x": x, "w": x}))["p90"]
        hits += one.low <= true <= one.high
    assert hits >= 180


def test_rows_that_weigh_n_are_n_rows_to_distances() -> None:
    rng = np.random.default_rng(11)
    x, w = rng.normal(size=(2, 500)), rng.integers(0, 4, (2, 500))
    weighted, plain = (
        get("statistic", "histogram.v1")(column="x", weight="w"),
        get("statistic", "histogram.v1")(column="x"),
    )
    pairs = (
        [weighted.observe({"x": a, "w": b}) for a, b in zip(x, w, strict=True)],
        [plain.observe({"x": np.repeat(a, b)}) for a, b in zip(x, w, strict=True)],
    )
    assert numeric_distances(*pairs[0]) == pytest.approx(numeric_distances(*pairs[1]), abs=1e-9)
    with pytest.raises(StateError, match="weight 'w' and '' cannot be merged"):
        numeric_distances(pairs[0][0], pairs[1][1])


def test_the_published_worked_example_of_f1() -> None:
    """F1 is the harmonic mean of precision 0.9 and recall 0.8, 0.847; not that of an accuracy, nor 0.86."""
    rows = {"target": np.array([1, 1, 0, 0]), "predicted": np.array([1, 0, 1, 0]), "w": np.array([72.0, 18, 8, 90])}
    found = read("confusion.v1", rows, weight="w")
    assert (found["precision[1]"].value, found["recall[1]"].value) == (0.9, 0.8)
    assert found["f1[1]"].value == pytest.approx(0.847, abs=5e-4)
