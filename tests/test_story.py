"""A story is read leniently, and its headline says what happened."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from luthier import story as told
from luthier.types import Estimate, Finding, Promise


@pytest.fixture
def story() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "story.json").read_text(encoding="utf-8"))


def test_headline_tells_fall_delay_and_repair(story: dict[str, Any]) -> None:
    headline = told.headline(story)
    assert "Accuracy fell from 0.9" in headline
    assert "2 hours after the change (inputs moved)" in headline
    assert "promoted on 4 Mar 2026 00:00 UTC; accuracy since then is 0.86" in headline


def test_headline_of_a_quiet_watch(story: dict[str, Any]) -> None:
    quiet = {"timeline": story["timeline"][:20]}
    assert "nothing was found wrong" in told.headline(quiet)
    for row in quiet["timeline"]:
        row["true"] = None
    assert "accuracy is unknown" in told.headline(quiet)


def test_headline_of_a_rejected_candidate_keeps_the_champion(story: dict[str, Any]) -> None:
    story["events"] = [event | {"kind": "reject"} if event["kind"] == "promote" else event for event in story["events"]]
    assert "rejected" in told.headline(story)
    assert "champion still answers" in told.headline(story)


def test_headline_is_about_the_last_alarm(story: dict[str, Any]) -> None:
    later = {"at": story["timeline"][55]["at"], "kind": "detect", "title": "second trouble"}
    assert "second trouble" in told.headline(story | {"events": [*story["events"], later]})


def test_a_repair_without_an_alarm_is_not_called_one(story: dict[str, Any]) -> None:
    headline = told.headline(story | {"events": [event for event in story["events"] if event["kind"] != "detect"]})
    assert "a repair began 13 hours after the change (v2 trained)" in headline
    assert "alarm" not in headline


def test_empty_story_has_a_headline() -> None:
    assert told.headline({}).startswith("Nothing has happened")


@pytest.mark.parametrize(
    "bad",
    [
        {"timeline": None, "events": 3, "versions": "v1"},
        {"timeline": [None, 7, {"at": "yesterday"}, {"at": "2026-01-01T00:00:00", "n": -4, "true": "high"}]},
        {"events": [{"at": "2026-01-01", "kind": None, "title": None}], "timeline": {"at": 1}},
        {"timeline": [{"at": "2026-01-01", "n": 10**400, "true": {"value": "0.9", "n": math.nan}, "estimated": []}]},
    ],
)
def test_wrong_forms_count_as_absent(bad: dict[str, Any]) -> None:
    assert isinstance(told.headline(bad), str)
    for point in told.timeline(bad):
        assert point.true == Estimate() or math.isnan(point.true.value)
        assert point.at.tzinfo is UTC
    told.events(bad)
    told.blocks(told.timeline(bad))


def test_times_without_zone_are_utc_and_others_are_turned() -> None:
    assert told.time_text("2026-03-02T10:00:00+02:00") == "2 Mar 2026 08:00 UTC"
    assert told.time_text("2026-03-02T10:00:00") == "2 Mar 2026 10:00 UTC"
    assert told.time_text(None) == "–"


def test_estimates_as_text() -> None:
    assert told.estimate_text(Estimate(0.951, 800, 0.934, 0.964)) == "0.951 (0.934–0.964, n 800)"
    assert told.estimate_text(Estimate()) == "–"
    assert told.estimate_text({"value": None, "n": 0}) == "–"
    assert told.estimate_text(Estimate(0.5, 12)) == "0.500 (n 12)"


def test_pooling_weighs_by_labels_and_leaves_unlabelled_buckets_out(story: dict[str, Any]) -> None:
    points = told.timeline(story)[:24]
    right = sum(point.true.value * point.true.n for point in points if point.true.n)
    n = sum(point.true.n for point in points)
    pooled = told.pooled(points)
    assert pooled.n == n
    assert pooled.value == pytest.approx(right / n)
    assert pooled.low < pooled.value < pooled.high
    assert told.pooled([]).n == 0


def test_blocks_keep_every_label_and_cross_no_version_or_shift(story: dict[str, Any]) -> None:
    points, happened = told.timeline(story), told.events(story)
    blocks = told.blocks(points, happened)
    assert sum(block.true.n for block in blocks) == sum(point.true.n for point in points)
    assert 5 < len(blocks) < len(points)
    shift = next(event.at for event in happened if event.kind == "shift")
    step = points[1].at - points[0].at
    assert not any(block.start < shift - step and block.end > shift for block in blocks)


@pytest.mark.parametrize(
    ("promise", "limit", "words"),
    [
        (Promise("e-value", 0.01), 100, "1 in 100"),
        (Promise("e-detector", 100_000), 100_000, "once in 100,000"),
        (Promise("fixed", 0.05), 20, "1 time in 20"),
        (Promise("none"), math.nan, "no promise"),
    ],
)
def test_promises_in_words(promise: Promise, limit: float, words: str) -> None:
    plain = {"kind": promise.kind, "level": promise.level}
    assert told.threshold(plain) == pytest.approx(limit, nan_ok=True)
    assert words in told.promise_words(plain)


def test_clean_is_json_whatever_comes() -> None:
    import numpy as np

    finding = Finding("risk.v1", math.nan, 0.1, math.inf, Promise("e-value", 0.01), True, 3, "bad\ud800 text")
    found = told.clean({"finding": finding, "at": datetime(2026, 1, 1, tzinfo=UTC), "array": np.arange(2), "set": {1}})
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["finding"]["value"] is None
    assert json.loads(text)["array"] == [0, 1]
    text.encode("utf-8")


def test_text_has_no_control_characters() -> None:
    assert told.text("a\x1b[31mred\x00\n\u202eb") == "a [31mred b"
    assert len(told.text("x" * 1000, 50)) == 50
