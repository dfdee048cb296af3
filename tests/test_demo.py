"""The demo's path with the real model over real HTTP, smaller than `luthier demo --quick` (which CI runs as well)."""

from __future__ import annotations

from pathlib import Path

import pytest

import luthier
from luthier.demo import assets, run
from luthier.errors import UsageError

PLAN = run.Plan(
    tweets=1400, calm=150, after=90, unseen=150, train=0.3, accuracy=0.6, min_labels=80, holdout=0.3, rungs=("head",)
)  # fmt: skip


@pytest.mark.timeout(900)
def test_the_loop_runs_over_http_and_loses_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = run.run(tmp_path / "demo", plan=PLAN, say=said.append)
    held = {claim["claim"]: claim["holds"] for claim in outcome.claims}
    for claim in (
        "version 1 met its requirements before it served", "no alarm while only tweets came",
        "the loss was detected by labels", "no request failed or was dropped", "every answer was recorded once",
    ):  # fmt: skip
        assert held[claim], "\n".join(said)
    project = luthier.open(tmp_path / "demo")
    story = project.story()
    assert [one["action"] for one in story["decisions"]][-1] != "none"
    assert any(one["action"] in ("promote", "reject", "label") and one["model"] == "v2" for one in story["decisions"])
    assert story["labels"]["received"] > 80
    assert project.store.audit() == []
    assert outcome.report.stat().st_size > 100_000
    project.close()


def test_a_folder_with_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="--folder"):
        run.run(tmp_path, plan=PLAN)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_the_sentences_are_those_of_people() -> None:
    counts = {name: len(assets.sentiment(name)) for name in assets.DOMAINS}
    assert counts == {"tweets": 3432, "products": 2985, "films": 10072, "editorials": 2970}
    assert {one.target for one in assets.sentiment("films")} == {"positive", "negative"}
