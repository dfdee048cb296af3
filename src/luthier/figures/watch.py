"""Figures of a model at work: accuracy over time, and the evidence of each check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from luthier.errors import need
from luthier.figures.base import COLOURS, EVENT_COLOURS, empty, faded, figure, mark_events, merged, said
from luthier.story import (
    Block,
    Event,
    Point,
    blocks,
    estimate_text,
    events,
    instant,
    number,
    number_text,
    part,
    promise_text,
    rows,
    spans,
    text,
    threshold,
    time_text,
    timeline,
)
from luthier.types import Estimate

__all__ = ["accuracy", "evidence"]

MOST_BUCKETS, MOST_EVENTS, MOST_PANELS = 500, 12, 8


def accuracy(story: Mapping[str, Any]) -> Any:
    """Accuracy over event time as a plotly Figure.

    True accuracy with its interval where labels came (dots are buckets, the line pools neighbouring ones); the
    label-free estimate with its interval, hollow and dashed where it is not valid ("unknown"); model versions as
    background bands; events as labelled lines. More than 500 buckets are merged first.
    """
    points = merged(timeline(story), MOST_BUCKETS)
    if not points:
        return empty("No answers have been recorded yet.")
    made = figure(400)
    _versions(made, points)
    _estimated(made, points)
    _silent(made, points)
    _true(made, points, events(story))
    happened = _labelled(events(story), points[0].at, points[-1].at)
    used = mark_events(made, happened, points[0].at, points[-1].at)
    made.update_layout(margin={"l": 44, "r": 14, "t": 14 + 16 * used, "b": 34}, height=330 + 16 * used)
    made.update_yaxes(range=_reach(points, blocks(points, events(story))), tickformat=".2f")
    made.update_xaxes(range=_window(points), tickformatstops=_ticks())
    return made


def evidence(story: Mapping[str, Any]) -> Any:
    """Evidence over event time as a plotly Figure: one panel a check, log scale, the alarm threshold and its promise.

    A check without evidence shows its value against its limit. At most eight panels, those that alarmed first.
    """
    series = [row for row in rows(story, "evidence") if _dated(row)]
    if not series:
        return empty("No check has gathered evidence yet.")
    series.sort(key=lambda row: not any(point.get("alarm") for point in rows(row, "points")))
    shown = series[:MOST_PANELS]
    panels = need("plotly.subplots", extra="report")
    made = figure(40 + 158 * len(shown), showlegend=False)
    grid = panels.make_subplots(rows=len(shown), cols=1, shared_xaxes=True, vertical_spacing=0.42 / len(shown) ** 1.05)
    grid.update_layout(made.layout)
    for index, row in enumerate(shown, start=1):
        _panel(grid, index, row)
    _turns(grid, len(shown), events(story))
    grid.update_xaxes(showgrid=False, fixedrange=True, zeroline=False, tickformatstops=_ticks(), showticklabels=False)
    grid.update_xaxes(showticklabels=True, row=len(shown), col=1)
    grid.update_yaxes(
        gridcolor=COLOURS["line"], fixedrange=True, zeroline=False, automargin=True, tickfont={"size": 11}
    )
    grid.update_layout(height=60 + 150 * len(shown), margin={"l": 44, "r": 14, "t": 42, "b": 30})
    return grid


def _turns(grid: Any, panels: int, happened: Sequence[Event]) -> None:
    """Faint upright lines where the world or the version changed."""
    for event in [one for one in happened if one.kind in ("shift", "promote", "rollback")][:MOST_EVENTS]:
        for index in range(1, panels + 1):
            axis = "" if index == 1 else str(index)
            grid.add_shape(
                type="line", x0=event.at, x1=event.at, xref=f"x{axis}", y0=0, y1=1, yref=f"y{axis} domain",
                layer="below", line={"color": EVENT_COLOURS[event.kind], "width": 1.2, "dash": "dot"},
            )  # fmt: skip


def _versions(made: Any, points: Sequence[Point]) -> None:
    stretches = spans(list(points))
    for index, (model, first, last) in enumerate(stretches[-60:]):
        start = points[first].at
        end = points[last + 1].at if last + 1 < len(points) else points[last].at + _step(points) / 2
        made.add_shape(
            type="rect", x0=start, x1=end, y0=0, y1=1, yref="y domain", layer="below", line={"width": 0},
            fillcolor=COLOURS["band"] if index % 2 else "rgba(0,0,0,0)",
        )  # fmt: skip
        if len(stretches) <= 12:
            made.add_annotation(
                x=start, y=0, yref="y domain", text=f"<b>{said(model or 'model unknown', 24)}</b>", showarrow=False,
                xanchor="left", yanchor="bottom", xshift=4, yshift=22, font={"size": 12, "color": COLOURS["ink"]},
            )  # fmt: skip


def _true(made: Any, points: Sequence[Point], happened: Sequence[Event]) -> None:
    seen = [point for point in points if math.isfinite(point.true.value)]
    if not seen:
        made.add_annotation(
            text="no labels arrived yet: true accuracy is unknown", x=0.5, y=0.5, xref="paper", yref="paper",
            showarrow=False,
        )  # fmt: skip
        return
    steps = blocks(list(points), happened)
    edges = [(at, step.true) for step in steps for at in (step.start, step.end)]
    _band(made, [edges], COLOURS["true"], "true")
    made.add_scatter(
        x=[at for at, _ in edges], y=[one.value for _, one in edges], mode="lines", name="true accuracy",
        legendgroup="true", legendrank=1, line={"color": COLOURS["true"], "width": 2.5},
        text=[f"true accuracy {estimate_text(one)}" for _, one in edges], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    made.add_scatter(
        x=[point.at for point in seen], y=[point.true.value for point in seen], mode="markers", showlegend=False,
        legendgroup="true", marker={"size": 4, "color": COLOURS["true"], "opacity": 0.4},
        text=[_hover(point, "true accuracy", point.true) for point in seen], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _estimated(made: Any, points: Sequence[Point]) -> None:
    stretches = _runs(points, [point for point in points if math.isfinite(point.estimated.value)])
    colour = COLOURS["estimated"]
    good = [run for valid, run in stretches if valid]
    _band(made, [[(point.at, point.estimated) for point in run] for run in good], colour, "estimated")
    _lines(
        made, good, "estimated without labels", name="estimated without labels", legendgroup="estimated",
        line={"color": colour, "width": 1.6}, marker={"size": 4, "color": colour},
    )  # fmt: skip
    hollow = [run for valid, run in stretches if not valid]
    _lines(
        made, hollow, "unknown: the estimate is not valid", name="estimate not valid: unknown", legendgroup="unknown",
        line={"color": colour, "width": 1, "dash": "dot"}, opacity=0.75,
        marker={"size": 6, "symbol": "circle-open", "color": colour},
    )  # fmt: skip
    for run in sorted(hollow, key=len)[-3:]:
        top = max(point.estimated.value for point in run)
        made.add_annotation(
            x=run[len(run) // 2].at, y=top, text="unknown", showarrow=False, yshift=11,
            font={"size": 11, "color": colour},
        )  # fmt: skip


def _lines(made: Any, stretches: Sequence[Sequence[Point]], what: str, **look: Any) -> None:
    """One trace of several stretches, a gap after each."""
    if not stretches:
        return
    shown = [point for run in stretches for point in (*run, None)]
    made.add_scatter(
        x=[point.at if point else None for point in shown], mode="lines+markers", connectgaps=False,
        y=[point.estimated.value if point else None for point in shown],
        text=[_hover(point, what, point.estimated) if point else "" for point in shown],
        hovertemplate="%{text}<extra></extra>", **look,
    )  # fmt: skip


def _silent(made: Any, points: Sequence[Point]) -> None:
    """A dashed strip along the bottom where the estimate gives no number, because it would not be valid."""
    colour, half = COLOURS["estimated"], _step(points) / 2
    stretches = [run for _, run in _runs(points, [p for p in points if not p.valid and math.isnan(p.estimated.value)])]
    longest = sorted(stretches, key=len)[-40:]
    for run in longest:
        made.add_shape(
            type="rect", x0=run[0].at - half, x1=run[-1].at + half, y0=0, y1=0.035, yref="y domain",
            line={"color": colour, "width": 1, "dash": "dot"}, fillcolor=faded(colour, 0.08),
        )  # fmt: skip
    for run in longest[-2:]:
        made.add_annotation(
            x=run[len(run) // 2].at, y=0.035, yref="y domain", text="no estimate: unknown", showarrow=False,
            yanchor="bottom", font={"size": 11, "color": colour}, hovertext=said(run[0].why, 120),
        )  # fmt: skip


def _runs(points: Sequence[Point], known: Sequence[Point]) -> list[tuple[bool, list[Point]]]:
    """Stretches of one validity without a gap in between."""
    place = {id(point): index for index, point in enumerate(points)}
    found: list[tuple[bool, list[Point]]] = []
    last = -2
    for point in known:
        if found and found[-1][0] == point.valid and place[id(point)] == last + 1:
            found[-1][1].append(point)
        else:
            found.append((point.valid, [point]))
        last = place[id(point)]
    return found


def _band(made: Any, series: Sequence[Sequence[tuple[datetime, Estimate]]], colour: str, group: str) -> None:
    ats: list[datetime | None] = []
    edge: list[float | None] = []
    for run in series:
        inside = [(at, one) for at, one in run if math.isfinite(one.low) and math.isfinite(one.high)]
        ats += [*(at for at, _ in inside), *(at for at, _ in inside[::-1]), None]
        edge += [*(one.high for _, one in inside), *(one.low for _, one in inside[::-1]), None]
    if any(value is not None for value in edge):
        made.add_scatter(
            x=ats, y=edge, fill="toself", fillcolor=faded(colour, 0.16), line={"width": 0}, mode="lines",
            hoverinfo="skip", showlegend=False, legendgroup=group,
        )  # fmt: skip


def _hover(point: Point, what: str, one: Estimate) -> str:
    lines = [
        f"<b>{time_text(point.at)}</b>",
        f"{what}: {estimate_text(one)}",
        f"{point.n:,} answers by {said(point.model)}",
    ]
    if point.why and not point.valid:
        lines.append(said(point.why, 90))
    return "<br>".join(lines)


def _labelled(happened: Sequence[Event], start: datetime, end: datetime) -> list[tuple[datetime, str, str, str]]:
    """The events that get a label: those inside the window, the telling kinds first when there are too many."""
    inside = [event for event in happened if start - timedelta(days=1) <= event.at <= end + timedelta(days=1)]
    telling = ("detect", "promote", "rollback", "shift", "reject")
    rank = {**dict.fromkeys(telling, 0), "page": 1, "ack": 3, "close": 3}
    ranked = sorted(range(len(inside)), key=lambda i: (rank.get(inside[i].kind, 2), i))[:MOST_EVENTS]
    return [(inside[i].at, inside[i].kind, text(inside[i].title, 26), inside[i].why) for i in sorted(ranked)]


def _step(points: Sequence[Point]) -> timedelta:
    if len(points) < 2:
        return timedelta(hours=1)
    return (points[-1].at - points[0].at) / (len(points) - 1)


def _window(points: Sequence[Point]) -> list[datetime]:
    step = _step(points) / 2
    return [points[0].at - step, points[-1].at + step]


def _reach(points: Sequence[Point], steps: Sequence[Block]) -> list[float]:
    """The y range: every estimate and pooled value with its interval, and all single buckets but the lowest tenth."""
    guesses = [point.estimated for point in points]
    singles = sorted(point.true.value for point in points if math.isfinite(point.true.value))
    seen = [v for one in guesses for v in (one.value, one.low, one.high)] + singles[len(singles) // 10 :]
    seen = [v for v in [*seen, *(v for step in steps for v in (step.true.low, step.true.high))] if math.isfinite(v)]
    if not seen:
        return [0.0, 1.0]
    room = max((max(seen) - min(seen)) * 0.07, 0.01)
    return [min(seen) - room, max(seen) + room / 2]


def _ticks() -> list[dict[str, Any]]:
    hour = 3_600_000
    return [
        {"dtickrange": [None, 60_000], "value": "%H:%M:%S"},
        {"dtickrange": [60_000, 24 * hour], "value": "%H:%M\n%-d %b"},
        {"dtickrange": [24 * hour, 24 * 28 * hour], "value": "%-d %b\n%Y"},
        {"dtickrange": [24 * 28 * hour, None], "value": "%b\n%Y"},
    ]


def _dated(row: Mapping[str, Any]) -> bool:
    return any(instant(point.get("at")) for point in rows(row, "points"))


def _panel(grid: Any, index: int, row: Mapping[str, Any]) -> None:
    points = [point for point in rows(row, "points") if instant(point.get("at"))]
    points.sort(key=lambda point: instant(point["at"]) or datetime.min)
    limit = threshold(part(row, "promise"))
    weighed = math.isfinite(limit) and any(math.isfinite(number(point.get("evidence"))) for point in points)
    where = " · ".join(said(row.get(key), 30) for key in ("subject", "slice") if row.get(key))
    name = f"<b>{said(row.get('check') or 'check', 40)}</b>" + (f" · {where}" if where else "")
    axis = "" if index == 1 else str(index)
    grid.add_annotation(
        text=f"{name}<br>{promise_text(part(row, 'promise'))}", x=0, xref=f"x{axis} domain", y=1,
        yref=f"y{axis} domain", xanchor="left", yanchor="bottom", yshift=3, showarrow=False, align="left",
        font={"size": 11.5},
    )  # fmt: skip
    if weighed:
        _weigh(grid, index, points, limit)
    else:
        _compare(grid, index, points)


def _weigh(grid: Any, index: int, points: Sequence[Mapping[str, Any]], limit: float) -> None:
    """Evidence on a log axis; drawn no higher than 10,000 times the threshold, the hover tells the number."""
    seen = [point for point in points if not math.isnan(number(point.get("evidence")))]
    top = limit * 1e4
    drawn = [min(max(number(point["evidence"]), 1e-2), top) for point in seen]
    highest = max(max(drawn), limit) * 6
    _line(grid, index, seen, drawn, [f"evidence {number_text(point['evidence'])}" for point in seen])
    grid.update_yaxes(
        type="log", range=[math.log10(min(drawn)) - 0.2, math.log10(highest)],
        dtick=max(1, round(math.log10(highest) / 3)), exponentformat="power", row=index, col=1,
    )  # fmt: skip
    _limit(grid, index, limit, f"alarm at {number_text(limit)}")


def _compare(grid: Any, index: int, points: Sequence[Mapping[str, Any]]) -> None:
    """Value against limit, where there is no evidence to draw."""
    seen = [point for point in points if math.isfinite(number(point.get("value")))]
    _line(grid, index, seen, [number(point["value"]) for point in seen], ["" for _ in seen])
    limits = [number(point.get("limit")) for point in seen if math.isfinite(number(point.get("limit")))]
    if limits:
        _limit(grid, index, limits[-1], f"limit {number_text(limits[-1])}")


def _line(
    grid: Any, index: int, points: Sequence[Mapping[str, Any]], drawn: Sequence[float], notes: Sequence[str]
) -> None:
    ats = [instant(point["at"]) for point in points]
    hover = [
        f"<b>{time_text(point['at'])}</b><br>{note}{'<br>' if note else ''}value {number_text(point.get('value'))}, "
        f"limit {number_text(point.get('limit'))}<br>n {number_text(point.get('n'))}"
        for point, note in zip(points, notes, strict=True)
    ]
    grid.add_scatter(
        x=ats, y=list(drawn), mode="lines", line={"color": COLOURS["true"], "width": 2}, row=index, col=1, text=hover,
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    loud = next((place for place, point in enumerate(points) if point.get("alarm")), None)
    if loud is not None:
        grid.add_scatter(
            x=[ats[loud]], y=[drawn[loud]], mode="markers+text", text=["first alarm "], textposition="top left",
            textfont={"color": COLOURS["bad"], "size": 11}, row=index, col=1, hoverinfo="skip",
            marker={"symbol": "diamond", "size": 11, "color": COLOURS["bad"]},
        )  # fmt: skip


def _limit(grid: Any, index: int, level: float, label: str) -> None:
    axis = "" if index == 1 else str(index)
    grid.add_shape(
        type="line", x0=0, x1=1, xref=f"x{axis} domain", y0=level, y1=level, yref=f"y{axis}",
        line={"color": COLOURS["bad"], "width": 1.2, "dash": "dash"},
    )  # fmt: skip
    log = label.startswith("alarm")
    grid.add_annotation(
        text=label, x=0, xref=f"x{axis} domain", y=math.log10(level) if log else level, yref=f"y{axis}",
        xanchor="left", xshift=3, yanchor="bottom", showarrow=False, font={"size": 11, "color": COLOURS["bad"]},
    )  # fmt: skip
