"""Figures of reports on tables: what they draw, and what they say when there is nothing."""

from __future__ import annotations

import json
import math

import pytest

from luthier import figures
from luthier.types import Estimate

pytest.importorskip("plotly")
BAD = "<script>alert(1)</script>"


@pytest.mark.parametrize("name", ["heat", "metrics", "confusion", "curves_of_scores", "reliability"])
def test_nothing_to_draw_is_said(name: str) -> None:
    made = figures.drawn(name, {})
    assert len(made.data) == 0
    assert len(made.layout.annotations[0].text) > 20


def test_heat_map_marks_alarms_and_escapes_names() -> None:
    about = {"columns": ["a", BAD], "windows": ["2026-03-01", "2026-03-02"], "unit": "x", "top": 4.0,
             "values": [[0.0, 3.0], [math.nan, 1.0]], "loud": [[False, True], [False, False]]}  # fmt: skip
    made = figures.drawn("heat", about)
    assert (made.data[1].x, made.data[1].y) == ((1,), (0,))
    assert "<script" not in made.to_json()
    assert list(made.layout.xaxis.ticktext) == ["1 Mar", "2 Mar"]
    assert json.loads(made.to_json())["data"][0]["z"][1][0] is None


def test_metrics_have_a_panel_each_with_the_reference_as_a_band() -> None:
    row = {"metric": "accuracy", "reference": Estimate(0.9, 50, 0.8, 0.95), "values": [Estimate(0.8, 9, 0.5, 0.9), Estimate()],
           "estimated": [Estimate(), Estimate(0.85, 9, 0.8, 0.9)], "loud": [True, False]}  # fmt: skip
    made = figures.drawn("metrics", {"windows": ["w1", "w2"], "metrics": [row, {**row, "metric": BAD}]})
    assert len(made.data) == 4
    assert {shape.y0 for shape in made.layout.shapes} == {0.8}
    assert "<script" not in made.to_json()
    assert all(len(trace.y) == 1 for trace in made.data), "a window without a number has no point"


def test_confusion_tells_shares_and_counts() -> None:
    made = figures.drawn("confusion", {"classes": ["no", BAD], "counts": [[8, 2], [1, 9]]})
    assert made.data[0].z[0][1] == 0.2
    assert [note.text for note in made.layout.annotations] == ["8", "2", "1", "9"]
    assert "<script" not in made.to_json()
