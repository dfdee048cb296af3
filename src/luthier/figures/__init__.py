"""Every Plotly figure, once: report, dashboard and notebook show the same. Each takes a story and gives a Figure.

An empty story gives a figure that says what is missing. `every` makes all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.figures.small import bars_svg, bars_text, line_svg, line_text
from luthier.figures.tables import confusion, curves_of_scores, heat, metrics, reliability
from luthier.figures.watch import accuracy, evidence
from luthier.figures.work import before_after, curves, labels, rungs

__all__ = [
    "accuracy",
    "bars_svg",
    "bars_text",
    "before_after",
    "confusion",
    "curves",
    "curves_of_scores",
    "drawn",
    "every",
    "evidence",
    "heat",
    "labels",
    "line_svg",
    "line_text",
    "metrics",
    "reliability",
    "rungs",
]

_OF_TABLES = {make.__name__: make for make in (confusion, curves_of_scores, heat, metrics, reliability)}


def every(story: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of a story: name to plotly Figure."""
    makers = (accuracy, evidence, before_after, labels, curves, rungs)
    return {make.__name__: make(story) for make in makers}


def drawn(maker: str, about: Mapping[str, Any]) -> Any:
    """One figure of a report on tables, by the name of its maker."""
    return _OF_TABLES[maker](about)
