"""The whole loop through the project's verbs, with a tiny real model: watch, decide, update, promote, and crashes between."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier.errors import NotMet, UsageError
from luthier.loop import Project
from luthier.stages import labelfiles, plan, record, update
from luthier.types import Record, Split

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Any:
    shutil.copytree(built, tmp_path / "project")
    opened = luthier.open(tmp_path / "project")
    yield opened
    opened.close()


def live(
    project: Project, records: list[Record], start: datetime, *, labelled: bool = True,
    tags: Callable[[Record], dict[str, str]] = lambda _: {},
) -> None:  # fmt: skip
    """The champion answers, the answers are recorded, the labels come."""
    champion = project.champion()
    assert champion is not None
    adapter = project.task().adapter(project.registry.folder(champion))
    asked = [Record(one.id, start + timedelta(minutes=i), one.input, tags=tags(one)) for i, one in enumerate(records)]
    answered = [
        Record(one.id, one.at, one.input, output=said, model=champion.name, tags=one.tags)
        for one, said in zip(asked, adapter.answer(asked), strict=True)
    ]
    record.append(project.store, [record.to_row(one) for one in answered])
    if labelled:
        assert project.feedback([{"id": one.id, "target": one.target} for one in records]).stored == len(records)


def shifted(films: list[Record]) -> list[Record]:
    """Film reviews that people disliked: the model, trained on mostly happy tweets, gets many of them wrong."""
    return [one for one in films if one.target == "negative"]


def test_the_loop_finds_the_loss_repairs_it_and_says_why(
    project: Project, tweets: list[Record], films: list[Record]
) -> None:
    live(project, tweets[1500:1900], NOON)
    assert project.watch().decision.action == "none"
    live(project, shifted(films)[:400], NOON + timedelta(days=1))
    watched = project.watch()
    assert watched.decision.action == "retrain", watched.decision.why
    assert {finding.check for finding in watched.decision.because} == {"risk_lifetime.v1"}

    fitted = project.update(because=watched.decision.because)
    assert fitted.verdict.outcome == "pass", fitted.verdict.why
    champion = project.champion()
    assert champion is not None
    assert (champion.number, champion.parent) == (2, 1)
    decisions = project.story()["decisions"]
    assert [one["action"] for one in decisions][-2:] == ["retrain", "promote"]
    assert {"not_worse.v1", "better.v1", "flips.v1"} <= {finding["check"] for finding in decisions[-1]["because"]}

    assert project.watch().answers == 0, "the new champion starts with its own answers"
    live(project, shifted(films)[400:600], NOON + timedelta(days=2))
    assert project.watch().decision.action == "none"
    assert project.rollback("it was a test").number == 1
    assert [one.action for one in project.history()] == ["promote", "promote", "rollback"]


def test_the_decision_says_where_the_loss_comes_from(
    project: Project, tweets: list[Record], films: list[Record]
) -> None:
    live(project, tweets[1500:1900], NOON, tags=lambda one: {"channel": "app" if len(one.input) % 2 else "web"})
    project.watch()
    wrong = shifted(films)[:450]
    mixed = [*wrong[:150], *tweets[1900:2000], *wrong[150:]]
    live(project, mixed, NOON + timedelta(days=1), tags=lambda one: {"channel": "fax" if one in wrong else "web"})
    watched = project.watch()
    findings = [one for one in watched.decision.because if one.check.startswith("risk")]
    assert findings, watched.decision.why
    assert all("channel=fax (" in one.why for one in findings), [one.why for one in findings]
    row = project.story()["decisions"][-1]
    assert any("channel=fax" in one["name"] for one in row["cause"]["slices"])
    assert "target" in {one["name"] for one in row["cause"]["features"]}, "labels go by name"
    assert not {"predicted", "target_score"} & {one["name"] for one in row["cause"]["features"]}, (
        "that is the loss again"
    )
    assert all(one.why.endswith(row["cause"]["why"]) for one in findings)
    inputs = {one.input[:200] for one in mixed}
    assert {one["after"]["input"] for one in row["cause"]["examples"]} <= inputs
    paths = project.report()
    assert "cause: mean loss" in paths.markdown.read_text()
    (detected,) = [one for one in project.story()["events"] if one["kind"] == "detect"]
    assert "mean loss" in detected["why"]
    assert "an answer that is wrong now" in paths.html.read_text()


def test_watching_twice_counts_nothing_twice_and_a_restart_goes_on(project: Project, tweets: list[Record]) -> None:
    live(project, tweets[1500:1600], NOON)
    assert (project.watch().answers, project.watch().answers) == (100, 0)
    again = luthier.open(project.path)
    live(again, tweets[1600:1650], NOON + timedelta(hours=5))
    watched = again.watch()
    assert (watched.answers, watched.labels) == (50, 50)
    risk = next(finding for finding in watched.findings if finding.check == "risk.v1")
    assert risk.n == 150
    again.close()


def test_a_label_that_comes_before_its_answer_waits_for_it(project: Project, tweets: list[Record]) -> None:
    early = tweets[1500]
    assert project.feedback([{"id": early.id, "target": early.target}]).waiting == 1
    assert project.watch().labels == 0
    live(project, [early], NOON, labelled=False)
    assert project.watch().labels == 1


def test_a_corrected_label_rebuilds_its_bucket(project: Project, tweets: list[Record]) -> None:
    live(project, tweets[1500:1520], NOON)
    project.watch()
    before = project._watch(project.champion()).monitor.timeline()[0]["loss"]  # type: ignore[arg-type]
    first = tweets[1500]
    other = "negative" if first.target == "positive" else "positive"
    assert project.feedback([{"id": first.id, "target": other}]).conflicts == 1
    assert project.feedback([{"id": first.id, "target": other, "correct": True}]).stored == 1
    project.watch()
    after = project._watch(project.champion()).monitor.timeline()[0]["loss"]  # type: ignore[arg-type]
    assert after.n == before.n
    assert abs(after.value - before.value) == pytest.approx(1 / before.n)


def test_only_suggesting_never_updates(project: Project, tweets: list[Record], films: list[Record]) -> None:
    text = project.path.read_text().replace("mode: auto", "mode: suggest")
    project.path.write_text(text)
    again = luthier.open(project.path)
    live(again, tweets[1500:1800], NOON - timedelta(days=1))  # a calm before, so that the change has a moment
    live(again, shifted(films)[:300], NOON)
    looks = iter(range(3))
    again.loop(interval=0, stop=lambda: next(looks, None) is None)
    assert [one.number for one in again.versions()] == [1]
    assert again.story()["decisions"][-1]["action"] == "alert"
    again.close()


def test_a_failed_update_leaves_the_champion_and_the_loop(
    project: Project, tweets: list[Record], films: list[Record]
) -> None:
    live(project, tweets[1500:1800], NOON - timedelta(days=1))
    live(project, shifted(films)[:300], NOON)
    (project.home / "tweets.jsonl").unlink()
    looks = iter(range(2))
    project.loop(interval=0, stop=lambda: next(looks, None) is None)
    champion = project.champion()
    assert champion is not None
    assert champion.number == 1
    last = project.story()["decisions"][-1]
    assert last["action"] == "reject"
    assert "tweets.jsonl" in last["why"]


def test_a_version_that_did_not_pass_needs_a_reason(project: Project) -> None:
    project.path.write_text(project.path.read_text().replace("accuracy: 0.5", "accuracy: 0.97"))
    again = luthier.open(project.path)
    fitted = again.fit()
    assert not fitted.run.met
    with pytest.raises(NotMet, match="--anyway"):
        again.promote(fitted.version.number)
    again.promote(fitted.version.number, anyway="a drill")
    assert again.history()[-1].why == "a drill"
    again.close()


def test_what_cannot_be_done_yet_is_said(tmp_path: Path, built: Path) -> None:
    shutil.copy(built / "luthier.yaml", tmp_path)
    shutil.copy(built / "tweets.jsonl", tmp_path)
    bare = luthier.open(tmp_path)
    with pytest.raises(UsageError, match="no champion"):
        bare.watch()
    with pytest.raises(UsageError, match="luthier fit"):
        bare.promote()
    assert bare.status()["champion"] is None
    assert bare.story()["timeline"] == []
    bare.close()


def test_the_report_of_a_project_is_written(project: Project, tweets: list[Record]) -> None:
    live(project, tweets[1500:1700], NOON)
    project.watch()
    paths = project.report()
    assert paths.html.stat().st_size > 100_000
    assert "risk.v1" in paths.markdown.read_text(encoding="utf-8")
    assert json.loads(paths.json.read_text(encoding="utf-8"))["project"] == "mood"


def test_a_champion_chosen_by_a_person_during_an_update_stays(
    project: Project, films: list[Record], tmp_path: Path
) -> None:
    live(project, shifted(films)[:300], NOON)
    project.watch()
    shutil.copytree(project.registry.folder(project.versions()[0]), tmp_path / "other")
    (tmp_path / "other" / "README.md").write_text("another card, another digest")
    other = project.registry.register(tmp_path / "other", parent=1, about=dict(project.versions()[0].about))

    def meanwhile(what: str, done: float, numbers: Any) -> None:
        if what == "training" and len(project.history()) == 1:
            project.registry.promote(other.number, why="a person decided")

    project.update(meanwhile)
    champion = project.champion()
    assert champion is not None
    assert champion.number == other.number
    last = project.story()["decisions"][-1]
    assert (last["action"], "champion changed" in last["why"]) == ("reject", True)


def test_a_candidate_that_only_lacks_labels_waits_and_is_judged_again(project: Project, films: list[Record]) -> None:
    text = (
        project.path.read_text().replace("holdout: 0.4", "holdout: 0.05").replace("min_labels: 150", "min_labels: 30")
    )
    project.path.write_text(text.replace("margin: 0.1", "alpha: 0.0005, margin: 0.1"))
    again = luthier.open(project.path)
    live(again, shifted(films)[:250], NOON)
    assert again.watch().decision.action == "retrain"
    fitted = again.update()
    assert fitted.verdict.outcome == "inconclusive", fitted.verdict.why
    assert again.story()["decisions"][-1]["action"] == "label"
    looks = iter(range(1))
    again.loop(interval=0, stop=lambda: next(looks, None) is None)
    assert [one.number for one in again.versions()] == [1, 2], "the waiting candidate is not trained again"
    live(again, shifted(films)[250:500], NOON + timedelta(days=1))
    looks = iter(range(1))
    again.loop(interval=0, stop=lambda: next(looks, None) is None)
    last = again.story()["decisions"][-1]
    assert (last["action"], last["model"]) == ("promote", "v2"), last["why"]
    champion = again.champion()
    assert champion is not None
    assert champion.number == 2
    again.close()


def test_features_of_a_frozen_backbone_serve_every_run(tmp_path: Path, built: Path) -> None:
    for name in ("luthier.yaml", "tweets.jsonl"):
        shutil.copy(built / name, tmp_path)
    path = tmp_path / "luthier.yaml"
    path.write_text(path.read_text().replace("recipe: full", "recipe: head"))
    kept = tmp_path / ".luthier" / "features"
    for epochs in ("4", "5"):  # another run with other options: the same texts are not encoded again
        path.write_text(re.sub(r"head, epochs: \d", f"head, epochs: {epochs}", path.read_text()))
        opened = luthier.open(tmp_path)
        opened.fit()
        opened.close()
        files = {file.name for file in kept.rglob("*.safetensors")}
        assert files
        if epochs == "4":
            first = files
    assert files == first


def test_an_alarm_asks_for_labels_by_a_plan_and_picked_labels_teach_but_do_not_judge(
    project: Project, tweets: list[Record], films: list[Record]
) -> None:
    live(project, tweets[1500:1800], NOON - timedelta(days=1))
    live(project, films[:400], NOON, labelled=False)
    watched = project.watch()
    assert watched.decision.action == "label", watched.decision.why
    (asked,) = plan.kept(project.store)
    assert (asked.decision, len(asked.requests)) == ("worse", 150)
    assert project.status()["rows"]["request"] == 150
    truth = {one.id: one.target for one in films}
    repair = project.label_plan(120, "repair", seed=1)
    labelfiles.write(repair, project.home / "tasks.jsonl")
    rows = [json.loads(line) for line in (project.home / "tasks.jsonl").read_text(encoding="utf-8").splitlines()]
    (project.home / "tasks.jsonl").write_text("".join(json.dumps(r | {"target": truth[r["id"]]}) + "\n" for r in rows))
    taken = project.take_labels(project.home / "tasks.jsonl")
    assert (taken.feedback.stored, taken.file.rejected) == (120, ())
    project.watch()
    picked = plan.picked(project.store) & {one.id for one in repair.requests}
    assert picked
    watch = project._watch(project.champion())  # type: ignore[arg-type]
    assert picked <= set(watch.ids), "they are there to learn from"
    mixed = update.mix(record.labelled(project.store, watch.ids), Split((), (), ()), project.config.update)
    assert not picked & {one.id for one in mixed.holdout}
    assert picked <= {one.id for one in mixed.fresh}
    assert not picked & {one.id for one in project._repair._unseen(watch, [], "")}
