"""The drift report: every column of one window, or of a series of them, against the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier.errors import StateError
from luthier.reports.base import Report, Series, Window, decided, fold, plural
from luthier.stages.drift import Drift, Summary, drift, summarise
from luthier.tables.sheets import Bars, Cell, Figure, Grid, Line, Mark, Section, Sheet, bars_of
from luthier.tables.tabular import Table
from luthier.types import Finding

__all__ = ["report"]

_SHOWN = 200  # columns that have a line on the page; the data of all are in the files
_PLACES = 4.0  # evidence of 10**4 has the darkest colour


@dataclass(frozen=True, slots=True)
class _Compared:
    """A window: what it holds, and what `drift` says of it."""

    window: Window
    summary: Summary
    drift: Drift


def report(
    reference: Table | Summary, current: Table, series: Series, *, title: str, alpha: float, relevant: float,
    categories: Iterable[str],
) -> Report:  # fmt: skip
    """Compare every window's columns with the reference's; alarms by e-BH over all columns and windows together."""
    named = tuple(categories)
    base = reference if isinstance(reference, Summary) else _summed(reference, series, named)
    states, left_out = fold(current, series, lambda state, part: _step(state, part, named))
    if not states:
        raise StateError("the current table has no part at all; give a table, if need be one without rows")
    found = [_Compared(window, state, drift(base, state, alpha=alpha, relevant=relevant, categories=named, looks=len(states))) for window, state in states.items()]  # fmt: skip
    every = [replace(one, slice=_slice(each.window, series)) for each in found for one in each.drift.findings]
    findings = decided(every, alpha, lambda one: math.isnan(one.value) or one.value >= relevant)
    loud = {(one.subject, one.slice) for one in findings if one.alarm}
    items = [item for each in found for item in _items(each, base, loud, series)]
    windows = tuple(each.window for each in found)
    sheet = (_series if series.cuts else _single)(title, base, found, findings, loud, series)
    notes = [_promise(alpha, relevant, len(found))]
    if left_out:
        notes.append(f"{plural(left_out, 'row')} without a time in column {series.at!r} are in no window")
    return Report("drift", findings, tuple(items), windows, replace(sheet, notes=tuple(notes)))


def _summed(reference: Table, series: Series, named: tuple[str, ...]) -> Summary:
    states, _ = fold(reference, Series(), lambda state, part: _step(state, series.without(part), named))
    return next(iter(states.values()), Summary())


def _step(state: Summary | None, part: Any, named: tuple[str, ...]) -> Summary:
    summary = summarise(part, named)
    return summary if state is None else state.merge(summary)


def _slice(window: Window, series: Series) -> str:
    return window.name if series.cuts else ""


def _items(each: _Compared, base: Summary, loud: set[tuple[str, str]], series: Series) -> list[dict[str, Any]]:
    """One plain row a column of a window."""
    found = []
    for one in each.drift.findings:
        found.append(
            {
                "window": each.window.name, "start": each.window.start, "end": each.window.end, "column": one.subject,
                "kind": _kind(base, each.summary, one.subject), "drifted": (one.subject, _slice(each.window, series)) in loud,
                "evidence": one.evidence, "n": one.n, "reference_n": base.rows,
                "missing_reference": _missing(base, one.subject), "missing": _missing(each.summary, one.subject),
            }
            | {name: each.drift.distances.get(one.subject, {}).get(name, math.nan) for name in _NAMES}
            | {"why": one.why}
        )  # fmt: skip
    return found


_NAMES = (
    "jensen_shannon", "psi", "hellinger", "total_variation", "chi_square", "kolmogorov_smirnov", "wasserstein",
)  # fmt: skip


def _kind(a: Summary, b: Summary, name: str) -> str:
    return str((a.columns.get(name) or b.columns.get(name) or {}).get("kind", ""))


def _missing(summary: Summary, name: str) -> float:
    state = summary.columns.get(name, {}).get("state", {"n": 0, "missing": 0})
    rows = state["n"] + state["missing"]
    return state["missing"] / rows if rows else math.nan


def _state(summary: Summary, name: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = summary.columns.get(name, {}).get("state")
    return found


def _picture(base: Summary, now: Summary, name: str, loud: bool) -> Bars | None:
    a, b = base.columns.get(name), now.columns.get(name)
    if a is None or b is None or a["kind"] != b["kind"]:
        return None
    return bars_of(a["kind"], a["state"], b["state"], loud)


def _promise(alpha: float, relevant: float, windows: int) -> str:
    where = "columns and windows" if windows > 1 else "columns"
    far = f", and only where the Jensen–Shannon distance is at least {relevant:g}" if relevant else ""
    return (
        f"Of the {where} called drifted, a share of at most {alpha:g} is wrong on average, however they depend on each "
        f"other (e-BH over exact e-values){far}. A column that is gone, new or of another kind is a plain comparison. "
        f"Distances describe; they decide nothing."
    )


def _facts(base: Summary, found: Sequence[_Compared], drifted: int, of: int) -> list[tuple[str, str, str]]:
    rows = sum(each.summary.rows for each in found)
    share = f"{drifted / of:.0%} of {plural(of, 'column')}" if of else "no columns"
    return [
        ("drifted", f"{drifted:,}", share),
        ("current", f"{rows:,}", "rows" + (f" in {plural(len(found), 'window')}" if len(found) > 1 else "")),
        ("reference", f"{base.rows:,}", "rows"),
    ]


def _single(
    title: str, base: Summary, found: Sequence[_Compared], findings: Sequence[Finding], loud: Any, series: Series
) -> Sheet:
    (each,) = found
    drifted = [one for one in findings if one.alarm]
    lines: list[list[Cell]] = []
    for one in findings[:_SHOWN]:
        gaps = each.drift.distances.get(one.subject, {})
        near = gaps.get("wasserstein", math.nan)
        lines.append(
            [
                one.subject, _picture(base, each.summary, one.subject, one.alarm), _verdict(one),
                one.evidence if one.promise.kind != "none" else None, gaps.get("jensen_shannon"), gaps.get("psi"),
                near if math.isfinite(near) else None, _said(one),
            ]
        )  # fmt: skip
    heads = ("column", "reference and current", "", "evidence", "Jensen–Shannon", "PSI", "Wasserstein", "what changed")
    kinds = ("", "", "", "number", "number", "number", "number", "words")
    lede = "Grey is the reference, the narrow bars before it are the current table. Strongest evidence first." + _more(
        len(findings)
    )
    names = ", ".join(one.subject for one in drifted[:5]) + (
        f" and {len(drifted) - 5} more" if len(drifted) > 5 else ""
    )
    headline = (
        f"{plural(len(drifted), 'column')} of {len(findings):,} drifted: {names}."
        if drifted
        else f"No drift is shown in {plural(len(findings), 'column')}."
    )
    if not (base.rows and each.summary.rows):
        headline = f"Nothing to compare: {base.rows:,} rows of reference and {each.summary.rows:,} of current. " + (
            headline if drifted else ""
        )
    section = Section("columns", "Columns", lede, table=Grid(heads, kinds, lines))
    return Sheet(title, headline.strip(), _status(bool(drifted), each.summary.rows), _facts(base, found, len(drifted), len(findings)), [section])  # fmt: skip


def _status(loud: bool, rows: int) -> Mark:
    return Mark("drift", "bad") if loud else Mark("no drift shown", "good") if rows else Mark("no rows")


def _verdict(one: Finding) -> Mark:
    if one.promise.kind == "none":
        return Mark("schema", "bad") if one.alarm else Mark("not compared")
    return Mark("drifted", "bad") if one.alarm else Mark("")


def _said(one: Finding) -> str:
    """`why` without what has its own columns: the name and the distances."""
    told = one.why.removeprefix(f"{one.subject}: ")
    if one.promise.kind == "none":
        return told
    return "; ".join(part for part in told.split("; ") if not part.startswith(("kolmogorov smirnov", "psi ")))


def _more(count: int) -> str:
    return f" The first {_SHOWN} of {count:,}; all are in the Markdown's JSON." if count > _SHOWN else ""


def _series(
    title: str, base: Summary, found: Sequence[_Compared], findings: Sequence[Finding], loud: Any, series: Series
) -> Sheet:
    by_name: dict[str, dict[str, Finding]] = {}
    for one in findings:
        by_name.setdefault(one.subject, {})[one.slice] = one
    order = sorted(by_name, key=lambda name: (-sum(o.alarm for o in by_name[name].values()), -max(o.evidence for o in by_name[name].values())))  # fmt: skip
    drifted = [name for name in order if any(one.alarm for one in by_name[name].values())]
    windows = [each.window.name for each in found]
    heat = Figure(
        "heat",
        {
            "columns": order, "windows": windows, "unit": "log10 of evidence", "top": _PLACES,
            "values": [[_strength(by_name[name].get(window)) for window in windows] for name in order],
            "loud": [[(name, window) in loud for window in windows] for name in order],
        },
        "evidence of drift by column and window",
    )  # fmt: skip
    bad = [each for each in found if any((name, each.window.name) in loud for name in order)]
    first = f" First in {bad[0].window.name}." if bad else ""
    headline = (
        f"{plural(len(drifted), 'column')} of {len(order):,} drifted in {len(bad):,} of {plural(len(found), 'window')}.{first}"
        if drifted
        else f"No drift is shown in {plural(len(order), 'column')} over {plural(len(found), 'window')}."
    )
    sections = [
        Section("map", "Columns over windows", "The darker, the stronger the evidence that the column changed; a red dot is an alarm.", [heat]),
        Section("columns", "Columns", "The picture shows the reference in grey and, before it, the window with the strongest evidence." + _more(len(order)),
                table=_by_column(base, found, order[:_SHOWN], by_name)),
        Section("windows", "Windows", table=_by_window(found, order, loud)),
    ]  # fmt: skip
    rows = sum(each.summary.rows for each in found)
    return Sheet(title, headline, _status(bool(drifted), rows), _facts(base, found, len(drifted), len(order)), sections)


def _strength(one: Finding | None) -> float:
    """What the map's colour says; alarms without evidence (a plain comparison) are as dark as can be."""
    if one is None or (one.promise.kind == "none" and not one.alarm):
        return math.nan
    return _PLACES if one.promise.kind == "none" else max(min(math.log10(max(one.evidence, 1e-9)), _PLACES), 0.0)


def _by_column(
    base: Summary, found: Sequence[_Compared], names: Sequence[str], by_name: Mapping[str, Mapping[str, Finding]]
) -> Grid:
    lines: list[list[Cell]] = []
    for name in names:
        ones = [by_name[name].get(each.window.name) for each in found]
        alarms = [i for i, one in enumerate(ones) if one and one.alarm]
        strongest = max(range(len(ones)), key=lambda i: ones[i].evidence if ones[i] else -1.0)  # type: ignore[union-attr]
        gaps = tuple(each.drift.distances.get(name, {}).get("jensen_shannon", math.nan) for each in found)
        chosen = alarms[0] if alarms and ones[alarms[0]].promise.kind == "none" else strongest  # type: ignore[union-attr]
        one = ones[chosen]
        lines.append(
            [
                name, _picture(base, found[chosen].summary, name, bool(alarms)), Line(gaps, tuple(alarms)),
                Mark(f"{len(alarms)} of {len(found)}", "bad" if alarms else ""),
                found[alarms[0]].window.name if alarms else None,
                one.evidence if one and one.promise.kind != "none" else None,
                f"{found[chosen].window.name}: {_said(one)}" if one else "",
            ]
        )  # fmt: skip
    heads = (
        "column", "reference and strongest", "Jensen–Shannon over windows", "windows drifted", "first", "evidence at most",
        "what changed",
    )  # fmt: skip
    return Grid(heads, ("", "", "", "", "number", "number", "words"), lines)


def _by_window(found: Sequence[_Compared], names: Sequence[str], loud: Any) -> Grid:
    lines: list[list[Cell]] = []
    for each in found:
        mine = [name for name in names if (name, each.window.name) in loud]
        more = f" and {len(mine) - 6} more" if len(mine) > 6 else ""
        tone = "bad" if mine else ""
        lines.append(
            [
                each.window.name,
                each.summary.rows,
                Mark(f"{len(mine)} of {len(names)}", tone),
                ", ".join(mine[:6]) + more,
            ]
        )
    return Grid(("window", "rows", "columns drifted", "which"), ("number", "number", "", "words"), lines)
