"""Can a classifier tell new rows from the reference, and by which columns?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent, watched_by_default
from luthier.errors import StateError
from luthier.evidence import LARGEST, lifetime_starts
from luthier.evidence.intervals import beta_quantile
from luthier.names import register
from luthier.tables.discriminant import design, direction, fitted, scores, whitened
from luthier.tables.features import encoded, is_readable, planned, usable
from luthier.tables.tabular import rows_of
from luthier.types import Columns, Finding, Promise

__all__ = ["ClassifierShift"]

TAILS = (0.5, 0.2, 0.05, 0.01)  # of the reference: what a classifier's score is held against
STAKES = np.array([0.03, 0.08, 0.2, 0.5])
SPANS = 7  # the classifiers learn from the newest 1, 2, 4 … 64 blocks
NEWEST = 20  # blocks that a finding counts
FEWEST = 100  # rows of the reference
MOST = 20_000
LEVEL = 0.002  # chance of a new classifier from a span in which nothing has moved, for each of at most six tests


@register("check", "classifier_shift.v1")
@dataclass(frozen=True, slots=True)
class ClassifierShift:
    """Bets that rows to come score higher than the reference's on a classifier of rows seen before against the reference.

    Seven linear classifiers of whitened features and their squares (`luthier.tables.discriminant`), each from the newest 50,
    100 … 3,200 rows of the stream against one part of the reference, learnt anew at fixed counts of rows and only where
    means differ. What share of new rows scores above the 50, 20, 5 and 1 % points of another part of the reference, which no
    classifier ever sees, is held against that share's upper bound plus `slack`; the bets are averaged into one e-detector:
    at most one false alarm in `arl` rows on average, with probability 1 - `delta` over the draw of the reference.

    Proof: a classifier learns from the stream and from rows that calibrate nothing, so while nothing changes it is
    independent of the calibrating rows, and the share above their i-th largest score is below the quantile of
    Beta(i, n - i + 1) (Wilks 1941), ties or not. The bounds of all classifiers there will ever be hold together, for the k-th
    is allowed to fail with probability delta · 0.9 / ((k + 2) ln²(k + 2)), whose sum is below delta. Then every
    factor Π (1 + f (x / m0 - 1)) has conditional mean at most 1, and M = (M + 1) · factor is an e-detector (Shin, Ramdas &
    Rinaldo), in blocks of `block` rows, which wait in memory until they are full.

    `columns`: numbers, categories (n,) or vectors (n, d); empty, all of the reference that are known with the answer.
    Tests by betting on a classifier's predictions: Pandeva, Forré, Ramdas & Shekhar 2024. A shift is no proof of harm.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    columns: tuple[str, ...] = ()
    slack: float = 0.01
    arl: float = 100_000
    delta: float = 0.025
    block: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.slack <= 0.5 or not 10 <= self.block <= 1000:
            raise ValueError(f"slack is {self.slack!r} and block {self.block!r}; they lie in [0, 0.5] and [10, 1000]")

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's columns.

        Raises StateError when a named column is not in a reference that has columns, and when there are too many.
        """
        names, reasons = self._chosen(reference)
        n = rows_of(reference)
        known: dict[str, Any] = {"why": ""}
        if n < FEWEST or not names:
            why = "; ".join(reasons) or f"{len(names)} columns of numbers, categories or vectors"
            known["why"] = f"not watched: the reference has {n} rows: {why}; {FEWEST} rows are needed"
        else:
            known.update(_parted(reference, names))
        p = len(known["plan"]["said"]) if names and not known["why"] else 0
        return {
            "reference": known, "buffer": np.zeros((0, p), np.float32), "n": 0, "alarm_n": 0, "fits": 0,
            "sums": np.zeros((SPANS, 2 * p)), "weights": np.zeros((2 * p, SPANS)), "active": np.zeros(SPANS, bool),
            "edges": np.zeros((SPANS, len(TAILS))), "rates": np.ones((SPANS, len(TAILS))), "told": [""] * SPANS,
            "m": np.zeros((SPANS, len(TAILS), len(STAKES))), "newest": np.zeros((0, SPANS, len(TAILS)), np.int64),
        }  # fmt: skip

    def _chosen(self, reference: Columns) -> tuple[list[str], list[str]]:
        absent = [name for name in self.columns if reference and name not in reference]
        if absent:
            raise StateError(
                f"classifier_shift.v1: the reference has no column {absent[0]!r}; it has {', '.join(sorted(reference))}. "
                f"Name one of these in `columns`, or leave it empty for all"
            )
        chosen = self.columns or tuple(name for name in sorted(reference) if watched_by_default(name))
        readable = [name for name in chosen if name in reference and is_readable(reference[name])]
        counts = {name: usable(reference[name]) for name in readable}
        reasons = [f"{name!r} has {count} usable values" for name, count in counts.items() if count < FEWEST]
        return [name for name, count in counts.items() if count >= FEWEST], reasons

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's columns; one that the reference has and a window lacks is missing in every row."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        n = rows_of(window) if any(plan["name"] in window for plan in known["plan"]["columns"]) else 0
        if not n:
            return memory, self._finding(memory)
        x = np.concatenate([memory["buffer"], encoded(known["plan"], window, n)])
        after = {**memory, "buffer": x[len(x) // self.block * self.block :].copy()}
        for key in ("sums", "weights", "active", "edges", "rates", "told"):
            after[key] = memory[key].copy()
        for first in range(0, len(x) - self.block + 1, self.block):
            self._take(after, whitened(known["basis"], x[first : first + self.block]))
        return after, self._finding(after)

    def _take(self, memory: dict[str, Any], z: Any) -> None:
        """Bet on one block z (block, p) with the classifiers there are, then let them learn from it."""
        above = scores(z, memory["weights"])[:, :, None] > memory["edges"]
        hits = np.where(memory["active"][:, None], above.sum(axis=0), -1)  # (spans, tails); -1: no classifier yet
        rates, k = memory["rates"][:, :, None], np.maximum(hits, 0)[:, :, None]
        factors = (1 + STAKES * (1 / rates - 1)) ** k * (1 - STAKES) ** (self.block - k)
        with np.errstate(over="ignore"):
            m = np.minimum((memory["m"] + self._weight) * factors, LARGEST)
        memory["m"] = np.where(memory["active"][:, None, None], m, memory["m"])
        memory["newest"] = np.concatenate([memory["newest"], hits[None]])[-NEWEST:]
        memory["n"] += self.block
        if not memory["alarm_n"] and self._evidence(memory) >= self.arl:
            memory["alarm_n"] = memory["n"]
        if not memory["alarm_n"]:  # the classifier that has shown it goes on as it is
            self._learn(memory, design(z).sum(axis=0))

    def _learn(self, memory: dict[str, Any], total: Any) -> None:
        """Spans of 2^j blocks end at every 2^j-th block; the sums (2 p,) of those that go on wait in memory."""
        blocks = memory["n"] // self.block
        for span in range(SPANS):
            self._fit(memory, span, total, self.block << span)
            if blocks >> span & 1:
                memory["sums"][span] = total
                return
            total = memory["sums"][span] + total

    def _fit(self, memory: dict[str, Any], span: int, total: Any, n: int) -> None:
        known = memory["reference"]
        weights = direction(known["basis"], total / n, n, LEVEL)
        if weights is None:
            return
        held = np.sort(scores(known["held"], weights[:, None])[:, 0])
        ranks = np.array([min(max(round(len(held) * (1 - tail)), 1), len(held)) for tail in TAILS])  # from 1
        step = 1 << max(memory["fits"].bit_length() - 3, 0)
        turn = -(-memory["fits"] // step) * step  # rounded up, which is no less strict: bounds are then found again
        bounds = _bounds(len(held), tuple(ranks.tolist()), self.delta, turn)
        memory["weights"][:, span], memory["active"][span] = weights, True
        memory["edges"][span] = held[ranks - 1] + 1e-4 * held.std() + 1e-9  # beyond what rounding can do to a tie
        memory["rates"][span] = np.minimum(bounds + self.slack, 1 - 1e-9)
        memory["told"][span] = _told(known, weights, total / n)
        memory["fits"] += 1

    @property
    def _weight(self) -> float:
        return self.block / (SPANS * len(TAILS) * len(STAKES))

    def _evidence(self, memory: Memory) -> float:
        with np.errstate(over="ignore"):
            return min(float(memory["m"].sum()), LARGEST)

    def _finding(self, memory: Memory) -> Finding:
        n = memory["n"]
        if not n:
            return silent(self.name, self.promise, f"{len(memory['buffer'])} of the first {self.block} rows seen")
        value, limit, why = self._said(memory)
        if memory["alarm_n"]:
            why += f"; shown at row {memory['alarm_n']}. Label some of the newest rows: a shift may or may not be harm"
        return Finding(
            check=self.name, value=value, limit=limit, evidence=self._evidence(memory), promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why,
        )  # fmt: skip

    def _said(self, memory: Memory) -> tuple[float, float, str]:
        """Share, limit and words of the classifiers with most evidence, on the newest rows; each scored before it was learnt from."""
        if not memory["active"].any():
            return math.nan, math.nan, f"no classifier tells {memory['n']} rows from the reference"
        span, tail = np.unravel_index(int(memory["m"].sum(axis=2).argmax()), memory["edges"].shape)
        hits = memory["newest"][:, span, tail]
        of, limit = int((hits >= 0).sum()) * self.block, float(memory["rates"][span, tail])
        if not of:
            return math.nan, limit, "a classifier was just learnt and has scored no row yet"
        value = float(hits[hits >= 0].sum()) / of
        beyond = f"{value:.1%} of the newest {of} rows score above what {TAILS[tail]:.0%} of the reference do"
        return value, limit, f"{beyond} (allowed {limit:.1%}) on a classifier that reads most in {memory['told'][span]}"


def _parted(reference: Columns, names: list[str]) -> dict[str, Any]:
    """Two fifths of the reference whiten, one centres, two calibrate; a chosen part each, for its order may be no chance."""
    order = np.random.default_rng(0).permutation(rows_of(reference))[:MOST]
    cuts = (len(order) * 2 // 5, len(order) * 3 // 5)
    parts = [{name: np.asarray(reference[name])[rows] for name in names} for rows in np.split(order, cuts)]
    plan = planned(parts[0], names)
    x = [encoded(plan, part, rows_of(part)) for part in parts]
    basis = fitted(x[0], x[1])
    return {"plan": plan, "basis": basis, "held": whitened(basis, x[2])}


@lru_cache(maxsize=4096)
def _bounds(n: int, ranks: tuple[int, ...], delta: float, fits: int) -> Any:
    """Upper bounds of the shares above the ranks (from 1) of n calibrating scores, for the classifier after `fits` others."""
    share = delta * float(lifetime_starts(fits, 1)[0]) / len(ranks)
    return np.array([beta_quantile(1 - share, n - i + 1, i) for i in ranks])


def _told(known: Memory, weights: Any, mean: Any) -> str:
    """The three columns that a classifier reads most, with their shares of the gap, and of each its clearest feature."""
    basis, plan = known["basis"], known["plan"]
    p = len(plan["said"])
    gap = mean - basis["centre"]
    worth = np.maximum(weights * gap, 0)
    worth = worth / max(float(worth.sum()), 1e-300)
    each = worth[:p] + worth[p:]
    columns = np.bincount(plan["owner"], each, len(plan["columns"]))
    raw = gap[:p] @ basis["inverse"]
    told: list[str] = []
    for i in np.argsort(-columns, kind="stable")[:3]:
        if columns[i] >= 0.05 or not told:
            j = int(np.where(plan["owner"] == i, each, -1).argmax())
            how = "higher" if raw[j] > 0 else "lower"
            if worth[p + j] > worth[j] and not plan["shares"][j]:
                how = "wider" if gap[p + j] > 0 else "narrower"
            told.append(f"{plan['columns'][i]['name']} ({columns[i]:.0%}; {plan['said'][j]} {how})")
    return ", ".join(told)
