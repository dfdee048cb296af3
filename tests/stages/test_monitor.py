"""luthier.Monitor: arrays in, findings out, the same however the stream is cut."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import luthier
from luthier.errors import StateError, UsageError
from luthier.options import MonitorOptions
from luthier.stages import labelfiles
from luthier.stages.monitor import as_columns

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def losses(n: int, risk: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) < risk).astype(float)


def test_a_rise_of_the_risk_alarms_and_names_subject_time_and_way_out() -> None:
    monitor = luthier.Monitor({"loss": losses(2000, 0.1)}, checks=("risk.v1",), subject="shop v3")
    assert not any(finding.alarm for finding in monitor.observe("label", {"loss": losses(3000, 0.1, 1)}, at=NOON))
    (finding,) = monitor.observe("label", {"loss": losses(1000, 0.3, 2)}, at=NOON)
    assert finding.alarm
    assert finding.subject == "shop v3"
    assert finding.at == NOON
    assert finding.why


def test_labels_find_their_answers_by_id_and_unknown_ids_are_counted() -> None:
    monitor = luthier.Monitor({"loss": losses(2000, 0.1)}, checks=("risk.v1",))
    monitor.answer(["a", "b", "c"], predicted=[0, 1, 1], at=NOON)
    (finding,) = monitor.label(["c", "a", "never"], [1, 1, 0])
    assert finding.n == 2
    assert monitor.unknown_labels == 1
    assert monitor.timeline()[0]["loss"].value == pytest.approx(0.5)
    monitor.label(["c"], [0])
    assert monitor.findings("label")[0].n == 2, "a label counts once"


@pytest.mark.parametrize("sizes", [[1] * 40 + [360], [7, 393], [400]])
def test_any_cut_of_the_stream_gives_the_same_findings(sizes: list[int]) -> None:
    rng = np.random.default_rng(3)
    reference = {"loss": losses(800, 0.1), "confidence": rng.beta(8, 2, 800), "embedding": rng.normal(size=(800, 8))}
    stream = {"loss": losses(400, 0.2, 4), "confidence": rng.beta(6, 3, 400), "embedding": rng.normal(size=(400, 8))}
    whole, parts = (luthier.Monitor(reference) for _ in range(2))
    for when in ("answer", "label"):
        whole.observe(when, stream, at=NOON)
        start = 0
        for size in sizes:
            parts.observe(when, {k: v[start : start + size] for k, v in stream.items()}, at=NOON)
            start += size
    assert repr(parts.findings()) == repr(whole.findings())
    assert whole.timeline() == parts.timeline()


def test_a_restart_in_the_middle_changes_nothing() -> None:
    reference = {"loss": losses(800, 0.1), "confidence": np.random.default_rng(0).beta(8, 2, 800)}
    one, first = luthier.Monitor(reference), luthier.Monitor(reference)
    stream = losses(600, 0.25, 9)
    one.observe("label", {"loss": stream}, at=NOON)
    first.observe("label", {"loss": stream[:250]}, at=NOON)
    second = luthier.Monitor(reference)
    second.restore(first.save())
    second.observe("label", {"loss": stream[250:]}, at=NOON)
    assert repr(second.findings()) == repr(one.findings())
    assert second.timeline() == one.timeline()


def test_late_labels_change_the_bucket_of_their_answer() -> None:
    monitor = luthier.Monitor(
        {"loss": losses(500, 0.1)}, checks=("risk.v1",), options=MonitorOptions(window_minutes=60)
    )
    monitor.answer(["early", "late"], predicted=[0, 0], at=[NOON, NOON + timedelta(hours=5)])
    monitor.label(["late", "early"], [0, 1])
    assert [(row["at"].hour, row["loss"].value) for row in monitor.timeline()] == [(12, 1.0), (17, 0.0)]


def test_slices_are_watched_on_their_own() -> None:
    tag = np.array(["shoes"] * 300 + ["hats"] * 300)
    reference = {"loss": losses(600, 0.1), "tag:shop": tag}
    monitor = luthier.Monitor(reference, checks=("risk.v1",), options=MonitorOptions(slices=("shop",)))
    bad = np.concatenate([losses(300, 0.1, 5), losses(300, 0.5, 6)])
    found = {finding.slice: finding.alarm for finding in monitor.observe("label", {"loss": bad, "tag:shop": tag})}
    assert found == {"": True, "shop=hats": True, "shop=shoes": False}


def test_probabilities_give_confidence_margin_entropy_and_loss() -> None:
    columns = as_columns(probabilities=[[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]], target=[0, 2])
    assert columns["loss"].tolist() == [0.0, 1.0]
    assert columns["margin"] == pytest.approx([0.5, 1.0])
    assert columns["entropy"] == pytest.approx([0.8018, 0.0], abs=1e-4)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"loss": [0.0, 2.0]}, "loss must lie in"),
        ({"loss": [0.0], "confidence": [0.1, 0.2]}, "one length"),
        ({"probabilities": [[1.0]]}, "k ≥ 2"),
    ],
)
def test_wrong_arrays_are_named(arrays: dict[str, list[float]], said: str) -> None:
    with pytest.raises(StateError, match=said):
        as_columns(**arrays)


def test_nothing_seen_is_no_finding_and_an_empty_window_changes_nothing() -> None:
    monitor = luthier.Monitor({"loss": losses(500, 0.1)})
    assert monitor.observe("label", {"loss": np.zeros(0)}) == []
    assert monitor.timeline() == []


def test_a_saved_monitor_that_was_cut_short_is_refused() -> None:
    monitor = luthier.Monitor({"loss": losses(500, 0.1)})
    with pytest.raises(StateError):
        monitor.restore(monitor.save()[:-3] + b"")


def test_a_label_plan_of_waiting_answers_and_the_labels_that_may_count() -> None:
    rng = np.random.default_rng(8)
    sure = rng.uniform(0.5, 1, 1000)
    loss = (rng.random(1000) > sure).astype(float)
    monitor = luthier.Monitor({"loss": loss, "confidence": sure}, checks=("risk.v1",))
    with pytest.raises(StateError, match="no rows to choose from"):
        monitor.label_plan(10)
    ids = [str(i) for i in range(1000)]
    monitor.answer(ids, confidence=sure, embedding=rng.standard_normal((1000, 4)), at=NOON)
    assert "would be shown" in monitor.label_plan(200).buys.why
    assert loss.mean() + 0.02 < monitor.limit("risk.v1") < loss.mean() + 0.06
    assert np.isnan(monitor.limit("absent.v1"))
    plan = monitor.label_plan(300, "accuracy", seed=3)
    assert plan == monitor.label_plan(300, "accuracy", seed=3)
    asked = [one.id for one in plan.open]
    fair = [one.at_random for one in plan.open]
    assert 0 < sum(fair) < 300
    (finding,) = monitor.label(asked, loss=[loss[int(i)] for i in asked], at_random=fair)
    assert finding.n == sum(fair), "labels that were picked for what they are stay out of the checks"
    assert monitor.timeline()[0]["loss"].n == sum(fair)
    assert not set(asked) & {one.id for one in monitor.label_plan(700).requests}
    said = plan.estimate({i: loss[int(i)] for i in asked})
    assert said.method == "combined"
    assert said.estimate.low <= loss.mean() <= said.estimate.high
    (same,) = monitor.observe("label", {"loss": np.ones(50), "at_random": np.zeros(50, bool)}, at=NOON)
    assert same == finding


def test_a_label_plan_shows_the_record_and_names_the_answer() -> None:
    rng = np.random.default_rng(3)
    score = rng.random(400)
    reference = {"score": score, "target": np.where(rng.random(400) < score, "spam", "ham")}
    mails = {"id": [f"m{i}" for i in range(60)], "score": np.linspace(0.01, 0.99, 60)}
    with_text, with_columns = (luthier.Monitor(reference, checks=()) for _ in range(2))
    with_text.answer(mails | {"input": [f"mail {i}" for i in range(60)], "age": np.arange(60)})
    with_columns.answer(mails | {"age": np.arange(60), "lang": ["de", "en"] * 30})
    for one in with_text.label_plan(20, "accuracy").requests:
        row = int(one.id[1:])
        assert one.input == f"mail {row}"
        assert one.predicted == ("spam" if row >= 30 else "ham"), "a name that people know, not an index"
    for one in with_columns.label_plan(20, "repair").requests:
        row = int(one.id[1:])
        assert one.input == {"age": row, "lang": ("de", "en")[row % 2]}, "without an input, what came with the answer"
    topics = luthier.Monitor({"predicted": [["art"], ["law", "sea"]] * 9, "target": [["art", "sea"], ["law"]] * 9})
    topics.answer(["a"], predicted=[["sea", "law"]])
    assert topics.label_plan(1).requests[0].predicted == "law sea"


def test_labels_that_are_numbers_come_back_from_a_file_as_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    monitor = luthier.Monitor(
        {"predicted": rng.integers(0, 2, 300), "target": rng.integers(0, 2, 300)}, checks=("risk.v1",)
    )
    monitor.answer([f"a{i}" for i in range(50)], predicted=rng.integers(0, 2, 50))
    labelfiles.write(monitor.label_plan(20), tmp_path / "plan.csv")
    rows = list(csv.DictReader((tmp_path / "plan.csv").open()))
    filled = [f"{row['id']},{one}" for row, one in zip(rows, ["0", "1", "1.0", "0.0"] * 5, strict=True)]
    (tmp_path / "back.csv").write_text("\n".join(["id,target", *filled]))
    back = labelfiles.read(tmp_path / "back.csv").labels
    (finding,) = monitor.label([one["id"] for one in back], [one["target"] for one in back])
    assert finding.n == 20
    assert not monitor.unknown_labels
    monitor.answer(["b"], predicted=[1])
    with pytest.raises(StateError, match="'target' holds text, but the labels are whole numbers"):
        monitor.label(["b"], ["yes"])
    text = luthier.Monitor({"predicted": ["0", "1"] * 50, "target": ["0", "1"] * 50})
    text.observe("label", {"predicted": [0, 1, 1], "target": [0, 1, None]})
    assert text.metrics()["accuracy"].n == 2


def test_checks_that_no_monitor_runs_are_refused() -> None:
    good = {"loss": losses(500, 0.1)}
    with pytest.raises(UsageError, match=r"better.v1 reads two models' answers to the same records, in a gate"):
        luthier.Monitor(good, checks=("better.v1",))
    with pytest.raises(UsageError, match=r"overfitting.v1 reads the losses of a training run: a monitor cannot run it"):
        luthier.Monitor(good, checks=("overfitting.v1",))
    one = luthier.Monitor(good, checks="risk.v1").observe("label", good)
    assert [finding.check for finding in one] == ["risk.v1"]
