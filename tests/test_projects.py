"""Many projects under one budget, and a project whose answers stop: through the public doors, with a tiny real model."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier import cli, watching
from luthier.errors import StoreError, UsageError
from luthier.projects import Projects, found
from luthier.series import arrivals
from luthier.stages import record
from luthier.types import Record, utc_now

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def folders(built: Path, tmp_path: Path) -> list[Path]:
    made = [tmp_path / "models" / name for name in ("a", "b")]
    for folder in made:
        shutil.copytree(built, folder)
    return made


def live(project: Any, records: list[Record], at: datetime, wrong: bool = False) -> None:
    """The champion's answers, and labels that call all of them right, or all wrong."""
    champion = project.champion()
    adapter = project.task().adapter(project.registry.folder(champion))
    asked = [Record(f"{at:%d%H}{one.id}", at + timedelta(minutes=i), one.input) for i, one in enumerate(records)]
    rows = [
        replace(one, output=said, model=champion.name) for one, said in zip(asked, adapter.answer(asked), strict=True)
    ]
    record.append(project.store, [record.to_row(one) for one in rows])
    other = {"negative": "positive", "positive": "negative"}
    said = {one.id: one.output["label"] for one in rows}
    project.feedback([{"id": name, "target": other[label] if wrong else label} for name, label in said.items()])


def test_projects_are_watched_together_and_one_that_fails_stops_no_other(
    folders: list[Path], tweets: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for folder, wrong in zip(folders, (False, True), strict=True):
        with contextlib.closing(luthier.open(folder)) as project:
            live(project, tweets[1500:1700], NOON)
            live(project, tweets[1700:1900], NOON + timedelta(days=1), wrong)
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / "luthier.yaml").write_text("fit: 3\n")
    good, bad = map(str, folders)
    with contextlib.closing(Projects([tmp_path / "models"])) as projects:
        seen = projects.watch()
        assert set(seen.watched) == {good, bad}
        assert list(seen.unwatched) == [str(tmp_path / "models" / "broken")]
        assert not seen.watched[good].calling
        assert {one.check for one in seen.watched[bad].calling} >= {"risk_lifetime.v1"}
        assert seen.watched[bad].decision.action in ("alert", "label", "retrain")
        assert projects.watch().watched[bad].answers == 0, "each row is read once"
    monkeypatch.setattr(sys, "argv", ["luthier", "fleet", str(tmp_path / "models")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out = capsys.readouterr().out
    assert ended.value.code == 1
    assert out.startswith(f"{bad}: +0 answers")
    assert "CALLS" in out
    assert "broken: not watched" in out
    monkeypatch.setattr(sys, "argv", ["luthier", "fleet", good, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["watched"][good]["decision"]["action"] == "none"
    with Projects([folders[0]]).alone(), pytest.raises(StoreError, match="another loop holds"):
        luthier.open(folders[0]).loop(stop=lambda: True)


def test_projects_are_found_below_folders_and_not_in_hidden_ones(tmp_path: Path) -> None:
    for name in ("x", "y/z", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "luthier.yaml").write_text("")
    assert list(found([tmp_path])) == [str(tmp_path / "x"), str(tmp_path / "y" / "z")]
    assert list(found([tmp_path / "x" / "luthier.yaml", tmp_path / "x"])) == [str(tmp_path / "x")]
    with pytest.raises(UsageError, match=r"no luthier.yaml at or below .*nowhere"):
        found([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="0 false pages a month"):
        Projects([tmp_path], false_pages_per_month=0)


def test_a_project_whose_answers_stop_says_so_and_pages(
    folders: list[Path], tweets: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = utc_now().replace(microsecond=0)
    now = [begin]
    monkeypatch.setattr(watching, "utc_now", lambda: now[0])
    monkeypatch.setattr("luthier.loop.utc_now", lambda: now[0])
    with contextlib.closing(luthier.open(folders[0])) as project:
        held = iter(tweets[1500:1900])  # the model has not seen them

        def come(days: float) -> Any:
            now[0] = begin + timedelta(days=days)
            live(project, list(itertools.islice(held, 40)), now[0] - timedelta(minutes=60))
            return project.watch()

        for day in (0.0, 0.3, 0.5, 1.0):
            come(day)
        now[0] += timedelta(days=2)
        young = project.watch()
        assert [one.slice for one in young.page.quiet] == ["silence"], "seen, but two weeks are not known yet"
        assert not young.calling
        for day in (3.1, 6.0, 9.0, 12.0, 15.0):
            assert not come(day).page.loud
        now[0] += timedelta(days=8)
        assert project.watch().page.loud == ()
        now[0] += timedelta(days=2)
        stopped = project.watch()
        assert [(one.check, one.slice) for one in stopped.calling] == [("feed.v1", "silence")]
        assert stopped.decision.action == "alert"
        assert "nothing has come for 10 days" in stopped.decision.why
        assert any(one["slice"] == "silence" and one["alarm"] for one in project.status()["findings"])
        assert project.pages()[0].hindsight == "unknown"
        again = come(26.0)
        assert not again.calling
        assert again.decision.action == "none"
        assert project.pages()[0].closed is not None
    assert arrivals.FACTOR == 3


def test_answers_of_simulated_time_are_not_missed(folders: list[Path], tweets: list[Record]) -> None:
    with contextlib.closing(luthier.open(folders[0])) as project:
        live(project, tweets[1500:1600], NOON)
        watched = project.watch()
        assert not any(one.slice == "silence" for one in watched.findings)
        assert watched.decision.action == "none"
