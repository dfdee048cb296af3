"""Terminal pictures: right width, all marks, hostile text harmless."""

from __future__ import annotations

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier import terminal
from luthier.types import Estimate, Finding, Promise


@pytest.fixture
def story() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "story.json").read_text(encoding="utf-8"))


def drawn(renderable: Any, width: int = 80, colour: bool = False) -> str:
    out = StringIO()
    Console(file=out, width=width, force_terminal=colour, color_system="truecolor" if colour else None).print(
        renderable
    )
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 140])
def test_timeline_fits_and_shows_everything(story: dict[str, Any], width: int) -> None:
    found = drawn(terminal.timeline(story, width), width)
    assert max(map(len, found.splitlines())) <= width
    for mark in ("━", "░", "●", "○", "?", "┕v1", "┕v2", "Amazon", "v2 serves", "UTC"):
        assert mark in found
    above = found.split("┤")[0].split()
    assert sorted(above[:-1]) == list("12345678")


def test_true_accuracy_falls_on_the_page_as_in_the_story(story: dict[str, Any]) -> None:
    lines = [line for line in drawn(terminal.timeline(story, 80)).splitlines() if "┤" in line or "│" in line]
    rows = [index for index, line in enumerate(lines) if "━" in line[7:35]]
    later = [index for index, line in enumerate(lines) if "━" in line[40:55]]
    assert max(rows) < min(later)


def test_timeline_without_labels_or_points_says_so(story: dict[str, Any]) -> None:
    assert "No answers" in drawn(terminal.timeline({}))
    for row in story["timeline"]:
        row["true"] = None
    assert "no labels arrived yet" in drawn(terminal.timeline(story, 100), 100)
    one = {"timeline": [{"at": "2026-01-01T00:00:00Z", "model": "v1", "n": 1}]}
    assert "┕v1" in drawn(terminal.timeline(one))


def test_findings_table_takes_objects_and_dicts() -> None:
    finding = Finding("risk.v1", math.nan, 0.05, 2.4e5, Promise("e-detector", 1e5), True, 318, "loss is up", "loss")
    found = drawn(terminal.findings_table([finding, {"check": "quality.v1", "value": 0.2}]), 120)
    assert "ALARM: loss is up [at most 1 false alarm in 100,000 observations]" in found
    assert "240,000" in found
    assert "–" in found
    assert "nan" not in found
    assert "No findings." in drawn(terminal.findings_table([]))


def test_decisions_and_versions(story: dict[str, Any]) -> None:
    assert "embedding_shift.v1" in drawn(terminal.decisions_table(story))
    found = drawn(terminal.versions_table(story))
    assert "0.945–0.981" in found
    assert "b07cb07c" in found
    assert "No version" in drawn(terminal.versions_table({}))
    assert "No decision" in drawn(terminal.decisions_table({}))


def test_estimate_text() -> None:
    assert terminal.estimate(Estimate(0.951, 800, 0.934, 0.964)) == "0.951 (0.934–0.964, n 800)"
    assert terminal.estimate(Estimate()) == "–"


def test_markup_and_escape_codes_are_shown_not_obeyed(story: dict[str, Any]) -> None:
    bad = "[bold red]x[/] \x1b]0;title\x07\x1b[2J [/nothing]"
    for rows in ("events", "decisions", "versions"):
        for row in story[rows]:
            row.update(title=bad, why=bad, action=bad, recipe=bad)
    story["timeline"][0]["model"] = bad
    every = [terminal.timeline(story, 100), terminal.decisions_table(story), terminal.versions_table(story)]
    every.append(terminal.findings_table([{"check": bad, "why": bad}]))
    for renderable in every:
        found = drawn(renderable, 100)
        assert "\x1b" not in found
        assert "\x07" not in found
    assert "[bold red]x[/]" in drawn(every[0], 100)
