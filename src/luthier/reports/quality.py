"""The data-quality report: what is wrong with the rows of one window or a series, column by column, and the way out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.extremes import all_in_one, beyond, novel
from luthier.frames import Column, columns_of, length_of, part_of
from luthier.homogeneity import e_value
from luthier.reports.base import Report, Series, Table, Window, decided, fold, plural, share_text
from luthier.sheets import Cell, Figure, Grid, Mark, Section, Sheet, bars_of
from luthier.stages.drift import Summary, summarise
from luthier.statistics.base import hash64, share
from luthier.statistics.histogram import aligned
from luthier.types import Estimate, Finding, Promise

__all__ = ["report"]

_CONFIDENCE = 0.95
_HASHED = 10_000_000  # rows whose hashes are kept, to find the same row again
_ID = "id"
RULES = {
    "missing": ("have no value", "Fill it in where the rows are made, or see why it is no longer sent"),
    "empty": ("hold a text with nothing in it", "Send the text, or null where there is none"),
    "range": (
        "lie outside {range}",
        "Look at the unit and at the source; if the values are right, widen the reference",
    ),
    "new": ("have a category the reference does not have: {names}", "Map it to a known one, or label some and retrain"),
    "constant": ("are all {names}", "The source may be stuck: see whether its values still change"),
    "schema": ("{names}", "Send the columns of the reference in their types, or start again with a new reference"),
    "duplicate": ("are the same as another row", "Send each row once"),
    "same id": ("have an id that another row has", "Send each row once, or give rows ids of their own"),
}
"""Rule to what it says of the rows that break it, and the way out."""


@dataclass(frozen=True, slots=True)
class _State:
    """What is kept of a window: the summary, rows beyond the reference's range by column, and hashes of rows and ids."""

    summary: Summary
    beyond: Mapping[str, tuple[int, int]]
    hashes: tuple[np.ndarray, ...]
    ids: tuple[np.ndarray, ...]


def report(
    reference: Table, current: Table, series: Series, *, title: str, alpha: float, categories: Iterable[str]
) -> Report:
    """Hold every window's rows against the reference's; alarms by e-BH over all columns, rules and windows together."""
    named = tuple(categories)
    first, _ = fold(reference, Series(), lambda state, part: _step(state, _without(part, series), named, {}))
    base = next(iter(first.values()), None)
    if base is None or not base.summary.columns:
        raise StateError("the reference has no columns; give a table of the model's good days")
    ranges = {
        name: (about["state"]["min"], about["state"]["max"]) for name, about in base.summary.columns.items()
        if about["kind"] == "number" and about["state"]["n"]
    }  # fmt: skip
    states, left_out = fold(current, series, lambda state, part: _step(state, part, named, ranges))
    if not states:
        raise StateError("the current table has no part at all; give a table, if need be one without rows")
    every = [
        one for window, state in states.items() for one in _findings(base, state, window.name if series.cuts else "")
    ]
    findings = decided(every, alpha, lambda one: one.value > one.limit)
    items = [_item(base, state, window, name, findings, series) for window, state in states.items() for name in _names(base, state)]  # fmt: skip
    sheet = _sheet(title, base, states, findings, series)
    return Report("quality", findings, tuple(items), tuple(states), replace(sheet, notes=_notes(alpha, left_out, series, states)))  # fmt: skip


def _without(part: Any, series: Series) -> Any:
    return part_of(part, names=series.named(part))


# -- summing up ----


def _step(state: _State | None, part: Any, named: tuple[str, ...], ranges: Mapping[str, Any]) -> _State:
    columns = list(columns_of(part, named))
    outside = {
        one.name: _outside(one, ranges[one.name]) for one in columns if one.name in ranges and one.kind == "number"
    }
    n, kept = length_of(part), 0 if state is None else sum(map(len, state.hashes))
    hashes = (_row_hashes(columns, n),) if n and kept < _HASHED else ()
    ids = tuple(_hashes(one) for one in columns if one.name == _ID and n and kept < _HASHED)
    fresh = _State(summarise(part, named), outside, hashes, ids)
    if state is None:
        return fresh
    summed = {
        name: (fresh.beyond[name][0] + low, fresh.beyond[name][1] + high) if name in fresh.beyond else (low, high)
        for name, (low, high) in {**dict.fromkeys(fresh.beyond, (0, 0)), **state.beyond}.items()
    }
    return _State(state.summary.merge(fresh.summary), summed, state.hashes + hashes, state.ids + ids)


def _outside(column: Column, ends: tuple[float, float]) -> tuple[int, int]:
    """Rows below and above the reference's range; NaN and infinities are missing, not outside."""
    values = np.asarray(column.values)
    with np.errstate(invalid="ignore"):
        low, high = values < ends[0], values > ends[1]
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        there = np.isfinite(values)
        low, high = low & there, high & there
    return int(np.count_nonzero(low)), int(np.count_nonzero(high))


def _row_hashes(columns: Sequence[Column], n: int) -> np.ndarray:
    """A hash (n,) of every whole row."""
    total = np.zeros(n, np.uint64)
    for place, column in enumerate(columns):
        total = total * np.uint64(0x100000001B3) + (_hashes(column) ^ np.uint64(place))
    return total


def _hashes(column: Column) -> np.ndarray:
    """A hash (n,) of every value."""
    values = column.values
    if column.kind == "time" and not isinstance(values, np.ndarray):
        values = values.to_numpy() if hasattr(values, "chunks") else values.to_numpy(zero_copy_only=False)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufmM":
        plain = values.astype(np.float64) + 0.0 if values.dtype.kind == "f" else values
        return hash64(np.ascontiguousarray(plain).view(f"u{plain.dtype.itemsize}").astype(np.uint64))
    if isinstance(values, np.ndarray):
        return hash64(values.astype(str))
    import pyarrow as pa

    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_nested(array.type):
        return hash64(np.array([str(value) for value in array.to_pylist()], str))
    array = array.dictionary_encode()
    names = hash64(np.array([*(str(value) for value in array.dictionary.to_pylist()), "\0null"], str))
    codes = array.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
    found: np.ndarray = names[codes]
    return found


def _again(parts: Sequence[np.ndarray]) -> int:
    """How many rows have the hash of another one before them."""
    if not parts:
        return 0
    every = np.concatenate(parts)
    return int(len(every) - len(np.unique(every)))


# -- judging ----


def _names(base: _State, now: _State) -> list[str]:
    return list(dict.fromkeys([*base.summary.columns, *now.summary.columns]))


def _findings(base: _State, now: _State, where: str) -> Iterator[Finding]:
    """Everything that was looked at in one window; those without fault too, for e-BH is over all of them."""
    for name in _names(base, now):
        a, b = base.summary.columns.get(name), now.summary.columns.get(name)
        if a is None or b is None or (now.summary.rows and not _same_kind(a, b)):
            yield _schema(name, a, b, base, now, where)
            continue
        yield from _column(name, a, b, base, now, where)
    for rule, before, after in (("duplicate", base.hashes, now.hashes), ("same id", base.ids, now.ids)):
        rows, count, known = sum(map(len, after)), _again(after), _again(before)
        fewer = sum(map(len, before)) >= rows
        if count:
            why = f"{share_text(count, rows)} rows {RULES[rule][0]}; {share_text(known, sum(map(len, before)))} in the reference. {RULES[rule][1]}"  # fmt: skip
            loud = known == 0 and (fewer or rule == "same id")
            yield Finding(rule, count / rows, 0.0, 1.0, Promise("none"), loud, rows, why, "rows" if rule == "duplicate" else _ID, where)  # fmt: skip


def _same_kind(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a["kind"] == b["kind"] or "null" in (a["said"], b["said"])


def _schema(name: str, a: Any, b: Any, base: _State, now: _State, where: str) -> Finding:
    what = (
        f"gone: {a['said']} in the reference" if b is None else f"new: {b['said']}" if a is None
        else f"{b['said']} now, {a['said']} in the reference"
    )  # fmt: skip
    why = f"column {name}: {what} ({now.summary.rows:,} rows). {RULES['schema'][1]}"
    return Finding("schema", math.nan, math.nan, 1.0, Promise("none"), True, now.summary.rows, why, name, where)


def _column(name: str, a: Any, b: Any, base: _State, now: _State, where: str) -> Iterator[Finding]:
    """Missing, empty, out of range, new categories, constant: an exact e-value each."""
    p, q = a["state"], b["state"]
    n, of = now.summary.rows, base.summary.rows
    lost, known = q["missing"] + _lost(b, n), p["missing"] + _lost(a, of)
    yield _weighed(name, "missing", lost, n, known, of, e_value([of - known, known], [n - lost, lost]), where)
    if "null" in (a["said"], b["said"]) or not q["n"] or not _same_kind(a, b):
        return
    if a["kind"] == "number":
        low, high = now.beyond.get(name, (0, 0))
        ends = f"{p['min']:.6g} to {p['max']:.6g}" if p["n"] else "the reference's range"
        yield _weighed(
            name, "range", low + high, q["n"], 0, p["n"], beyond(high, low, q["n"], p["n"]), where, range=ends
        )
    elif a["kind"] in ("category", "mixed"):
        yield from _categories(name, p, q, where)
    if a["kind"] in ("number", "category", "mixed"):
        yield from _still(name, a["kind"], p, q, where)


def _lost(about: Mapping[str, Any], rows: int) -> int:
    """Rows that a column of nulls only, which has no kind, says nothing of."""
    state = about["state"]
    return max(rows - state["n"] - state["missing"], 0) if about["said"] == "null" else 0


def _categories(name: str, p: Any, q: Any, where: str) -> Iterator[Finding]:
    known = dict(zip(p["names"].tolist(), p["counts"].tolist(), strict=True))
    seen = dict(zip(q["names"].tolist(), q["counts"].tolist(), strict=True))
    blank, before = (sum(count for text, count in one.items() if not text.strip()) for one in (seen, known))
    if blank or before:
        pair = [p["n"] - before, before], [q["n"] - blank, blank]
        yield _weighed(name, "empty", blank, q["n"], before, p["n"], e_value(*pair), where)
    if not p["other"]:
        new = {text: count for text, count in seen.items() if text not in known and text.strip()}
        count = sum(new.values())
        top = ", ".join(repr(text[:30]) for text in sorted(new, key=lambda text: -new[text])[:3])
        found = novel(np.array(list(new.values())), q["n"], p["n"], len(known.keys() | seen.keys()))
        yield _weighed(name, "new", count, q["n"], 0, p["n"], found, where, names=top + ("" if len(new) <= 3 else f" and {len(new) - 3} more"))  # fmt: skip


def _still(name: str, kind: str, p: Any, q: Any, where: str) -> Iterator[Finding]:
    """All values of the window are one, and not all of the reference's."""
    if kind == "number":
        if q["min"] != q["max"] or (p["n"] and p["min"] == p["max"] == q["min"]):
            return
        _, before, after = aligned(p, q)
        pooled, value = int((before + after)[after > 0].sum()), f"{q['min']:.6g}"
    else:
        if len(q["names"]) != 1 or q["other"] or (len(p["names"]) == 1 and p["names"][0] == q["names"][0]):
            return
        value = q["names"][0]
        pooled = q["n"] + dict(zip(p["names"].tolist(), p["counts"].tolist(), strict=True)).get(value, 0)
    yield _weighed(
        name, "constant", q["n"], q["n"], 0, p["n"], all_in_one(pooled, q["n"], p["n"]), where, names=repr(value)
    )


def _weighed(
    name: str, rule: str, count: int, n: int, known: int, of: int, evidence: float, where: str, **said: str
) -> Finding:  # fmt: skip
    says, way_out = RULES[rule]
    before = "" if rule in ("range", "new") else f", {share_text(known, of)} in the reference"
    if rule == "constant":
        before = f", which {of:,} rows of the reference are not"
    why = f"column {name}: {share_text(count, n)} rows {says.format(**said)}{before}. {way_out}"
    value, limit = count / n if n else math.nan, known / of if of else 0.0
    return Finding(rule, value, limit, evidence, Promise("fixed", 0.05), False, n, why, name, where)


# -- telling ----


def _item(
    base: _State, now: _State, window: Window, name: str, findings: Sequence[Finding], series: Series
) -> dict[str, Any]:  # fmt: skip
    where = window.name if series.cuts else ""
    mine = {one.check: one for one in findings if one.subject == name and one.slice == where}
    a, b = base.summary.columns.get(name), now.summary.columns.get(name)
    shares = {rule: mine[rule].value if rule in mine else math.nan for rule in ("empty", "range", "new")}
    return {
        "window": window.name, "start": window.start, "end": window.end, "column": name,
        "holds_reference": a["said"] if a else None, "holds": b["said"] if b else None, "rows": now.summary.rows,
        "missing_reference": _gone(a, base.summary.rows), "missing": _gone(b, now.summary.rows), **shares,
        "faults": ", ".join(rule for rule, one in mine.items() if one.alarm),
    }  # fmt: skip


def _gone(about: Any, rows: int) -> Estimate:
    if about is None or not rows:
        return Estimate()
    return share(about["state"]["missing"] + _lost(about, rows), rows, _CONFIDENCE)


def _notes(alpha: float, left_out: int, series: Series, states: Mapping[Window, _State]) -> tuple[str, ...]:
    found = [
        f"Of the faults named with evidence, a share of at most {alpha:g} is there by chance on average (e-BH over exact "
        f"e-values, all columns, rules and windows together). Schema and duplicates are plain comparisons.",
        "A row is the same as another when all its columns are.",
    ]
    if any(sum(map(len, state.hashes)) < state.summary.rows for state in states.values()):
        found.append(f"Duplicates were looked for among the first {_HASHED:,} rows of a window.")
    if left_out:
        found.append(f"{plural(left_out, 'row')} without a time in column {series.at!r} are in no window")
    return tuple(found)


def _sheet(
    title: str, base: _State, states: Mapping[Window, _State], findings: Sequence[Finding], series: Series
) -> Sheet:
    loud = [one for one in findings if one.alarm]
    faults, columns = len(_grouped(loud)), {one.subject for one in loud}
    names = list(dict.fromkeys(name for state in states.values() for name in _names(base, state)))
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


def _faults(loud: Sequence[Finding], states: Mapping[Window, _State], series: Series) -> Section:
    """A line a column and rule, in a series with the worst window."""
    order = [window.name for window in states]
    lines: list[list[Cell]] = []
    for (column, rule), group in list(_grouped(loud).items())[:200]:
        worst = max(group, key=lambda one: (one.evidence, one.value))
        first = min(group, key=lambda one: order.index(one.slice)).slice if series.cuts else ""
        seen = [f"{len(group)} of {len(states)}, first {first}"] if series.cuts else []
        rows = share(round(worst.value * worst.n), worst.n, _CONFIDENCE) if math.isfinite(worst.value) else None
        why = (f"{worst.slice}: " if series.cuts else "") + worst.why.removeprefix(f"column {column}: ")
        evidence = worst.evidence if worst.promise.kind != "none" else None
        lines.append([column, Mark(rule, "bad"), *seen, rows, evidence, why])
    more = ["windows"] if series.cuts else []
    heads = ["column", "rule", *more, "share of rows", "evidence", "what, and the way out"]
    kinds = ["", "", *("" for _ in more), "number", "number", "words"]
    lede = "" if loud else "None of the rules is shown to be broken more often than in the reference."
    return Section("faults", "What to look at", lede, table=Grid(heads, kinds, lines) if loud else None)


def _map(states: Mapping[Window, _State], names: Sequence[str], findings: Sequence[Finding], base: _State) -> Section:
    by = {(one.subject, one.slice) for one in findings if one.alarm}
    order = sorted(names, key=lambda name: -sum((name, w.name) in by for w in states))
    values = [[_gone(s.summary.columns.get(name), s.summary.rows).value for s in states.values()] for name in order]
    top = max([0.05, *(value for line in values for value in line if math.isfinite(value))])
    about = {
        "columns": order, "windows": [w.name for w in states], "unit": "share without a value", "top": top, "values": values,
        "loud": [[(name, w.name) in by for w in states] for name in order],
    }  # fmt: skip
    lede = "The darker, the more rows without a value; a red dot is a fault of any rule."
    return Section("map", "Columns over windows", lede, [Figure("heat", about, "missing values and faults by column and window")])  # fmt: skip


def _every(
    base: _State, states: Mapping[Window, _State], names: Sequence[str], loud: set[str], series: Series
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
                _pair(*(_gone(one, state.summary.rows) for one, state in ((a, base), (b, now)))), _pair_text(_values(a), _values(b)),
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
