"""Columns that no statistic should meet: each gets an error that names the column, or counts the rows as missing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.names import every, get
from luthier.types import Estimate

N = 30
OPTIONS: dict[str, dict[str, object]] = {
    "calibration.v1": {"probability": "score", "outcome": "positive"},
    "counts.v1": {"column": "group"}, "counts.v2": {"column": "group"}, "distinct.v1": {"column": "group"},
    "log_loss.v1": {"probability": "score", "of": "positive"},
    "multilabel.v1": {"target": "labels", "predicted": "labels"}, "ranking.v1": {"gains": "labels"},
    "ratio.v1": {"over": "score", "under": "length"}, "mean.v1": {"column": "score"}, "histogram.v1": {"column": "score"},
    "random_features.v1": {"features": 8}, "sample.v1": {"columns": ("score",)},
    "sliced.v1": {"of": "mean.v1", "options": {"column": "score"}},
}  # fmt: skip
FLOATS = ("score", "length", "labels", "embedding")


def good(n: int = N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "score": rng.random(n), "length": 1 + rng.random(n), "target": rng.integers(0, 2, n),
        "predicted": rng.integers(0, 2, n), "group": rng.choice(["a", "b"], n), "id": np.arange(n).astype(str),
        "labels": (rng.random((n, 3)) < 0.5).astype(float), "embedding": rng.normal(size=(n, 4)), "loss": rng.random(n),
    }  # fmt: skip


def read(name: str, columns: dict[str, np.ndarray]) -> dict[str, Estimate]:
    statistic = get("statistic", name)(**OPTIONS.get(name, {}))
    return statistic.read(statistic.observe(columns))


def sound(found: dict[str, Estimate]) -> None:
    """No number without rows, no interval that leaves its value out, no missing share beside NaN rows that is silent."""
    for key, one in found.items():
        assert (one.n == 0) == math.isnan(one.value), (key, one)
        assert not one.low > one.value, (key, one)
        assert not one.high < one.value, (key, one)


@pytest.mark.parametrize("name", every("statistic"))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0, -0.0])
def test_one_such_number_or_all(name: str, value: float) -> None:
    for rows in (slice(3, 4), slice(None)):
        columns = good()
        for column in FLOATS:
            columns[column] = columns[column].copy()
            columns[column][rows] = value
        sound(read(name, columns))


@pytest.mark.parametrize("name", every("statistic"))
@pytest.mark.parametrize("n", [0, 1, 2])
def test_no_row_one_row_and_two(name: str, n: int) -> None:
    sound(read(name, {column: values[:n] for column, values in good().items()}))


@pytest.mark.parametrize("name", every("statistic"))
def test_all_missing_is_nothing_and_says_so(name: str) -> None:
    columns = {column: np.full(values.shape, np.nan) for column, values in good().items()}
    found = read(name, columns)
    if name == "sample.v1":  # an id that is no number is a text like any other
        assert found["mean[score]"] == Estimate() or math.isnan(found["mean[score]"].value)
        return
    assert found["missing"].value == 1
    for key, one in found.items():
        assert key == "missing" or (math.isnan(one.value) and one.n == 0), key


@pytest.mark.parametrize("name", every("statistic"))
def test_constant_columns(name: str) -> None:
    columns = good()
    columns = {column: np.repeat(values[:1], N, axis=0) for column, values in columns.items()}
    sound(read(name, columns))


@pytest.mark.parametrize("name", ["auroc.v1", "curves.v1", "calibration.v1", "log_loss.v1"])
@pytest.mark.parametrize("bad", [-0.01, 1.01, 7.0, -1e-12])
def test_a_probability_outside_0_and_1_is_missing(name: str, bad: float) -> None:
    columns = good() | {}
    options = OPTIONS.get(name, {})
    columns["score"] = np.where(np.arange(N) < 6, bad, columns["score"])
    statistic = get("statistic", name)(**options)
    assert statistic.read(statistic.observe(columns))["missing"].value == 6 / N


@pytest.mark.parametrize("name", ["auroc.v1", "curves.v1", "confusion.v1", "log_loss.v1"])
def test_a_label_that_is_no_class_is_missing(name: str) -> None:
    columns = good() | {"target": np.where(np.arange(N) < 3, -5, 1)}
    assert read(name, columns)["missing"].value == 3 / N


def test_probabilities_of_classes_that_do_not_sum_to_one_are_missing() -> None:
    p = np.array([[0.2, 0.8], [0.5, 0.6], [0.5, 0.5], [np.nan, 1.0], [1.2, -0.2]])
    statistic = get("statistic", "log_loss.v1")(probability="p", of="classes")
    found = statistic.read(statistic.observe({"p": p, "target": np.array([1, 1, 0, 1, 0])}))
    assert found["missing"].value == 3 / 5
    assert found["log_loss"].n == 2


@pytest.mark.parametrize(
    ("name", "column"),
    [("mean.v1", "score"), ("counts.v1", "group"), ("embedding_sum.v1", "embedding"), ("multilabel.v1", "labels")],
)
def test_a_column_that_is_not_there_is_named(name: str, column: str) -> None:
    columns = {key: values for key, values in good().items() if key != column}
    with pytest.raises(StateError, match=f"there is no column '{column}'; there are "):
        read(name, columns)


def test_mixed_types_are_counted_by_what_they_are_and_numbers_in_text_are_numbers() -> None:
    mixed = np.array([1, "2", None, 3.5, True, "x", np.nan, [1]], dtype=object)
    mean = get("statistic", "mean.v1")("m")
    found = mean.read(mean.observe({"m": mixed}))
    assert (found["mean"].value, found["mean"].n, found["missing"].value) == (1.875, 4, 0.5)
    counts = get("statistic", "counts.v1")("m")
    assert counts.read(counts.observe({"m": mixed}))["missing"].value == 2 / 8


@pytest.mark.parametrize("name", ["log_loss.v1", "regression.v1"])
def test_weights_whose_squares_are_zero_in_float64_are_no_error(name: str) -> None:
    options = {"probability": "score", "of": "positive"} if name == "log_loss.v1" else {"target": "score"}
    statistic = get("statistic", name)(**options, weight="w")
    found = statistic.read(statistic.observe(good() | {"w": np.full(N, 1e-300)}))
    key = "log_loss" if name == "log_loss.v1" else "mae"
    assert found[key].value > 0
    assert math.isnan(found[key].low) == (name == "log_loss.v1")  # regression.v1 squares them exactly
    sound(found)
