"""Tables of a report on tables: every kind of cell as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.figures import bars_svg, line_svg
from luthier.page.base import absent, escaped, pill, table
from luthier.story import estimate_text, number_text
from luthier.tables.sheets import Bars, Cell, Grid, Line, Mark
from luthier.types import Estimate

__all__ = ["cell", "grid", "notes"]


def grid(about: Grid) -> str:
    """A table; on a narrow screen each row becomes a small list."""
    if not about.lines:
        return absent("Nothing to show.")
    return table(about.heads, [[cell(one) for one in line] for line in about.lines], about.kinds)


def notes(lines: Sequence[str]) -> str:
    """What a reader should know beside the numbers."""
    return '<ul class="notes">' + "".join(f"<li>{escaped(line)}</li>" for line in lines) + "</ul>"


def cell(value: Cell) -> str:
    """One cell as HTML, every outside string escaped."""
    if value is None:
        return "–"
    if isinstance(value, Estimate):
        first, _, rest = escaped(estimate_text(value)).partition(" (")
        return first + (f"<br><small>{rest.removesuffix(')')}</small>" if rest else "")
    if isinstance(value, Mark):
        return pill(value.text, value.tone) if value.text else ""
    if isinstance(value, Bars):
        return bars_svg(value)
    if isinstance(value, Line):
        return line_svg(value)
    if isinstance(value, bool | str):
        return escaped(value)
    return f"{value:,}" if isinstance(value, int) else number_text(value)
