"""Figures of reports on tables: heat map, metrics over windows, confusion matrix, ROC, precision–recall, reliability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from luthier.errors import need
from luthier.figures.base import COLOURS, bars, empty, faded, figure, said
from luthier.story import estimate, estimate_text, number, number_text, rows

__all__ = ["confusion", "curves_of_scores", "heat", "metrics", "reliability"]

MOST_ROWS = 60  # of a heat map
_LABELLED = 15  # classes whose matrix shows its counts
_SCALE = [[0.0, "rgba(128,134,145,0.10)"], [0.35, "#9cc3dc"], [0.7, "#2b83ba"], [1.0, "#1b4f72"]]


def heat(about: Mapping[str, Any]) -> Any:
    """Columns down, windows across: `values` (columns, windows) coloured, a dot where `loud` (columns, windows).

    `columns`, `windows` their names, `unit` what the colour says, `top` the value of the darkest.
    """
    names, windows = about.get("columns") or [], about.get("windows") or []
    if not names or not windows:
        return empty("There is no window to compare yet.")
    names, values, loud = names[:MOST_ROWS], about["values"][:MOST_ROWS], about["loud"][:MOST_ROWS]
    height = 90 + max(16, min(26, 900 // len(names))) * len(names)
    made = figure(height, showlegend=False)
    labels = [said(name, 24) + " " for name in names]
    ats = [said(one, 40) for one in windows]
    hover = [
        [f"<b>{said(name, 60)}</b><br>{at}<br>{said(about['unit'], 60)} {number_text(value)}" for at, value in zip(ats, line, strict=True)]
        for name, line in zip(names, values, strict=True)
    ]  # fmt: skip
    where = list(range(len(names)))
    made.add_heatmap(
        z=[[value if math.isfinite(value) else None for value in line] for line in values], x=list(range(len(ats))), y=where,
        zmin=0, zmax=about["top"], colorscale=_SCALE, showscale=False, xgap=1, ygap=1, text=hover, hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    dots = [(x, y) for y, line in enumerate(loud) for x, one in enumerate(line) if one]
    made.add_scatter(
        x=[x for x, _ in dots], y=[y for _, y in dots], mode="markers", hoverinfo="skip",
        marker={"size": 7 if len(ats) < 60 else 4, "color": COLOURS["bad"], "line": {"color": "#ffffff", "width": 1}},
    )  # fmt: skip
    made.update_yaxes(
        tickmode="array", tickvals=where, ticktext=labels, autorange="reversed", showgrid=False, tickfont={"size": 11}
    )
    _ticks(made, ats)
    return made


def metrics(about: Mapping[str, Any]) -> Any:
    """One panel a metric over the windows: measured with interval, estimated without labels, the reference as a band.

    `windows`: names; `metrics`: list of {metric, reference, values, estimated, loud}, Estimates by window.
    """
    found, windows = rows(about, "metrics"), about.get("windows") or []
    if not found or not windows:
        return empty("There is no metric to draw: no labels arrived, and no estimate is valid.")
    panels = need("plotly.subplots", extra="report")
    height = 50 + 165 * len(found)
    grid = panels.make_subplots(rows=len(found), cols=1, shared_xaxes=True, vertical_spacing=42 / height)
    grid.update_layout(figure(height, showlegend=True).layout)
    ats = [said(one, 40) for one in windows]
    for index, row in enumerate(found, start=1):
        _metric(grid, index, row, ats)
    grid.update_xaxes(showgrid=False, fixedrange=True, zeroline=False, showticklabels=False)
    for index in range(1, len(found) + 1):
        _ticks(grid, ats, index)
    grid.update_xaxes(showticklabels=True, row=len(found), col=1)
    grid.update_yaxes(gridcolor=COLOURS["line"], fixedrange=True, zeroline=False, automargin=True)
    grid.update_layout(
        height=height, margin={"l": 48, "r": 14, "t": 26, "b": 60}, legend={"y": -40 / height, "yanchor": "top"}
    )
    return grid


def _metric(grid: Any, index: int, row: Mapping[str, Any], ats: Sequence[str]) -> None:
    where = {"row": index, "col": 1}
    reference = estimate(row.get("reference"))
    axis = "" if index == 1 else str(index)
    grid.add_annotation(
        text=f"<b>{said(row.get('metric'), 40)}</b>", x=0, xref=f"x{axis} domain", y=1, yref=f"y{axis} domain",
        xanchor="left", yanchor="bottom", yshift=3, showarrow=False, font={"size": 12},
    )  # fmt: skip
    if math.isfinite(reference.low) and math.isfinite(reference.high):
        grid.add_shape(
            type="rect", x0=0, x1=1, xref=f"x{axis} domain", y0=reference.low, y1=reference.high, yref=f"y{axis}",
            fillcolor=faded(COLOURS["ink"], 0.18), line={"width": 0}, layer="below",
        )  # fmt: skip
    sets = (
        ("estimated", "estimated without labels", COLOURS["estimated"], "circle-open", 0.12),
        ("values", "measured", COLOURS["true"], "circle", -0.12),
    )
    both = all(any(math.isfinite(estimate(one).value) for one in row.get(key) or []) for key, *_ in sets)
    loud = row.get("loud") or []
    for key, name, colour, symbol, shift in sets:
        ones = [estimate(one) for one in row.get(key) or []]
        seen = [i for i, one in enumerate(ones) if math.isfinite(one.value)]
        if not seen:
            continue
        marks = [COLOURS["bad"] if key == "values" and i < len(loud) and loud[i] else colour for i in seen]
        grid.add_scatter(
            x=[i + (shift if both else 0) for i in seen], y=[ones[i].value for i in seen], mode="lines+markers",
            name=name, legendgroup=key, showlegend=not any(trace.legendgroup == key for trace in grid.data),
            error_y={**bars([ones[i] for i in seen]), "color": colour, "width": 3 if len(ats) < 40 else 0},
            line={"color": colour, "width": 1.4 if key == "values" else 0.8, "dash": "solid" if key == "values" else "dot"},
            marker={"size": 8 if len(ats) < 60 else 5, "symbol": symbol, "color": marks},
            text=[f"<b>{ats[i]}</b><br>{name} {estimate_text(ones[i])}" for i in seen],
            hovertemplate="%{text}<extra></extra>", **where,
        )  # fmt: skip


def confusion(about: Mapping[str, Any]) -> Any:
    """`counts` (k, k), targets down and answers across, coloured by the share of each target; `classes` their names."""
    names, counts = about.get("classes") or [], about.get("counts") or []
    if not names or not any(map(any, counts)):
        return empty("No labelled row: there is no confusion matrix.")
    shares = [[cell / max(sum(line), 1) for cell in line] for line in counts]
    labels = [said(name, 20) for name in names]
    made = figure(110 + max(30 * len(names), 110), showlegend=False)
    hover = [
        [f"target <b>{there}</b>, answered <b>{here}</b><br>{cell:,} rows, {share:.1%} of the target" for here, cell, share in zip(labels, line, part, strict=True)]
        for there, line, part in zip(labels, counts, shares, strict=True)
    ]  # fmt: skip
    few = len(names) <= _LABELLED
    made.add_heatmap(
        z=shares, x=list(range(len(names))), y=list(range(len(names))), zmin=0, zmax=1, colorscale=_SCALE, showscale=False,
        xgap=2, ygap=2, hovertext=hover, hovertemplate="%{hovertext}<extra></extra>",
    )  # fmt: skip
    for y, line in enumerate(counts if few else []):
        for x, cell in enumerate(line):
            strong = shares[y][x] > 0.5
            made.add_annotation(
                x=x, y=y, text=f"{cell:,}", showarrow=False, font={"size": 12, "color": "#ffffff" if strong else COLOURS["ink"]}
            )  # fmt: skip
    places = list(range(len(names)))
    made.update_xaxes(tickmode="array", tickvals=places, ticktext=labels, side="top", title={"text": "answered"})
    made.update_yaxes(
        tickmode="array", tickvals=places, ticktext=[f"{one} " for one in labels], autorange="reversed", showgrid=False
    )
    made.update_layout(margin={"l": 60, "r": 14, "t": 60, "b": 10})
    return made


def curves_of_scores(about: Mapping[str, Any]) -> Any:
    """ROC and precision–recall curve: `reference` and `current`, each {false, true, precision, recall} of lists."""
    sides = [
        (name, colour, about.get(name) or {})
        for name, colour in (("reference", COLOURS["ink"]), ("current", COLOURS["true"]))
    ]
    if not any(side.get("true") for *_, side in sides):
        return empty("The curves need a score and labels of both classes.")
    panels = need("plotly.subplots", extra="report")
    grid = panels.make_subplots(rows=2, cols=1, vertical_spacing=0.2)
    grid.update_layout(figure(560).layout)
    for index, (across, up, words) in enumerate(
        (("false", "true", "ROC"), ("recall", "precision", "precision–recall")), 1
    ):
        for name, colour, side in sides:
            if side.get(up):
                grid.add_scatter(
                    x=side[across], y=side[up], mode="lines", name=name, legendgroup=name, showlegend=index == 1, row=index, col=1,
                    line={"color": colour, "width": 2.4 if name == "current" else 1.6, "shape": "hv" if up == "precision" else "linear"},
                    hovertemplate=f"{said(across)} %{{x:.3f}}, {said(up)} %{{y:.3f}}<extra>{name}</extra>",
                )  # fmt: skip
        axis = "" if index == 1 else "2"
        grid.add_annotation(
            text=f"<b>{words}</b>", x=0, xref=f"x{axis} domain", y=1, yref=f"y{axis} domain", xanchor="left",
            yanchor="bottom", yshift=3, showarrow=False, font={"size": 12},
        )  # fmt: skip
    titles = (("false positive rate", "true positive rate"), ("recall", "precision"))
    for index, (across, up) in enumerate(titles, 1):
        grid.update_xaxes(
            title={"text": across, "font": {"size": 11}}, range=[-0.01, 1.01], fixedrange=True, row=index, col=1
        )
        grid.update_yaxes(
            title={"text": up, "font": {"size": 11}}, range=[-0.02, 1.02], fixedrange=True, row=index, col=1
        )
    grid.update_xaxes(showgrid=False, zeroline=False)
    grid.update_yaxes(gridcolor=COLOURS["line"], zeroline=False)
    grid.update_layout(margin={"l": 54, "r": 14, "t": 26, "b": 76}, legend={"y": -0.1})
    return grid


def reliability(about: Mapping[str, Any]) -> Any:
    """What was said against what happened: `reference` and `current`, lists of {probability, outcome: Estimate}."""
    sides = [
        (name, rows(about, name), colour)
        for name, colour in (("reference", COLOURS["ink"]), ("current", COLOURS["true"]))
    ]
    if not any(side for _, side, _ in sides):
        return empty("Reliability needs a probability and labels.")
    made = figure(380)
    made.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", showlegend=False, hoverinfo="skip",
        line={"color": COLOURS["line"], "width": 1.5, "dash": "dash"},
    )  # fmt: skip
    for name, side, colour in sides:
        ones = [estimate(row.get("outcome")) for row in side]
        made.add_scatter(
            x=[number(row.get("probability")) for row in side], y=[one.value for one in ones], mode="lines+markers", name=name,
            error_y={**bars(ones), "color": colour}, line={"color": colour, "width": 1.6}, marker={"size": 7, "color": colour},
            text=[f"{name}: said {number_text(row.get('probability'))}, happened {estimate_text(one)}" for row, one in zip(side, ones, strict=True)],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    made.update_xaxes(title={"text": about.get("said") or "probability", "font": {"size": 11}}, range=[-0.02, 1.02])
    made.update_yaxes(title={"text": "share that it happened", "font": {"size": 11}}, range=[-0.02, 1.02])
    made.update_layout(margin={"l": 54, "r": 14, "t": 16, "b": 70}, legend={"y": -0.2})
    return made


def _ticks(made: Any, ats: Sequence[str], row: int = 0) -> None:
    """At most four names of windows below the axis: they fit on a phone."""
    step = max(1, math.ceil(len(ats) / 4))
    chosen = list(range(0, len(ats), step))
    where = {"row": row, "col": 1} if row else {}
    made.update_xaxes(
        tickmode="array", tickvals=chosen, ticktext=[_short(ats[i]) for i in chosen], range=[-0.6, len(ats) - 0.4],
        tickangle=0, **where,
    )  # fmt: skip


def _short(name: str) -> str:
    """2026-03-01 08:00 as "1 Mar" over "08:00"; other names cut."""
    day, _, hour = name.partition(" ")
    try:
        at = date.fromisoformat(day)
    except ValueError:
        name = name.partition("–")[0]  # rows 501–1,000 by its first row
        return name if len(name) <= 12 else name[:11] + "…"
    return f"{at.day} {at:%b}" + (f"<br>{hour}" if hour else "")
