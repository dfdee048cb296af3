"""Answers with any number of labels a row: precision, recall and F1 of each label, their averages, Hamming loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import (
    State,
    When,
    add,
    bounded,
    class_scores,
    column,
    exact_sum,
    quotient,
    rows,
    same_options,
    share,
)
from luthier.sums.weighing import DIGITS, carried, digits, squares, usable, worth
from luthier.types import Columns, Estimate

__all__ = ["Multilabel", "per_label"]

_PARTS = ("right", "support", "predicted")
_METRICS = ("precision", "recall", "f1")
_MOST = 65_536  # labels
_CELLS = 1 << 21  # of a block of rows that is worked on at once
_WEIGHED = 1 << 18  # the same with weights, whose sums must stay below 2**53
_PAIRS = np.triu_indices(3)


@register("statistic", "multilabel.v1")
@dataclass(frozen=True, slots=True)
class Multilabel:
    """0/1 matrices `target` and `predicted`, (n, labels) each: whether a row has a label, and is said to have it.

    Reads `precision[l]`, `recall[l]` and `f1[l]` (Wilson, as in confusion.v1) for the `shown` labels with most
    support; their averages `_micro`, `_macro` and `_weighted` (by support), normal on the logit by the delta method
    on rows, as the labels of a row depend on each other; `subset_accuracy`, the share of rows with every label right
    (Wilson); `hamming_loss`, the share of wrong cells (normal on the logit by rows); `missing` (Wilson). For more
    than `joint` labels, how macro and weighted averages vary is bounded, not known: their intervals are wider than
    needed. Averages run over all labels, an undefined score counting as 0, as scikit-learn's zero_division=0; on its
    own, or where no label has one, it is nothing (NaN, n 0). A row with a cell that is neither 0 nor 1 is missing.
    With a column `weight`, rows count by it (scikit-learn's sample_weight), n is what they are worth (see `weighing`),
    and a row without a usable weight is missing.
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    target: str = "target"
    predicted: str = "predicted"
    weight: str = ""
    joint: int = 64
    shown: int = 50
    confidence: float = 0.95

    def __post_init__(self) -> None:
        most = 128 if self.weight else 256
        if not 0 <= self.joint <= most:
            raise ValueError(
                f"joint is {self.joint!r}; it must lie in [0, {most}]{' with a weight' if self.weight else ''}, "
                f"as the state grows with its square"
            )

    def observe(self, columns: Columns) -> State:
        """Counts, int64: {joint, labels: 0 while unknown, n, missing, exact: rows all right, right, support, predicted
        (labels,), moments (3, 3): of the same three by row, products (3 labels, 3 labels) or (0, 0)}.

        With a weight also {weight, mass: that of all rows}; exact, mass, right, support and predicted are sums of
        weights (…, 8), moments six Exact by Σw² and products (…, 4) sums of squared weights, see `weighing`.
        """
        target, predicted = self._matrix(columns, self.target), self._matrix(columns, self.predicted)
        if target.shape != predicted.shape:
            raise StateError(
                f"columns {self.target!r} and {self.predicted!r} have shapes {target.shape} and {predicted.shape}; "
                f"they must have the same"
            )
        n, labels = target.shape
        weights = column(columns, self.weight) if self.weight else None
        if weights is not None and len(weights) != n:
            raise StateError(
                f"column {self.weight!r} has {len(weights)} rows and {self.target!r} {n}; give them as many"
            )
        state = self._empty(labels)
        step = max((_WEIGHED if self.weight else _CELLS) // max(labels, 1), 1)
        for start in range(0, n, step):
            part = slice(start, start + step)
            self._add(state, target[part], predicted[part], None if weights is None else weights[part])
        state["missing"] = n - state["n"]
        return _tidy(state if state["n"] else self._empty(0) | {"missing": n})

    def _matrix(self, columns: Columns, name: str) -> np.ndarray:
        values = rows(columns, name)
        if values.size == 0:
            return np.zeros((len(values), 0), bool)
        if values.ndim != 2 or values.dtype.kind not in "biuf" or values.shape[1] > _MOST:
            raise StateError(
                f"column {name!r} is {values.dtype} of shape {values.shape}; labels are 0 or 1 in (n, labels), "
                f"up to {_MOST} of them"
            )
        return values

    def _empty(self, labels: int) -> dict[str, Any]:
        together = 3 * labels if labels <= self.joint else 0
        state: dict[str, Any] = {"joint": self.joint, "labels": labels, "n": 0, "missing": 0, "exact": 0}
        if self.weight:
            state |= {"weight": self.weight, "moments": [(0, 0)] * len(_PAIRS[0])}
            state |= {part: np.zeros((1, DIGITS), np.int64) for part in ("exact", "mass")}
            state |= {part: np.zeros((labels, DIGITS), np.int64) for part in _PARTS}
            return state | {"products": np.zeros((together, together, DIGITS // 2), np.int64)}
        state |= {part: np.zeros(labels, np.int64) for part in _PARTS}
        return state | {
            "moments": np.zeros((3, 3), np.int64),
            "products": np.zeros((together, together), np.int64),
        }

    def _add(
        self, state: dict[str, Any], target: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None
    ) -> None:
        good = np.ones(len(target), bool)
        for matrix in (target, predicted):
            if matrix.dtype.kind != "b":
                good &= ((matrix == 0) | (matrix == 1)).all(axis=1)
        if weights is not None:
            good &= usable(weights)
        t, p = target[good].astype(bool), predicted[good].astype(bool)
        cells = (t & p, t, p)
        by_row = np.stack([np.count_nonzero(part, axis=1) for part in cells], axis=1).astype(np.float64)
        state["n"] += len(t)
        if weights is not None:
            _add_weighed(state, cells, by_row, (t == p).all(axis=1), weights[good])
            return
        state["exact"] += int((t == p).all(axis=1).sum())
        for part, values in zip(_PARTS, cells, strict=True):
            state[part] += np.count_nonzero(values, axis=0)
        state["moments"] += (by_row.T @ by_row).astype(np.int64)  # exact: below 2**53
        if state["products"].size:
            wide = np.concatenate(cells, axis=1).astype(np.float32)
            state["products"] += (wide.T @ wide).astype(np.int64)  # exact: below 2**24

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "joint")
        same_options({"weight": a.get("weight", "")}, {"weight": b.get("weight", "")}, "weight")
        if not (a["n"] and b["n"]):
            full = a if a["n"] else b
            return dict(full) | {"missing": a["missing"] + b["missing"]}
        same_options(a, b, "labels")
        merged: dict[str, Any] = {key: a[key] for key in ("joint", "labels", "weight") if key in a}
        summed = {"n", "missing", "exact", *_PARTS, "moments", "products"}
        if "weight" in a:
            merged["moments"] = [add(x, y) for x, y in zip(a["moments"], b["moments"], strict=True)]
            summed = summed - {"moments"} | {"mass"}
        return _tidy(merged | {key: a[key] + b[key] for key in summed})

    def read(self, state: State) -> dict[str, Estimate]:
        counts = _Counts.of(state)
        found = {
            "subset_accuracy": share(counts.exact * counts.rate, counts.worth, self.confidence),
            "hamming_loss": _hamming(counts, self.confidence),
            "missing": share(state["missing"], state["n"] + state["missing"], self.confidence),
        }
        scores = per_label(state, self.confidence)
        for metric in _METRICS:
            found[f"{metric}_micro"] = _micro(counts, metric, self.confidence)
            found[f"{metric}_macro"] = _average(counts, metric, scores[metric][0], None, self.confidence)
            found[f"{metric}_weighted"] = _average(counts, metric, scores[metric][0], counts.parts[1], self.confidence)
        shown = np.sort(np.argsort(-counts.parts[1], kind="stable")[: self.shown])
        for metric, (value, low, high, seen) in scores.items():
            for i in map(int, shown):
                one = Estimate(float(value[i]), max(round(float(seen[i])), 1), float(low[i]), float(high[i]))
                found[f"{metric}[{i}]"] = one if seen[i] else Estimate()
        return found


def _add_weighed(
    state: dict[str, Any], cells: tuple[np.ndarray, ...], by_row: np.ndarray, exact: np.ndarray, w: np.ndarray
) -> None:
    """Adds rows with their weights (n,): every product of digits with 0 or 1 sums below 2**53, so without rounding."""
    wide = np.concatenate(cells, axis=1).astype(np.float64)
    together = wide if state["products"].size else wide[:, :0]
    for digit, lead in digits(w):
        sums = (lead @ wide).astype(np.int64).reshape(3, -1)
        for part, values in zip(_PARTS, sums, strict=True):
            state[part][:, digit] += values
        state["mass"][0, digit] += int(lead.sum())
        state["exact"][0, digit] += int(lead[exact].sum())
        if digit >= DIGITS // 2:
            state["products"][..., digit - DIGITS // 2] += (together.T @ (together * lead[:, None])).astype(np.int64)
    terms = (exact_sum(w * w * (by_row[:, i] * by_row[:, j])) for i, j in zip(*_PAIRS, strict=True))
    state["moments"] = [add(total, term) for total, term in zip(state["moments"], terms, strict=True)]


def _tidy(state: dict[str, Any]) -> dict[str, Any]:
    if "weight" not in state:
        return state
    return state | {part: carried(state[part]) for part in (*_PARTS, "exact", "mass", "products")}


@dataclass(frozen=True, slots=True)
class _Counts:
    """A state as numbers: weights of all rows, of those all right and of `parts` (3, labels), right, support and
    predicted; `…2`, `moments` (3, 3) and `products` by the squares of weights. Without weights, rows weigh 1.
    """

    mass: float
    mass2: float
    exact: float
    parts: np.ndarray
    parts2: np.ndarray
    moments: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, state: State) -> _Counts:
        parts, parts2 = (np.stack(part) for part in zip(*(worth(state[part]) for part in _PARTS), strict=True))
        if "weight" not in state:
            n = float(state["n"])
            return cls(n, n, float(state["exact"]), parts, parts2, state["moments"], state["products"])
        (mass, exact), (mass2, _) = worth(np.concatenate((state["mass"], state["exact"])))
        moments = np.zeros((3, 3))
        moments[_PAIRS] = [quotient(term, 1) for term in state["moments"]]
        moments = np.maximum(moments, moments.T)  # no term is negative
        return cls(float(mass), float(mass2), float(exact), parts, parts2, moments, squares(state["products"]))

    @property
    def rate(self) -> float:
        """Rows that a unit of weight is worth; 0 of no weight."""
        return self.mass / self.mass2 if self.mass2 else 0.0

    @property
    def worth(self) -> float:
        """How many rows of equal weight all rows are worth."""
        return self.mass * self.rate

    def error(self, square: Any, first: Any, mean: Any) -> np.ndarray:
        """Standard error of the `mean` of x over rows, from Σ w² x² and Σ w² x; 0 of what is worth one row at most."""
        spread = np.maximum(square - 2 * mean * first + mean * mean * self.mass2, 0.0)
        found: np.ndarray = np.sqrt(spread * (self.worth / (self.worth - 1) if self.worth > 1 else 0.0)) / self.mass
        return found

    def bounded(self, value: float, error: float, confidence: float) -> Estimate:
        return bounded(value, error, max(round(self.worth), 1), confidence, self.worth)


def per_label(state: State, confidence: float = 0.95) -> dict[str, tuple[np.ndarray, ...]]:
    """precision, recall and f1 of all labels at once: (value, low, high, n), each (labels,)."""
    sums = [worth(state[part]) for part in _PARTS]
    of_squares = [v for _, v in sums] if "weight" in state else ()
    right, support, predicted = (w for w, _ in sums) if of_squares else (state[part] for part in _PARTS)
    return class_scores(right, support, predicted, confidence, of_squares)


def _error(counts: _Counts, gradient: np.ndarray) -> float:
    """Standard error of the mean of gradient · (right, support, predicted) of a row, from second moments over rows."""
    first, second = (gradient @ part.sum(axis=1) for part in (counts.parts, counts.parts2))
    return float(counts.error(gradient @ counts.moments @ gradient, second, first / counts.mass))


def _hamming(counts: _Counts, confidence: float) -> Estimate:
    labels = counts.parts.shape[1]
    if not (counts.worth and labels):
        return Estimate()
    gradient = np.array([-2.0, 1.0, 1.0])  # wrong cells of a row: support + predicted - 2 right
    wrong = counts.parts[1] + counts.parts[2] - 2 * counts.parts[0]
    value = min(max(float(wrong.sum()) / (counts.mass * labels), 0.0), 1.0)
    return counts.bounded(value, _error(counts, gradient) / labels, confidence)


def _micro(counts: _Counts, metric: str, confidence: float) -> Estimate:
    right, support, predicted = counts.parts.sum(axis=1).tolist()
    times, weights = {"precision": (1, (0, 1)), "recall": (1, (1, 0)), "f1": (2, (1, 1))}[metric]
    below = weights[0] * support + weights[1] * predicted
    if not below:
        return Estimate()
    value = min(times * right / below, 1.0)
    gradient = np.array([times, -weights[0] * value, -weights[1] * value]) * counts.mass / below
    return counts.bounded(value, _error(counts, gradient), confidence)


def _average(
    counts: _Counts, metric: str, score: np.ndarray, support: np.ndarray | None, confidence: float
) -> Estimate:
    """Σ w · score over labels, an undefined score counting as 0; with `support`, w is its share, itself random."""
    labels = len(score)
    total = labels if support is None else float(support.sum())
    if not total or np.isnan(score).all():
        return Estimate()
    weights = np.ones(labels) / labels if support is None else support / total
    score = np.nan_to_num(score)
    value = min(float(weights @ score), 1.0)  # weights may sum to a little more than 1
    gradient = _gradient(counts, metric, weights, score)
    if support is not None:
        gradient[1] += (score - value) * counts.mass / total
    return counts.bounded(value, _joint_error(counts, gradient), confidence)


def _gradient(counts: _Counts, metric: str, weights: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Derivative of Σ w · score by the shares of rows right, with support and predicted, (3, labels)."""
    of_support, of_predicted, times = {"precision": (0, 1, 1), "recall": (1, 0, 1), "f1": (1, 1, 2)}[metric]
    below = of_support * counts.parts[1] + of_predicted * counts.parts[2]
    each = np.divide(weights * counts.mass, below, out=np.zeros(len(below)), where=below > 0)
    return np.stack((times * each, -of_support * each * score, -of_predicted * each * score))


def _joint_error(counts: _Counts, gradient: np.ndarray) -> float:
    """Standard error of the mean of gradient · (right, support, predicted) of all labels of a row.

    Without joint moments, the sum of the labels' own errors: what it would be if they all varied together.
    """
    g, means = gradient, counts.parts / counts.mass
    firsts = g * counts.parts2
    if counts.products.size:
        square = g.ravel() @ counts.products @ g.ravel()
        return float(counts.error(square, firsts.sum(), (g * means).sum()))
    right, support, predicted = counts.parts2
    square = g[0] * (g[0] + 2 * g[1] + 2 * g[2]) * right + g[1] ** 2 * support + g[2] ** 2 * predicted
    square += 2 * g[1] * g[2] * right  # right = support and predicted
    return float(counts.error(square, firsts.sum(axis=0), (g * means).sum(axis=0)).sum())
