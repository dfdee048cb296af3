"""Is every column of the rows that come in as the reference's was: there, of its type, in its range, known, moving?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from luthier.checks.base import Memory, silent
from luthier.evidence import LARGEST, RISE_SHARES, RISE_WEIGHTS, WALK, clopper_pearson_upper, sr_counts
from luthier.names import register
from luthier.statistics.base import hash64, known_when
from luthier.tables.tabular import rows_of
from luthier.types import Columns, Finding, Promise

__all__ = ["TableQuality"]

FEWEST = 30
MOST = 500  # columns watched, by name
CATEGORIES = 1000  # a text column with more distinct values has none that can be unseen
BLOCK = 50  # rows a step of the detectors; steps lie at fixed places of the stream
RECENT = 10_000  # rows among which an id is looked for again
STILL = 0.9  # share of rows equal to the one before that is no sign of a column that stands still
SAYS = {
    "missing": ("without a value", "Fill it in where the rows are made, or see why it is no longer sent"),
    "type": ("of another type than {kind}", "Send {kind}, or start again with a reference that has the new type"),
    "range": ("outside {low:g} to {high:g}", "Look at the unit and at the source; if the values are right, widen the reference"),
    "unseen": ("with a category the reference does not have", "Map it to a known one, or label some and retrain"),
    "constant": ("equal to the row before", "The source may be stuck: see whether its values still change"),
    "duplicate": ("with an id among the last 10,000 rows", "Send each row once, or give rows ids of their own"),
}  # fmt: skip


class _Rule(NamedTuple):
    column: str
    rule: str


@register("check", "quality.v2")
@dataclass(frozen=True, slots=True)
class TableQuality:
    """e-SR detectors, one a column and rule, of the share of bad rows: at most one false alarm in `arl` rows of all.

    Every column of the reference that is known with the answer is watched (500 at most): rows without a value (a
    column that is gone has none), of another type or width, outside the reference's range, with a category it does
    not have, equal to the row before; and rows whose `id` came within the last 10,000. Each share may exceed the
    Clopper-Pearson bound (1 - delta for all of them) of the reference's by `slack`; with S detectors an alarm needs
    evidence S `arl`, whatever their dependence. Rows count in blocks of 50.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    slack: float = 0.01
    arl: float = 100_000
    delta: float = 0.025
    id: str = "id"

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from whatever columns the reference has, each (n,) or (n, d)."""
        n = rows_of(reference)
        names = [name for name in sorted(reference) if name not in (self.id, "at") and known_when(name) == "answer"]
        names = [name for name in names if np.asarray(reference[name]).ndim in (1, 2)][:MOST]
        known: dict[str, Any] = {"why": "", "columns": {}, "rules": [], "limits": np.zeros(0)}
        if n < FEWEST or not names:
            known["why"] = (
                f"not watched: the reference has {n} rows and {len(names)} columns known with the answer; "
                + (f"{FEWEST} rows and one column are needed")
            )
            return {"reference": known}
        known["columns"] = {name: _learn(np.asarray(reference[name])) for name in names}
        bad, _ = self._observe(known, reference, {"last": {}, "recent": np.zeros(0, np.uint64)})
        known["rules"] = [[*rule] for rule in bad]
        known["limits"] = np.array([self._limit(known, rule, bad[rule], len(bad)) for rule in bad])
        streams = len(bad)
        return {
            "reference": known, "n": 0, "last": {}, "recent": np.zeros(0, np.uint64), "extra": [],
            "part": np.zeros(streams, np.int64), "total": np.zeros(streams, np.int64),
            "log": np.full((streams, len(RISE_SHARES)), -np.inf), "shown": np.zeros(streams, np.int64),
            "walk": np.zeros(streams), "low": np.zeros(streams), "low_n": np.zeros(streams, np.int64),
            "low_total": np.zeros(streams, np.int64),
        }  # fmt: skip

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with all columns of the window; it may lack some, and have others."""
        known, n = memory["reference"], rows_of(window)
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        if not n:
            return memory, self._finding(memory)
        bad, kept = self._observe(known, window, memory)
        new = {name for name in set(window) - set(known["columns"]) - {self.id, "at"} if known_when(name) == "answer"}
        extra = new | set(memory["extra"])
        after = {**memory, **kept, "n": memory["n"] + n, "extra": sorted(extra)[:20]}
        filled = memory["n"] % BLOCK
        blocks = -(-(filled + n) // BLOCK)
        hits = [np.flatnonzero(bad[_Rule(*rule)]) + filled for rule in known["rules"]]
        after = self._run(after, np.array([np.bincount(rows // BLOCK, minlength=blocks) for rows in hits]))
        return after, self._finding(after)

    def _observe(self, known: Memory, columns: Columns, memory: Memory) -> tuple[dict[_Rule, Any], dict[str, Any]]:
        """Which rows break which rule, (n,) each, and what to remember of them."""
        n, bad, last = rows_of(columns), {}, dict(memory["last"])
        for name, about in known["columns"].items():
            values = np.asarray(columns[name]) if name in columns else np.full(n, np.nan)
            for rule, hit in _faults(about, values, last.get(name)).items():
                bad[_Rule(name, rule)] = hit
            last[name] = _last(values)
        ids = np.asarray(columns.get(self.id, np.zeros(0)))
        hashes = hash64(ids if ids.dtype.kind in "biuU" else ids.astype(str)) if len(ids) else np.zeros(0, np.uint64)
        again = _again(memory["recent"], hashes)
        bad[_Rule(self.id, "duplicate")] = again if len(again) == n else np.zeros(n, bool)
        return bad, {"last": last, "recent": np.concatenate([memory["recent"], hashes])[-RECENT:]}

    def _limit(self, known: Memory, rule: _Rule, hit: np.ndarray, streams: int) -> float:
        """The share of bad rows that is allowed: the bound for the reference's own, and `slack`."""
        about, wrong, n = known["columns"].get(rule.column, {}), int(hit.sum()), len(hit)
        if rule.rule == "unseen":
            wrong, n = about["novel"]
        if rule.rule == "range":
            wrong += 1  # a new row lies beyond both ends of n others as often as one more of them would
        bound = clopper_pearson_upper(wrong, n, self.delta / streams) + self.slack
        return min(max(bound, STILL if rule.rule == "constant" else 1e-4), 1 - 1e-9)

    def _run(self, after: dict[str, Any], counts: np.ndarray) -> dict[str, Any]:
        """Step at the end of each block; counts (streams, blocks) of bad rows, in the first beside those before."""
        limits = after["reference"]["limits"][:, None]
        counts[:, 0] += after["part"]
        last = after["n"] // BLOCK  # whole blocks so far
        ends = np.arange(last - counts.shape[1] + (after["n"] % BLOCK > 0), last) * BLOCK + BLOCK
        share = RISE_SHARES[WALK]
        gain, loss = np.log1p(share / limits[:, 0] * (1 - limits[:, 0])), math.log1p(-share)
        state = {key: after[key].copy() for key in ("log", "total", "walk", "low", "low_n", "low_total", "shown")}
        for end, k in zip(ends.tolist(), counts.T, strict=False):
            state["log"] = sr_counts(state["log"], BLOCK, k, limits)
            state["total"] += k
            state["walk"] += k * gain + (BLOCK - k) * loss
            lowest = state["walk"] <= state["low"]
            for key, value in (("low", state["walk"]), ("low_n", end), ("low_total", state["total"])):
                state[key] = np.where(lowest, value, state[key])
            new = (_evidence(state["log"]) >= self.arl * len(k)) & (state["shown"] == 0)
            state["shown"] = np.where(new, end, state["shown"])
        whole = counts.shape[1] > len(ends)
        return {**after, **state, "part": counts[:, -1].copy() if whole else np.zeros_like(after["part"])}

    def _finding(self, memory: Memory) -> Finding:
        known, n = memory["reference"], memory["n"]
        if not n:
            return silent(self.name, self.promise, "no rows yet")
        evidence, shown = _evidence(memory["log"]), memory["shown"]
        total, limits = memory["total"] + memory["part"], known["limits"]
        worst = int(np.lexsort((total / n - limits, evidence, shown > 0))[-1])
        column, rule = known["rules"][worst]
        says, way_out = (text.format(**known["columns"].get(column, {})) for text in SAYS[rule])
        value, allowed = total[worst] / n, f"allowed {limits[worst]:.2%}"
        why = f"column {column}: {total[worst]} of {n} rows ({value:.2%}) {says}, {allowed}"
        if shown[worst]:
            begun, count = int(memory["low_n"][worst]), n - int(memory["low_n"][worst])
            bad = int(total[worst] - memory["low_total"][worst])
            value = bad / count if count else value
            others = [f"{name} ({what})" for i, (name, what) in enumerate(known["rules"]) if shown[i] and i != worst]
            more = (
                f"; also {', '.join(others[:5])}{f' and {len(others) - 5} more' if len(others) > 5 else ''}"
                if others
                else ""
            )
            why = (
                f"column {column}: {bad} of {count} rows since about row {begun + 1} ({value:.2%}) {says}, {allowed}; shown at "
                f"row {shown[worst]}{more}. {way_out}"
            )
        extra = f"; not in the reference: {', '.join(memory['extra'])}" if memory["extra"] else ""
        return Finding(
            check=self.name, value=float(value), limit=float(limits[worst]), promise=self.promise, n=n, why=why + extra,
            alarm=bool(shown.any()), evidence=min(float(evidence.max()) / len(limits), LARGEST),
            parts=self._parts(known, evidence / len(limits)),
        )  # fmt: skip

    def _parts(self, known: Memory, shares: np.ndarray) -> tuple[tuple[str, float], ...]:
        """The columns of which some rule reaches `arl` with its share (rules,) of the union bound, by its strongest rule."""
        best: dict[str, float] = {}
        for i in np.argsort(-shares, kind="stable").tolist():
            if shares[i] >= self.arl:
                best.setdefault(known["rules"][i][0], min(float(shares[i]), LARGEST))
        return tuple(best.items())


def _evidence(log: np.ndarray) -> np.ndarray:
    """The e-SR statistic of each stream (streams,) in rows, from log M of its bets (streams, K)."""
    value: np.ndarray = (np.exp(np.minimum(log, 680.0)) * RISE_WEIGHTS).sum(axis=1) * BLOCK
    return value


def _learn(values: np.ndarray) -> dict[str, Any]:
    """What the reference says about one column: kind, and range, categories, and whether it moves at all."""
    if values.ndim == 2:
        return {"kind": f"{values.shape[1]} numbers", "width": values.shape[1]}
    x, missing, wrong = _numbers(values)
    if not wrong.any() and np.isfinite(x).any():
        finite = x[np.isfinite(x)]
        low, high = float(finite.min()), float(finite.max())
        return {"kind": "a number", "low": low, "high": high, "varies": high > low}
    text, missing, _ = _text(values)
    there = text[~missing]
    known = np.unique(there)
    half = np.unique(there[: len(there) // 2])
    novel = [int((~np.isin(there[len(there) // 2 :], half)).sum()), len(there) - len(there) // 2]
    few = 0 < len(known) <= min(CATEGORIES, len(there) // 2)
    return {"kind": "text", "categories": known.tolist() if few else [], "novel": novel, "varies": len(known) > 1}


def _faults(about: Memory, values: np.ndarray, before: Any) -> dict[str, np.ndarray]:
    """Rows that break each rule, (n,) by rule; `before` is the last value of the part before, None for none."""
    if "width" in about:
        return _vector_faults(about, values)
    number = about["kind"] == "a number"
    x, missing, wrong = _numbers(values) if number else _text(values)
    faults = {"missing": missing, "type": wrong}
    if number:
        with np.errstate(invalid="ignore"):
            faults["range"] = ~missing & ~wrong & ((x < about["low"]) | (x > about["high"]))
    elif about["categories"]:
        faults["unseen"] = ~missing & ~wrong & ~np.isin(x, about["categories"])
    if about["varies"]:
        same = np.zeros(len(x), bool)
        same[1:] = x[1:] == x[:-1]
        same[:1] = before is not None and x[:1] == before
        faults["constant"] = same & ~missing & ~wrong
    return faults


def _vector_faults(about: Memory, values: np.ndarray) -> dict[str, np.ndarray]:
    n = len(values)
    if values.ndim == 2 and values.shape[1] == about["width"] and values.dtype.kind in "biuf":
        return {"missing": ~np.isfinite(values).all(axis=1), "type": np.zeros(n, bool)}
    gone = _numbers(values)[1] if values.ndim == 1 else np.zeros(n, bool)
    return {"missing": gone, "type": ~gone}


def _numbers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 (n,), which are missing (None, NaN, empty text), and which are no numbers at all."""
    if values.ndim != 1:
        return np.full(len(values), np.nan), np.zeros(len(values), bool), np.ones(len(values), bool)
    if values.dtype.kind in "biuf":
        x = values.astype(np.float64)
        return x, np.isnan(x), np.zeros(len(x), bool)
    plain = values.tolist()
    missing = np.array([_absent(value) for value in plain], bool)
    number = np.array([isinstance(value, int | float | np.number) for value in plain], bool)
    x = np.array([float(value) if ok else np.nan for value, ok in zip(plain, number, strict=True)], np.float64)
    return x, missing, ~(missing | number)


def _text(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Text (n,), which are missing (None, NaN, empty), and which are something else."""
    if values.dtype.kind == "U" and values.ndim == 1:
        return values, values == "", np.zeros(len(values), bool)
    plain = values.tolist()
    missing = np.array([_absent(value) for value in plain], bool)
    text = np.array([isinstance(value, str) for value in plain], bool)
    words = np.array([value if ok else "" for value, ok in zip(plain, text, strict=True)], str)
    return words, missing, ~(missing | text)


def _absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _last(values: np.ndarray) -> Any:
    """The last value as plain data; None where it is missing or no single value."""
    value = values[-1:].tolist()[0] if values.ndim == 1 and len(values) else None
    return None if not isinstance(value, str | int | float) or _absent(value) else value


def _again(recent: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Which of the new rows (n,) have the hash of one of the RECENT rows before them."""
    every = np.concatenate([recent, hashes])
    order = np.argsort(every, kind="stable")
    near = (every[order][1:] == every[order][:-1]) & (np.diff(order) <= RECENT)
    again = np.zeros(len(every), bool)
    again[order[1:][near]] = True
    return again[len(recent) :]
