"""Every figure says what the story says, and what is missing when it says nothing."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier import figures
from luthier.figures.base import lanes, merged
from luthier.story import timeline

pytest.importorskip("plotly")
NAMES = ("accuracy", "evidence", "before_after", "labels", "curves", "rungs")


@pytest.fixture
def story() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "story.json").read_text(encoding="utf-8"))


def notes(figure: Any) -> str:
    return "\n".join(note.text or "" for note in figure.layout.annotations)


def test_every_makes_each_figure_and_each_is_valid_json(story: dict[str, Any]) -> None:
    made = figures.every(story)
    assert tuple(made) == NAMES
    for figure in made.values():
        assert len(figure.data) > 0
        json.loads(figure.to_json())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nothing", [{}, {key: [] for key in ("timeline", "evidence", "slices", "fit", "labels")}])
def test_nothing_to_draw_is_said(name: str, nothing: dict[str, Any]) -> None:
    figure = getattr(figures, name)(nothing)
    assert len(figure.data) == 0
    assert len(notes(figure)) > 10


def test_accuracy_shows_truth_estimate_unknown_versions_and_events(story: dict[str, Any]) -> None:
    figure = figures.accuracy(story)
    names = {trace.name for trace in figure.data}
    assert {"true accuracy", "estimated without labels", "estimate not valid: unknown"} <= names
    hollow = [trace for trace in figure.data if trace.name == "estimate not valid: unknown"]
    assert all(trace.marker.symbol == "circle-open" and trace.line.dash == "dot" for trace in hollow)
    shown = notes(figure)
    for words in ("unknown", "no estimate: unknown", "<b>v1</b>", "<b>v2</b>", "Amazon reviews arrive", "v2 serves"):
        assert words in shown


def test_estimate_without_a_number_is_never_drawn_as_one(story: dict[str, Any]) -> None:
    silent = {row["at"] for row in story["timeline"] if row["estimated"]["value"] is None}
    assert silent
    for trace in figures.accuracy(story).data:
        if "estimate" in (trace.name or ""):
            assert not silent & {at.isoformat() for at in trace.x if at}


def test_long_watches_are_merged_and_lose_no_label() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"at": (start + timedelta(minutes=i)).isoformat(), "model": f"v{1 + i // 2500}", "n": 9,
         "true": {"value": 0.5 + 0.5 * (i % 2), "n": 2},
         "estimated": {"value": 0.9, "n": 9, "low": 0.88, "high": 0.92, "valid": i % 7 > 0, "why": "far"}}
        for i in range(5000)
    ]  # fmt: skip
    points = timeline({"timeline": rows})
    joined = merged(points, 500)
    assert len(joined) == 500
    assert sum(point.n for point in joined) == 45_000
    assert sum(point.true.n for point in joined) == 10_000
    assert {point.model for point in joined} == {"v1", "v2"}
    assert all(point.valid and point.estimated.value == pytest.approx(0.9) for point in joined)
    figure = figures.accuracy({"timeline": rows})
    assert max(len(trace.x) for trace in figure.data) < 1100


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_the_interval_of_joined_estimates_holds_whether_their_errors_are_alike_or_not(alike: float) -> None:
    rng, start, held = np.random.default_rng(0), datetime(2026, 1, 1, tzinfo=UTC), 0
    for _ in range(400):
        off = 0.02 * (alike**0.5 * rng.normal() + (1 - alike) ** 0.5 * rng.normal(size=4))
        rows = [
            {"at": (start + timedelta(minutes=i)).isoformat(), "model": "v1", "n": 9 + i,
             "estimated": {"value": 0.8 + one, "n": 9, "low": 0.8 + one - 0.0392, "high": 0.8 + one + 0.0392, "valid": True}}
            for i, one in enumerate(off.tolist())
        ]  # fmt: skip
        (joined,) = merged(timeline({"timeline": rows}), 1)
        held += joined.estimated.low <= 0.8 <= joined.estimated.high
    assert held >= 0.93 * 400


def test_no_labels_is_said_in_the_picture(story: dict[str, Any]) -> None:
    for row in story["timeline"]:
        row["true"] = None
    assert "true accuracy is unknown" in notes(figures.accuracy(story))


def test_event_labels_never_overlap_on_a_phone(story: dict[str, Any]) -> None:
    crowd = [{"at": story["timeline"][30]["at"], "kind": "label", "title": f"labels asked {i}"} for i in range(30)]
    figure = figures.accuracy(story | {"events": crowd})
    lifts = [note.yshift for note in figure.layout.annotations if (note.text or "").startswith("labels asked")]
    assert 0 < len(lifts) <= 12
    assert len(set(lifts)) == len(lifts)


def test_lanes_keep_labels_apart() -> None:
    assert lanes([0.0, 0.1, 0.5, 0.55], [0.4, 0.1, 0.4, 0.1]) == [0, 1, 0, 1]
    assert lanes([], []) == []


def test_evidence_has_a_panel_a_check_with_threshold_promise_and_alarm(story: dict[str, Any]) -> None:
    figure = figures.evidence(story)
    shown = notes(figure)
    assert "<b>risk.v1</b> · loss<br>at most 1 false alarm in 100,000 observations" in shown
    assert "alarm at 100,000" in shown
    assert "alarm at 100" in shown
    assert {axis.type for axis in figure.select_yaxes()} == {"log"}
    alarms = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert len(alarms) == 4
    levels = {shape.y0 for shape in figure.layout.shapes if shape.line.dash == "dash"}
    assert levels == {100_000, 100}


def test_evidence_of_any_size_and_form_is_drawn(story: dict[str, Any]) -> None:
    row = story["evidence"][0]
    for point, value in zip(row["points"], (0.0, -1.0, 1e300, math.inf, None, "x", math.nan), strict=False):
        point["evidence"] = value
    for drawn in figures.evidence(story).data[0].y:
        assert 0 < drawn < 1e12


def test_check_without_evidence_shows_value_and_limit(story: dict[str, Any]) -> None:
    row = story["evidence"][0] | {"promise": {"kind": "none", "level": None}}
    figure = figures.evidence({"evidence": [row]})
    assert "limit 0.055" in notes(figure)
    assert figure.layout.yaxis.type != "log"


def test_panels_are_few_and_alarms_come_first(story: dict[str, Any]) -> None:
    quiet = [{**row, "slice": f"s{i}", "points": row["points"][:5]} for i in range(5) for row in story["evidence"]]
    figure = figures.evidence({"evidence": quiet + story["evidence"]})
    assert len(list(figure.select_yaxes())) == 8
    assert sum(trace.mode == "markers+text" for trace in figure.data) == 4


def test_before_after_marks_the_margin(story: dict[str, Any]) -> None:
    figure = figures.before_after(story)
    floor = next(trace for trace in figure.data if trace.name == "before less the margin")
    assert list(floor.x) == [pytest.approx(story["slices"][0]["before"]["value"] - 0.02)]
    after = next(trace for trace in figure.data if trace.name == "after")
    assert after.error_x.array[0] > 0


def test_curves_share_a_panel_by_metric(story: dict[str, Any]) -> None:
    figure = figures.curves(story)
    assert "<b>loss</b>" in notes(figure)
    assert "<b>accuracy</b>" in notes(figure)
    assert {trace.name for trace in figure.data} == {"v1 train", "v1 validation", "v2 train", "v2 validation"}


def test_labels_and_rungs(story: dict[str, Any]) -> None:
    assert list(figures.labels(story).data[0].x) == [1090, 240, 400, 1090, 520]
    assert figures.rungs(story).data[0].text[0].endswith("met")


def test_hostile_names_stay_text(story: dict[str, Any]) -> None:
    bad = '<img src=x onerror="alert(1)"><a href="https://evil.example">x</a>%{y}'
    for event in story["events"]:
        event["title"] = event["why"] = bad
    for row in story["timeline"]:
        row["model"] = bad
        row["estimated"]["why"] = bad
    for row in story["evidence"] + story["slices"]:
        row["check"] = row["slice"] = row["subject"] = bad
    for fit in story["fit"]:
        fit["version"] = fit["recipe"] = bad
        fit["curves"] = {bad: [[1, 2]], **fit["curves"]}
        for rung in fit["rungs"]:
            rung["recipe"] = rung["why"] = bad
    story["labels"]["used"] = {bad: 3}
    for name, figure in figures.every(story).items():
        for raw in ("<img", "<a href"):
            assert raw not in json.dumps(figure.to_plotly_json(), default=str), name
