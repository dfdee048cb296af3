"""The data-quality report: what is wrong with the rows of one window or a series, column by column, and the way out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from luthier.errors import StateError
from luthier.reports.base import Report, Series, Window, decided, fold, plural
from luthier.reports.faults import CONFIDENCE, HASHED, RULES, State, column_names, faults_of, missing_share, summed
from luthier.statistics.base import share
from luthier.tables.sheets import Cell, Figure, Grid, Mark, Section, Sheet, bars_of
from luthier.tables.tabular import Table
from luthier.types import Estimate, Finding

__all__ = ["RULES", "report"]


def report(
    reference: Table, current: Table, series: Series, *, title: str, alpha: float, categories: Iterable[str]
) -> Report:
    """Hold every window's rows against the reference's; alarms by e-BH over all columns, rules and windows together."""
    named = tuple(categories)
    first, _ = fold(reference, Series(), lambda state, part: summed(state, series.without(part), named, {}))
    base = next(iter(first.values()), None)
    if base is None or not base.summary.columns:
        raise StateError("the reference has no columns; give a table of the model's good days")
    ranges = {
        name: (about["state"]["min"], about["state"]["max"]) for name, about in base.summary.columns.items()
        if about["kind"] == "number" and about["state"]["n"]
    }  # fmt: skip
    states, left_out = fold(current, series, lambda state, part: summed(state, part, named, ranges))
    if not states:
        raise StateError("the current table has no part at all; give a table, if need be one without rows")
    every = [
        one for window, state in states.items() for one in faults_of(base, state, window.name if series.cuts else "")
    ]
    findings = decided(every, alpha, lambda one: one.value > one.limit)
    items = [_item(base, state, window, name, findings, series) for window, state in states.items() for name in column_names(base, state)]  # fmt: skip
    sheet = _sheet(title, base, states, findings, series)
    return Report("quality", findings, tuple(items), tuple(states), replace(sheet, notes=_notes(alpha, left_out, series, states)))  # fmt: skip


# -- telling ----


def _item(
    base: State, now: State, window: Window, name: str, findings: Sequence[Finding], series: Series
) -> dict[str, Any]:  # fmt: skip
    where = window.name if series.cuts else ""
    mine = {one.check: one for one in findings if one.subject == name and one.slice == where}
    a, b = base.summary.columns.get(name), now.summary.columns.get(name)
    shares = {rule: mine[rule].value if rule in mine else math.nan for rule in ("empty", "range", "new")}
    return {
        "window": window.name, "start": window.start, "end": window.end, "column": name,
        "holds_reference": a["said"] if a else None, "holds": b["said"] if b else None, "rows": now.summary.rows,
        "missing_reference": missing_share(a, base.summary.rows), "missing": missing_share(b, now.summary.rows), **shares,
        "faults": ", ".join(rule for rule, one in mine.items() if one.alarm),
    }  # fmt: skip


def _notes(alpha: float, left_out: int, series: Series, states: Mapping[Window, State]) -> tuple[str, ...]:
    found = [
        f"Of the faults named with evidence, a share of at most {alpha:g} is there by chance on average (e-BH over exact "
        f"e-values, all columns, rules and windows together). Schema and duplicates are plain comparisons.",
        "A row is the same as another when all its columns are.",
    ]
    if any(sum(map(len, state.hashes)) < state.summary.rows for state in states.values()):
        found.append(f"Duplicates were looked for among the first {HASHED:,} rows of a window.")
    if left_out:
        found.append(f"{plural(left_out, 'row')} without a time in column {series.at!r} are in no window")
    return tuple(found)


def _sheet(
    title: str, base: State, states: Mapping[Window, State], findings: Sequence[Finding], series: Series
) -> Sheet:
    loud = [one for one in findings if one.alarm]
    faults, columns = len(_grouped(loud)), {one.subject for one in loud}
    names = list(dict.fromkeys(name for state in states.values() for name in column_names(base, state)))
    rows = sum(state.summary.rows for state in states.values())
    names_said = ", ".join(sorted(columns)[:5]) + (f" and {len(columns) - 5} more" if len(columns) > 5 else "")
    headline = (
        f"{plural(faults, 'fault')} in {plural(len(columns), 'column')}: {names_said}."
        if loud
        else f"No fault is shown in {plural(len(names), 'column')} of {plural(rows, 'row')}."
    )
    if not rows:
        headline = f"The current table has no rows: there is nothing to look at. {headline if loud else ''}".strip()
    facts = [
        ("faults", f"{faults:,}", f"in {plural(len(columns), 'column')} of {len(names):,}"),
        ("current", f"{rows:,}", "rows" + (f" in {plural(len(states), 'window')}" if len(states) > 1 else "")),
        ("reference", f"{base.summary.rows:,}", "rows"),
    ]
    status = Mark("faults", "bad") if loud else Mark("no fault shown", "good") if rows else Mark("no rows")
    sections = [_faults(loud, states, series), *([_map(states, names, findings, base)] if series.cuts else [])]
    sections.append(_every(base, states, names, columns, series))
    return Sheet(title, headline, status, facts, sections)


def _grouped(loud: Sequence[Finding]) -> dict[tuple[str, str], list[Finding]]:
    """Faults of one rule in one column, strongest first."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in loud:
        groups.setdefault((one.subject, one.check), []).append(one)
    return groups


def _faults(loud: Sequence[Finding], states: Mapping[Window, State], series: Series) -> Section:
    """A line a column and rule, in a series with the worst window."""
    order = [window.name for window in states]
    lines: list[list[Cell]] = []
    for (column, rule), group in list(_grouped(loud).items())[:200]:
        worst = max(group, key=lambda one: (one.evidence, one.value))
        first = min(group, key=lambda one: order.index(one.slice)).slice if series.cuts else ""
        seen = [f"{len(group)} of {len(states)}, first {first}"] if series.cuts else []
        rows = share(round(worst.value * worst.n), worst.n, CONFIDENCE) if math.isfinite(worst.value) else None
        why = (f"{worst.slice}: " if series.cuts else "") + worst.why.removeprefix(f"column {column}: ")
        evidence = worst.evidence if worst.promise.kind != "none" else None
        lines.append([column, Mark(rule, "bad"), *seen, rows, evidence, why])
    more = ["windows"] if series.cuts else []
    heads = ["column", "rule", *more, "share of rows", "evidence", "what, and the way out"]
    kinds = ["", "", *("" for _ in more), "number", "number", "words"]
    lede = "" if loud else "None of the rules is shown to be broken more often than in the reference."
    return Section("faults", "What to look at", lede, table=Grid(heads, kinds, lines) if loud else None)


def _map(states: Mapping[Window, State], names: Sequence[str], findings: Sequence[Finding], base: State) -> Section:
    by = {(one.subject, one.slice) for one in findings if one.alarm}
    order = sorted(names, key=lambda name: -sum((name, w.name) in by for w in states))
    values = [
        [missing_share(s.summary.columns.get(name), s.summary.rows).value for s in states.values()] for name in order
    ]
    top = max([0.05, *(value for line in values for value in line if math.isfinite(value))])
    about = {
        "columns": order, "windows": [w.name for w in states], "unit": "share without a value", "top": top, "values": values,
        "loud": [[(name, w.name) in by for w in states] for name in order],
    }  # fmt: skip
    lede = "The darker, the more rows without a value; a red dot is a fault of any rule."
    return Section("map", "Columns over windows", lede, [Figure("heat", about, "missing values and faults by column and window")])  # fmt: skip


def _every(
    base: State, states: Mapping[Window, State], names: Sequence[str], loud: set[str], series: Series
) -> Section:
    """Every column: what it holds, missing before and now, and its picture; the last window of a series."""
    window, now = list(states.items())[-1]
    lines: list[list[Cell]] = []
    for name in sorted(names, key=lambda one: one not in loud)[:500]:
        a, b = base.summary.columns.get(name), now.summary.columns.get(name)
        bars = bars_of(a["kind"], a["state"], b["state"], name in loud) if a and b and a["kind"] == b["kind"] else None
        lines.append(
            [
                name, Mark("fault", "bad") if name in loud else Mark(""), (b or a or {}).get("said", ""), bars,
                _pair(*(missing_share(one, state.summary.rows) for one, state in ((a, base), (b, now)))), _pair_text(_values(a), _values(b)),
            ]
        )  # fmt: skip
    heads = ("column", "", "holds", "reference and current", "without a value", "values")
    kinds = ("", "", "", "", "number", "words")
    lede = f"The picture and numbers are of {window.name}, the last window." if series.cuts else ""
    return Section("columns", "Every column", lede, table=Grid(heads, kinds, lines))


def _pair(before: Estimate, after: Estimate) -> str:
    return _pair_text(*(f"{one.value:.2%}" if one.n else None for one in (before, after)))


def _pair_text(before: str | None, after: str | None) -> str:
    """What was and what is; once where they are the same."""
    return before or "–" if before == after else f"{before or '–'} → {after or '–'}"


def _values(about: Any) -> str | None:
    """The range of numbers, the number of categories; None where there is neither."""
    if about is None or not about["state"]["n"]:
        return None
    state = about["state"]
    if about["kind"] == "number":
        return f"{state['min']:.4g} to {state['max']:.4g}"
    if about["kind"] not in ("category", "mixed"):
        return None
    return "over 4,096 categories" if state["other"] else f"{plural(len(state['names']), 'category')}".replace("categorys", "categories")  # fmt: skip
