"""Do the columns of a table still come from where the reference's same hours came from?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent, watched_by_default
from luthier.errors import StateError
from luthier.evidence import LARGEST
from luthier.names import register
from luthier.series.hours import DAY, WEEK, WORKDAY, hour_in, hours_of_week, season_of, seasons_in
from luthier.series.moments import unix_seconds
from luthier.tables.parts import distances, missing
from luthier.tables.parts_by_hour import cells_in, graded, plan_by_hour
from luthier.tables.tabular import rows_of
from luthier.types import Columns, Finding, Promise

__all__ = ["ColumnShiftByHour"]

SHARES = np.array([0.03, 0.08, 0.2, 0.5])
"""The stakes, on a part of rate m0 over all hours: the Kelly bet for a rate of m0 + f (1 - m0), and for the same odds ratio in
each hour."""
FEWEST = 100
NEWEST = 20  # blocks whose rows are kept, for the distances that a finding names
CHUNK = 64  # blocks that are judged at once
FINEST = 2.0**-18  # logs of factors are whole multiples, rounded down: sums are exact, however a stream is cut
SEASONS = {"hour_of_day": (DAY,), "hour_of_workday": (WORKDAY,), "hour_of_week": (WEEK,), "none": ()}
SAID = {
    1: "", DAY: " at the same hours of the day", WORKDAY: " at the same hours of workdays and weekends",
    WEEK: " at the same hours of the week",
}  # fmt: skip


@register("check", "column_shift.v2")
@dataclass(frozen=True, slots=True)
class ColumnShiftByHour:
    """column_shift.v1 for columns that go by the hour: every row is held against the reference's rows of the same hour.

    `season`: "hour_of_day", "hour_of_workday" (of workdays and of weekends), "hour_of_week", "none", or "" for what the
    reference shows, column by column: the finest of these that its event times (`at`) span three times (three weeks for the
    last two) and that says more than the one before (Pearson's chi-square, .001). The cuts
    of a number are quantiles of each hour; a category's share is bounded in each hour. A bet is the likelihood ratio
    of a part's odds raised by one ratio in all hours, so its mean is at most 1 in every hour whose share is within
    its bound + `slack`, in whatever order hours come: at most one false alarm in `arl` rows on average, with probability
    1 - delta over the draw of the reference. The bounds of every season that was open to choice hold together.

    Rows of hours without a bound, or without an event time, are not bet on and counted. `zone`: whose hours they are.
    The other options, and the detector, are those of column_shift.v1 (Shin, Ramdas & Rinaldo; Wilks 1941; Clopper & Pearson).
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    columns: tuple[str, ...] = ()
    season: str = ""
    zone: str = "UTC"
    slack: float = 0.01
    arl: float = 100_000
    delta: float = 0.025
    bins: int = 10
    levels: int = 50
    block: int = 50

    def __post_init__(self) -> None:
        limits = {"bins": (2, 100), "levels": (2, 1000), "block": (1, 1000), "slack": (0, 0.5)}
        for field, (low, high) in limits.items():
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field} is {getattr(self, field)!r}; it must lie in [{low}, {high}]")
        if self.season and self.season not in SEASONS:
            raise ValueError(
                f"season is {self.season!r}; it must be one of {', '.join(SEASONS)}, or empty for what shows"
            )
        hours_of_week(np.zeros(0), self.zone)

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's columns, each (n,): numbers, text or truth values, and `at`, their event times.

        Raises StateError when a named column is not in a reference that has columns.
        """
        plans, why = self._plans(reference)
        plans = [plan | {"usable": plan["usable"] & (plan["rates"] + self.slack < 1)} for plan in plans]
        known: dict[str, Any] = {"columns": plans, "why": why, **_bets(plans, self.block, self.slack)}
        return {
            "reference": known, "n": 0, "alarm_n": 0, "left_out": 0, "hours": np.zeros(0, np.int16),
            "cells": np.zeros((0, len(plans)), np.int16), "m": np.zeros((*known["weights"].shape[:2], len(SHARES))),
        }  # fmt: skip

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's columns; one that the reference has and a window lacks is missing in every row."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        n = rows_of(window)
        if n:
            memory = self._after(memory, window, n)
        return memory, self._finding(memory)

    def _plans(self, reference: Columns) -> tuple[list[dict[str, Any]], str]:
        chosen = self.columns or tuple(name for name in sorted(reference) if _watched(name, reference[name]))
        absent = [name for name in chosen if reference and name not in reference]
        if absent:
            raise StateError(
                f"column_shift.v2: the reference has no column {absent[0]!r}; it has {', '.join(sorted(reference))}. "
                f"Name one of these in `columns`, or leave it empty for all"
            )
        n = rows_of(reference)
        seconds = unix_seconds(reference["at"]) if "at" in reference else np.full(n, np.nan)
        hours, among = hours_of_week(seconds, self.zone), SEASONS.get(self.season, seasons_in(seconds))
        if self.season not in ("", "none") and (hours < 0).all():
            return [], f"not watched: none of {n} reference rows has an event time (`at`), which {self.season} needs"
        plans, reasons = [], []
        delta = self.delta / max(len(chosen), 1) / (1 if self.season else 1 + len(among))
        for name in chosen:
            values = np.asarray(reference.get(name, ()))
            usable = len(values) - int(missing(values).sum())
            if usable < FEWEST:
                reasons.append(f"{name!r} has {usable} usable values")
                continue
            season = (*among, 1)[0] if self.season else season_of(graded(values), hours, among) if among else 1
            plans.append(plan_by_hour(name, values, hours, season, self.bins, self.levels, delta))
        if plans:
            return plans, ""
        reason = "; ".join(reasons) or "it has no column of numbers or categories"
        return [], f"not watched: the reference has {n} rows: {reason}; {FEWEST} are needed"

    def _after(self, memory: Memory, window: Columns, n: int) -> Memory:
        known, waiting = memory["reference"], memory["n"] % self.block
        seconds = unix_seconds(window["at"]) if "at" in window else np.full(n, np.nan)
        fresh = hours_of_week(seconds, self.zone).astype(np.int16)
        found = [cells_in(plan, window.get(plan["name"]), hour_in(fresh, plan["season"])) for plan in known["columns"]]
        hours = np.concatenate([memory["hours"], fresh])
        cells = np.concatenate([memory["cells"], np.stack(found, axis=1).astype(np.int16)])
        first, whole = len(hours) - n - waiting, (waiting + n) // self.block
        m, alarm_n = memory["m"], memory["alarm_n"]
        for done in range(0, whole, CHUNK):
            until = min(done + CHUNK, whole)
            rows = slice(first + done * self.block, first + until * self.block)
            m, path = _run(known, m, hours[rows], cells[rows], self.block)
            if not alarm_n and path.max() >= self.arl:
                alarm_n = memory["n"] - waiting + (done + int((path >= self.arl).argmax()) + 1) * self.block
        kept = -((waiting + n) % self.block + NEWEST * self.block)
        left_out = memory["left_out"] + int(known["blind"][fresh].sum())
        return {
            **memory, "n": memory["n"] + n, "alarm_n": alarm_n, "left_out": left_out, "m": m,
            "hours": hours[kept:].copy(), "cells": cells[kept:].copy(),
        }  # fmt: skip

    def _finding(self, memory: Memory) -> Finding:
        known, waiting = memory["reference"], memory["n"] % self.block
        n = memory["n"] - waiting
        if not n:
            return silent(self.name, self.promise, f"{memory['n']} rows: a block of {self.block} is not full yet")
        strength = memory["m"].sum(axis=(1, 2))  # (columns,)
        i = int(np.argmax(strength))
        plan, part = known["columns"][i], int(np.argmax(memory["m"][i].max(axis=1)))
        rows = slice(0, len(memory["hours"]) - waiting)
        value, limit, why = _said(plan, part, memory["hours"][rows], memory["cells"][rows, i], known["rates"][i])
        if memory["alarm_n"]:
            also = [known["columns"][j]["name"] for j in np.argsort(-strength)[1:6] if strength[j] >= self.arl]
            why += f"; shown at row {memory['alarm_n']}" + (f"; also {', '.join(also)}" if also else "")
            why += ". Look at where the column comes from; a shift may or may not be harm"
        if memory["left_out"]:
            why += (
                f"; {memory['left_out']:,} rows came without a time or at hours that the reference says too little of"
            )
        return Finding(
            check=self.name, value=value, limit=limit, evidence=float(_evidence(memory["m"][None])[0]), promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why, parts=self._parts(known, strength),
        )  # fmt: skip

    def _parts(self, known: Memory, strength: Any) -> tuple[tuple[str, float], ...]:
        """The columns that reach `arl` with their share of the mean; the strengths add up to it."""
        order = [j for j in np.argsort(-strength, kind="stable").tolist() if strength[j] >= self.arl]
        return tuple((known["columns"][j]["name"], min(float(strength[j]), LARGEST)) for j in order)


def _said(plan: Memory, part: int, hours: Any, cells: Any, rates: Any) -> tuple[float, float, str]:
    """The part's share of the newest rows, what is allowed at their hours, and both in words with the reference's."""
    season, size = plan["season"], plan["members"].shape[1]
    counts = np.bincount(hour_in(hours, season) * size + cells, minlength=(season + 1) * size).reshape(-1, size)
    seen = plan["usable"][:, part]
    (hits, of), (usual, among) = (_share(plan["members"][part], one, part) for one in (counts, plan["counts"]))
    hits, of = hits[seen], of[seen]
    total = float(of.sum())
    value, limit = (float(part.sum() / total) if total else math.nan for part in (hits, of * rates[seen, part]))
    share = float((of * usual[seen] / np.maximum(among[seen], 1)).sum() / total) if total else math.nan
    rows = plan["counts"].sum(axis=1, keepdims=True)  # of the reference, in each hour
    expected = (counts.sum(axis=1, keepdims=True) * plan["counts"] / np.maximum(rows, 1))[rows[:, 0] > 0].sum(axis=0)
    why = f"{plan['name']}: {plan['said'][part]}: {value:.2%} of the newest {total:,.0f} rows, allowed {limit:.2%} "
    why += f"(reference{SAID[season]} {share:.2%}); {distances({**plan, 'counts': expected}, counts.sum(axis=0))}"
    return value, limit, why


def _share(member: Any, counts: Any, part: int) -> tuple[Any, Any]:
    """Rows in a part, and rows it is a share of, hour by hour; see `_hits`."""
    return counts @ member, counts[:, int(part > 0) :].sum(axis=1)


# -- bets on all parts of all columns, side by side ----


def _bets(plans: list[dict[str, Any]], block: int, slack: float) -> dict[str, Any]:
    """The tables of `_run`: `rates`, `inside` and `outside` a column, (season + 1, parts[, stakes]), logs of the factors of a row;
    `weights` (columns, parts, 1), unused parts 0; `blind` (169,), hours of the week at which some column is not judged."""
    parts = max((len(plan["members"]) for plan in plans), default=0)
    weights, blind = np.zeros((len(plans), parts, 1)), np.zeros(WEEK + 1, bool)
    rates, inside, outside = [], [], []
    for i, plan in enumerate(plans):
        allowed = np.minimum(plan["rates"] + slack, 1.0)
        used = plan["usable"].any(axis=0)
        weights[i, : len(used), 0] = used / (max(int(used.sum()), 1) * len(plans) * len(SHARES))
        gains, losses = _logs(np.where(plan["usable"], allowed, 0.5), plan["usable"], plan["counts"].sum(axis=1))
        rates.append(allowed)
        inside.append(gains)
        outside.append(losses)
        hour = hour_in(np.append(np.arange(WEEK), -1), plan["season"])
        blind |= ~plan["usable"].any(axis=1)[hour] & (plan["season"] > 1)
    return {"rates": rates, "inside": inside, "outside": outside, "weights": weights, "blind": blind}


def _logs(rates: Any, usable: Any, rows: Any) -> tuple[Any, Any]:
    """Log factors of a row in the part and of one outside: of q / m and (1 - q) / (1 - m), with the odds of q a ratio above
    those of m in every hour, (hours, parts, stakes). 0 where nothing is bet."""
    held = usable * np.maximum(rows, 1)[:, None]
    mean = (held * rates).sum(axis=0) / np.maximum(held.sum(axis=0), 1)  # (parts,)
    mean = np.where(mean > 0, mean, 0.5)[:, None]
    ratio = (mean + SHARES * (1 - mean)) / (mean * (1 - SHARES))  # (parts, stakes), odds of q over odds of m
    grown = 1 + rates[:, :, None] * (ratio - 1)
    gains, losses = np.log(ratio / grown), -np.log(grown)
    return tuple(  # type: ignore[return-value]
        (np.floor(one / FINEST) * FINEST * usable[:, :, None]).astype(np.float32) for one in (gains, losses)
    )


def _run(known: Memory, m: Any, hours: Any, cells: Any, block: int) -> tuple[Any, Any]:
    """Whole blocks of rows (b · block,) after m (columns, parts, stakes); returns the last m and the evidence (b,).

    M is kept times its weight in the mean: M = (M + weight · rows that are bet on) · factor, block by block.
    """
    blocks = len(hours) // block
    logs, judged = np.zeros((blocks, *m.shape)), np.zeros((blocks, *m.shape[:2], 1))
    for season in sorted({plan["season"] for plan in known["columns"]}):
        pairs = _pairs(hour_in(hours, season), season, block)
        for i, plan in enumerate(known["columns"]):
            if plan["season"] == season:
                size = len(plan["members"])
                logs[:, i, :size], judged[:, i, :size, 0] = _of_column(known, i, cells[:, i], pairs)
    with np.errstate(over="ignore"):
        factors = np.exp(logs)
        path = np.empty_like(factors)
        for b in range(blocks):
            m = np.minimum((m + known["weights"] * judged[b]) * factors[b], LARGEST, out=path[b])
    return m.copy(), _evidence(path)


def _pairs(hour: Any, season: int, block: int) -> tuple[Any, Any, Any]:
    """Pairs of block and hour that rows (n,) fall in: the pair of each row, the hour of each pair, the first pair of each block."""
    blocks = len(hour) // block
    found, pair = np.unique(np.repeat(np.arange(blocks), block) * (season + 1) + hour, return_inverse=True)
    return pair, found % (season + 1), np.searchsorted(found // (season + 1), np.arange(blocks))


def _of_column(known: Memory, i: int, cells: Any, pairs: tuple[Any, Any, Any]) -> tuple[Any, Any]:
    """Log factors of the blocks (b, parts, stakes), and rows that each part is bet on (b, parts)."""
    plan, (pair, hour, first) = known["columns"][i], pairs
    size = plan["members"].shape[1]
    counts = np.bincount(pair * size + cells, minlength=len(hour) * size).reshape(-1, size).astype(np.float64)
    hits, of = _hits(plan["members"], counts)
    logs = hits[:, :, None] * known["inside"][i][hour] + (of - hits)[:, :, None] * known["outside"][i][hour]
    judged = plan["usable"][hour] * counts.sum(axis=1)[:, None]
    return np.add.reduceat(logs, first, axis=0), np.add.reduceat(judged, first, axis=0)


def _hits(members: Any, counts: Any) -> tuple[Any, Any]:
    """Rows in each part, and rows it is a share of, (k, parts) each; counts (k, cells).

    Part 0, "missing", is a share of all rows, every other of those that are not. Sums of whole floats are exact.
    """
    of = np.repeat(counts[:, 1:].sum(axis=1)[:, None], len(members), axis=1)
    of[:, 0] += counts[:, 0]
    return counts @ members.T, of


def _evidence(path: Any) -> Any:
    """The sum of every m (columns, parts, stakes) of path (b, …), at most 1e300: (b,)."""
    with np.errstate(over="ignore"):
        return np.minimum(np.ascontiguousarray(path).reshape(len(path), -1).sum(axis=1), LARGEST)


def _watched(name: str, values: Any) -> bool:
    return watched_by_default(name) and np.ndim(values) == 1 and np.asarray(values).dtype.kind in "biufUO"
