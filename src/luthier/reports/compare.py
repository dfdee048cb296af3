"""Many models on one page: the champions of several projects, or the versions of one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.errors import UsageError
from luthier.reports.base import Report, plural
from luthier.story import Point, blocks, estimate, events, part, pooled, rows, timeline
from luthier.tables.sheets import Cell, Grid, Line, Mark, Section, Sheet
from luthier.types import Estimate

__all__ = ["report"]

_LABELS = 200  # newest labels that say how a model does now


def report(stories: Mapping[str, Mapping[str, Any]], champions: Mapping[str, str], *, title: str = "") -> Report:
    """The stories of projects by name, and the champion of each ("" for none): one line a model, worst first.

    One project: a line for each of its versions. Raises UsageError without any project.
    """
    if not stories:
        raise UsageError("name at least one project to compare: luthier report --compare a/luthier.yaml b/luthier.yaml")
    alone = len(stories) == 1
    items = [
        _item(project, story, model, champions.get(project, ""))
        for project, story in stories.items()
        for model in (_versions(story) if alone else [champions.get(project, "")])
    ]
    items.sort(key=lambda item: (-item["open_pages"], -item["alarms"], item["accuracy_now"].value if item["accuracy_now"].n else 2.0))  # fmt: skip
    calling = sum(item["open_pages"] > 0 for item in items)
    noun = "version" if alone else "model"
    headline = f"{plural(len(items), noun)}: " + (
        f"{plural(calling, noun)} with an open page." if calling else "no page is open."
    )
    facts = [
        (f"{noun}s", f"{len(items):,}", next(iter(stories)) if alone else f"in {plural(len(stories), 'project')}"),
        ("open pages", f"{sum(item['open_pages'] for item in items):,}", f"of {plural(calling, noun)}"),
        (
            "answers",
            f"{sum(item['answers'] for item in items):,}",
            f"{sum(item['labels'] for item in items):,} labelled",
        ),
    ]
    table = _grid(items, alone)
    lede = (
        f"Worst first. “Now” is measured on about the newest {_LABELS} labels, with its 95 % interval; the line is accuracy "
        f"over time, dashed what was measured when the version was registered."
    )
    section = Section("models", "Versions" if alone else "Models", lede, table=table)
    status = Mark("page open", "bad") if calling else Mark("quiet", "good")
    sheet = Sheet(
        title or ("Versions compared" if alone else "Models compared"), headline, status, facts, [section], _NOTES
    )
    return Report("compare", (), tuple({k: v for k, v in item.items() if k != "line"} for item in items), (), sheet)


_NOTES = (
    "Models of different projects answer different questions on different data: their accuracies do not rank them.",
    "An estimate without labels is shown only where it is valid; “unknown” says that labels are needed.",
)


def _versions(story: Mapping[str, Any]) -> list[str]:
    return [f"v{row.get('number')}" for row in rows(story, "versions")] or [""]


def _item(project: str, story: Mapping[str, Any], model: str, champion: str) -> dict[str, Any]:
    """One model as a plain row; Estimates for what has an interval."""
    points = [point for point in timeline(story) if point.model == model and model]
    made = next((row for row in rows(story, "versions") if f"v{row.get('number')}" == model), {})
    open_ = [row for row in rows(story, "pages") if row.get("model") == model and not row.get("closed")]
    alarms = [row for row in rows(story, "evidence") if _is_of(row, model) and _loud(row)]
    guess = next((point for point in reversed(points) if point.n), None)
    steps = [block.true.value for block in blocks(points, events(story))]
    before = estimate(part(made, "metrics").get("accuracy"))
    return {
        "project": project, "model": model, "champion": bool(model) and model == champion, "accuracy_now": _newest(points),
        "accuracy_registered": before, "estimated": guess.estimated if guess and guess.valid else Estimate(),
        "estimated_why": guess.why if guess else "", "open_pages": len(open_),
        "pages": "; ".join(f"{row.get('id')} {row.get('check')} {row.get('slice') or ''}".strip() for row in open_),
        "alarms": len(alarms), "checks_alarmed": ", ".join(sorted({str(row.get("check")) for row in alarms})),
        "answers": sum(point.n for point in points), "labels": sum(point.true.n for point in points),
        "newest": points[-1].at if points else None, "line": Line(tuple(steps), (), before.value),
    }  # fmt: skip


def _newest(points: Sequence[Point]) -> Estimate:
    """Accuracy over the newest buckets that hold 200 labels."""
    taken: list[Point] = []
    for point in reversed(points):
        taken.append(point)
        if sum(one.true.n for one in taken) >= _LABELS:
            break
    return pooled(taken)


def _is_of(row: Mapping[str, Any], model: str) -> bool:
    return bool(model) and str(row.get("subject", "")).split(" ")[-1] == model


def _loud(row: Mapping[str, Any]) -> bool:
    points = rows(row, "points")
    return bool(points) and bool(points[-1].get("alarm"))


def _grid(items: Iterable[Mapping[str, Any]], alone: bool) -> Grid:
    lines: list[list[Cell]] = []
    for item in items:
        name = item["model"] or "no champion"
        pages = item["open_pages"]
        unknown = "unknown" if item["answers"] else None
        lines.append(
            [
                name if alone else item["project"], *([] if alone else [name]), Mark("champion", "good") if item["champion"] and alone else Mark(""),
                item["line"] if any(map(math.isfinite, item["line"].values)) else None,
                item["accuracy_now"] if item["accuracy_now"].n else unknown, item["accuracy_registered"],
                item["estimated"] if item["estimated"].n else unknown,
                Mark(f"{pages} open", "bad") if pages else 0, item["answers"], item["labels"], _calls(item),
            ]
        )  # fmt: skip
    heads = ("version" if alone else "project", *([] if alone else ["model"]), "", "accuracy over time", "now", "when registered",
             "without labels", "pages", "answers", "labels", "what calls")  # fmt: skip
    kinds = ("", *([] if alone else [""]), "", "", "number", "number", "number", "", "number", "number", "")
    return Grid(heads, kinds, lines)


def _calls(item: Mapping[str, Any]) -> str:
    """The open pages, and checks in alarm beside them."""
    alarms = f"in alarm: {item['checks_alarmed']}" if item["alarms"] else ""
    return "; ".join(part for part in (item["pages"], alarms) if part)
