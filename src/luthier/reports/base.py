"""What the reports on tables share: the result, and a table cut into windows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from luthier.errors import StateError
from luthier.evidence import e_bh
from luthier.results import frame
from luthier.series.moments import unix_seconds
from luthier.stages import report
from luthier.story import clean
from luthier.tables import arrays, first_wrong
from luthier.tables.sheets import Sheet
from luthier.tables.tabular import Table, names_of, part_of, parts_of, rows_of
from luthier.types import Finding

__all__ = ["Report", "Series", "Window", "decided", "fold", "plural", "share_text"]

T = TypeVar("T")
_SPANS = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0}
_MONDAY = 345_600.0  # seconds from 1 January 1970, a Thursday, to the first Monday
MOST_WINDOWS = 5_000


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the current table: from `start` to `end` (UTC), or a run of rows, or all of it. `order`: its place."""

    name: str = "current"
    start: datetime | None = None
    end: datetime | None = None
    order: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says: `findings` (alarms first), `items` (one plain row a column or metric and window), and the page."""

    kind: str
    findings: tuple[Finding, ...]
    items: tuple[Mapping[str, Any], ...]
    windows: tuple[Window, ...]
    sheet: Sheet = field(repr=False)

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings to act on."""
        return tuple(finding for finding in self.findings if finding.alarm)

    def rows(self) -> list[dict[str, Any]]:
        """One plain row a column or metric and window."""
        return [dict(item) for item in self.items]

    def frame(self, library: str = "") -> Any:
        """The rows as a frame: "pandas", "polars", "arrow", or the first that is installed; see `luthier.frame`."""
        return frame(self, library)

    def json(self) -> str:
        """The whole report as one JSON document: kind, headline, windows, findings, rows."""
        told = {
            "kind": self.kind, "headline": self.sheet.headline, "notes": list(self.sheet.notes),
            "windows": [{"name": one.name, "start": one.start, "end": one.end} for one in self.windows],
            "findings": [asdict(finding) for finding in self.findings], "rows": self.rows(),
        }  # fmt: skip
        return json.dumps(clean(told), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def markdown(self) -> str:
        """The report as Markdown, small pictures as block characters."""
        return report.sheet_markdown(self.sheet)

    def html(self) -> str:
        """One page that works offline."""
        return report.sheet_html(self.sheet)

    def save(self, folder: str | Path, name: str = "") -> report.Paths:
        """Write .html, .md and .json into a folder, each complete or not at all. `name`: without one, the kind.

        Raises SetupError when the folder cannot be written.
        """
        return report.write_files(folder, name or self.kind, self.html(), self.markdown(), self.json())

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.sheet.headline}"]
        lines += [
            f"  {f'{one.slice}: ' if one.slice and not one.why.startswith(one.slice) else ''}{one.why}"
            for one in self.alarms[:5]
        ]
        more = len(self.alarms) - 5
        return "\n".join([*lines, f"  and {more} more"] if more > 0 else lines)

    def _repr_html_(self) -> str:
        """In a notebook: the page in a frame of its own, so that neither changes the other's styles."""
        import html

        return (
            f'<iframe sandbox="allow-scripts" style="width:100%;height:640px;border:0" title="{self.kind} report" '
            f'srcdoc="{html.escape(self.html(), quote=True)}"></iframe>'
        )


@dataclass(frozen=True, slots=True)
class Series:
    """How the current table is cut: not at all, by time (`at`: a column, or times (n,); `every`), or in `chunk` rows."""

    at: Any = None
    every: str | float | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.chunk is not None and self.every is not None:
            raise StateError(f"chunk is {self.chunk} and every is {self.every!r}: cut by rows or by time, not both")
        if self.chunk is not None and not self.chunk >= 1:
            raise StateError(f"chunk is {self.chunk}; a window has at least one row")
        if self.every is not None and self.at is None:
            raise StateError(
                f"every is {self.every!r}, but nothing says when a row was: name the column of times in `at`"
            )
        known = self.every in (None, "month", *_SPANS) or (
            isinstance(self.every, int | float) and math.isfinite(self.every) and self.every > 0
        )
        if not known:
            raise StateError(f"every is {self.every!r}; give hour, day, week, month, or a number of minutes")

    @property
    def cuts(self) -> bool:
        """Whether there may be more than one window."""
        return self.at is not None or self.chunk is not None

    def named(self, table: Any) -> list[str]:
        """The columns of a table that are compared: all but that of the times."""
        return [name for name in names_of(table) if not (isinstance(self.at, str) and name == self.at)]

    def without(self, table: Any) -> Any:
        """The table without its times."""
        return part_of(table, names=self.named(table))


def fold(table: Table, series: Series, step: Callable[[T | None, Any], T]) -> tuple[dict[Window, T], int]:
    """Every window's state, in order, and how many rows have no time. `step(state or None, part) → state`.

    A table or a stream of tables; a window may be spread over its parts. Without any row there is one empty window.
    """
    found: dict[Window, T] = {}
    left_out = row = 0
    first = None
    for part in parts_of(table):
        if first is None:
            first, series = part, _settled(series, part)
        for window, rows in _cut(part, series, row):
            if window is None:
                left_out += len(rows)
                continue
            chosen = part_of(part, rows, series.named(part))
            found[window] = step(found.get(window), chosen)
            if len(found) > MOST_WINDOWS:
                raise StateError(f"more than {MOST_WINDOWS:,} windows: cut into longer ones with `every` or `chunk`")
        row += rows_of(part)
    if not found and first is not None:
        found[Window()] = step(None, part_of(first, slice(0, 0), series.named(first)))
    return {window: found[window] for window in sorted(found, key=lambda one: one.order)}, left_out


def _settled(series: Series, first: Any) -> Series:
    """Cut by time without a length: days, or hours where the first part spans two days at most."""
    if series.at is None or series.every is not None or series.chunk is not None:
        return series
    known = _seconds(first, series.at, rows_of(first))
    known = known[~np.isnan(known)]
    return replace(series, every="hour" if len(known) and known.max() - known.min() <= 2 * _SPANS["day"] else "day")


def _cut(part: Any, series: Series, row: int) -> Iterator[tuple[Window | None, Any]]:
    """(window, its rows as a slice or indices) of one part whose first row has the number `row`."""
    n = rows_of(part)
    if not series.cuts:
        yield Window(), slice(0, n)
        return
    if series.chunk is not None:
        size = series.chunk
        for index in range(row // size, (row + n - 1) // size + 1 if n else row // size):
            start, end = max(index * size - row, 0), min((index + 1) * size - row, n)
            yield Window(f"rows {index * size + 1:,}–{(index + 1) * size:,}", order=index), slice(start, end)
        return
    seconds = _seconds(part, series.at, n)
    gone = np.flatnonzero(np.isnan(seconds))
    if len(gone):
        yield None, gone
    starts = _starts(seconds, series.every or "day")
    order = np.argsort(starts, kind="stable")[: n - len(gone)]  # NaN is last
    cuts = np.flatnonzero(np.diff(starts[order], prepend=np.nan) != 0)
    for begin, end in zip(cuts, [*cuts[1:], len(order)], strict=False):
        rows = order[begin:end]
        straight = rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all()
        yield _named(float(starts[rows[0]]), series), slice(int(rows[0]), int(rows[-1]) + 1) if straight else rows


def _seconds(part: Any, at: Any, n: int) -> np.ndarray:
    """Unix seconds of every row (n,), NaN where a time is missing."""
    if isinstance(at, str) and at not in names_of(part):
        raise StateError(f"there is no column {at!r} of times; there are {', '.join(names_of(part))}")
    name = at if isinstance(at, str) else "at"
    given = part.get(at) if isinstance(part, Mapping) and isinstance(at, str) else at
    kind = getattr(given, "dtype", None)
    if getattr(kind, "kind", "") == "m":
        raise StateError(f"column {name!r} holds {kind}: that is no moment; name a column of dates and times")
    values = arrays(part_of(part, names=[at]) if isinstance(at, str) else {"at": at})[name]
    if values.shape != (n,):
        raise StateError(f"column {name!r}: {' × '.join(map(str, values.shape))} times for {n} rows: give one a row")
    seconds, numbers = unix_seconds(values), values.dtype.kind in "biuf"
    known = np.isfinite(values) if numbers else np.array([one not in (None, "") for one in values.tolist()], bool)
    with np.errstate(invalid="ignore"):
        wrong = known & ~(np.abs(seconds) < 2**33)  # the year 2242; milliseconds lie far beyond it
    way_out = "Milliseconds? Divide by 1000" if numbers else "Give ISO 8601 text, datetimes or Unix seconds"
    first_wrong(name, wrong, values, "hold no time", way_out)
    return seconds


def _starts(seconds: np.ndarray, every: str | float) -> np.ndarray:
    """The start (Unix seconds) of the window of every row; weeks begin on Monday, all in UTC."""
    if every == "month":
        whole = np.where(np.isnan(seconds), 0, seconds).astype(np.int64).astype("datetime64[s]").astype("datetime64[M]")
        return np.where(np.isnan(seconds), np.nan, whole.astype("datetime64[s]").astype(np.int64))
    width = _SPANS[every] if isinstance(every, str) else every * 60
    shift = _MONDAY if every == "week" else 0.0
    return np.asarray(np.floor((seconds - shift) / width) * width + shift)


def _named(start: float, series: Series) -> Window:
    every = series.every
    begin = datetime.fromtimestamp(start, UTC)
    if every == "month":
        end = (begin + timedelta(days=32)).replace(day=1)
    else:
        end = begin + timedelta(seconds=_SPANS[every or "day"] if not isinstance(every, int | float) else every * 60)
    daily = every in ("day", "week")
    name = f"{begin:%Y-%m}" if every == "month" else f"{begin:%Y-%m-%d}" if daily else f"{begin:%Y-%m-%d %H:%M}"
    return Window(name, begin, end, start)


def decided(findings: Sequence[Finding], alpha: float, worthy: Callable[[Finding], bool]) -> tuple[Finding, ...]:
    """Alarms by e-BH over all findings that carry evidence, of those that are `worthy`; alarms come first.

    A finding without a promise keeps the alarm of its plain comparison.
    """
    weighed = [i for i, finding in enumerate(findings) if finding.promise.kind != "none"]
    shown = {weighed[i] for i in e_bh([findings[i].evidence for i in weighed], alpha)}
    made = [
        replace(one, alarm=i in shown and worthy(one)) if one.promise.kind != "none" else one
        for i, one in enumerate(findings)
    ]
    return tuple(sorted(made, key=lambda one: (not one.alarm, -one.evidence)))


def plural(count: int, noun: str) -> str:
    """1 column, 2 columns."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def share_text(count: int, of: int) -> str:
    """12 of 500 (2.4 %)"""
    return f"{count:,} of {of:,} ({count / of:.2%})" if of else f"{count:,} of {of:,}"
