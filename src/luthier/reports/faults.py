"""Faults of rows: what is summed up of a window, and by which rule each column is held against the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.evidence.extremes import all_in_one, beyond, novel
from luthier.evidence.homogeneity import e_value
from luthier.reports.base import share_text
from luthier.statistics.base import hash64, share
from luthier.statistics.histogram import aligned
from luthier.tables.frames import Column, columns_of
from luthier.tables.summaries import Summary, summarise
from luthier.tables.tabular import rows_of
from luthier.types import Estimate, Finding, Promise

__all__ = ["CONFIDENCE", "HASHED", "RULES", "State", "column_names", "faults_of", "missing_share", "summed"]

CONFIDENCE = 0.95
HASHED = 10_000_000  # rows whose hashes are kept, to find the same row again
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
class State:
    """What is kept of a window: the summary, rows beyond the reference's range by column, and hashes of rows and ids."""

    summary: Summary
    beyond: Mapping[str, tuple[int, int]]
    hashes: tuple[np.ndarray, ...]
    ids: tuple[np.ndarray, ...]


# -- summing up ----


def summed(state: State | None, part: Any, named: tuple[str, ...], ranges: Mapping[str, Any]) -> State:
    columns = list(columns_of(part, named))
    outside = {
        one.name: _outside(one, ranges[one.name]) for one in columns if one.name in ranges and one.kind == "number"
    }
    n, kept = rows_of(part), 0 if state is None else sum(map(len, state.hashes))
    hashes = (_row_hashes(columns, n),) if n and kept < HASHED else ()
    ids = tuple(_hashes(one) for one in columns if one.name == _ID and n and kept < HASHED)
    fresh = State(summarise(part, named), outside, hashes, ids)
    if state is None:
        return fresh
    summed = {
        name: (fresh.beyond[name][0] + low, fresh.beyond[name][1] + high) if name in fresh.beyond else (low, high)
        for name, (low, high) in {**dict.fromkeys(fresh.beyond, (0, 0)), **state.beyond}.items()
    }
    return State(state.summary.merge(fresh.summary), summed, state.hashes + hashes, state.ids + ids)


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
    if column.kind == "mixed" or (column.kind == "other" and isinstance(values, np.ndarray)):
        return hash64(np.array([repr(value) for value in values.tolist()], str))
    if column.kind == "vector":
        return _vector_hashes(values)
    if column.kind == "time" and not isinstance(values, np.ndarray):
        values = values.to_numpy() if hasattr(values, "chunks") else values.to_numpy(zero_copy_only=False)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufmM":
        plain = values.astype(np.float64) + 0.0 if values.dtype.kind == "f" else values
        return hash64(np.ascontiguousarray(plain).view(f"u{plain.dtype.itemsize}").astype(np.uint64))
    if isinstance(values, np.ndarray):
        return hash64(values.astype(str))
    import pyarrow as pa

    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_nested(array.type) or isinstance(array.type, pa.BaseExtensionType):
        return hash64(np.array([str(value) for value in array.to_pylist()], str))
    array = array.dictionary_encode()
    names = hash64(np.array([*(str(value) for value in array.dictionary.to_pylist()), "\0null"], str))
    codes = array.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
    found: np.ndarray = names[codes]
    return found


def _vector_hashes(rows: np.ndarray) -> np.ndarray:
    """A hash (n,) of every row of (n, d)."""
    total = np.zeros(len(rows), np.uint64)
    for part in rows.T:
        plain = np.ascontiguousarray(part, np.float64) + 0.0
        total = total * np.uint64(0x100000001B3) + hash64(plain.view(np.uint64))
    return total


def _again(parts: Sequence[np.ndarray]) -> int:
    """How many rows have the hash of another one before them."""
    if not parts:
        return 0
    every = np.concatenate(parts)
    return int(len(every) - len(np.unique(every)))


# -- judging ----


def column_names(base: State, now: State) -> list[str]:
    return list(dict.fromkeys([*base.summary.columns, *now.summary.columns]))


def faults_of(base: State, now: State, where: str) -> Iterator[Finding]:
    """Everything that was looked at in one window; those without fault too, for e-BH is over all of them."""
    for name in column_names(base, now):
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


def _schema(name: str, a: Any, b: Any, base: State, now: State, where: str) -> Finding:
    what = (
        f"gone: {a['said']} in the reference" if b is None else f"new: {b['said']}" if a is None
        else f"{b['said']} now, {a['said']} in the reference"
    )  # fmt: skip
    why = f"column {name}: {what} ({now.summary.rows:,} rows). {RULES['schema'][1]}"
    return Finding("schema", math.nan, math.nan, 1.0, Promise("none"), True, now.summary.rows, why, name, where)


def _column(name: str, a: Any, b: Any, base: State, now: State, where: str) -> Iterator[Finding]:
    """Missing, empty, out of range, new categories, constant: an exact e-value each."""
    p, q = a["state"], b["state"]
    n, of = now.summary.rows, base.summary.rows
    lost, known = q["missing"] + _lost(b, n), p["missing"] + _lost(a, of)
    yield _weighed(name, "missing", lost, n, known, of, e_value([of - known, known], [n - lost, lost]), where)
    if (
        "null" in (a["said"], b["said"]) or not q["n"] or not _same_kind(a, b) or name == _ID
    ):  # ids are new in every row
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
        value = q["names"].tolist()[0]
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


def missing_share(about: Any, rows: int) -> Estimate:
    if about is None or not rows:
        return Estimate()
    return share(about["state"]["missing"] + _lost(about, rows), rows, CONFIDENCE)
