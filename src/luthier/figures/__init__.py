"""Every Plotly figure, once: report, dashboard and notebook show the same. Each takes a story and gives a Figure.

An empty story gives a figure that says what is missing. `every` makes all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.figures.watch import accuracy, evidence
from luthier.figures.work import before_after, curves, labels, rungs

__all__ = ["accuracy", "before_after", "curves", "every", "evidence", "labels", "rungs"]


def every(story: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of a story: name to plotly Figure."""
    makers = (accuracy, evidence, before_after, labels, curves, rungs)
    return {make.__name__: make(story) for make in makers}
