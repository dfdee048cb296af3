"""`kill -9` at random moments of promoting and updating: what was acknowledged is there once, and the champion is valid."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import luthier
from luthier.stages import record
from luthier.types import Record

PROMOTE = """
import luthier, sys
project = luthier.open(sys.argv[1])
print("ready", flush=True)
number = 1
while True:
    number = 3 - number
    print(project.promote(number, anyway="a drill").seq, flush=True)
"""
UPDATE = """
import luthier, sys
project = luthier.open(sys.argv[1])
print("ready", flush=True)
print(project.update().version.name, flush=True)
"""


def killed(script: str, folder: Path, after: float, scratch: Path) -> list[str]:
    """What the script printed before it was killed `after` seconds after it was ready (or ended by itself)."""
    printed = scratch / "printed.txt"
    with printed.open("w") as out:
        child = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=out, stderr=subprocess.DEVNULL)
        while "ready" not in printed.read_text() and child.poll() is None:
            time.sleep(0.01)
        try:
            child.wait(after)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
    return [line for line in printed.read_text().splitlines() if line != "ready"]


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "project")
    return tmp_path / "project"


def test_promotions_survive_kills(folder: Path, tmp_path: Path) -> None:
    project = luthier.open(folder)
    first = project.registry.folder(project.versions()[0])
    shutil.copytree(first, tmp_path / "second")
    (tmp_path / "second" / "README.md").write_text("another card, another content, another digest")
    project.registry.register(tmp_path / "second", parent=1, about=dict(project.versions()[0].about))
    project.close()
    moments, acknowledged = random.Random(5), 0
    for _ in range(15):
        lines = killed(PROMOTE, folder, moments.uniform(0.0, 0.4), tmp_path)
        again = luthier.open(folder)
        rows = [row.seq for row in again.store.scan("promotion")]
        assert {int(line) for line in lines if line.isdigit()} <= set(rows), "an acknowledged promotion is lost"
        assert len(rows) == len(set(rows))
        champion = again.champion()
        assert champion is not None
        again.registry.folder(champion, verify=True)
        assert again.store.audit() == []
        acknowledged += len(lines)
        again.close()
    assert acknowledged > 0, "no kill came late enough to test anything"


@pytest.mark.timeout(600)
def test_an_update_that_is_killed_again_and_again_ends_with_one_version(
    folder: Path, tmp_path: Path, films: list[Record]
) -> None:
    project = luthier.open(folder)
    unhappy = [one for one in films if one.target == "negative"][:300]
    adapter = project.task().adapter(project.registry.folder(project.versions()[0]))
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for index, (one, said) in enumerate(zip(unhappy, adapter.answer(unhappy), strict=True)):
        answer = Record(one.id, start + timedelta(minutes=index), one.input, output=said, model="v1")
        record.append(project.store, [record.to_row(answer)])
    project.feedback([{"id": one.id, "target": one.target} for one in unhappy])
    project.watch()
    project.close()
    moments = random.Random(3)
    finished: list[str] = []
    for _ in range(8):
        finished += killed(UPDATE, folder, moments.uniform(0.5, 6.0), tmp_path)
        again = luthier.open(folder)
        champion = again.champion()
        assert champion is not None
        again.registry.folder(champion, verify=True)
        assert len(again.versions()) <= 2
        again.close()
        if finished or champion.number == 2:
            break
    last = luthier.open(folder)
    if not finished and len(last.versions()) < 2:
        last.update()
    assert [one.number for one in last.versions()] == [1, 2]
    assert last.store.audit() == []
    outcomes = [row for row in last.store.scan("decision") if row.body["action"] in ("promote", "reject")]
    assert len(outcomes) <= 1 + len(finished)
    last.close()
