"""Small pictures inside a table: SVG for the page, block characters for Markdown and terminals."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from luthier.tables.sheets import Bars, Line

__all__ = ["bars_svg", "bars_text", "line_svg", "line_text"]

WIDE, HIGH = 168, 40  # pixels
_BLOCKS = "▁▂▃▄▅▆▇█"


def bars_svg(bars: Bars) -> str:
    """Reference as a grey ground, current as narrow bars before it; each bar tells its bin and both shares."""
    count = len(bars.names)
    top = max((*bars.reference, *bars.current), default=0.0) or 1.0
    step = WIDE / max(count, 1)
    found = []
    for i, (name, p, q) in enumerate(zip(bars.names, bars.reference, bars.current, strict=True)):
        told = html.escape(f"{name}: {p:.1%} → {q:.1%}", quote=True)
        found.append(
            f"<g><title>{told}</title>{_rect('ref', i * step, step - 1, p / top)}"
            f"{_rect('cur', i * step + step * 0.25, step * 0.5 - 0.5, q / top)}</g>"
        )
    label = "shares by bin, the reference's in grey, current's before it"
    return _svg(f"bars{' loud' if bars.loud else ''}", "".join(found), label)


def line_svg(line: Line) -> str:
    """A line over the windows, broken where there is no value; alarms as dots, the reference's level dashed."""
    known = [value for value in (*line.values, line.level) if math.isfinite(value)]
    if not known:
        return ""
    low, high = min(known), max(known)
    room = (high - low) or 1.0

    def place(index: int, value: float) -> tuple[float, float]:
        x = 3 + (WIDE - 6) * (index / (len(line.values) - 1) if len(line.values) > 1 else 0.5)
        return x, HIGH - 4 - (HIGH - 8) * ((value - low) / room if high > low else 0.5)

    points = [place(i, value) if math.isfinite(value) else None for i, value in enumerate(line.values)]
    inner = ""
    if math.isfinite(line.level):
        y = place(0, line.level)[1]
        inner = f'<line class="level" x1="0" x2="{WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>'
    path, pen = "", "M"
    for point in points:
        path, pen = (path + f"{pen}{point[0]:.1f} {point[1]:.1f}", "L") if point else (path, "M")
    inner += f'<path d="{path}"/>'
    if sum(point is not None for point in points) == 1:
        inner += "".join(f'<circle class="only" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in filter(None, points))
    dots = [points[i] for i in line.loud if points[i] is not None]
    inner += "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in filter(None, dots))
    return _svg("line", inner, f"over the windows, from {low:.3g} to {high:.3g}")


def bars_text(bars: Bars) -> str:
    """▁▃█▂ → ▁▂▅█"""
    top = max((*bars.reference, *bars.current), default=0.0) or 1.0
    return " → ".join(_blocks([value / top for value in side]) for side in (bars.reference, bars.current))


def line_text(line: Line) -> str:
    """▅▅▆▂, a space for a gap."""
    known = [value for value in line.values if math.isfinite(value)]
    if not known:
        return ""
    low, room = min(known), (max(known) - min(known)) or 1.0
    return _blocks([(value - low) / room for value in line.values])


def _blocks(shares: Sequence[float]) -> str:
    return "".join(_BLOCKS[round(share * 7)] if math.isfinite(share) else " " for share in shares)


def _rect(kind: str, x: float, width: float, share: float) -> str:
    height = max(share * (HIGH - 2), 1.0 if share > 0 else 0.0)
    return f'<rect class="{kind}" x="{x:.1f}" y="{HIGH - height:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"/>'


def _svg(kind: str, inner: str, label: str) -> str:
    return (
        f'<svg class="small {kind}" viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}" role="img" '
        f'aria-label="{html.escape(label, quote=True)}">{inner}</svg>'
    )
