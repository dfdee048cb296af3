"""The performance report: the metrics people know with intervals, alarms with a promise, estimates where labels lack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import luthier
from luthier.errors import StateError
from luthier.evidence import clopper_pearson
from luthier.scoring import Scoring


def binary(n: int, seed: int = 0, flipped: bool = False, labelled: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    p = 1 / (1 + np.exp(-2 * x[:, 0] - x[:, 1]))
    y = (rng.random(n) < (1 - p if flipped else p)).astype(float)
    return {"x0": x[:, 0], "x1": x[:, 1], "score": p, "target": np.where(rng.random(n) < labelled, y, np.nan)}


def joined(*parts: dict[str, Any]) -> dict[str, Any]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def metrics(report: Any, window: str = "current") -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in report.rows() if row["window"] == window}


def test_binary_metrics_agree_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    data = binary(2000, 1)
    found = {
        name: row["measured"].value for name, row in metrics(luthier.report("performance", binary(3000), data)).items()
    }
    y, p = data["target"], data["score"]
    expected = {
        "accuracy": sklearn.accuracy_score(y, p >= 0.5), "precision": sklearn.precision_score(y, p >= 0.5),
        "recall": sklearn.recall_score(y, p >= 0.5), "f1": sklearn.f1_score(y, p >= 0.5), "roc_auc": sklearn.roc_auc_score(y, p),
        "average_precision": sklearn.average_precision_score(y, p), "log_loss": sklearn.log_loss(y, p),
        "brier": sklearn.brier_score_loss(y, p), "balanced_accuracy": sklearn.balanced_accuracy_score(y, p >= 0.5),
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_a_positive_class_of_ones_own_turns_precision_and_recall() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    said, true = rng.choice(["bad", "good"], 500), rng.choice(["bad", "good"], 500)
    table = {"predicted": said, "target": true}
    found = metrics(luthier.report("performance", table, table, task=Scoring("binary", labels=("good", "bad"))))
    assert found["precision"]["measured"].value == pytest.approx(sklearn.precision_score(true, said, pos_label="bad"))


def test_score_of_a_positive_class_that_is_first_in_order() -> None:
    data = binary(1000)
    named = {"score": data["score"], "target": np.where(data["target"] == 1, "bad", "good")}
    found = metrics(luthier.report("performance", named, named, task=Scoring("binary", labels=("good", "bad"))))
    plain = metrics(luthier.report("performance", data, data))
    for name in ("accuracy", "roc_auc", "log_loss", "ece", "f1"):
        assert found[name]["measured"] == plain[name]["measured"]


def test_growth_of_errors_is_found_and_labels_contradict_the_estimate() -> None:
    current = joined(binary(1500, 1), binary(500, 2, flipped=True), binary(500, 3, labelled=0.0))
    report = luthier.report("performance", binary(4000), current, chunk=500)
    assert [finding.slice for finding in report.alarms] == ["rows 1,501–2,000"]
    assert "first in rows 1,501–2,000" in report.sheet.headline
    last = metrics(report, "rows 2,001–2,500")["accuracy"]
    assert last["measured"].n == 0
    assert abs(last["estimated"].value - 0.79) < 0.06
    assert any("Labels contradict the estimate in rows 1,501–2,000:" in note for note in report.sheet.notes)
    assert "errors grew" in report.html()


def test_an_estimate_that_is_not_valid_is_unknown() -> None:
    away = binary(600, 1, labelled=0.0)
    away["x0"] = away["x0"] + 12
    report = luthier.report("performance", binary(4000), away)
    row = metrics(report)["accuracy"]
    assert row["estimated"].n == 0
    assert "label" in row["estimated_why"]
    assert "unknown" in report.sheet.headline
    assert not report.alarms


def test_the_promise_holds_over_all_windows() -> None:
    runs = 60
    wrong = sum(
        bool(luthier.report("performance", {k: v for k, v in binary(400, 2 * i).items() if k[0] != "x"},
                            {k: v for k, v in binary(200, 2 * i + 1).items() if k[0] != "x"}, chunk=50).alarms)
        for i in range(runs)
    )  # fmt: skip
    assert clopper_pearson(wrong, runs, 0.01)[0] <= 0.05, f"{wrong} of {runs} unchanged series alarmed"


def test_many_classes() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true = rng.choice(["cat", "dog", "eel"], 900)
    said = np.where(rng.random(900) < 0.8, true, rng.choice(["cat", "dog", "eel"], 900))
    report = luthier.report(
        "performance", {"target": true, "predicted": said}, {"target": true[:300], "predicted": said[:300]}
    )
    found = metrics(report)
    assert found["f1_macro"]["measured"].value == pytest.approx(
        sklearn.f1_score(true[:300], said[:300], average="macro")
    )
    assert "Confusion" in report.html()
    worse = {"target": true[:300], "predicted": rng.choice(["cat", "dog", "eel"], 300)}
    assert luthier.report("performance", {"target": true, "predicted": said}, worse).alarms


def test_regression_measured_and_estimated() -> None:
    rng = np.random.default_rng(0)

    def rows(n: int, spread: float = 1.0, labelled: bool = True) -> dict[str, Any]:
        x = rng.normal(size=(n, 2))
        y = x.sum(axis=1) + rng.normal(0, spread, n)
        return {
            "a": x[:, 0],
            "b": x[:, 1],
            "prediction": x.sum(axis=1),
            "actual": y if labelled else np.full(n, np.nan),
        }

    good = rows(4000)
    worse = luthier.report("performance", good, rows(500, 1.5))
    assert len(worse.alarms) == 1
    assert metrics(worse)["mae"]["measured"].value == pytest.approx(1.2, abs=0.12)
    better = luthier.report("performance", good, rows(500, 0.5))
    assert not better.alarms, "smaller errors are a change, and no alarm"
    blind = metrics(luthier.report("performance", good, rows(1000, labelled=False)))["mae"]
    assert blind["estimated"].value == pytest.approx(0.8, abs=0.06)
    assert "Errors" in worse.html()


def test_a_stream_is_the_same_as_the_whole() -> None:
    current = joined(binary(600, 1), binary(400, 2, flipped=True))
    whole = luthier.report("performance", binary(2000), current, chunk=250)
    arrow = pa.table(current)
    streamed = luthier.report(
        "performance",
        (pa.table(binary(2000)) for _ in range(1)),
        (arrow.slice(i, 130) for i in range(0, 1000, 130)),
        chunk=250,
    )
    assert [f.why for f in streamed.findings] == [f.why for f in whole.findings]
    assert [row["measured"] for row in streamed.rows()] == [row["measured"] for row in whole.rows()]


def test_rows_that_cannot_be_used_are_a_finding() -> None:
    odd = binary(400, 1)
    odd["score"][:7] = 1.5
    odd["target"][10:13] = 9
    report = luthier.report("performance", binary(2000), odd)
    why = [finding.why for finding in report.alarms]
    assert any(
        "column 'probabilities': 7 of 400 rows hold a value outside [0, 1]; they are left out" in one for one in why
    )
    assert any("column 'target': 3 of 400 rows hold none of the 2 labels [0, 1]; they" in one for one in why)
    assert metrics(report)["accuracy"]["measured"].n == 390
    assert any("in 390 labelled rows" in finding.why for finding in report.findings), "they are no errors either"


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_rows(n: int) -> None:
    for options in ({}, {"chunk": 10}):
        report = luthier.report("performance", binary(500), binary(n, 1), **options)
        assert not report.alarms
        assert report.html()
        assert report.markdown()


def test_a_reference_without_labels_is_refused() -> None:
    with pytest.raises(StateError, match="no labelled row"):
        luthier.report("performance", binary(100, labelled=0.0), binary(100))
    with pytest.raises(StateError, match="Name it alike in both"):
        luthier.report("performance", binary(100), {"target": np.zeros(5)})


def tasks() -> dict[str, tuple[dict[str, Any], str]]:
    rng = np.random.default_rng(7)
    wrong = rng.random((600, 4)) < 0.2
    truth = rng.random((600, 4)) < 0.3
    words = [["O", "B"], ["O", "O", "B"]] * 300
    return {
        "multilabel": ({"predicted": (truth ^ wrong).astype(int), "target": truth.astype(int)}, "hamming_loss"),
        "ranking": ({"gains": [[1, 0, 2], [0, 1]] * 300}, "ndcg"),
        "tokens": (
            {"predicted": [row[::-1] if i % 5 else row for i, row in enumerate(words)], "target": words},
            "accuracy",
        ),
        "loss": ({"loss": rng.random(600)}, "loss"),
    }


@pytest.mark.parametrize("task", ["multilabel", "ranking", "tokens", "loss"])
@pytest.mark.parametrize("form", [dict, pa.table])
def test_every_task_of_the_monitor_has_a_report(task: str, form: Any) -> None:
    table, main = tasks()[task]
    if form is not dict and task == "multilabel":
        table = {name: values.tolist() for name, values in table.items()}
    monitor = luthier.Monitor(table, checks=())
    monitor.observe("label", table, at="2026-03-01")
    report = luthier.report("performance", form(table), form(table), chunk=150, task=task)
    assert len(report.windows) == 4
    assert not report.alarms
    whole = metrics(luthier.report("performance", form(table), form(table)))[main]["measured"]
    assert whole == monitor.metrics()[main]
    assert whole.n > 0
    assert report.html()


def test_the_same_columns_serve_the_monitor_and_the_report() -> None:
    data = binary(600) | {"when": np.arange(600.0), "number": np.arange(600)}
    named = {"probabilities": "score", "target": "target", "at": "when", "id": "number"}
    report = luthier.report("performance", data, data, columns=named)
    assert metrics(report)["accuracy"]["estimated"].n, "ids and times are no inputs that say where a row lies"
    assert luthier.Monitor(data, columns=named).scoring.task == "binary"
    with pytest.raises(StateError, match="columns name 'nope' as target, and there is no such column; there are x0"):
        luthier.report("performance", data, data, columns={"target": "nope"})
    with pytest.raises(StateError, match="no column of the reference is the target; there are x0, x1, score"):
        luthier.report("performance", {name: data[name] for name in ("x0", "x1", "score")}, data)


def test_a_reference_that_cannot_be_is_refused_with_its_rows() -> None:
    bad = binary(400)
    bad["score"][3] = 1.5
    with pytest.raises(StateError, match="1 of 400 rows hold a value outside"):
        luthier.report("performance", bad, binary(100), columns={"probabilities": "score"})
