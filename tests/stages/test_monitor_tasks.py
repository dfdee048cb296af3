"""Every kind of answer becomes a loss in [0, 1], and metrics in time that agree with scikit-learn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import luthier
from luthier.errors import StateError
from luthier.options import MonitorOptions
from luthier.scoring import Scoring

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def watching(reference: Any, **options: Any) -> luthier.Monitor:
    return luthier.Monitor(reference, checks=("risk.v1",), **options)


def spam(n: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 2, n)
    return {"p": p, "truth": np.where(rng.random(n) < p, "spam", "ham"), "mail": [f"{seed}-{i}" for i in range(n)]}


FORMS = {
    "numpy": dict,
    "arrow": pa.table,
    "record batch": lambda columns: pa.table(columns).to_batches()[0],
    "pandas": pd.DataFrame,
    "pandas nullable": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "polars": lambda columns: pytest.importorskip("polars").DataFrame(columns),
}
NAMES = {"probabilities": "p", "target": "truth", "id": "mail"}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_same_bytes_through_every_door(form: str) -> None:
    make, now = FORMS[form], spam(200, 2)

    def run(shape: Any) -> bytes:
        monitor = watching(shape(spam(300, 1)), columns=NAMES)
        monitor.answer(shape({"mail": now["mail"], "p": now["p"]}), at=NOON)
        monitor.label(shape({"mail": now["mail"][:150], "truth": now["truth"][:150]}))
        monitor.observe("label", shape(spam(50, 3)), at=NOON)
        return monitor.save()

    assert run(make) == run(dict)


def test_binary_metrics_agree_with_scikit_learn_and_add_up_over_buckets() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    now = spam(1000, 2)
    monitor = watching(spam(300, 1), columns=NAMES)
    assert monitor.said == "task binary, found from the columns; labels ['ham', 'spam'], positive 'spam'"
    at = [NOON + timedelta(hours=i // 250) for i in range(1000)]
    monitor.observe("label", now, at=at)
    y, said = now["truth"] == "spam", now["p"] > 0.5
    found = monitor.metrics()
    assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(y, now["p"]), abs=1e-9)
    assert found["average_precision"].value == pytest.approx(metrics.average_precision_score(y, now["p"]), abs=1e-9)
    assert found["f1[spam]"].value == pytest.approx(metrics.f1_score(y, said), abs=1e-9)
    assert found["f1_weighted"].value == pytest.approx(metrics.f1_score(y, said, average="weighted"), abs=1e-9)
    assert found["log_loss"].value == pytest.approx(metrics.log_loss(y, now["p"]), abs=1e-9)
    assert found["brier"].value == pytest.approx(metrics.brier_score_loss(y, now["p"]), abs=1e-9)
    assert found["loss"].value == 1 - found["accuracy"].value
    assert all(one.low <= one.value <= one.high for name, one in found.items() if one.n)
    hours = monitor.timeline("roc_auc", "loss")
    assert [row["roc_auc"].n for row in hours] == [250] * 4
    second = monitor.metrics(since=NOON + timedelta(hours=1), until=NOON + timedelta(hours=2))
    assert second["roc_auc"] == hours[1]["roc_auc"]


def test_slices_of_one_and_two_predicates_have_checks_and_metrics() -> None:
    rng = np.random.default_rng(5)
    n = 2000
    lang, plan = rng.choice(["de", "en"], n), rng.choice(["free", "R&D"], n)
    bad = (lang == "de") & (plan == "R&D")
    good = {"loss": (rng.random(n) < 0.1).astype(float), "lang": lang, "plan": plan}
    options = MonitorOptions(slices=("lang", "lang&plan"), checks=("risk.v1",))
    monitor = luthier.Monitor(good, options=options)
    found = monitor.observe("label", good | {"loss": (rng.random(n) < np.where(bad, 0.5, 0.08)).astype(float)}, at=NOON)
    alarms = {finding.slice: finding.alarm for finding in found}
    assert alarms["lang=de&plan=R%26D"]
    assert not alarms["lang=en"]
    assert not alarms["lang=en&plan=R%26D"]
    assert monitor.metrics(slice="lang=de&plan=R%26D")["loss"].n == bad.sum()
    assert monitor.timeline(slice="lang=de&plan=R%26D")[0]["loss"].low > 0.4
    assert monitor.slices == sorted(name for name in alarms if name)


def test_multiclass_with_text_labels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(["cat", "cow", "dog"], 300)
    said = np.where(rng.random(300) < 0.2, "cow", truth)
    monitor = watching({"target": truth, "predicted": said})
    assert monitor.scoring.labels == ("cat", "cow", "dog")
    monitor.answer(["a", "b", "c", "d"], predicted=["cat", "cow", None, "dog"], at=NOON)
    (finding,) = monitor.label(["a", "b", "c", "d"], ["cat", "dog", "dog", None])
    assert finding.n == 3
    assert monitor.metrics()["loss"].value == pytest.approx(2 / 3)  # no answer is a wrong answer, no target is none
    assert monitor.metrics()["recall[dog]"].value == 0
    assert monitor.metrics()["loss_missing"].value == 0.25


@pytest.mark.parametrize("form", ["matrix", "sets", "probabilities"])
def test_multilabel_loss_is_the_share_of_wrong_labels(form: str) -> None:
    rng = np.random.default_rng(1)
    truth, wrong = rng.random((400, 4)) < 0.3, rng.random((400, 4)) < 0.1
    said = truth ^ wrong
    names = np.array(["art", "law", "sea", "war"])
    tags = [[names[row].tolist() for row in side] for side in (said, truth)]
    table: dict[str, Any] = {
        "matrix": {"predicted": said.astype(int), "target": truth.astype(int)},
        "sets": {"predicted": tags[0], "target": tags[1]},
        "probabilities": {"probabilities": np.where(said, 0.8, 0.1), "target": truth.astype(int)},
    }[form]
    monitor = watching(table)
    assert monitor.scoring.task == "multilabel"
    monitor.observe("label", table, at=NOON)
    assert monitor.metrics()["loss"].value == pytest.approx(wrong.mean())
    assert monitor.metrics()["hamming_loss"].value == pytest.approx(wrong.mean())
    assert monitor.metrics()[f"f1[{'art' if form == 'sets' else 0}]"].n > 0
    if form == "probabilities":
        monitor.observe("answer", {"probabilities": table["probabilities"]}, at=NOON)
        assert monitor.metrics()["confidence"].value == pytest.approx(np.where(said, 0.8, 0.9).mean())


def test_regression_scales_errors_by_the_reference_and_says_so() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(200, 40, 1000)
    good = {"predicted": truth + rng.normal(0, 10, 1000), "target": truth}
    monitor = watching(good)
    scale = np.sort(np.abs(good["predicted"] - truth))[989]
    assert monitor.scoring.scale == scale
    assert f"an error of {scale:.6g}, the 99 % point of the reference's, counts as 1" in monitor.said
    monitor.observe("label", {"predicted": [100.0, 1e9, np.nan, 5.0], "target": [101.0, 0.0, 1.0, np.nan]}, at=NOON)
    found = monitor.metrics()
    assert found["loss"].value == pytest.approx((1 / scale + 1 + 1) / 3)
    assert (found["loss"].n, found["mae"].n) == (3, 2)
    own = watching(good, task=Scoring("regression", scale=50.0))
    own.observe("label", {"predicted": [10.0], "target": [35.0], "loss": [0.125]}, at=NOON)
    assert own.metrics()["loss"].value == 0.125  # a loss of one's own goes first
    with pytest.raises(StateError, match=r"99 % point of the reference's 10 errors is 0.*scale=") as error:
        watching({"predicted": np.arange(10) + 0.5, "target": np.arange(10) + 0.5})
    assert "unit of the target" in str(error.value)


def test_ranking_loss_is_one_minus_ndcg() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    shown = [[3, 0, 1], [0, 0, 1, 2], [1], [0, 0]]
    monitor = watching({"gains": [[1, 0], [0, 1]] * 60})
    assert monitor.scoring.task == "ranking"
    monitor.answer(["a", "b", "c", "d"], latency=[1.0, 2.0, 3.0, 4.0], at=NOON)
    monitor.label(["a", "b", "c", "d"], shown)
    ndcg = [metrics.ndcg_score([row], [np.arange(len(row), 0, -1)], k=10) for row in shown[:2]] + [1.0]
    assert monitor.metrics()["loss"].value == pytest.approx(1 - np.mean(ndcg))
    assert (monitor.metrics()["ndcg"].n, monitor.metrics()["loss_missing"].value) == (
        3,
        0.25,
    )  # nothing relevant: no loss


def test_tokens_loss_is_the_share_of_wrong_tokens() -> None:
    good = {"predicted": [["O", "B"], ["O"]] * 60, "target": [["O", "B"], ["O"]] * 60}
    monitor = watching(good)
    assert monitor.said == "task tokens, found from the columns; labels ['B', 'O']"
    monitor.answer(["a", "b", "c"], predicted=[["O", "B", "O", "O"], ["B"], ["O", "O"]], at=NOON)
    monitor.label(["a", "b", "c"], [["O", "O", None, "B"], [-100], ["O", "O"]])
    found = monitor.metrics()
    assert found["loss"].value == pytest.approx((2 / 3 + 0) / 2)
    assert found["accuracy"].value == pytest.approx(3 / 5)
    assert found["recall[B]"].value == 0


def test_a_loss_alone_is_enough_and_plain_labels_are_compared() -> None:
    monitor = watching({"loss": np.zeros(100)})
    monitor.answer(["a", "b"], predicted=["yes", "no"], at=NOON)
    assert monitor.label(["a", "b"], ["yes", "yes"])[0].n == 2
    assert monitor.metrics()["loss"].value == 0.5
    with pytest.raises(StateError, match="depends on the task"):
        monitor.observe("label", {"predicted": [1.5], "target": [2.5]})


def test_labels_of_minus_one_and_one_and_whole_numbers_that_may_be_amounts() -> None:
    sign = np.resize([-1, 1], 100)
    monitor = watching({"predicted": sign, "target": sign})
    monitor.observe("label", {"predicted": [-1, 1], "target": [-1, -1]}, at=NOON)
    assert (monitor.metrics()["loss"].value, monitor.metrics()["loss"].n) == (0.5, 2)
    with pytest.raises(StateError, match=r"500 different whole numbers.*task='regression'"):
        watching({"predicted": np.arange(500), "target": np.arange(500)})
    assert watching({"predicted": np.arange(500), "target": np.arange(500) + 1}, task="regression").scoring.scale == 1


def test_times_without_a_zone_are_utc_others_are_converted_and_order_does_not_matter() -> None:
    berlin = timezone(timedelta(hours=1))
    monitor = watching({"loss": np.zeros(100)}, options=MonitorOptions(window_minutes=60))
    at = [datetime(2026, 3, 1, 14, tzinfo=berlin), datetime(2026, 3, 1, 12), "2026-03-01T12:30:00-01:00", NOON]
    monitor.observe("label", {"loss": [0.0, 0.0, 1.0, 0.0]}, at=at)
    assert [(row["at"].hour, row["loss"].n) for row in monitor.timeline()] == [(12, 2), (13, 2)]
    frame = pd.DataFrame({"loss": [1.0], "at": pd.to_datetime(["2026-03-01 15:10"]).tz_localize("Asia/Tokyo")})
    monitor.observe("label", frame)
    assert monitor.timeline()[0]["at"].hour == 6
    assert monitor.findings()[0].at == datetime(2026, 3, 1, 13, 30, tzinfo=UTC)


def test_waiting_answers_survive_a_restart_and_answers_may_differ_in_columns() -> None:
    good = {"predicted": ["a", "b"] * 50, "target": ["a", "b"] * 50}
    first = watching(good, task="multiclass")
    first.answer(["1", "2"], predicted=["a", "b"], tags=["x", None], at=NOON)
    first.answer([3], predicted=["a"], at=NOON)
    second = watching(good, task="multiclass")
    second.restore(first.save())
    assert second.save() == first.save()
    for monitor in (first, second):
        assert monitor.label([3, "1", "4"], ["b", "a", "a"])[0].n == 2
        assert monitor.unknown_labels == 1
    assert second.save() == first.save()
    other = watching(good, task="multiclass", options=MonitorOptions(window_minutes=5))
    with pytest.raises(StateError, match=r"window_minutes 60.*this one 5"):
        other.restore(first.save())


def test_probabilities_of_the_other_label_are_no_accuracy_upside_down() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(500)
    table = {"probabilities": p, "target": np.where(rng.random(500) < p, "churned", "stays")}
    with pytest.raises(StateError, match=r"taken for the positive label.*labels=\('stays', 'churned'\)"):
        luthier.Monitor(table)
    right = luthier.Monitor(table, task=Scoring("binary", labels=("stays", "churned")))
    assert right._reference["loss"].mean() < 0.3
