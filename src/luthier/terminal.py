"""Pictures for the terminal, drawn with Rich: accuracy over time, findings, decisions, versions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from luthier import story as told
from luthier.story import Block, Event, Point, blocks, events, number_text, part, promise_text, rows, text

__all__ = ["decisions_table", "estimate", "findings_table", "timeline", "versions_table"]

TRUE, GUESS, UNKNOWN, BAND = "bold blue", "yellow", "yellow", "dim blue"
EVENT_STYLES = {
    "detect": "bold red",
    "promote": "bold green",
    "rollback": "yellow",
    "reject": "yellow",
    "shift": "magenta",
}
MOST_EVENTS = 12


def estimate(value: Any) -> str:
    """An Estimate (or its dict) as 0.951 (0.934–0.964, n 800); "–" when nothing was seen."""
    return told.estimate_text(value)


def timeline(story: Mapping[str, Any], width: int = 80, height: int = 13) -> Any:
    """True and estimated accuracy over event time as a Rich renderable, `width` columns wide, `height` rows high.

    ━ is true accuracy (neighbouring buckets pooled), ░ its interval, ● the label-free estimate, ○ that estimate where
    it is not valid, "?" where there is none. Events are numbered above the chart and told below it.
    """
    from rich.console import Group

    points = told.timeline(story)
    if not points:
        return _cell("No answers have been recorded yet.", "dim")
    happened = events(story)
    chart = _Chart(points, blocks(points, happened), max(width, 30) - 7, max(height, 4))
    marks = _ranked(happened)
    return Group(
        *chart.marks(marks), *chart.lines(), *chart.axis(), _cell(""), _legend(points), *_told(marks, max(width, 30))
    )


def findings_table(findings: Iterable[Any], title: str = "") -> Any:
    """Findings (objects or dicts) as a Rich table."""
    found = rows({"findings": list(findings)}, "findings")
    table = _table(
        title, ("check", "value", "limit", "evidence", "n", "what it says"), {"value", "limit", "evidence", "n"}
    )
    for one in found:
        where = " ".join(filter(None, (text(one.get("subject"), 30), text(one.get("slice"), 30))))
        table.add_row(
            _cell(
                f"{text(one.get('check'), 40)}" + (f"\n{where}" if where else ""),
                "bold red" if one.get("alarm") else "",
            ),
            number_text(one.get("value")),
            number_text(one.get("limit")),
            number_text(one.get("evidence")),
            number_text(one.get("n"), 0),
            _cell(
                ("ALARM: " if one.get("alarm") else "")
                + f"{text(one.get('why'))} [{promise_text(part(one, 'promise'))}]"
            ),
        )
    return table if found else _cell("No findings.", "dim")


def decisions_table(story: Mapping[str, Any]) -> Any:
    """The decision trail as a Rich table, newest last."""
    table = _table("", ("when (UTC)", "action", "why", "because of"), set())
    for row in rows(story, "decisions"):
        action = text(row.get("action"), 20) or "none"
        because = ", ".join(dict.fromkeys(text(one.get("check"), 40) for one in rows(row, "because"))) or "–"
        style = EVENT_STYLES.get({"alert": "detect", "retrain": "detect"}.get(action, action), "")
        table.add_row(_moment(row.get("at")), _cell(action, style), _cell(row.get("why")), _cell(because, "dim"))
    return table if table.row_count else _cell("No decision has been made yet.", "dim")


def versions_table(story: Mapping[str, Any]) -> Any:
    """Versions with parent, recipe, gate and metrics as a Rich table."""
    found = rows(story, "versions")
    if not found:
        return _cell("No version has been registered yet.", "dim")
    names = list(dict.fromkeys(str(name) for row in found for name in part(row, "metrics")))[:4]
    table = _table("", ("version", "made (UTC)", "recipe", "from", *(name.replace("_", " ") for name in names)), set())
    for column in table.columns[4:]:
        column.min_width = 11
    for row in found:
        parent = row.get("parent")
        metrics = (_stacked(part(row, "metrics").get(name)) for name in names)
        table.add_row(
            _cell(f"v{text(row.get('number'), 12)}\n{text(row.get('digest'), 80).removeprefix('sha256:')[:8]}", "bold"),
            _moment(row.get("created")),
            _cell(row.get("recipe") or "–"),
            "–" if parent is None else _cell(f"v{text(parent, 12).removeprefix('v')}"),
            *metrics,
        )
    return table


def _stacked(value: Any) -> str:
    """Value, interval and n below each other, so that a narrow column breaks no number."""
    return estimate(value).replace(" (", "\n").replace(", n", "\nn").removesuffix(")")


class _Chart:
    """A grid of cells, `columns` by `height`, onto which points are drawn; later drawings cover earlier ones."""

    def __init__(self, points: Sequence[Point], steps: Sequence[Block], columns: int, height: int) -> None:
        self.points, self.columns, self.height = points, columns, height
        self.start, self.end = points[0].at, points[-1].at
        self.low, self.high = _reach(points, steps)
        self.cells = [[(" ", "")] * columns for _ in range(height)]
        for step in steps:
            self._band(step)
        for point in points:
            self._guess(point)
        for step in steps:
            self._line(step)

    def column(self, at: datetime) -> int:
        span = (self.end - self.start) / timedelta(microseconds=1)
        share = (at - self.start) / timedelta(microseconds=1) / span if span else 0.5
        return min(max(round(share * (self.columns - 1)), 0), self.columns - 1)

    def row(self, value: float) -> int:
        share = (value - self.low) / (self.high - self.low)
        return self.height - 1 - min(max(round(share * (self.height - 1)), 0), self.height - 1)

    def _band(self, step: Block) -> None:
        for column in range(self.column(step.start), self.column(step.end) + 1):
            for row in range(self.row(step.true.high), self.row(step.true.low) + 1):
                self.cells[row][column] = ("░", BAND)

    def _line(self, step: Block) -> None:
        for column in range(self.column(step.start), self.column(step.end) + 1):
            self.cells[self.row(step.true.value)][column] = ("━", TRUE)

    def _guess(self, point: Point) -> None:
        column = self.column(point.at)
        if math.isfinite(point.estimated.value):
            self.cells[self.row(point.estimated.value)][column] = ("●" if point.valid else "○", GUESS)
        elif not point.valid:
            self.cells[self.height - 1][column] = ("?", UNKNOWN)

    def marks(self, marks: Sequence[Event]) -> list[Any]:
        """Lines of event numbers above the chart, each over its own moment, as many lines as keep them apart."""
        lanes: list[int] = []
        made: list[Any] = []
        for index, event in enumerate(marks, start=1):
            column, label = self.column(event.at), str(index)
            column = min(column, self.columns - len(label))
            lane = next((place for place, end in enumerate(lanes) if end < column), len(lanes))
            if lane == len(lanes):
                lanes.append(-1)
                made.append(_cell(""))
            made[lane].append(" " * (7 + column - made[lane].cell_len) + label, EVENT_STYLES.get(event.kind, "bold"))
            lanes[lane] = column + len(label)
        return made[::-1]

    def lines(self) -> list[Any]:
        """The chart, a scale at its left."""
        made = []
        every = max(1, (self.height - 1) // 4)
        for index, cells in enumerate(self.cells):
            value = self.high - (self.high - self.low) * index / (self.height - 1)
            line = _cell(f"{value:5.3f} ┤" if index % every == 0 else "      │", "dim")
            for char, style in cells:
                line.append(char, style)
            made.append(line)
        return made

    def axis(self) -> list[Any]:
        """The axis of time, with the models that answered."""
        names = [" "] * (self.columns + 7)
        for model, first, _ in told.spans(list(self.points)):
            place = 7 + self.column(self.points[first].at)
            for offset, char in enumerate(("┕" + model)[: self.columns + 7 - place]):
                names[place + offset] = char
        start, end = f"{self.start:%d %b %H:%M}", f"{self.end:%d %b %H:%M} UTC"
        gap = max(self.columns - len(start) - len(end), 1)
        return [
            _cell("      └" + "─" * self.columns, "dim"),
            _cell("".join(names).rstrip(), "bold"),
            _cell(" " * 7 + start + " " * gap + end, "dim"),
        ]


def _reach(points: Sequence[Point], steps: Sequence[Block]) -> tuple[float, float]:
    """A round range of four even steps that holds what is drawn."""
    seen = [v for step in steps for v in (step.true.value, step.true.low, step.true.high)]
    seen += [point.estimated.value for point in points if math.isfinite(point.estimated.value)]
    if not seen:
        return 0.0, 1.0
    for step in (0.0025, 0.005, 0.01, 0.02, 0.025, 0.05, 0.1, 0.25):
        high = math.ceil(round(max(seen) / step, 6)) * step
        if high - 4 * step <= min(seen):
            return high - 4 * step, high
    return min(seen), max(seen)


def _ranked(happened: Sequence[Event]) -> list[Event]:
    """At most twelve events, the telling kinds first, in order of time."""
    order = sorted(range(len(happened)), key=lambda index: (happened[index].kind not in EVENT_STYLES, index))
    return [happened[index] for index in sorted(order[:MOST_EVENTS])]


def _legend(points: Sequence[Point]) -> Any:
    entries = [("━", TRUE, "true"), ("░", BAND, "95% interval")]
    if not any(point.true.n for point in points):
        entries = [("", "", "no labels arrived yet: true accuracy is unknown")]
    if any(math.isfinite(point.estimated.value) for point in points):
        entries.append(("●", GUESS, "estimated without labels"))
    if any(not point.valid and math.isfinite(point.estimated.value) for point in points):
        entries.append(("○", GUESS, "not valid"))
    if any(not point.valid and not math.isfinite(point.estimated.value) for point in points):
        entries.append(("?", UNKNOWN, "unknown"))
    made = _cell("")
    for char, style, words in entries:
        made.append("   " if len(made) else "  ")
        made.append(f"{char} " if char else "", style)
        made.append(words, "dim")
    return made


def _told(marks: Sequence[Event], width: int) -> list[Any]:
    made = []
    for index, event in enumerate(marks, start=1):
        line = _cell(f"    {index:>2} ")
        line.append(f"{event.at:%d %b %H:%M}  ", "dim")
        line.append(event.title, EVENT_STYLES.get(event.kind, "bold"))
        if event.why:
            line.append(f"  {event.why}", "dim")
        line.truncate(width, overflow="ellipsis")
        made.append(line)
    return made


def _table(title: str, heads: Sequence[str], numbers: set[str]) -> Any:
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", header_style="bold", pad_edge=False,
    )  # fmt: skip
    for head in heads:
        made.add_column(head, justify="right" if head in numbers else "left", overflow="fold")
    return made


def _cell(value: Any, style: str = "") -> Any:
    """Text that is shown as it is: no markup, no control characters but the line break."""
    from rich.text import Text

    lines = ("" if value is None else str(value)).split("\n")
    plain = "\n".join(line if line.isprintable() else text(line, 2000) for line in lines)
    return Text(plain, style=style)


def _moment(value: Any) -> str:
    at = told.instant(value)
    return f"{at:%d %b %H:%M}" if at else "–"
