"""Small pieces of HTML, every outside string escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.story import instant, number, number_text, part, promise_text, text, time_text

__all__ = [
    "absent",
    "escaped",
    "findings_table",
    "pill",
    "section",
    "table",
    "time_tag",
    "version_name",
]


def escaped(value: Any, limit: int = 2000) -> str:
    """`value` as text for HTML content and attributes: one line, no control characters."""
    return html.escape(text(value, limit), quote=True)


def absent(sentence: str) -> str:
    """A note where a reader would look for something that is not there."""
    return f'<p class="absent">{escaped(sentence)}</p>'


def pill(label: Any, tone: str = "") -> str:
    """A short coloured label; `tone` is "good", "bad" or nothing."""
    return f'<span class="pill{" " + tone if tone else ""}">{escaped(label, 40)}</span>'


def time_tag(value: Any) -> str:
    """An event time as people read it, in UTC, with the exact one in the markup."""
    at = instant(value)
    return f'<time datetime="{at.isoformat()}">{time_text(at)}</time>' if at else "<time>–</time>"


def section(name: str, title: str, lede: str, body: str) -> str:
    """One part of the page under its heading."""
    words = f'<p class="lede">{lede}</p>' if lede else ""
    return f'<section id="{name}"><h2>{escaped(title)}</h2>{words}\n{body}</section>'


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], kinds: Sequence[str]) -> str:
    """A table of cells that are HTML already; `kinds` names each column's class ("", "number", "words").

    On a narrow screen each row becomes a small list, so the page never scrolls sideways.
    """
    top = "".join(f"<th>{escaped(head)}</th>" for head in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}" data-name="{escaped(head)}">{cell}</td>'
            for head, kind, cell in zip(heads, kinds, line, strict=True)
        )
        + "</tr>\n"
        for line in lines
    )
    return f'<div class="scroll"><table class="stack"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def findings_table(findings: Sequence[Mapping[str, Any]]) -> str:
    """Findings: what each check measured, against which limit, how strong the evidence is and what it promises."""
    if not findings:
        return absent("No findings were recorded for this.")
    lines = []
    for one in findings:
        where = " · ".join(escaped(one.get(key), 60) for key in ("subject", "slice") if one.get(key))
        lines.append(
            [
                f"<code>{escaped(one.get('check'), 60)}</code>" + (f"<br>{where}" if where else ""),
                f"{number_text(one.get('value'))} / {number_text(one.get('limit'))}",
                number_text(one.get("evidence")),
                escaped(promise_text(part(one, "promise"))),
                number_text(one.get("n"), 0),
                (pill("alarm", "bad") + " " if one.get("alarm") else "") + escaped(one.get("why")),
            ]
        )
    heads = ("check", "value / limit", "evidence", "promise", "n", "what it says")
    return table(heads, lines, ("", "number", "number", "", "number", "words"))


def version_name(value: Any) -> str:
    """v2 for the number 2; other names as they are; "–" for none."""
    found = number(value)
    return f"v{found:.0f}" if found == found and abs(found) < 1e9 else escaped(value, 40) or "–"
