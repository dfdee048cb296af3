"""Do the columns of a table, numbers and categories, still come from where the reference came from?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent, watched_by_default
from luthier.errors import StateError
from luthier.evidence import LARGEST
from luthier.names import register
from luthier.tables.parts import categories, codes, distances, is_number, missing, numbers
from luthier.tables.tabular import rows_of
from luthier.types import Columns, Finding, Promise

__all__ = ["ColumnShift"]

SHARES = np.array([0.03, 0.08, 0.2, 0.5])
"""The stakes: share f of the purse lost on a row outside the event, the Kelly bet for a rate of m0 + f (1 - m0)."""
FEWEST = 100
NEWEST = 20  # blocks whose counts are kept, for the distances that a finding names


@register("check", "column_shift.v1")
@dataclass(frozen=True, slots=True)
class ColumnShift:
    """Bets that some part of a column has become more frequent than the reference allows, averaged to one e-detector.

    Parts of a number: below and above each of bins - 1 quantiles of the reference, between two of them, and missing.
    Of a category: each of the `levels` most frequent, its complement, runs of them by frequency and by name, all
    others, new ones, and missing.
    Each part's share may exceed its upper bound by `slack`. At most one false alarm in `arl` rows on average, with
    probability 1 - delta over the draw of the reference, for any number of columns.

    Proof: with m0 at or above the part's share, the factor of a block, Π (1 + (f / m0) (x - m0)), has mean at most 1;
    so M = (M + 1) · factor, averaged over parts and stakes, is an e-detector (Shin, Ramdas & Rinaldo), in blocks.
    All bounds hold together with probability 1 - delta: F(X_(i)-) and 1 - F(X_(i)) are below the quantiles of
    Beta(i, n - i + 1) and its mirror at fixed ranks i, ties or not (Wilks 1941); a category's bound solves
    P(Bin(n, p) <= k) = delta p, and Σ delta p_k = delta over all categories there are, chosen or not; runs, others
    and new ones are counted in the half of the reference that did not choose them.

    Columns: those named, or every one-dimensional column of the reference that is known with the answer. Rows that do
    not fill a block of `block` yet are counts in memory, so the batch size changes nothing. A shift is no proof of harm.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    columns: tuple[str, ...] = ()
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

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's columns, each (n,): numbers, text or truth values.

        Raises StateError when a named column is not in a reference that has columns.
        """
        plans, reasons = self._plans(reference)
        known: dict[str, Any] = {"columns": plans, "why": ""}
        if not plans:
            why = "; ".join(reasons) or "it has no column of numbers or categories"
            known["why"] = f"not watched: the reference has {rows_of(reference)} rows: {why}; {FEWEST} are needed"
        known |= _bets(plans, self.block, self.slack)
        shape = known["members"].shape  # (columns, parts, cells)
        return {
            "reference": known, "n": 0, "alarm_n": 0, "open": np.zeros((shape[0], shape[2]), np.int64),
            "newest": np.zeros((0, shape[0], shape[2]), np.int64), "m": np.zeros((*shape[:2], len(SHARES))),
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

    def _plans(self, reference: Columns) -> tuple[list[dict[str, Any]], list[str]]:
        chosen = self.columns or tuple(name for name in sorted(reference) if _watched(name, reference[name]))
        absent = [name for name in chosen if reference and name not in reference]
        if absent:
            raise StateError(
                f"column_shift.v1: the reference has no column {absent[0]!r}; it has {', '.join(sorted(reference))}. "
                f"Name one of these in `columns`, or leave it empty for all"
            )
        plans, reasons = [], []
        for name in chosen:
            values = np.asarray(reference.get(name, ()))
            usable = len(values) - int(missing(values).sum())
            if usable < FEWEST:
                reasons.append(f"{name!r} has {usable} usable values")
            elif is_number(values):
                plans.append(numbers(name, values, self.bins, self.delta / len(chosen)))
            else:
                plans.append(categories(name, values, self.levels, self.delta / len(chosen)))
        return plans, reasons

    def _after(self, memory: Memory, window: Columns, n: int) -> Memory:
        known, waiting = memory["reference"], memory["n"] % self.block
        whole = (waiting + n) // self.block
        counts = np.zeros((whole + 1, *memory["open"].shape), np.int64)  # (blocks, columns, cells); the last is open
        counts[0] = memory["open"]
        place = (waiting + np.arange(n)) // self.block
        for i, plan in enumerate(known["columns"]):
            size = len(plan["counts"])
            cells = codes(plan, window.get(plan["name"]), n)
            counts[:, i, :size] += np.bincount(place * size + cells, minlength=(whole + 1) * size).reshape(-1, size)
        m, alarm_n = memory["m"], memory["alarm_n"]
        for first in range(0, whole, 64):
            m, path = _run(known, m, counts[first : min(first + 64, whole)])
            if not alarm_n and path.max() >= self.arl:
                alarm_n = memory["n"] - waiting + (first + int((path >= self.arl).argmax()) + 1) * self.block
        newest = np.concatenate([memory["newest"], counts[:whole]])[-NEWEST:].copy()
        return {**memory, "n": memory["n"] + n, "alarm_n": alarm_n, "open": counts[-1].copy(), "newest": newest, "m": m}

    def _finding(self, memory: Memory) -> Finding:
        known, n = memory["reference"], memory["n"] // self.block * self.block
        if not n:
            return silent(self.name, self.promise, f"{memory['n']} rows: a block of {self.block} is not full yet")
        strength = memory["m"].sum(axis=(1, 2))  # (columns,)
        i = int(np.argmax(strength))
        plan, part = known["columns"][i], int(np.argmax(memory["m"][i].max(axis=1)))
        counts = memory["newest"].sum(axis=0)[i]
        hits, of = (int(found[0, i, part]) for found in _parts(known, memory["newest"].sum(axis=0)[None]))
        value, limit = (hits / of if of else math.nan), float(known["rates"][i, part])
        why = f"{plan['name']}: {plan['said'][part]}: {value:.2%} of the newest {of} rows, allowed {limit:.2%} "
        why += f"(reference {plan['shares'][part]:.2%}); {distances(plan, counts[: len(plan['counts'])])}"
        if memory["alarm_n"]:
            also = [known["columns"][j]["name"] for j in np.argsort(-strength)[1:6] if strength[j] >= self.arl]
            why += f"; shown at row {memory['alarm_n']}" + (f"; also {', '.join(also)}" if also else "")
            why += ". Look at where the column comes from; a shift may or may not be harm"
        return Finding(
            check=self.name, value=value, limit=limit, evidence=float(_evidence(memory["m"][None])[0]), promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why, parts=self._parts(known, strength),
        )  # fmt: skip

    def _parts(self, known: Memory, strength: Any) -> tuple[tuple[str, float], ...]:
        """The columns that reach `arl` with their share of the mean; the strengths add up to it."""
        order = [j for j in np.argsort(-strength, kind="stable").tolist() if strength[j] >= self.arl]
        return tuple((known["columns"][j]["name"], min(float(strength[j]), LARGEST)) for j in order)


# -- bets on all parts of all columns, side by side ----


def _bets(plans: list[dict[str, Any]], block: int, slack: float) -> dict[str, Any]:
    """`members` (columns, parts, cells), `rates` (columns, parts), and the tables of `_run`, unused parts 0."""
    parts = max((len(plan["members"]) for plan in plans), default=0)
    cells = max((len(plan["counts"]) for plan in plans), default=0)
    members, rates = np.zeros((len(plans), parts, cells)), np.ones((len(plans), parts))
    weights, gain = np.zeros((len(plans), parts, 1)), np.zeros((len(plans), parts, block + 1, len(SHARES)))
    k = np.arange(block + 1, dtype=np.float64)[:, None]
    for i, plan in enumerate(plans):
        size = len(plan["members"])
        members[i, :size, : len(plan["counts"])] = plan["members"]
        rates[i, :size] = np.minimum(plan["rates"] + slack, 1 - 1e-9)
        weights[i, :size] = block / (size * len(plans) * len(SHARES))
        one = 1 + SHARES / rates[i, :size, None] * (1 - rates[i, :size, None])  # (parts, stakes)
        gain[i, :size] = one[:, None, :] ** k
    return {"members": members, "rates": rates, "weights": weights, "gain": gain, "loss": (1 - SHARES) ** k}


def _run(known: Memory, m: Any, counts: Any) -> tuple[Any, Any]:
    """Blocks of counts (b, columns, cells) after m (columns, parts, stakes); returns the last m and the evidence (b,).

    M is kept times its weight in the mean, so M = (M + weight) · factor. Factors of whole counts are looked up, so that
    no rounding depends on where a stream is cut.
    """
    hits, of = _parts(known, counts)
    columns, parts = np.ogrid[: hits.shape[1], : hits.shape[2]]
    factors = known["gain"][columns, parts, hits] * known["loss"][of - hits]  # (b, columns, parts, stakes)
    path = np.empty_like(factors)
    with np.errstate(over="ignore"):
        for b, factor in enumerate(factors):
            m = np.minimum((m + known["weights"]) * factor, LARGEST, out=path[b])
    return m.copy(), _evidence(path)


def _evidence(path: Any) -> Any:
    """The sum of every m (columns, parts, stakes) of path (b, …), at most 1e300: (b,)."""
    with np.errstate(over="ignore"):
        return np.minimum(np.ascontiguousarray(path).reshape(len(path), -1).sum(axis=1), LARGEST)


def _parts(known: Memory, counts: Any) -> tuple[Any, Any]:
    """Rows in each part, and rows it is a share of, (b, columns, parts) each; counts (b, columns, cells).

    Part 0, "missing", is a share of all rows, every other of those that are not. Sums of whole floats are exact.
    """
    hits = np.matmul(known["members"], counts.transpose(1, 2, 0).astype(np.float64)).transpose(2, 0, 1)
    of = np.repeat(counts[:, :, 1:].sum(axis=2)[:, :, None], hits.shape[2], axis=2)
    of[:, :, 0] += counts[:, :, 0]
    return hits.astype(np.int64), of


def _watched(name: str, values: Any) -> bool:
    return watched_by_default(name) and np.ndim(values) == 1 and np.asarray(values).dtype.kind in "biufUO"
