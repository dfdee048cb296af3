"""Which rows to label next, for which decision, each with its chance, and what the labels would buy.

Coverage first: the pool is cut into cells of like inputs (k-means on the embedding) and labels go to all of them.
Uncertainty second: inside that, doubtful answers get larger chances where the decision allows it. Every chance is known
before a label comes, so the estimate from the labels is unbiased whatever the model believes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from luthier.errors import StateError
from luthier.evidence import Floats, floats, unit_interval
from luthier.evidence.intervals import normal_quantile
from luthier.fewlabels import Combined, ErrorRates, Pool, combined, error_rates, scaled
from luthier.types import Columns, Estimate, content_id

__all__ = ["DECISIONS", "Buys", "Decision", "LabelPlan", "Plan", "Request", "asked", "design", "shown", "smallest_rise"]

Decision: TypeAlias = Literal["worse", "accuracy", "better", "repair"]
DECISIONS: dict[Decision, str] = {
    "worse": "is it worse than on the reference?",
    "accuracy": "how good is it?",
    "better": "is the candidate better than the champion?",
    "repair": "what should the next version learn?",
}

Ints: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
CELLS, MOST_CELLS = 32, 256
SAMPLE = 20_000  # rows on which cells are found
CHUNK = 16_384  # rows held against the cells at once
ROUNDS = 8  # of Lloyd's algorithm
MIX = 0.5  # share of the chances that is equal for all
_STREAM = 0x1ABE1  # so that data simulated from the same seed does not follow the draw
ALPHA = 0.05  # of the gate's better.v1
_SAID = {
    "predicted", "probabilities", "confidence", "score", "margin", "entropy", "guess", "embedding", "champion_predicted",
    "target", "loss", "at", "at_random", "length", "group",
}  # fmt: skip
"""What the model said of a record and what is said about it, rather than the record."""


@dataclass(frozen=True, slots=True)
class Buys:
    """What the labels would buy. `half_width`: expected, of the interval of the mean loss, from this plan and the
    guesses; `alone`: of as many labels drawn at random without guesses; `shows`: the smallest that would be shown,
    see `why` (nan: the decision has no such number).
    """

    half_width: float
    alone: float
    shows: float
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows to label, in the order in which to label them.

    `rows` (n,) index the pool, `chance` (n,) is the probability with which each was to be chosen, `guess` (n,) its
    expected loss, `cell` (n,) its region. `at_random` (n,) marks a part whose chances are all alike: only these labels
    may go into checks that take each label as one of the traffic, such as risk.v1. `pool` sums up the guesses of all.
    """

    decision: Decision
    rows: Ints
    chance: Floats
    guess: Floats
    cell: Ints
    at_random: np.ndarray[Any, np.dtype[np.bool_]]
    pool: Pool
    buys: Buys
    seed: int


@dataclass(frozen=True, slots=True)
class Request:
    """One record to label. `predicted` is what the model said ("" where unknown), the rest as in `Plan`."""

    id: str
    input: Any
    predicted: str
    confidence: float
    guess: float
    chance: float
    cell: int
    at_random: bool


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """Requests in the order in which to label them. `known` are the ids among them that have a label already."""

    id: str
    decision: Decision
    model: str
    pool: Pool
    buys: Buys
    requests: tuple[Request, ...]
    known: frozenset[str] = frozenset()

    @property
    def open(self) -> tuple[Request, ...]:
        """The requests without a label."""
        return tuple(one for one in self.requests if one.id not in self.known)

    def estimate(self, losses: Mapping[str, float], *, confidence: float = 0.95) -> Combined:
        """The mean loss of the traffic that the plan was drawn from, from the `losses` by id that came back so far.

        Labels that did not come are taken to be missing by chance: skip none because it is hard.
        """
        if self.decision == "better":
            why = "only answers on which the candidate differs were to be labelled: see the gate"
            return Combined(Estimate(), "none", 0.0, math.nan, 0.0, why)
        y = np.array([losses.get(one.id, math.nan) for one in self.requests], np.float64)
        guess, chance = np.array([(one.guess, one.chance) for one in self.requests]).reshape(-1, 2).T
        return combined(y, guess, self.pool, chance, confidence=confidence)


def asked(
    plan: Plan, ids: Sequence[str], inputs: Sequence[Any] | Mapping[int, Any], columns: Columns, *,
    names: Sequence[str] = (), model: str = "", known: Collection[str] = (),
) -> LabelPlan:  # fmt: skip
    """A plan over rows as requests about records: `ids` and `inputs` of the pool by row, `names` of predicted classes."""
    predicted, sure = columns.get("predicted"), columns.get("confidence")
    requests = tuple(
        Request(
            ids[row], inputs[row], _said(predicted, row, names), math.nan if sure is None else float(sure[row]),
            float(plan.guess[i]), float(plan.chance[i]), int(plan.cell[i]), bool(plan.at_random[i]),
        )
        for i, row in enumerate(plan.rows)
    )  # fmt: skip
    name = content_id([plan.decision, model, plan.seed, list(plan.pool), [one.id for one in requests]])[:12]
    chosen = {one.id for one in requests}
    return LabelPlan(name, plan.decision, model, plan.pool, plan.buys, requests, frozenset(chosen.intersection(known)))


def shown(columns: Columns, rows: Ints) -> dict[int, Any]:
    """What people see of each of these rows, to label it: the column `input`, else what else the record holds, by name."""
    if "input" in columns:
        return dict(zip(rows.tolist(), columns["input"][rows].tolist(), strict=True))
    held = {name: values[rows].tolist() for name, values in columns.items() if name not in _SAID and values.ndim == 1}
    return {row: {name: values[i] for name, values in held.items()} or None for i, row in enumerate(rows.tolist())}


def _said(predicted: Any, row: int, names: Sequence[str]) -> str:
    if predicted is None:
        return ""
    value = predicted[row]
    if isinstance(value, int | np.integer) and names:
        return names[int(value)] if 0 <= value < len(names) else ""
    if not isinstance(value, np.ndarray):
        return str(value)
    if value.dtype.kind == "f":  # labels of a row: 1 where it has one
        value = np.flatnonzero(value == 1)
    return " ".join(names[one] if one < len(names) else str(one) for one in value.tolist() if one >= 0)


def design(
    columns: Columns, budget: int, decision: str = "worse", *, reference: Columns | None = None,
    limit: float = math.nan, arl: float = 100_000, seed: int = 0,
) -> Plan:  # fmt: skip
    """A plan for `budget` labels over the rows of `columns`; the same rows, budget and seed give the same plan.

    Reads `embedding` (N, d) for coverage and `confidence` (N,) for uncertainty (or `guess` (N,), the expected loss), each
    if there; for "better" `predicted` and `champion_predicted` (N,), because only where they differ does a label tell.
    `reference`: `loss` and `confidence` of labelled rows, which say how often a confidence is wrong. `limit`, `arl`: of
    risk.v1, for what "worse" would show. Memory beyond the columns: about 80 bytes a row.

    Raises StateError for an unknown decision, a budget below 1, columns that differ in length, or a column that is missing.
    """
    n = _checked(columns, budget, decision)
    guess = _guesses(columns, n, reference)
    rng = np.random.default_rng([_STREAM, seed])
    wanted = _wanted(columns, n) if decision == "better" else np.ones(n)
    budget = min(budget, int(wanted.sum()))
    count = min(budget, MOST_CELLS) if decision == "repair" else min(budget // 2, CELLS)
    cell = _cells(columns.get("embedding"), n, max(count, 1), rng)
    chance = scaled(_measure(decision, guess, cell, wanted), budget)
    rows = _drawn(chance, cell, budget, rng)
    least = float(chance[chance > 0].min())
    at_random = rng.random(budget) * chance[rows] < least * (1 + 1e-9)  # thinned until all have the least chance
    return Plan(
        decision, rows, chance[rows], guess[rows], cell[rows], at_random, Pool.of(guess),  # type: ignore[arg-type]
        _buys(decision, chance, guess, budget, limit, arl), seed,
    )  # fmt: skip


def smallest_rise(labels: int, limit: float, arl: float = 100_000) -> float:
    """The smallest mean loss above `limit` that risk.v1 is expected to show within so many labels; nan: none.

    The e-SR detector grows by I = KL(p, limit) nats a label at loss p, has a head start of log(1/I) + .577 from all the
    moments at which the rise may have begun, and loses log 2 by mixing its bets: (log(arl I) + .116) / I labels.
    Measured with limit .125: means of 63, 178, 479 and 1,188 labels where it says 65, 164, 439 and 1,099.
    """
    if not 0 < limit < 1:
        return math.nan
    low, high = limit + 1e-6, 1 - 1e-9
    if _labels_for(high, limit, arl) > labels:
        return math.nan
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _labels_for(middle, limit, arl) <= labels else (middle, high)
    return high


def _labels_for(p: float, limit: float, arl: float) -> float:
    growth = _divergence(p, limit)
    return max((math.log(max(arl * growth, math.e)) + math.log(2) - 0.577) / growth, 1.0)


def _divergence(p: float, q: float) -> float:
    """Kullback & Leibler's divergence of Bernoulli(p) from Bernoulli(q), in nats."""
    right = (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0
    return (p * math.log(p / q) if p > 0 else 0.0) + right


def _checked(columns: Columns, budget: int, decision: str) -> int:
    if decision not in DECISIONS:
        known = ", ".join(f"{name} ({question})" for name, question in DECISIONS.items())
        raise StateError(f"{decision!r} is not a decision that labels are planned for; they are {known}")
    if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 1:
        raise StateError(f"a budget is a whole number of labels, 1 or more, not {budget!r}")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise StateError(f"columns must be arrays of one length, one row a record; lengths are {lengths}")
    if not lengths or not next(iter(lengths.values())):
        raise StateError("there are no rows to choose from: plan once answers have come")
    return next(iter(lengths.values()))


def _guesses(columns: Columns, n: int, reference: Columns | None) -> Floats:
    """Expected loss (n,) of each row; the mean where nothing is known."""
    if "guess" in columns:
        known = unit_interval(columns["guess"], "guess")  # NaN left out
        return np.nan_to_num(floats(columns["guess"], "guess"), nan=known.mean() if len(known) else 0.5)
    if "confidence" not in columns:
        return np.full(n, 0.5)
    known_rows = reference if reference and {"loss", "confidence"} <= reference.keys() else {}
    rates: ErrorRates = error_rates(known_rows.get("loss", ()), known_rows.get("confidence", ()))
    return rates.guess(columns["confidence"])


def _wanted(columns: Columns, n: int) -> Floats:
    """1 (n,) where the candidate and the champion differ, 0 where a label could say nothing about them."""
    if not {"predicted", "champion_predicted"} <= columns.keys():
        raise StateError(
            "the decision 'better' needs the columns predicted and champion_predicted: labels go where they differ"
        )
    differ: Floats = (np.asarray(columns["predicted"]) != np.asarray(columns["champion_predicted"])).astype(np.float64)
    if not differ.any():
        raise StateError(f"candidate and champion agree on all {n:,} rows: no label can tell which is better")
    return differ


def _measure(decision: str, guess: Floats, cell: Ints, wanted: Floats) -> Floats:
    """What the chances are proportional to.

    "worse" and "better" feed sequential evidence, which takes labels as they come: equal chances. "accuracy": active
    inference. "repair": every cell as much as every other, doubtful answers first.
    """
    if decision in ("worse", "better"):
        return wanted
    spread = np.sqrt(guess * (1 - guess)) + 1e-12
    if decision == "accuracy":
        return MIX / len(guess) + (1 - MIX) * spread / float(spread.sum())
    size, total = np.bincount(cell), np.bincount(cell, spread)
    return MIX / size[cell] + (1 - MIX) * spread / total[cell]


def _cells(embedding: Any, n: int, count: int, rng: np.random.Generator) -> Ints:
    """The region (n,) of each row by k-means (Lloyd 1982; starts by k-means++, Arthur & Vassilvitskii 2007)."""
    if embedding is None or count < 2:
        return np.zeros(n, np.int64)
    if np.ndim(embedding) != 2 or np.asarray(embedding).dtype.kind not in "biuf":
        raise StateError(f"embedding must be (n, d) numbers, not {np.asarray(embedding).dtype} {np.shape(embedding)}")
    sample = _points(embedding, np.sort(rng.permutation(n)[:SAMPLE]))
    centres = _spread_out(sample, count, rng)
    for _ in range(ROUNDS):
        near = _nearest(sample, centres)
        size = np.bincount(near, minlength=len(centres))
        held = size > 0
        starts = (np.cumsum(size) - size)[held]
        centres[held] = np.add.reduceat(sample[np.argsort(near, kind="stable")], starts, axis=0) / size[held, None]
    found = np.empty(n, np.int64)
    for start in range(0, n, CHUNK):
        part = _points(embedding, slice(start, start + CHUNK))
        found[start : start + CHUNK] = _nearest(part, centres)
    return found


def _points(embedding: Any, chosen: Any) -> Any:
    """Some rows as float32 (m, d), held inside what can be squared; a missing number counts as 0."""
    with np.errstate(over="ignore"):
        points = np.nan_to_num(np.asarray(embedding[chosen]).astype(np.float32))
    return np.clip(points, -1e15, 1e15)


def _spread_out(sample: Any, count: int, rng: np.random.Generator) -> Any:
    """Starting centres (k, d), k <= count: each drawn with the squared distance to the ones before."""
    chosen = [int(rng.integers(len(sample)))]
    distance = ((sample - sample[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count and (total := float(distance.sum(dtype=np.float64))) > 0:
        ladder = np.cumsum(distance, dtype=np.float64)
        chosen.append(min(int(np.searchsorted(ladder, rng.random() * total, side="right")), len(sample) - 1))
        distance = np.minimum(distance, ((sample - sample[chosen[-1]]) ** 2).sum(axis=1))
    return sample[chosen]


def _nearest(points: Any, centres: Any) -> Ints:
    """The nearest centre (m,) of each point."""
    near: Ints = ((centres**2).sum(axis=1) - 2 * (points @ centres.T)).argmin(axis=1).astype(np.int64)
    return near


def _drawn(chance: Floats, cell: Ints, budget: int, rng: np.random.Generator) -> Ints:
    """`budget` rows, each with its chance, spread over the cells: systematic sampling (Madow 1949) along the cells,
    in random order inside each. A cell gets its expected number of labels, rounded up or down."""
    order = np.lexsort((rng.random(len(cell)), cell))
    ladder = np.cumsum(chance[order])
    ladder *= budget / ladder[-1]
    steps = rng.random() + np.arange(budget)
    found = np.minimum(np.searchsorted(ladder, steps, side="right"), len(order) - 1)
    rows: Ints = rng.permutation(order[found])
    return rows


def _buys(decision: str, chance: Floats, guess: Floats, budget: int, limit: float, arl: float) -> Buys:
    z, risk = normal_quantile(0.975), float(guess.mean())
    alone = z * math.sqrt(risk * (1 - risk) / budget)
    if decision == "better":
        share = _least(lambda q: budget * _divergence(q, 0.5) >= math.log(1 / ALPHA))
        differ = int((chance > 0).sum())
        why = (
            f"candidate and champion differ on {differ:,} of {len(chance):,} answers; {budget} labels there show the "
            + (
                f"candidate better if it is right in at least {share:.0%} of the cases that only one gets right"
                if share < 1
                else "candidate better in no case: at least 5 are needed"
            )
        )
        return Buys(math.nan, math.nan, share if share < 1 else math.nan, why)
    noise = float((guess * (1 - guess) / np.maximum(chance, 1e-300)).mean())  # of one label, weighted
    half = z * math.sqrt((float(guess.var()) + noise) / len(guess))
    why = f"{budget} labels with confidence give the mean loss to ± {half:.3f} (± {alone:.3f} without confidence)"
    shows = smallest_rise(budget, limit, arl) if decision == "worse" else math.nan
    if decision == "worse" and 0 < limit < 1:
        why += (
            f"; a mean loss of {shows:.3f} or more would be shown to be above {limit:.3f} by then"
            if math.isfinite(shows)
            else f"; they are too few to show any mean loss to be above {limit:.3f}"
        )
    return Buys(half, alone, shows, why)


def _least(enough: Callable[[float], bool]) -> float:
    """The smallest share above one half that is enough; 1.0 when none is."""
    low, high = 0.5, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high if enough(high) else 1.0
