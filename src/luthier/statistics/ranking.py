"""How good ranked answers are: NDCG, precision, recall and hits in the first k, reciprocal rank, average precision."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import (
    State,
    When,
    bounded,
    column,
    mean_with_error,
    moments,
    rows,
    same_options,
    share,
)
from luthier.sums.exact import add, fraction, natural_log
from luthier.sums.weighing import usable
from luthier.types import Columns, Estimate

__all__ = ["Ranking", "from_lists", "metrics"]

_METRICS = ("ndcg", "precision", "recall", "hit", "reciprocal_rank", "average_precision")
_CELLS = 1 << 16  # of a block of queries that is worked on at once
_READ = {"reciprocal_rank": "mrr", "average_precision": "map", "hit": "hit_rate"}


@register("statistic", "ranking.v1")
@dataclass(frozen=True, slots=True)
class Ranking:
    """Means over queries of what `metrics` says of each, from columns `gains`, `scores` and `ideal` (see there).

    Reads `ndcg`, `precision`, `recall` and `hit_rate` of the first `k`, `mrr` and `map` of the whole list (normal on
    the logit with the variance over queries; Wilson for hits and where every query is alike) and `missing` (Wilson),
    the queries of which `metrics` says nothing. With a column `weight`, queries count by it (scikit-learn's
    sample_weight), n is what they are worth, and one without a usable weight is missing (see `weighing`).
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    gains: str = "gains"
    scores: str = ""
    ideal: str = ""
    weight: str = ""
    k: int = 10
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 10_000:
            raise ValueError(f"k is {self.k!r}; it must lie in [1, 10000]")

    def observe(self, columns: Columns) -> State:
        """{k, n, missing, and of each metric the `moments`}, with a weight also {weight}."""
        gains, scores, ideal = (rows(columns, name) if name else None for name in (self.gains, self.scores, self.ideal))
        found = dict.fromkeys(_METRICS, np.zeros(0))
        if gains is not None and len(gains):
            found = metrics(gains, scores, ideal, self.k)
        known, weights = ~np.isnan(found["ndcg"]), None
        if self.weight:
            weights = column(columns, self.weight)
            if len(weights) != len(known):
                raise StateError(
                    f"column {self.weight!r} has {len(weights)} rows for {len(known)} queries; give one each"
                )
            known &= usable(weights)
            weights = weights[known]
        state: dict[str, Any] = {"k": self.k, "n": int(known.sum()), "missing": int(len(known) - known.sum())}
        state |= {"weight": self.weight} if self.weight else {}
        return state | {name: moments(values[known], weights) for name, values in found.items()}

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "k")
        same_options({"weight": a.get("weight", "")}, {"weight": b.get("weight", "")}, "weight")
        merged: dict[str, Any] = {"k": a["k"], "n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        merged |= {"weight": a["weight"]} if "weight" in a else {}
        return merged | {name: [add(x, y) for x, y in zip(a[name], b[name], strict=True)] for name in _METRICS}

    def read(self, state: State) -> dict[str, Estimate]:
        worth = _worth(state)
        found = {_READ.get(name, name): _mean(state, name, worth, self.confidence) for name in _METRICS}
        hits = found["hit_rate"].value * worth if worth else 0.0
        found["hit_rate"] = share(hits if "weight" in state else round(hits), worth, self.confidence)
        return found | {"missing": share(state["missing"], state["n"] + state["missing"], self.confidence)}


def metrics(gains: Any, scores: Any = None, ideal: Any = None, k: int = 10) -> dict[str, np.ndarray]:
    """ndcg, precision, recall and hit (1 or 0) in the first k; reciprocal_rank, average_precision; (n,) each.

    `gains` (n, m) says how relevant each item of a query's list is, best ranked first, 0 for irrelevant and NaN beyond
    the list's end. With `scores` (n, m) the items stand in any order and the highest score ranks first. `ideal` (n, j)
    holds the gains of all that is relevant to the query, in any order, 0 or NaN beyond; without it the list holds all.
    A gain is taken as it is (give 2**grade - 1 for the exponential kind) and discounted by log2(rank + 1) (Järvelin and
    Kekäläinen 2002). Items of equal score share their last rank, as in scikit-learn's
    label_ranking_average_precision_score; in NDCG they share their gains, as in its ndcg_score.

    A query has NaN throughout when nothing is relevant to it, when a gain is negative or infinite or a score NaN, or
    when its list holds more than its ideal. Raises StateError for columns that are not matrices or do not fit.
    """
    gain, best = _matrix("gains", gains), _matrix("ideal", gains if ideal is None else ideal)
    score = None if scores is None else _matrix("scores", scores)
    if len(best) != len(gain) or (score is not None and score.shape != gain.shape):
        shapes = {"gains": gain.shape, "scores": None if score is None else score.shape, "ideal": best.shape}
        raise StateError(f"the shapes {shapes} do not fit: one row a query, and one score for each gain")
    step = max(_CELLS // gain.shape[1], 1)
    blocks = [slice(start, start + step) for start in range(0, len(gain), step)] or [slice(0)]
    parts = [_block(gain[at], None if score is None else score[at], best[at], k) for at in blocks]
    return {name: np.concatenate([part[name] for part in parts]) for name in _METRICS}


def from_lists(
    ranked: Sequence[Sequence[Any]], relevant: Sequence[Mapping[Any, float] | Collection[Any]]
) -> dict[str, np.ndarray]:
    """Columns `gains` and `ideal` of queries given as lists of item ids, best first, and what is relevant to each.

    `relevant` holds a mapping from id to gain for every query, or ids alone, of gain 1. An id that a list repeats
    counts where it is first. Raises StateError when the two are not equally long.
    """
    if len(ranked) != len(relevant):
        raise StateError(f"there are {len(ranked)} ranked lists and {len(relevant)} sets of what is relevant")
    known = [dict(one) if isinstance(one, Mapping) else dict.fromkeys(one, 1.0) for one in relevant]
    lists = []
    for items, gain_of in zip(ranked, known, strict=True):
        first = {item: place for place, item in reversed(list(enumerate(items)))}
        lists.append([gain_of.get(item, 0.0) if first[item] == place else 0.0 for place, item in enumerate(items)])
    return {"gains": _padded(lists), "ideal": _padded([list(gain_of.values()) for gain_of in known])}


def _padded(lists: Sequence[Sequence[float]]) -> np.ndarray:
    """(n, longest) with NaN beyond the end of each list."""
    matrix = np.full((len(lists), max(map(len, lists), default=0)), np.nan)
    for row, values in zip(matrix, lists, strict=True):
        row[: len(values)] = values
    return matrix


def _matrix(name: str, values: Any) -> np.ndarray:
    matrix = np.asarray(values)
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise StateError(f"{name} are {matrix.dtype} of shape {matrix.shape}; they must be numbers (queries, items)")
    matrix = matrix.astype(np.float64)
    return matrix if matrix.shape[1] else np.full((len(matrix), 1), np.nan)


def _block(gain: np.ndarray, score: np.ndarray | None, best: np.ndarray, k: int) -> dict[str, np.ndarray]:
    bad = np.isinf(gain).any(axis=1) | np.isinf(best).any(axis=1) | (gain < 0).any(axis=1) | (best < 0).any(axis=1)
    absent = np.isnan(gain)
    gain, best = (np.where((part > 0) & np.isfinite(part), part, 0.0) for part in (gain, best))
    last = shared = None
    if score is not None:
        bad |= (np.isnan(score) & ~absent).any(axis=1)
        gain, last, shared = _ranked(gain, score, absent)
    total = np.count_nonzero(best, axis=1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        found = _of_relevant(gain > 0, last, total, k)
        found["ndcg"] = _dcg(gain if shared is None else shared, k) / _dcg(-np.sort(-best, axis=1), k)
    bad |= (total == 0) | (np.count_nonzero(gain, axis=1) > total) | ~(found["ndcg"] <= 1 + 1e-9)
    return {name: np.where(bad, np.nan, np.minimum(values, 1.0)) for name, values in found.items()}


def _of_relevant(relevant: np.ndarray, last: np.ndarray | None, total: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The metrics of a 0/1 matrix by rank; `last` (n, m) is the place, from 0, of the last item tied with each."""
    place = np.arange(relevant.shape[1]) if last is None else last
    before = relevant.cumsum(axis=1)
    if last is not None:
        before = np.take_along_axis(before, last, axis=1)
    hits = np.count_nonzero(relevant & (place < k), axis=1)
    precision = np.where(relevant, before / (place + 1), 0.0)
    return {
        "precision": hits / k,
        "recall": hits / total,
        "hit": (hits > 0).astype(np.float64),
        "reciprocal_rank": np.where(relevant, 1 / (place + 1), 0.0).max(axis=1),
        "average_precision": precision.cumsum(axis=1)[:, -1] / total,  # one after the other, alike on every machine
    }


def _ranked(gain: np.ndarray, score: np.ndarray, absent: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gains by falling score, absent items last; the last place tied with each; and the mean gain of its tie."""
    order = np.lexsort((-score, absent))
    gain, score, absent = (np.take_along_axis(part, order, axis=1) for part in (gain, score, absent))
    ends = np.ones(gain.shape, bool)
    ends[:, :-1] = (score[:, 1:] != score[:, :-1]) | (absent[:, 1:] != absent[:, :-1])
    place = np.arange(gain.shape[1])
    last = np.minimum.accumulate(np.where(ends, place, gain.shape[1])[:, ::-1], axis=1)[:, ::-1]
    starts = np.ones(gain.shape, bool)
    starts[:, 1:] = ends[:, :-1]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    upto = np.concatenate((np.zeros((len(gain), 1)), gain.cumsum(axis=1)), axis=1)
    tied = np.take_along_axis(upto, last + 1, axis=1) - np.take_along_axis(upto, first, axis=1)
    return gain, last, np.where(last == first, gain, tied / (last - first + 1))


def _dcg(gain: np.ndarray, k: int) -> np.ndarray:
    gain = gain[:, :k]
    discount = math.log(2) / natural_log(np.arange(2.0, gain.shape[1] + 2))
    total: np.ndarray = (gain * discount).cumsum(axis=1)[:, -1]
    return total


def _worth(state: State) -> float:
    """How many queries of equal weight all are worth, (Σw)² / Σw²."""
    total, squares = (fraction(part) for part in state["ndcg"][:2])
    return float(total * total / squares) if squares else 0.0


def _mean(state: State, name: str, worth: float, confidence: float) -> Estimate:
    if not worth:
        return Estimate()
    value, error = mean_with_error(state[name])
    return bounded(min(value, 1.0), error, max(round(worth), 1), confidence, worth)  # products round, above 1 too
