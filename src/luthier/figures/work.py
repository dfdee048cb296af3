"""Figures of the work done: before and after an update, training curves, rungs, labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.errors import need
from luthier.figures.base import COLOURS, bars, empty, figure, said
from luthier.story import estimate, estimate_text, number, number_text, part, rows
from luthier.types import Estimate

__all__ = ["before_after", "curves", "labels", "rungs"]

MOST_SLICES = 24
DASHES = ("solid", "dash", "dot", "dashdot")
RUN_COLOURS = (COLOURS["true"], COLOURS["estimated"], COLOURS["good"], "#8a6fc4")


def before_after(story: Mapping[str, Any]) -> Any:
    """Each slice before and after the last update, with intervals, as a plotly Figure; a tick marks the margin."""
    found = []
    for row in rows(story, "slices"):
        before, after = estimate(row.get("before")), estimate(row.get("after"))
        if math.isfinite(before.value) or math.isfinite(after.value):
            found.append((said(row.get("slice") or "all", 22), before, after, number(row.get("margin"))))
    if not found:
        return empty("No version has been compared with another yet.")
    found = found[:MOST_SLICES]
    made = figure(110 + 62 * len(found))
    places = list(range(len(found)))[::-1]
    _floors(made, found, places)
    for index, (name, colour, shift, symbol) in enumerate(
        (("before", COLOURS["ink"], 0.12, "circle-open"), ("after", COLOURS["true"], -0.12, "circle"))
    ):
        ones = [after if index else before for _, before, after, _ in found]
        made.add_scatter(
            x=[one.value if math.isfinite(one.value) else None for one in ones], y=[place + shift for place in places],
            mode="markers", name=name, error_x={**bars(ones), "color": colour},
            marker={"size": 11, "color": colour, "symbol": symbol, "line": {"width": 2, "color": colour}},
            text=[f"{row[0]}, {name}: {estimate_text(one)}" for row, one in zip(found, ones, strict=True)],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    made.update_yaxes(
        tickmode="array", tickvals=places, ticktext=[f"{row[0]} " for row in found], showgrid=False,
        range=[-0.6, len(found) - 0.4],
    )  # fmt: skip
    made.update_xaxes(showgrid=True, tickformat=".2f")
    made.update_layout(legend={"y": -34 / (60 + 62 * len(found))})
    return made


def _floors(made: Any, found: Sequence[tuple[str, Estimate, Estimate, float]], places: Sequence[int]) -> None:
    marks = [
        (before.value - margin, place)
        for (_, before, _, margin), place in zip(found, places, strict=True)
        if math.isfinite(margin) and math.isfinite(before.value)
    ]
    if marks:
        made.add_scatter(
            x=[mark[0] for mark in marks], y=[mark[1] for mark in marks], mode="markers", name="before less the margin",
            marker={"symbol": "line-ns", "size": 26, "line": {"width": 2, "color": COLOURS["bad"]}},
            hovertemplate="may not fall below %{x:.3f}<extra></extra>",
        )  # fmt: skip


def curves(story: Mapping[str, Any]) -> Any:
    """Training curves of all fits as a plotly Figure: "train/loss" and "validation/loss" share the panel "loss"."""
    panels: dict[str, list[tuple[int, str, str, list[tuple[float, float]]]]] = {}
    for index, fit in enumerate(rows(story, "fit")):
        for name, pairs in part(fit, "curves").items():
            side, _, metric = str(name).rpartition("/")
            steps = _pairs(pairs)
            if steps:
                label = " ".join(filter(None, (_version(fit), side)))
                panels.setdefault(metric, []).append((index, side, said(label or metric, 40), steps))
    if not panels:
        return empty("No training curves were kept.")
    shown = sorted(panels, key=lambda metric: (metric != "loss", metric))[:4]
    grid = need("plotly.subplots", extra="report").make_subplots(
        rows=len(shown), cols=1, subplot_titles=[f"<b>{said(metric, 40)}</b>" for metric in shown],
        vertical_spacing=0.3 / len(shown),
    )  # fmt: skip
    grid.update_layout(figure(60 + 210 * len(shown)).layout)
    for place, metric in enumerate(shown, start=1):
        for index, side, label, steps in panels[metric]:
            grid.add_scatter(
                x=[step for step, _ in steps], y=[value for _, value in steps], row=place, col=1, name=label,
                mode="lines" if len(steps) > 12 else "lines+markers", legendgroup=label,
                showlegend=not any(trace.legendgroup == label for trace in grid.data),
                line={"color": RUN_COLOURS[index % 4], "dash": DASHES[0 if side == "train" else 1], "width": 2},
                hovertemplate="step %{x}: %{y:.4f}<extra>" + label.replace("%{", "% {") + "</extra>",
            )  # fmt: skip
    grid.update_annotations(x=0, xanchor="left", font={"size": 12, "color": COLOURS["ink"]})
    grid.update_layout(margin={"l": 44, "r": 14, "t": 30, "b": 30}, legend={"y": -24 / (210 * len(shown))})
    grid.update_xaxes(showgrid=False, fixedrange=True, zeroline=False)
    grid.update_yaxes(gridcolor=COLOURS["line"], fixedrange=True, zeroline=False, automargin=True)
    return grid


def _version(fit: Mapping[str, Any]) -> str:
    version = fit.get("version")
    if isinstance(version, int) and not isinstance(version, bool):
        return f"v{version}"
    return said(version, 24)


def _pairs(pairs: Any) -> list[tuple[float, float]]:
    if not isinstance(pairs, list | tuple):
        return []
    found = [(number(pair[0]), number(pair[1])) for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2]
    return [(step, value) for step, value in found if math.isfinite(step) and math.isfinite(value)]


def labels(story: Mapping[str, Any]) -> Any:
    """Labels asked for, received, and used for each purpose, as a plotly Figure."""
    about = part(story, "labels")
    counts = [("asked for", number(about.get("asked")), COLOURS["ink"])]
    counts += [("received", number(about.get("received")), COLOURS["true"])]
    counts += [(f"used for {said(use, 24)}", number(n), COLOURS["good"]) for use, n in part(about, "used").items()]
    counts = [row for row in counts if math.isfinite(row[1])]
    if not counts:
        return empty("No labels were asked for, and none arrived.")
    made = figure(50 + 34 * len(counts), bargap=0.4, showlegend=False)
    made.add_bar(
        x=[count for _, count, _ in counts][::-1], y=[f"{name} " for name, _, _ in counts][::-1], orientation="h",
        marker={"color": [colour for *_, colour in counts][::-1]}, hovertemplate="%{y}: %{x:,}<extra></extra>",
        text=[number_text(count) if count >= 1000 else f"{count:.0f}" for _, count, _ in counts][::-1],
        textposition="outside", cliponaxis=False,
    )  # fmt: skip
    made.update_xaxes(visible=False, range=[0, max(max(count for _, count, _ in counts), 1) * 1.15])
    made.update_yaxes(type="category", showgrid=False)
    return made


def rungs(story: Mapping[str, Any]) -> Any:
    """The seconds each recipe took, green where it met the requirements, as a plotly Figure."""
    found = [
        (f"{_version(fit)} {said(rung.get('recipe') or 'recipe', 24)} ".lstrip(), number(rung.get("seconds")), rung)
        for fit in rows(story, "fit")
        for rung in rows(fit, "rungs")
    ]
    if not found:
        return empty("No recipe has been tried yet.")
    found.reverse()
    made = figure(60 + 34 * len(found), bargap=0.4, showlegend=False)
    made.add_bar(
        x=[seconds if math.isfinite(seconds) else 0 for _, seconds, _ in found], orientation="h",
        y=[name for name, *_ in found], textposition="outside", cliponaxis=False,
        marker={"color": [COLOURS["good"] if rung.get("met") else COLOURS["ink"] for *_, rung in found]},
        text=[f"{number_text(seconds, 1)} s" + (", met" if rung.get("met") else "") for _, seconds, rung in found],
        hovertext=[said(rung.get("why"), 110) for *_, rung in found], hovertemplate="%{hovertext}<extra></extra>",
    )  # fmt: skip
    longest = max((seconds for _, seconds, _ in found if math.isfinite(seconds)), default=1)
    made.update_xaxes(visible=False, range=[0, longest * 1.3])
    made.update_yaxes(type="category", showgrid=False)
    return made
