"""The report: one HTML page that works offline, with the same in Markdown and as JSON beside it.

Of a project's story, or of a sheet: what a report on tables says.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import SetupError, UsageError, need
from luthier.names import NAME
from luthier.story import (
    clean,
    estimate_text,
    events,
    headline,
    number_text,
    part,
    pooled,
    promise_text,
    promise_words,
    rows,
    spans,
    text,
    time_text,
    timeline,
)
from luthier.tables.sheets import Bars, Cell, Line, Mark, Sheet
from luthier.types import Estimate

__all__ = ["Paths", "html", "markdown", "sheet_html", "sheet_markdown", "write", "write_files"]

_SPECIAL = str.maketrans({char: "\\" + char for char in "\\`*_[]|#~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


@dataclass(frozen=True, slots=True)
class Paths:
    """The three files of one report."""

    html: Path
    markdown: Path
    json: Path


def write(story: Mapping[str, Any], folder: str | Path, name: str = "report") -> Paths:
    """Write `name`.html, .md and .json into `folder` (made if missing), each complete or not at all.

    Raises UsageError for a name that is not a plain file name, SetupError when the folder cannot be written.
    """
    data = json.dumps(clean(story), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return write_files(folder, name, html(story), markdown(story), data)


def write_files(folder: str | Path, name: str, page: str, text_: str, data: str) -> Paths:
    """Write `name`.html, .md and .json, each complete or not at all; the errors of `write`."""
    if not NAME.fullmatch(name):
        raise UsageError(f"cannot write a report named {name!r}: a name matches {NAME.pattern}")
    folder = Path(folder)
    paths = Paths(folder / f"{name}.html", folder / f"{name}.md", folder / f"{name}.json")
    contents = {paths.html: page, paths.markdown: text_, paths.json: data}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in contents.items():
            _replace(path, content)
    except OSError as error:
        raise SetupError(
            f"cannot write the report to {folder}: {error.strerror or error}. Name a folder that you may write to."
        ) from error
    return paths


def sheet_html(sheet: Sheet) -> str:
    """The page of a report on tables; the drawing library is in it only when a figure needs it."""
    from luthier import figures, page

    drawn = {
        f"{section.name}-{index}": figures.drawn(one.maker, one.about).to_plotly_json()
        for section in sheet.sections
        for index, one in enumerate(section.figures)
    }
    library = need("plotly.offline", extra="report").get_plotlyjs() if drawn else ""
    return page.sheet_document(sheet, drawn, library)


def sheet_markdown(sheet: Sheet) -> str:
    """The same as Markdown: tables with small pictures of block characters."""
    found = [f"# {_said(sheet.title)}", _said(sheet.headline, 2000)]
    found += [
        f"- {_said(name)}: {_said(value)}{f' ({_said(note)})' if note else ''}" for name, value, note in sheet.facts
    ]
    for section in sheet.sections:
        found += [f"## {_said(section.title)}", _said(section.lede, 2000)]
        if section.table:
            lines = [[_cell(one) for one in line] for line in section.table.lines]
            found.append(_grid([_said(head) for head in section.table.heads], lines))
    if sheet.notes:
        found += ["## Notes", "\n".join(f"- {_said(note, 1000)}" for note in sheet.notes)]
    return "\n\n".join(part for part in found if part) + "\n"


def _cell(value: Cell) -> str:
    from luthier import figures

    if isinstance(value, Bars):
        return figures.bars_text(value)
    if isinstance(value, Line):
        return figures.line_text(value)
    if isinstance(value, Mark):
        return f"**{_said(value.text)}**" if value.tone == "bad" else _said(value.text)
    if isinstance(value, Estimate):
        return estimate_text(value)
    if isinstance(value, str):
        return _said(value, 1000)
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else number_text(value)


def html(story: Mapping[str, Any]) -> str:
    """The whole page as text: no file, font, script or image from elsewhere."""
    from luthier import figures, page

    library = need("plotly.offline", extra="report").get_plotlyjs()
    drawn = {name: made.to_plotly_json() for name, made in figures.every(story).items()}
    return page.document(story, drawn, library)


def markdown(story: Mapping[str, Any]) -> str:
    """The report as Markdown: the same parts in the same order, tables for figures."""
    found = [f"# {_said(story.get('project') or 'Luthier')}: report", _said(headline(story))]
    if story.get("created"):
        found.append(f"Made {time_text(story.get('created'))}. Times are UTC.")
    for title, body, missing in (
        ("Claims", _claims(story), ""),
        ("Accuracy over time", _time(story), "No answers have been recorded yet."),
        ("What happened", _events(story), ""),
        ("Evidence", _evidence(story), "No check has gathered evidence yet."),
        ("Before and after", _slices(story), "No version has been compared with another yet."),
        ("Labels", _labels(story), "No labels arrived yet."),
        ("Decisions", _decisions(story), "No decision has been made yet."),
        ("Pages", _pages(story), ""),
        ("Versions", _versions(story), "No version has been registered yet."),
        ("Training", _fits(story), ""),
        ("Training data", _issues(story), ""),
        ("Environment", _environment(story), ""),
    ):
        if body or missing:
            found += [f"## {title}", body or f"*{missing}*"]
    return "\n\n".join(found) + "\n"


def _replace(path: Path, content: str) -> None:
    """Write beside `path`, then rename over it: a reader sees the old file or the new one."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(content)
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _said(value: Any, limit: int = 400) -> str:
    return text(value, limit).translate(_SPECIAL)


def _grid(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    if not lines:
        return ""
    top = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(top + ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines])


def _claims(story: Mapping[str, Any]) -> str:
    return "\n".join(
        f"- {'✓' if row.get('holds') else '✗'} {_said(row.get('claim'))}: {_said(row.get('numbers'))}"
        for row in rows(story, "claims")
    )


def _time(story: Mapping[str, Any]) -> str:
    """One line for each stretch that one version answered."""
    points = timeline(story)
    lines = []
    for model, first, last in spans(points):
        stretch = points[first : last + 1]
        unknown = f"{sum(not point.valid for point in stretch)} of {len(stretch)}"
        lines.append(
            (
                _said(model or "unknown"), time_text(points[first].at), time_text(points[last].at),
                f"{sum(point.n for point in stretch):,}", estimate_text(pooled(stretch)), unknown,
            )
        )  # fmt: skip
    return _grid(("model", "from", "to", "answers", "true accuracy", "buckets with no valid estimate"), lines)


def _events(story: Mapping[str, Any]) -> str:
    lines = [(time_text(one.at), _said(one.kind), _said(one.title), _said(one.why)) for one in events(story)]
    return _grid(("when", "kind", "what", "why"), lines)


def _evidence(story: Mapping[str, Any]) -> str:
    lines = []
    for row in rows(story, "evidence"):
        points = rows(row, "points")
        loud = next((point for point in points if point.get("alarm")), None)
        last = points[-1] if points else {}
        lines.append(
            (
                _said(row.get("check")), _said(f"{text(row.get('subject'))} {text(row.get('slice'))}"),
                number_text(last.get("evidence")), time_text(loud.get("at")) if loud else "no alarm",
                _said(promise_words(part(row, "promise"))),
            )
        )  # fmt: skip
    return _grid(("check", "of", "evidence now", "first alarm", "promise"), lines)


def _slices(story: Mapping[str, Any]) -> str:
    lines = [
        (_said(row.get("slice") or "all"), estimate_text(row.get("before")), estimate_text(row.get("after")),
         number_text(row.get("margin")))
        for row in rows(story, "slices")
    ]  # fmt: skip
    return _grid(("slice", "before", "after", "margin"), lines)


def _labels(story: Mapping[str, Any]) -> str:
    about = part(story, "labels")
    lines = [("received", number_text(about.get("received"), 0)), ("asked for", number_text(about.get("asked"), 0))]
    lines += [(f"used for {_said(use)}", number_text(n, 0)) for use, n in part(about, "used").items()]
    return _grid(("labels", "number"), [line for line in lines if line[1] != "–"])


def _findings(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"  - {_said(one.get('check'))} {_said(one.get('slice'))}".rstrip()
        + f": {_said(one.get('why'))} (value {number_text(one.get('value'))}, limit {number_text(one.get('limit'))}, "
        f"evidence {number_text(one.get('evidence'))}, n {number_text(one.get('n'), 0)}; "
        f"{promise_text(part(one, 'promise'))})"
        for one in found
    ]


def _decisions(story: Mapping[str, Any]) -> str:
    found = []
    for row in rows(story, "decisions"):
        found.append(f"- {time_text(row.get('at'))}, **{_said(row.get('action') or 'none')}**: {_said(row.get('why'))}")
        found += _cause(part(row, "cause"))
        found += _findings(rows(row, "because"))
    return "\n".join(found)


def _cause(cause: Mapping[str, Any]) -> list[str]:
    """Where the loss comes from, and answers that show it beside the nearest before the change."""
    found = [f"  - cause: {_said(cause.get('why'), 1000)}"] if cause else []
    return found + [
        f"  - example: {_said(part(one, 'after').get('input') or part(one, 'after').get('id'))}; nearest before: "
        f"{_said(part(one, 'before').get('input') or part(one, 'before').get('id'))} "
        f"(distance {number_text(one.get('distance'))}, usually {number_text(one.get('usual'))})"
        for one in rows(cause, "examples")
    ]


def _pages(story: Mapping[str, Any]) -> str:
    """When somebody was called, and what labels that came later say about it."""
    lines = [
        (_said(row.get("id")), time_text(row.get("opened")), time_text(row.get("closed")) if row.get("closed") else "open",
         _said(f"{text(row.get('model'))} {text(row.get('check'))} {text(row.get('slice'))}"), _said(row.get("hindsight")))
        for row in rows(story, "pages")
    ]  # fmt: skip
    share = part(story, "page_precision")
    said = (
        f"\n\nRight in hindsight: {estimate_text(share)} of {number_text(share.get('n'), 0)} pages"
        if share.get("n")
        else ""
    )
    return _grid(("page", "opened", "closed", "of", "in hindsight"), lines) + said


def _versions(story: Mapping[str, Any]) -> str:
    found = []
    for row in rows(story, "versions"):
        parent = f" from v{_said(row.get('parent'))}" if row.get("parent") is not None else ""
        found.append(
            f"- **v{_said(row.get('number'))}**{parent}, {time_text(row.get('created'))}, recipe "
            f"{_said(row.get('recipe') or 'unknown')}, digest {_said(row.get('digest') or '–')}"
        )
        found += [f"  - {_said(name)} {estimate_text(one)}" for name, one in part(row, "metrics").items()]
        found += _findings(rows(row, "gate"))
    return "\n".join(found)


def _fits(story: Mapping[str, Any]) -> str:
    found = []
    for fit in rows(story, "fit"):
        found.append(f"- v{_said(fit.get('version'))}, recipe {_said(fit.get('recipe') or 'unknown')}")
        found += [
            f"  - {_said(rung.get('recipe'))}, {number_text(rung.get('seconds'), 1)} s, "
            f"{'met' if rung.get('met') else 'not met'}: {_said(rung.get('why'))}"
            for rung in rows(fit, "rungs")
        ]
        found += _findings(rows(fit, "findings"))
    return "\n".join(found)


def _issues(story: Mapping[str, Any]) -> str:
    return "\n".join(
        f"- {_said(row.get('severity') or row.get('level') or 'note')}: "
        f"{_said(row.get('message') or row.get('why') or row.get('text') or row.get('rule') or row.get('kind'))}"
        for row in rows(story, "data")
    )


def _environment(story: Mapping[str, Any]) -> str:
    return _grid(("what", "value"), [(_said(k), _said(v)) for k, v in part(story, "environment").items()])
