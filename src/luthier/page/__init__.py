"""The report as one HTML page that works offline: figures, styles and scripts inside, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from luthier.page import grids, parts
from luthier.page.base import absent, escaped, pill, section, version_name
from luthier.story import clean, headline, part, rows, time_text, timeline
from luthier.tables.sheets import Sheet

__all__ = ["document", "sheet_document"]


def document(story: Mapping[str, Any], figures: Mapping[str, Any], plotly_js: str) -> str:
    """The whole page. `figures`: name to plotly Figure as a JSON-able dict; `plotly_js`: the library, inlined once.

    A content security policy allows the page's own two scripts by digest and no request to anywhere.
    """
    title = f"{escaped(story.get('project') or 'Luthier', 80)} – report"
    words = "Times are UTC. Every number on this page is also in the Markdown and JSON files beside it."
    return _whole(title, _header(story), _sections(story, figures), words, plotly_js)


def sheet_document(sheet: Sheet, figures: Mapping[str, Any], plotly_js: str = "") -> str:
    """The whole page of a report on tables. Without figures there is no drawing library and no script in it."""
    made = []
    for one in sheet.sections:
        drawn = "".join(
            _figure(f"{one.name}-{index}", figures[f"{one.name}-{index}"], about.words)
            for index, about in enumerate(one.figures)
        )
        made.append(
            section(one.name, one.title, escaped(one.lede), drawn + (grids.grid(one.table) if one.table else ""))
        )
    if sheet.notes:
        made.append(section("notes", "Notes", "", grids.notes(sheet.notes)))
    header = _head("", sheet.title, sheet.status.text, sheet.status.tone, sheet.headline, sheet.facts)
    words = "Times are UTC. Every number on this page is also in the Markdown and JSON files."
    return _whole(escaped(sheet.title, 120), header, made, words, plotly_js, ' class="wide"')


def _whole(title: str, header: str, sections: Sequence[str], words: str, plotly_js: str, body: str = "") -> str:
    own = files("luthier.page").joinpath("script.js").read_text(encoding="utf-8")
    scripts = (plotly_js, own) if plotly_js else ()
    style = files("luthier.page").joinpath("style.css").read_text(encoding="utf-8")
    inner = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n<title>{title}</title>\n<style>{style}</style></head>\n<body{body}>\n'
        f"{header}\n<main>\n{inner}\n</main>\n{_footer(words, bool(scripts))}\n"
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body></html>\n"
    )


def _policy(scripts: Sequence[str]) -> str:
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    digests = digests or "'none'"
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _header(story: Mapping[str, Any]) -> str:
    word, tone = parts.status(story)
    made = f" · {time_text(story.get('created'))}" if story.get("created") else ""
    return _head(made, story.get("project") or "Luthier", word, tone, headline(story), parts.facts(story))


def _head(made: str, name: Any, word: str, tone: str, said: str, facts: Sequence[tuple[str, str, str]]) -> str:
    cards = "".join(
        f'<div class="card"><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>'
        + (f'<dd class="note">{escaped(note)}</dd>' if note else "")
        + "</div>"
        for name, value, note in facts
    )
    return (
        f'<header><p class="eyebrow"><b>{escaped(name, 120)}</b>{made} '
        f"{pill(word, tone) if word else ''}</p><h1>{escaped(said)}</h1>"
        + (f'<dl class="cards">{cards}</dl>' if cards else "")
        + "</header>"
    )


def _sections(story: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    def drawn(name: str, words: str) -> str:
        return _figure(name, figures[name], words) if name in figures else ""

    found = [
        section("claims", "What is claimed", "Each line was tested on this run's own numbers.", parts.claims(story))
        if rows(story, "claims")
        else "",
        section("time", "Accuracy over time", _time_lede(story), _time(story, drawn)),
        section(
            "evidence", "Evidence over time",
            "Each panel is one check. The line rises while the data speak against “nothing is wrong”; an "
            "alarm sounds where it meets the dashed line.",
            drawn("evidence", "evidence of each check over time") + parts.promises(story)
            if rows(story, "evidence")
            else absent("No check has gathered evidence yet."),
        ),
        section(
            "slices", "Before and after", "The same records, answered by the old version and by the new one.",
            drawn("before_after", "each slice before and after") + parts.slices(story)
            if rows(story, "slices")
            else absent("No version has been compared with another yet."),
        ),
        section(
            "labels", "Labels spent", "Labels are what people's time buys; a label may serve more than one purpose.",
            drawn("labels", "labels asked for, received and used")
            if part(story, "labels")
            else absent("No labels arrived yet."),
        ),
        section(
            "decisions", "Decisions", "Newest last. Each opens to the findings it rests on.", parts.decisions(story)
        ),
        section("pages", "Pages", "When somebody was called, and whether labels that came later say it was right.", parts.pages(story))
        if rows(story, "pages")
        else "",
        section("versions", "Versions", _lineage(story), parts.versions(story)),
    ]  # fmt: skip
    return [one for one in [*found, *_background(story, drawn)] if one]


def _background(story: Mapping[str, Any], drawn: Callable[[str, str], str]) -> list[str]:
    fits = parts.training(story)
    curves = drawn("curves", "training curves") if any(part(fit, "curves") for fit in rows(story, "fit")) else ""
    found = parts.data(story)
    place = parts.environment(story)
    return [
        section("training", "Training", "", fits + curves) if fits or curves else "",
        section("data", "Training data", "What was found before training.", found) if found else "",
        section("environment", "Environment", "", place) if place else "",
        section("words", "Five terms", "", parts.glossary()),
    ]  # fmt: skip


def _time_lede(story: Mapping[str, Any]) -> str:
    if not timeline(story):
        return ""
    return (
        "Blue is measured where true labels came (a dot is one bucket, the line pools neighbouring ones), orange is "
        "estimated without labels; shaded areas are 95% intervals. "
        "Where the estimate is not valid it is drawn hollow and marked “unknown”."
    )


def _time(story: Mapping[str, Any], drawn: Callable[[str, str], str]) -> str:
    points = timeline(story)
    if not points:
        return absent("No answers have been recorded yet.") + parts.happened(story)
    unlabelled = not any(point.true.n for point in points)
    note = absent("No labels arrived yet, so the true accuracy is unknown.") if unlabelled else ""
    return drawn("accuracy", "true and estimated accuracy over time") + note + parts.happened(story)


def _lineage(story: Mapping[str, Any]) -> str:
    """Who was made from whom, as a sentence of arrows."""
    steps = [
        f"{version_name(row.get('parent'))} → {version_name(row.get('number'))}"
        for row in rows(story, "versions")
        if row.get("parent") is not None
    ]
    return "Lineage: " + ", ".join(steps[-12:]) + "." if steps else ""


def _figure(name: str, figure: Any, words: str) -> str:
    data = json.dumps(clean(figure), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    safe = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    height = int(figure.get("layout", {}).get("height") or 300)
    return (
        f'<div class="figure" id="figure-{name}" role="img" aria-label="{escaped(words)}" '
        f'style="min-height:{height}px"></div>\n'
        f'<script type="application/json" data-figure="figure-{name}">{safe}</script>\n'
    )


def _footer(words: str, drawn: bool) -> str:
    hint = (
        "<noscript><p>The figures need JavaScript; their numbers are in the tables and in the JSON file.</p></noscript>"
    )
    return f"<footer><p>{words}</p>{hint if drawn else ''}</footer>"
