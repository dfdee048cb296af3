"""What all figures share: palette, layout, escaped text, lanes for labels, and a figure that says what is missing."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from luthier.errors import need
from luthier.story import Point, pooled, spans, text
from luthier.types import Estimate

__all__ = ["COLOURS", "EVENT_COLOURS", "bars", "empty", "faded", "figure", "lanes", "mark_events", "merged", "said"]

COLOURS = {
    "true": "#2b83ba",
    "estimated": "#d9730d",
    "good": "#12946f",
    "bad": "#d1495b",
    "ink": "#7a808a",
    "line": "rgba(128,134,145,0.22)",
    "band": "rgba(128,134,145,0.10)",
}
"""Told apart under the common colour blindnesses (after Okabe and Ito, 2008); legible on white and on near-black."""

EVENT_COLOURS = {
    "shift": "#8a6fc4",
    "detect": "#d1495b",
    "page": "#b0567a",
    "promote": "#12946f",
    "rollback": "#d9730d",
    "reject": "#d9730d",
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def figure(height: int, **layout: Any) -> Any:
    """An empty plotly Figure with the shared layout: transparent, quiet grid, `height` in pixels, any width."""
    graph = need("plotly.graph_objects", extra="report")
    made = graph.Figure()
    made.update_layout(
        height=height,
        autosize=True,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": COLOURS["ink"]},
        margin={"l": 44, "r": 14, "t": 16, "b": 34},
        hovermode="closest",
        dragmode=False,
        hoverlabel={"bgcolor": "#1f2328", "bordercolor": "#1f2328", "font": {"color": "#ffffff", "family": FONT}},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": -0.12, "yanchor": "top", "itemsizing": "constant"},
        template="none",
    )
    made.update_layout(**layout)
    made.update_xaxes(gridcolor=COLOURS["line"], zeroline=False, showgrid=False, fixedrange=True, automargin=True)
    made.update_yaxes(gridcolor=COLOURS["line"], zeroline=False, fixedrange=True, automargin=True)
    return made


def empty(sentence: str) -> Any:
    """A figure that says, in one sentence, what is missing."""
    made = figure(120)
    made.update_xaxes(visible=False)
    made.update_yaxes(visible=False)
    made.add_annotation(text=said(sentence), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
    return made


def said(value: Any, limit: int = 120) -> str:
    """`value` as text that plotly shows as it is: one line, cut, its markup escaped."""
    return html.escape(text(value, limit), quote=False)


def faded(colour: str, opacity: float) -> str:
    """A "#rrggbb" colour as rgba with `opacity`."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def lanes(places: Sequence[float], widths: Sequence[float]) -> list[int]:
    """A lane for each label so that none overlap: label i spans [place, place + width], places rising; 0 is nearest."""
    ends: list[float] = []
    found = []
    for place, width in zip(places, widths, strict=True):
        lane = next((index for index, end in enumerate(ends) if end <= place), len(ends))
        if lane == len(ends):
            ends.append(0.0)
        ends[lane] = place + width
        found.append(lane)
    return found


def merged(points: Sequence[Point], most: int) -> list[Point]:
    """About `most` buckets at the most: neighbours of one version joined, answers and labels added up.

    The estimate of a joined bucket is the mean of its valid ones, weighted by answers; it is valid if most of them are.
    Its interval is the mean of theirs, which holds in at least 95 %: a mean never spreads more than its parts do on
    average, and as little only if their errors are alike, as those of the one reference they were made with are.
    """
    size = math.ceil(len(points) / most)
    if size <= 1:
        return list(points)
    runs = [points[first : last + 1] for _, first, last in spans(list(points))]
    return [_joined(run[at : at + size]) for run in runs for at in range(0, len(run), size)]


def _joined(points: Sequence[Point]) -> Point:
    known = [point for point in points if math.isfinite(point.estimated.value)]
    valid = 2 * sum(point.valid for point in points) >= len(points)
    known = [point for point in known if point.valid == valid]
    weights = [max(point.n, 1) for point in known]

    def mean(values: Sequence[float]) -> float:
        total = sum(weights)
        return sum(v * w for v, w in zip(values, weights, strict=True)) / total if total else math.nan

    guess = Estimate(
        mean([point.estimated.value for point in known]), sum(point.estimated.n for point in known),
        mean([point.estimated.low for point in known]), mean([point.estimated.high for point in known]),
    )  # fmt: skip
    why = next((point.why for point in points if not point.valid), "")
    first = points[0]
    return Point(first.at, first.model, sum(point.n for point in points), pooled(points), guess, valid, why)


def bars(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Plotly's asymmetric error bars of some estimates; no bar where there is no interval."""

    def reach(far: float, near: float) -> float | None:
        return abs(far - near) if math.isfinite(far) and math.isfinite(near) else None

    return {
        "type": "data",
        "symmetric": False,
        "array": [reach(one.high, one.value) for one in estimates],
        "arrayminus": [reach(one.value, one.low) for one in estimates],
        "thickness": 1.5,
        "width": 4,
    }


def mark_events(made: Any, marks: Sequence[tuple[datetime, str, str, str]], start: datetime, end: datetime) -> int:
    """Draw (at, kind, label, why) as upright lines with labels in lanes above the plot; returns the lanes used.

    Lanes are planned for a plot 300 px wide, so the labels stay apart on a phone too.
    """
    span = max((end - start).total_seconds(), 1.0)
    spots = [min(max((at - start).total_seconds() / span, 0.0), 1.0) for at, *_ in marks]
    widths = [(12 + 6.3 * len(label)) / 300 for _, _, label, _ in marks]
    lefts = [max(min(spot, 1 - width), 0.0) for spot, width in zip(spots, widths, strict=True)]
    order = sorted(range(len(marks)), key=lambda index: lefts[index])
    chosen = dict(zip(order, lanes([lefts[i] for i in order], [widths[i] for i in order]), strict=True))
    for index, (at, kind, label, why) in enumerate(marks):
        colour = EVENT_COLOURS.get(kind, COLOURS["ink"])
        lift = 4 + 16 * chosen[index]
        made.add_shape(
            type="line", x0=at, x1=at, y0=0, y1=1, yref="y domain", line={"color": colour, "width": 1.2, "dash": "dot"}
        )  # fmt: skip
        right = spots[index] + widths[index] > 1
        made.add_annotation(
            x=at, y=1, yref="y domain", text=said(label, 40), hovertext=said(why or label, 200), showarrow=False,
            xanchor="right" if right else "left", yanchor="bottom", yshift=lift, xshift=3 if right else -3,
            font={"size": 11, "color": colour}, align="left",
        )  # fmt: skip
    return max(chosen.values(), default=-1) + 1
