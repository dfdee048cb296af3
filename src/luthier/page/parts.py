"""The parts of the page, each from the story alone; a part with nothing to show says so or is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from luthier.page.base import (
    absent,
    escaped,
    findings_table,
    pill,
    table,
    time_tag,
    version_name,
)
from luthier.story import (
    Event,
    Point,
    estimate_text,
    events,
    number,
    number_text,
    part,
    pooled,
    promise_words,
    rows,
    text,
    timeline,
)

__all__ = [
    "GLOSSARY",
    "claims",
    "data",
    "decisions",
    "environment",
    "facts",
    "glossary",
    "happened",
    "pages",
    "promises",
    "slices",
    "status",
    "training",
    "versions",
]

GLOSSARY = (
    (
        "Reference",
        "The held-out records on which a version was proved before it served. Later answers are compared with it.",
    ),
    (
        "Interval",
        "A range made by a rule whose ranges hold the true number 95 times in 100; more labels make it narrower.",
    ),
    (
        "Evidence",
        "How strongly the data speak against “nothing is wrong”. Evidence of 100 means a fair bet on “wrong” "
        "would have turned 1 into 100; checks that call a person add up such bets begun at every moment. Both may be "
        "looked at after every single answer without losing their meaning.",
    ),
    (
        "Promise",
        "How often an alarm sounds when nothing is wrong: an upper limit for ever (needed to act without asking), or "
        "at most one in so many observations on average (enough to call a person).",
    ),
    (
        "Champion and gate",
        "The champion is the version that answers. A candidate replaces it only through the gate: on the same "
        "records it must be not worse by more than the margin, and meet every requirement.",
    ),
)  # fmt: skip


def status(story: Mapping[str, Any]) -> tuple[str, str]:
    """One or two words on where things stand, and their tone ("good", "bad" or "")."""
    if any(claim.get("holds") is False for claim in rows(story, "claims")):
        return "a claim does not hold", "bad"
    for event in reversed(events(story)):
        if event.kind == "detect":
            return "alarm open", "bad"
        if event.kind in ("promote", "rollback") and any(other.kind in ("detect", "update") for other in events(story)):
            return ("repaired" if event.kind == "promote" else "rolled back"), "good"
    return ("no alarm", "good") if timeline(story) else ("", "")


def facts(story: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The key numbers: (name, number, note)."""
    points, versions, labels = timeline(story), rows(story, "versions"), part(story, "labels")
    found = []
    if points:
        newest = [point for point in points if point.model == points[-1].model]
        now = pooled(newest)
        name = f"accuracy of {points[-1].model}" if points[-1].model else "accuracy"
        found.append((name, number_text(now.value), _interval(now) if now.n else "no labels arrived yet"))
        found.append(("answers", f"{sum(point.n for point in points):,}", f"in {len(points)} buckets of time"))
    received = number(labels.get("received"))
    if math.isfinite(received):
        answers = sum(point.n for point in points)
        share = f"{received / answers:.0%} of the answers" if answers else ""
        found.append(("labels received", f"{received:,.0f}", share))
    alarms = [event for event in events(story) if event.kind == "detect"]
    if points:
        found.append(("alarms", str(len(alarms)), alarms[0].title if alarms else "none so far"))
        found += _delay(points, events(story), alarms)
    if versions:
        newest_version = versions[-1]
        made = f"newest by recipe {text(newest_version.get('recipe'), 30)}" if newest_version.get("recipe") else ""
        found.append(("versions", str(len(versions)), made))
    return found


def _delay(points: list[Point], seen: list[Event], alarms: list[Event]) -> list[tuple[str, str, str]]:
    """How much was answered between the first change and the first alarm after it."""
    change = next((event.at for event in seen if event.kind == "shift"), None)
    heard = next((event.at for event in alarms if change is not None and event.at >= change), None)
    if change is None or heard is None:
        return []
    between = [point for point in points if change <= point.at < heard]
    labels = sum(point.true.n for point in between)
    answers = f"{sum(point.n for point in between):,} answers"
    return [("until the first alarm", answers, f"after the change, {labels:,} of them labelled")]


def happened(story: Mapping[str, Any]) -> str:
    """The events as a table under the timeline."""
    lines = [
        [time_tag(event.at), pill(event.kind, _tone(event.kind)), escaped(event.title), escaped(event.why)]
        for event in events(story)
    ]
    found = table(("when", "what", "title", "why"), lines, ("number", "", "", "words")) if lines else ""
    return found if len(lines) <= 24 else f"<details><summary>all {len(lines)} events</summary>{found}</details>"


def promises(story: Mapping[str, Any]) -> str:
    """What each check promises, in words a person understands."""
    found: dict[str, str] = {}
    for row in rows(story, "evidence"):
        found.setdefault(text(row.get("check"), 60) or "check", promise_words(part(row, "promise")))
    if not found:
        return ""
    lines = [[f"<code>{escaped(check)}</code>", escaped(words)] for check, words in found.items()]
    return table(("check", "its promise"), lines, ("", "words"))


def slices(story: Mapping[str, Any]) -> str:
    """Before and after, slice by slice."""
    lines = []
    for row in rows(story, "slices"):
        before, after, margin = part(row, "before"), part(row, "after"), number(row.get("margin"))
        gain = number(after.get("value")) - number(before.get("value"))
        lines.append(
            [
                escaped(row.get("slice") or "all", 60),
                escaped(estimate_text(before or None)),
                escaped(estimate_text(after or None)),
                "–" if math.isnan(gain) else f"{gain:+.3f}".replace("-", "−"),
                number_text(margin),
            ]
        )
    heads = ("slice", "before", "after", "change", "margin")
    return table(heads, lines, ("", "number", "number", "number", "number")) if lines else ""


def decisions(story: Mapping[str, Any]) -> str:
    """The decision trail: each decision opens to the findings it rests on."""
    found = [
        f"<details><summary>{time_tag(row.get('at'))} {pill(row.get('action') or 'none', _tone(row.get('action')))}"
        f"{escaped(row.get('why'))}</summary>{_cause(part(row, 'cause'))}{findings_table(rows(row, 'because'))}</details>"
        for row in rows(story, "decisions")
    ]
    return "\n".join(found) or absent("No decision has been made yet.")


def _cause(cause: Mapping[str, Any]) -> str:
    """Where the loss comes from, and answers that show it beside the nearest before the change."""
    if not cause:
        return ""
    lines = [
        [
            *(escaped(part(one, side).get("input") or part(one, side).get("id"), 200) for side in ("after", "before")),
            f"{number_text(one.get('distance'))} (usually {number_text(one.get('usual'))})",
        ]
        for one in rows(cause, "examples")
    ]
    shown = table(
        ("an answer that is wrong now", "the nearest before the change", "distance"), lines, ("", "", "number")
    )
    return f"<p>{escaped(cause.get('why'), 1000)}</p>{shown if lines else ''}"


def pages(story: Mapping[str, Any]) -> str:
    """When somebody was called, and what labels that came later say about it."""
    lines = [
        [
            escaped(row.get("id"), 20),
            time_tag(row.get("opened")),
            time_tag(row.get("closed")) if row.get("closed") else pill("open", "bad"),
            escaped(f"{row.get('model')} {row.get('check')} {row.get('slice') or ''}", 120),
            escaped(row.get("why")),
            escaped(row.get("hindsight"), 20),
        ]
        for row in rows(story, "pages")
    ]
    share = part(story, "page_precision")
    said = f"<p>Right in hindsight: {_small(share)} of the pages that labels can judge.</p>" if share.get("n") else ""
    heads = ("page", "opened", "closed", "of", "why", "in hindsight")
    return table(heads, lines, ("", "", "", "", "words", "")) + said if lines else ""


def versions(story: Mapping[str, Any]) -> str:
    """Versions with lineage, metrics and the findings of their gate."""
    found = rows(story, "versions")
    if not found:
        return absent("No version has been registered yet.")
    names = list(dict.fromkeys(str(name) for row in found for name in part(row, "metrics")))[:6]
    lines = [
        [
            f"<b>{version_name(row.get('number'))}</b>",
            f"<code>{escaped(str(row.get('digest') or '–').removeprefix('sha256:'), 13)}</code>",
            time_tag(row.get("created")),
            escaped(row.get("recipe") or "–", 40),
            version_name(row.get("parent")) if row.get("parent") is not None else "–",
            *(_small(part(row, "metrics").get(name)) for name in names),
        ]
        for row in found
    ]
    heads = ("version", "digest", "created", "recipe", "made from", *(name.replace("_", " ") for name in names))
    gates = "".join(
        f"<details><summary>the gate of <b>{version_name(row.get('number'))}</b> ({len(rows(row, 'gate'))})</summary>"
        f"{findings_table(rows(row, 'gate'))}</details>"
        for row in found
        if rows(row, "gate")
    )
    return table(heads, lines, ("", "", "number", "", "", *("number" for _ in names))) + gates


def training(story: Mapping[str, Any]) -> str:
    """What each fit tried, why it went on or stopped, and what the training checks said."""
    found = []
    for fit in rows(story, "fit"):
        lines = [
            [
                escaped(rung.get("recipe"), 40),
                number_text(rung.get("seconds"), 1) + " s",
                pill("met", "good") if rung.get("met") else pill("not met"),
                escaped(rung.get("why")),
                "<br>".join(f"{escaped(k, 40)} {escaped(estimate_text(v))}" for k, v in part(rung, "metrics").items()),
            ]
            for rung in rows(fit, "rungs")
        ]
        head = f"<h3>{version_name(fit.get('version'))}, recipe {escaped(fit.get('recipe') or 'unknown', 40)}</h3>"
        heads = ("tried", "took", "requirements", "why", "reached")
        tried = table(heads, lines, ("", "number", "", "words", "")) if lines else ""
        said = findings_table(rows(fit, "findings")) if rows(fit, "findings") else ""
        found.append(head + tried + said if tried or said else "")
    return "\n".join(found)


def data(story: Mapping[str, Any]) -> str:
    """What was found in the training data."""
    lines = []
    for issue in rows(story, "data"):
        level = text(issue.get("severity") or issue.get("level"), 20)
        name = issue.get("rule") or issue.get("kind") or issue.get("name")
        numbers = issue.get("rows") if isinstance(issue.get("rows"), list | tuple) else []
        where = ", ".join(text(row, 20) for row in list(numbers or [])[:8])
        more = f" and {len(numbers or []) - 8} more" if len(numbers or []) > 8 else ""
        words = issue.get("message") or issue.get("why") or issue.get("text")
        lines.append(
            [
                pill(level or "note", "bad" if level == "error" else ""),
                escaped(str(name or "–").replace("_", " "), 60),
                number_text(issue.get("count", issue.get("n")), 0),
                escaped(words),
                escaped(where + more),
            ]
        )
    heads = ("level", "what", "rows", "in words", "row numbers")
    return table(heads, lines, ("", "", "number", "words", "")) if lines else ""


def claims(story: Mapping[str, Any]) -> str:
    """What this run claims of itself, each with a tick or a cross."""
    found = "".join(
        f'<li><span class="tick {"good" if row.get("holds") else "bad"}" aria-label="'
        f'{"holds" if row.get("holds") else "does not hold"}">{"✓" if row.get("holds") else "✗"}</span>'
        f"{escaped(row.get('claim'))}<small>{escaped(row.get('numbers'))}</small></li>"
        for row in rows(story, "claims")
    )
    return f'<ul class="plain">{found}</ul>' if found else ""


def environment(story: Mapping[str, Any]) -> str:
    """What it ran on."""
    pairs = "".join(
        f"<dt>{escaped(name, 60)}</dt><dd>{escaped(value, 200)}</dd>"
        for name, value in part(story, "environment").items()
    )
    return f'<dl class="pairs">{pairs}</dl>' if pairs else ""


def glossary() -> str:
    """Five terms."""
    return '<dl class="terms">' + "".join(f"<dt>{escaped(t)}</dt><dd>{escaped(w)}</dd>" for t, w in GLOSSARY) + "</dl>"


def _small(value: Any) -> str:
    number_first, _, rest = escaped(estimate_text(value)).partition(" (")
    return number_first + (f"<br><small>{rest.removesuffix(')')}</small>" if rest else "")


def _interval(one: Any) -> str:
    return f"{number_text(one.low)}–{number_text(one.high)}, {one.n:,} labels"


def _tone(kind: Any) -> str:
    return {"detect": "bad", "reject": "bad", "alert": "bad", "promote": "good"}.get(str(kind), "")
