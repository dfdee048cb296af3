"""Tables of answers as people have them: which column is what, which task it is, and rows that cannot be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from luthier.answers import understand
from luthier.errors import StateError


def read(table: Any, **roles: Any) -> tuple[Any, Any]:
    about = understand(table, roles)
    return about, about.read(table)


def test_binary_by_score() -> None:
    about, found = read({"score": [0.9, 0.2, 0.6], "target": [1, 0, 0], "age": [1.0, 2.0, 3.0]})
    assert (about.task, about.classes, about.positive, about.features) == ("binary", ("0", "1"), 1, ("age",))
    assert found.columns["predicted"].tolist() == [1, 0, 1]
    assert found.columns["loss"].tolist() == [0, 0, 1]
    assert found.columns["confidence"].tolist() == pytest.approx([0.9, 0.8, 0.6])


def test_text_classes_their_probabilities_and_a_positive_of_ones_own() -> None:
    table = pa.table(
        {"y_true": ["no", "yes", None], "y_pred": ["no", "no", "yes"], "proba_no": [0.7, 0.6, 0.1], "proba_yes": [0.3, 0.4, 0.9]}
    )  # fmt: skip
    about, found = read(table)
    assert about.classes == ("no", "yes")
    assert about.positive == 1
    assert found.columns["score"].tolist() == [0.3, 0.4, 0.9]
    assert found.columns["target"].tolist() == [0, 1, -1]
    assert np.isnan(found.columns["loss"][2])
    assert understand(table, {"positive": "no"}).positive == 0


def test_many_classes_and_numbers_in_the_order_of_their_value() -> None:
    about, found = read({"predicted": [10, 9, 2], "target": [10, 2, 2]})
    assert (about.task, about.classes) == ("classes", ("2", "9", "10"))
    assert found.columns["loss"].tolist() == [0, 1, 0]


def test_regression_by_what_the_target_holds_or_by_request() -> None:
    about, found = read({"prediction": [1.5, 2.0], "actual": [1.0, np.nan]})
    assert about.task == "regression"
    assert found.columns["size"].tolist()[0] == 0.5
    assert np.isnan(found.columns["size"][1])
    assert understand({"predicted": [1, 2], "target": [1, 2]}, {"task": "regression"}).task == "regression"
    assert understand({"predicted": np.arange(80), "target": np.arange(80)}, {}).task == "regression"


def test_indices_with_given_labels() -> None:
    about, found = read({"predicted": np.array([0, 1, 1]), "target": np.array([0, 0, -1])}, labels=("bad", "good"))
    assert about.classes == ("bad", "good")
    assert found.columns["target"].tolist() == [0, 0, -1]


def test_roles_say_what_names_do_not() -> None:
    about, found = read({"churned": [1, 0], "p": [0.7, 0.1]}, target="churned", score="p")
    assert about.positive == 1
    assert found.columns["loss"].tolist() == [0, 0]


def test_rows_that_cannot_be_used_are_counted() -> None:
    about = understand({"score": [0.1, 0.9], "target": ["a", "b"], "predicted": ["a", "b"]}, {})
    part = about.read({"score": [1.7, np.nan, 0.4], "target": ["a", "z", None], "predicted": ["b", "b", "q"]})
    assert part.odd == {
        "a score outside [0, 1]": 1, "a target outside the known classes": 1, "an answer outside the known classes": 1,
    }  # fmt: skip
    assert np.isnan(part.columns["score"][:2]).all()
    table = {"probabilities": np.array([[0.5, 0.5], [0.9, 0.3], [2.0, -1.0]]), "target": [0, 1, 1]}
    assert list(understand(table, {}).read(table).odd.values()) == [2]
    numbers = {"predicted": [1.5, np.inf], "target": [1.0, 2.0]}
    assert understand(numbers, {}).read(numbers).odd == {"an infinite number": 1}


def test_no_rows_at_all() -> None:
    about = understand({"score": [0.1, 0.9], "target": [0, 1]}, {})
    found = about.read({"score": np.zeros(0), "target": np.zeros(0)})
    assert found.rows == 0
    assert len(found.columns["predicted"]) == 0
    assert len(about.read({"score": [0.3]}).columns["target"]) == 1, "without a target column nothing is labelled"


@pytest.mark.parametrize(
    ("table", "roles", "words"),
    [
        ({"a": [1]}, {}, "no column of the reference is the target; there are a"),
        ({"target": [1]}, {}, "predicted"),
        ({"target": [1, 0], "score": [1, 0]}, {"target": "nope"}, "no such column"),
        ({"target": [1, 0], "score": [1, 0]}, {"positive": "7"}, "the classes are 0, 1"),
        ({"target": [1, 0], "predicted": [1, 0]}, {"task": "ranking"}, "classification or regression"),
        ({"target": [None], "predicted": [None]}, {"task": "classification"}, "no labelled row"),
        ({"target": np.arange(5000), "score": np.zeros(5000)}, {}, "is it a quantity"),
        ({"target": ["a", "b"], "predicted": ["a", "b"]}, {"task": "regression"}, "numbers are needed"),
    ],
)
def test_what_cannot_be_understood_is_an_error(table: dict[str, Any], roles: dict[str, Any], words: str) -> None:
    with pytest.raises(StateError, match=words):
        read(table, **roles)


def test_a_column_that_is_gone_is_named() -> None:
    about = understand({"score": [0.1, 0.9], "target": [0, 1]}, {})
    with pytest.raises(StateError, match="'score' is in the reference and not here"):
        about.read({"target": [0]})
