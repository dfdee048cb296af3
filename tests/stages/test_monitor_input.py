"""What bad input gets: an error or a finding that names column, row count, rule and way out; and nothing changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import luthier
from luthier.errors import StateError
from luthier.options import MonitorOptions
from luthier.scoring import Scoring

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def animals(n: int = 200) -> dict[str, Any]:
    p = np.tile([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]], (n, 1))[:n]
    return {"probabilities": p, "target": np.resize(["cat", "cow", "dog"], n), "age": np.arange(n) % 7 + 0.5}


def window(**changed: Any) -> dict[str, Any]:
    return {name: values for name, values in {**animals(4), **changed}.items() if values is not None}


LOGITS = [[2.0, -1.0, 0.0]] + [[0.5, 0.25, 0.25]] * 3
OFF = [[0.5, 0.25, 0.25]] * 2 + [[0.5, 0.5, 0.5]] * 2
BAD = {
    "logits": (
        window(probabilities=LOGITS),
        "column 'probabilities': 1 of 4 rows hold a value outside.*row 0.*softmax",
    ),
    "no sum": (window(probabilities=OFF), r"2 of 4 rows do not sum to 1.*row 2, \[0.5, 0.5, 0.5\].*normalise=True"),
    "infinite": (window(probabilities=np.where(np.eye(4, 3) > 0, np.inf, 0)), "3 of 4 rows hold a value outside"),
    "too many": (window(probabilities=np.full((4, 4), 0.25)), "4 columns, but there are 3 labels.*'cat', 'cow', 'dog'"),
    "ragged": (window(probabilities=[[0.5, 0.5]] * 3 + [[1.0]]), "1 of 4 rows hold another number of values than 2"),
    "words": (window(probabilities=[["a", "b", "c"]] * 4), "column 'probabilities'.*no number"),
    "new label": (
        window(target=["cat", "emu", "emu", "dog"]),
        r"'target': 2 of 4 rows.*row 1, 'emu'.*labels=.*leave these",
    ),
    "numbers": (window(target=[1, 2, 0, 1]), "'target' holds whole numbers, but the labels are text"),
    "mixed labels": (window(target=["cat", 3, "dog", "cow"]), "1 of 4 rows hold no text, as the others do.*row 1, 3"),
    "amounts": (window(target=[0.5, 1.5, 2.0, 1.0]), "2 of 4 rows hold no label"),
    "no target": (window(target=None), "need `target` beside `predicted`.*there are.*columns="),
    "loss": (window(loss=[0.0, 1.5, -1.0, np.nan]), r"'loss': 2 of 4 rows are outside \[0, 1\] \(first: row 1, 1.5\)"),
    "infinite loss": (window(loss=[np.inf, 0, 0, 0]), "'loss': 1 of 4 rows are outside"),
    "confidence": (window(confidence=[0.5, 0.5, 7.0, 0.5]), "'confidence': 1 of 4 rows.*row 2, 7.0"),
    "text loss": (window(loss=["0", "x", "1", "1"]), "'loss': 1 of 4 rows hold no number"),
    "lengths": (window(age=[1.0]), "one length.*'age': 1"),
    "scalar": (window(age=3.0), "'age' is a float; a column is an array or list"),
    "no time": (window(at=[1.0, np.nan, None, 2.0]), "'at': 2 of 4 rows have no event time.*row 1.*at="),
    "milliseconds": (window(at=[1.7e12] * 4), "'at': 4 of 4 rows have no event time between.*not milliseconds"),
    "no table": ([1, 2, 3], "a list is not a table"),
    "embedding": (window(embedding=np.zeros((4, 9))), "embedding"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_window_that_cannot_be_read_is_refused_and_changes_nothing(name: str) -> None:
    bad, said = BAD[name]
    checks = ("risk.v1", "label_free.v1", "embedding_shift.v1", "quality.v2", "below.v1")
    reference = animals() | {"embedding": np.random.default_rng(0).standard_normal((200, 3))}
    monitor = luthier.Monitor(reference, checks=checks, options=MonitorOptions(slices=("age",)))
    monitor.observe("label", animals(9), at=NOON)
    before = monitor.save()
    if name == "embedding":  # another width is for a check to say: it refuses, or counts it as of another type
        found = monitor.observe("answer", bad, at=NOON)
        assert any(said in finding.why for finding in found if finding.check == "quality.v2" and not finding.slice)
        return
    with pytest.raises(StateError, match=said):
        monitor.observe("label", bad)
    assert monitor.save() == before


def test_a_check_that_cannot_read_a_window_refuses_it_before_anything_is_folded() -> None:
    reference = animals() | {"latency": np.random.default_rng(0).lognormal(0, 1, 200)}
    monitor = luthier.Monitor(reference, checks=("confidence_shift.v1", Sour()), task="multiclass")
    monitor.observe("answer", animals(9), at=NOON)
    before = monitor.save()
    with pytest.raises(
        StateError, match=r"sour.v1 cannot read this window .ValueError: too sour.*age float64.*nothing was folded"
    ):
        monitor.observe("answer", window(age=[1.0, 2.0, 3.0, -1.0]), at=NOON)
    assert monitor.save() == before


class Sour:
    """Refuses what is negative."""

    name, when = "sour.v1", "answer"

    def start(self, reference: Any) -> dict[str, Any]:
        return {"seen": 0}

    def step(self, memory: Any, window: Any) -> Any:
        from luthier.checks.base import silent
        from luthier.types import Promise

        if (window["age"] < 0).any():
            raise ValueError("too sour")
        return {"seen": memory["seen"] + len(window["age"])}, silent(self.name, Promise("none"), "quiet")


def test_answers_and_labels_that_are_refused_may_be_sent_again() -> None:
    monitor = luthier.Monitor(animals(), checks=("risk.v1",))
    p = animals(3)["probabilities"]
    with pytest.raises(StateError, match=r"column 'id': 1 of 3 rows were answered before \(first: row 2, 'a'"):
        monitor.answer(["a", "b", "a"], probabilities=p)
    with pytest.raises(StateError, match="2 of 3 rows have no id"):
        monitor.answer({"id": ["a", None, ""], "probabilities": p})
    with pytest.raises(StateError, match=r"no column 'id' of ids; there are \['probabilities'"):
        monitor.answer({"probabilities": p})
    monitor.answer(["a", "b", "c"], probabilities=p, at=NOON)
    with pytest.raises(StateError, match="1 of 1 rows were answered before"):
        monitor.answer(["b"], probabilities=p[:1])
    with pytest.raises(StateError, match="emu"):
        monitor.label(["a", "b"], ["cat", "emu"])
    with pytest.raises(StateError, match="2 ids need as many targets"):
        monitor.label(["a", "b"], ["cat"])
    assert monitor.unknown_labels == 0
    assert monitor.label(["a", "b", "b"], ["cat", "cow", "dog"])[0].n == 2
    assert monitor.unknown_labels == 1


def test_probabilities_can_be_divided_by_their_sum() -> None:
    monitor = luthier.Monitor(animals(), checks=("risk.v1",), task=Scoring("multiclass", normalise=True))
    monitor.observe("label", window(probabilities=OFF), at=NOON)
    assert monitor.metrics()["log_loss"].n == 4
    with pytest.raises(StateError, match="1 of 4 rows are 0 throughout"):
        monitor.observe("label", window(probabilities=[[0.0] * 3, *OFF[1:]]))


def test_missing_answers_are_counted_not_guessed() -> None:
    monitor = luthier.Monitor(animals() | {"length": np.ones(200)}, checks=("quality.v1", "risk.v1"))
    p = np.full((100, 3), np.nan)
    found = monitor.observe("answer", {"probabilities": p, "length": np.ones(100)}, at=NOON)
    assert found[0].value == 1
    assert np.isnan(monitor.metrics()["confidence"].value)
    assert monitor.metrics()["confidence_missing"].value == 1
    (finding,) = monitor.observe("label", {"probabilities": p[:2], "target": ["cat", None]}, at=NOON)
    assert (finding.n, monitor.metrics()["loss"].value) == (1, 1.0)


@pytest.mark.parametrize("n", [0, 1])
def test_windows_of_no_row_and_one(n: int) -> None:
    monitor = luthier.Monitor(animals())
    for when in ("answer", "label"):
        found = monitor.observe(when, animals(n), at=NOON)
        assert all(np.isfinite(finding.evidence) and not finding.alarm for finding in found)
    assert monitor.metrics()["loss"].n == n
    assert np.isnan(monitor.metrics()["loss"].value) == (n == 0)
    assert monitor.metrics()["roc_auc" if "roc_auc" in monitor.metrics() else "f1_macro"].n == n


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.full(2000, np.nan), "without a value"),
        (np.full(2000, 3.5), "equal to the row before"),
        (np.full(2000, 1e9), "outside 0.5 to 6.5"),
        (np.array(["x", 3.5] * 1000, object), "of another type than a number"),
        (None, "without a value"),
    ],
    ids=["all missing", "constant", "out of range", "mixed types", "gone"],
)
def test_a_column_that_goes_wrong_is_a_finding(column: Any, said: str) -> None:
    good = animals(2000)
    monitor = luthier.Monitor(good, checks=("quality.v2",), options=MonitorOptions(arl=1000))
    (finding,) = monitor.observe("answer", good | {"age": column}, at=NOON)
    assert finding.alarm
    assert "column age: " in finding.why
    assert said in finding.why


def test_all_new_categories_and_very_many_of_them_are_a_finding_at_bounded_memory() -> None:
    plan = np.resize(["free", "pro", "team"], 2000)
    monitor = luthier.Monitor(
        {"plan": plan, "confidence": np.linspace(0.5, 1, 2000)}, checks=("quality.v2", "column_shift.v1")
    )
    n = 100_000
    fresh = {"plan": np.char.add("p", np.arange(n).astype(str)), "confidence": np.resize(np.linspace(0.5, 1, 2000), n)}
    found = monitor.observe("answer", fresh, at=NOON)
    assert all(finding.alarm and "plan" in finding.why for finding in found)
    assert len(monitor.save()) < 300_000
    with pytest.raises(StateError, match=r"100,000 different labels; 65,536 are the most.*give a column `loss`"):
        luthier.Monitor({"predicted": fresh["plan"], "target": fresh["plan"]})


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ({"predicted": ["a", 1], "target": ["a", 1]}, "mixes text and numbers as labels"),
        ({"loss": [0.0, 2.0]}, "loss must lie in"),
        ({"probabilities": [[1.0]], "target": [0]}, "k ≥ 2"),
        (
            {"predicted": ["a", "b", "c"], "target": ["a", "b", "c"], "probabilities": [[0.5, 0.5]] * 3},
            "3 labels, not two",
        ),
        ("nonsense", "a str is not a table"),
        ({"y": [1], "predicted": [1]}, "which has a column 'predicted' of its own"),
    ],
)
def test_a_reference_that_cannot_be_read(reference: Any, said: str) -> None:
    with pytest.raises(StateError, match=said):
        luthier.Monitor(reference, columns={"predicted": "y"} if "y" in reference else None)


def test_options_that_cannot_be() -> None:
    for wrong in ({"task": "guess"}, {"scale": -1.0}):
        with pytest.raises(StateError):
            Scoring(**wrong)  # type: ignore[arg-type]
    with pytest.raises(StateError, match="Say task='multiclass'"):
        luthier.Monitor(animals(), task="binary")
    with pytest.raises(StateError, match=r"need `target` beside `predicted`.*there are \['lss'\].*columns="):
        luthier.Monitor({"loss": np.zeros(9)}).observe("label", {"lss": np.zeros(9)})


def test_columns_that_the_reference_does_not_have_are_refused() -> None:
    data = {"score": np.linspace(0, 1, 100), "churned": np.arange(100) % 2}
    for columns, said in {
        "score": "columns is a str; give a dictionary of our names to your table's",
        ("score", "churned"): "columns is a tuple",
        (
            ("target", "chruned"),
        ): "columns name 'chruned' as target, and there is no such column; there are score, churned",
        (("score", "probabilities"),): r"other way round, \{'probabilities': 'score'\}",
        (("probabilities", ("score", "p")),): "columns name 'p' as probabilities",
    }.items():
        given = dict(columns) if isinstance(columns, tuple) and isinstance(columns[0], tuple) else columns
        with pytest.raises(StateError, match=said):
            luthier.Monitor(data, columns=given)  # type: ignore[arg-type]
    late = {"target": "churned", "probabilities": "score", "id": "number", "at": "when"}
    assert luthier.Monitor(data, columns=late).scoring.task == "binary", "ids and times may come with the traffic only"
    usual = luthier.Monitor(data, columns={"label": "churned", "y_pred_proba": "score"})
    assert usual.scoring.names == {"target": "churned", "probabilities": "score"}, "usual names say the same as ours"
    numbered = luthier.Monitor({0: data["score"], 1: data["churned"]}, columns={"probabilities": 0, "target": 1})
    assert numbered.scoring.task == "binary"


def test_targets_without_answers_are_refused() -> None:
    with pytest.raises(StateError, match=r"no answers of the model.*in \[0, 1\].*among target, y_score"):
        luthier.Monitor({"y_true": [0, 1] * 50, "y_score": [-2.0, 3.0] * 50})
    assert luthier.Monitor({"y_true": [0, 1] * 50}, task="loss").scoring.task == "loss"


def test_probabilities_in_columns_named_after_the_labels_go_to_these_in_any_order() -> None:
    three = animals()
    for names in (["dog", "cat", "cow"], ["p of dog", "p of cat", "p of cow"]):
        wide = {names[i]: three["probabilities"][:, place] for i, place in enumerate((2, 0, 1))}
        monitor = luthier.Monitor(wide | {"target": three["target"]}, columns={"probabilities": names})
        assert monitor.scoring.labels == ("dog", "cat", "cow")
        monitor.observe("label", wide | {"target": three["target"]})
        assert monitor.metrics()["accuracy"].value == 1


def test_another_coding_of_the_labels_is_refused_and_no_silent_gap() -> None:
    monitor = luthier.Monitor({"predicted": [0, 1] * 50, "target": [0, 1] * 50})
    with pytest.raises(
        StateError, match=r"'target': 50 of 100 rows hold -1, which is no label, and none holds 0 of \[0, 1\]"
    ):
        monitor.observe("label", {"predicted": [0, 1] * 50, "target": [-1, 1] * 50})
    monitor.observe("label", {"predicted": [0, 1] * 50, "target": [-1, 1, 0, 1] * 25})
    assert monitor.metrics()["accuracy"].n == 75, "-1 beside the labels is a row without one"


def test_float16_is_no_reason_to_refuse_probabilities() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(30), 500)
    target = p.argmax(axis=1)
    exact, rounded = (luthier.Monitor({"probabilities": one, "target": target}) for one in (p, p.astype(np.float16)))
    for monitor, one in ((exact, p), (rounded, p.astype(np.float16))):
        monitor.observe("label", {"probabilities": one, "target": target})
    assert abs(exact.metrics()["log_loss"].value - rounded.metrics()["log_loss"].value) < 1e-3
    assert rounded.metrics()["log_loss"].n == 500
    with pytest.raises(StateError, match="do not sum to 1"):
        rounded.observe("label", {"probabilities": (p * 0.9).astype(np.float16), "target": target})


def test_what_networks_and_frames_give_is_read() -> None:
    """Columns (n, 1), token matrices padded with -100, lists of any length beside the answers, tensors."""
    price = np.linspace(10, 90, 100)[:, None]
    monitor = luthier.Monitor({"predicted": price + 1, "target": price})
    assert monitor.scoring.task == "regression"
    assert abs(monitor.scoring.scale - 1) < 1e-9
    tags = {"predicted": np.array([[0, 1, 2]] * 60), "target": np.array([[0, 2, -100]] * 60)}
    tokens = luthier.Monitor(tags, task="tokens")
    tokens.observe("label", tags)
    assert tokens.scoring.labels == (0, 1, 2)
    assert tokens.metrics()["accuracy"].value == 0.5
    ragged = {"loss": np.zeros(300), "tags": [["a"], ["a", "b"], []] * 100}
    ragged |= {"steps": [[1.0], [2.0, 3.0], [4.0]] * 100, "age": np.arange(300.0)}
    monitor = luthier.Monitor(ragged, checks=("risk.v1", "quality.v2"))
    assert "tags, steps not read: lists of different lengths" in monitor.said
    assert monitor.observe("label", ragged)[0].n == 300
    assert monitor.observe("answer", ragged)[0].n == 300
    vectors = luthier.Monitor({"loss": np.zeros(90), "embedding": np.ones((90, 3)).tolist()})
    with pytest.raises(StateError, match="'embedding': 1 of 2 rows hold another number of values"):
        vectors.observe("answer", {"embedding": [[1.0], [1.0, 2.0, 3.0]]})
