"""Usual names of columns are recognised, for reports and monitors alike; nothing is guessed between two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import luthier
from luthier.errors import StateError
from luthier.scoring import Scoring

RNG = np.random.default_rng(0)
P = RNG.random(400)
WORDS = np.where(RNG.random(400) < P, "yes", "no")


def monitor(table: Any, **options: Any) -> luthier.Monitor:
    return luthier.Monitor(table, checks=("risk.v1",), **options)


@pytest.mark.parametrize("form", [dict, pa.table, "pandas"])
@pytest.mark.parametrize(
    ("table", "read"),
    [
        ({"y_true": WORDS, "y_pred_proba": P}, "y_true read as target, y_pred_proba read as probabilities"),
        ({"label": WORDS, "y_pred": np.roll(WORDS, 1)}, "label read as target, y_pred read as predicted"),
        ({"target": WORDS, "score": P}, "score read as probabilities"),
        ({"actual": P * 9, "prediction": P * 8}, "actual read as target, prediction read as predicted"),
    ],
    ids=["scikit-learn", "labels", "score", "amounts"],
)
def test_a_monitor_and_a_report_recognise_the_same_columns_and_measure_the_same(
    form: Any, table: Any, read: str
) -> None:
    make = pytest.importorskip("pandas").DataFrame if form == "pandas" else form
    mine = monitor(make(table))
    assert mine.said.endswith(f"; {read}")
    mine.observe("label", make(table), at="2026-03-01")
    report = luthier.report("performance", make(table), make(table))
    assert read in report.sheet.notes[0]
    found = mine.metrics()
    found |= {name: found[f"{name}[yes]"] for name in ("precision", "recall", "f1") if f"{name}[yes]" in found}
    rows = {row["metric"]: row["measured"] for row in report.rows()}
    assert len(rows) >= 4
    assert rows == {name: found[name] for name in rows}


@pytest.mark.parametrize("words", [True, False])
def test_a_column_a_class_is_put_to_its_label_in_whatever_order_they_stand(words: bool) -> None:
    names = ["cat", "dog", "eel"] if words else [2, 9, 10]
    p = RNG.dirichlet(np.ones(3), 300)
    truth = [names[i] for i in p.argmax(axis=1)]
    table = {f"proba_{names[i]}": p[:, i] for i in (2, 0, 1)} | {"y_true": truth}
    mine = monitor(table)
    assert (mine.scoring.task, mine.scoring.labels) == ("multiclass", tuple(names))
    mine.observe("label", table, at="2026-03-01")
    assert mine.metrics()["accuracy"].value == 1
    other = monitor(table, task=Scoring("multiclass", labels=tuple(names[::-1])))
    other.observe("label", table, at="2026-03-01")
    assert other.metrics()["accuracy"].value == 1
    with pytest.raises(StateError, match=r"are no probabilities of the labels .*is in one alone"):
        monitor(table, task=Scoring("multiclass", labels=(*names, "fox")))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"y_true": [1, 0], "label": [0, 1], "y_pred": [1, 0]}, "`target` may be 'label' or 'y_true': say which"),
        ({"target": [1, 0], "y_prob": [0.5, 1.0], "probability": [0.5, 1]}, "`probabilities` may be 'probability' or"),
        ({"target": [1, 0], "y_prob": [0.5, 1], "proba_0": [0.5, 0], "proba_1": [0.5, 1]}, r"'y_prob' or \['proba_0'"),
    ],
)
def test_nothing_is_guessed_between_two(table: dict[str, Any], words: str) -> None:
    for door in (monitor, lambda table: luthier.report("performance", table, table)):
        with pytest.raises(StateError, match=words):
            door(table)


def test_what_is_named_goes_first_then_our_own_names() -> None:
    table = {"y_true": WORDS, "label": np.roll(WORDS, 1), "y_pred": WORDS}
    mine = monitor(table, columns={"target": "y_true"})
    assert mine.said.endswith("; y_pred read as predicted")
    assert "label" in mine._reference
    own = {"target": WORDS, "label": np.roll(WORDS, 1), "predicted": WORDS, "score": P * 850}
    assert "read as" not in monitor(own).said, "a credit score is no probability"
    assert monitor(own | {"score": P}).said.endswith("score read as probabilities")
