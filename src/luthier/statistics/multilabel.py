"""Answers with any number of labels a row: precision, recall and F1 of each label, their averages, Hamming loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import State, When, bounded, class_scores, rows, same_options, share
from luthier.types import Columns, Estimate

__all__ = ["Multilabel", "per_label"]

_PARTS = ("right", "support", "predicted")
_METRICS = ("precision", "recall", "f1")
_MOST = 65_536  # labels
_CELLS = 1 << 21  # of a block of rows that is worked on at once


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
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    target: str = "target"
    predicted: str = "predicted"
    joint: int = 64
    shown: int = 50
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.joint <= 256:
            raise ValueError(f"joint is {self.joint!r}; it must lie in [0, 256], as the state grows with its square")

    def observe(self, columns: Columns) -> State:
        """Counts, int64: {joint, labels: 0 while unknown, n, missing, exact: rows all right, right, support, predicted
        (labels,), moments (3, 3): of the same three by row, products (3 labels, 3 labels) or (0, 0)}.
        """
        target, predicted = self._matrix(columns, self.target), self._matrix(columns, self.predicted)
        if target.shape != predicted.shape:
            raise StateError(
                f"columns {self.target!r} and {self.predicted!r} have shapes {target.shape} and {predicted.shape}; "
                f"they must have the same"
            )
        n, labels = target.shape
        state = self._empty(labels)
        step = max(_CELLS // max(labels, 1), 1)
        for start in range(0, n, step):
            self._add(state, target[start : start + step], predicted[start : start + step])
        state["missing"] = n - state["n"]
        return state if state["n"] else self._empty(0) | {"missing": n}

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
        state |= {part: np.zeros(labels, np.int64) for part in _PARTS}
        return state | {
            "moments": np.zeros((3, 3), np.int64),
            "products": np.zeros((together, together), np.int64),
        }

    def _add(self, state: dict[str, Any], target: np.ndarray, predicted: np.ndarray) -> None:
        good = np.ones(len(target), bool)
        for matrix in (target, predicted):
            if matrix.dtype.kind != "b":
                good &= ((matrix == 0) | (matrix == 1)).all(axis=1)
        t, p = target[good].astype(bool), predicted[good].astype(bool)
        cells = (t & p, t, p)
        by_row = np.stack([np.count_nonzero(part, axis=1) for part in cells], axis=1).astype(np.float64)
        state["n"] += len(t)
        state["exact"] += int((t == p).all(axis=1).sum())
        for part, values in zip(_PARTS, cells, strict=True):
            state[part] += np.count_nonzero(values, axis=0)
        state["moments"] += (by_row.T @ by_row).astype(np.int64)  # exact: below 2**53
        if state["products"].size:
            wide = np.concatenate(cells, axis=1).astype(np.float32)
            state["products"] += (wide.T @ wide).astype(np.int64)  # exact: below 2**24

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "joint")
        if not (a["n"] and b["n"]):
            full = a if a["n"] else b
            return dict(full) | {"missing": a["missing"] + b["missing"]}
        same_options(a, b, "labels")
        summed = ("n", "missing", "exact", *_PARTS, "moments", "products")
        return {"joint": a["joint"], "labels": a["labels"]} | {key: a[key] + b[key] for key in summed}

    def read(self, state: State) -> dict[str, Estimate]:
        n, labels = state["n"], state["labels"]
        found = {
            "subset_accuracy": share(state["exact"], n, self.confidence),
            "hamming_loss": _hamming(state, self.confidence),
            "missing": share(state["missing"], n + state["missing"], self.confidence),
        }
        scores = per_label(state, self.confidence)
        for metric in _METRICS:
            found[f"{metric}_micro"] = _micro(state, metric, self.confidence)
            found[f"{metric}_macro"] = _average(state, metric, scores[metric][0], None, self.confidence)
            found[f"{metric}_weighted"] = _average(state, metric, scores[metric][0], state["support"], self.confidence)
        shown = np.sort(np.argsort(-state["support"], kind="stable")[: self.shown]) if labels else ()
        for metric, (value, low, high, seen) in scores.items():
            for i in map(int, shown):
                one = Estimate(float(value[i]), int(seen[i]), float(low[i]), float(high[i])) if seen[i] else Estimate()
                found[f"{metric}[{i}]"] = one
        return found


def per_label(state: State, confidence: float = 0.95) -> dict[str, tuple[np.ndarray, ...]]:
    """precision, recall and f1 of all labels at once: (value, low, high, n), each (labels,)."""
    return class_scores(state["right"], state["support"], state["predicted"], confidence)


def _error(state: State, gradient: np.ndarray) -> float:
    """√(Var of gradient · (right, support, predicted) of a row / n), from their second moments over rows."""
    n = state["n"]
    mean = float(gradient @ _totals(state)) / n
    square = float(gradient @ state["moments"] @ gradient) / n
    return math.sqrt(max(square - mean * mean, 0.0) / max(n - 1, 1))


def _totals(state: State) -> np.ndarray:
    """Right, support and predicted over all labels, (3,)."""
    return np.array([int(state[part].sum()) for part in _PARTS], np.float64)


def _hamming(state: State, confidence: float) -> Estimate:
    n, cells = state["n"], state["n"] * state["labels"]
    if not cells:
        return Estimate()
    gradient = np.array([-2.0, 1.0, 1.0])  # wrong cells of a row: support + predicted - 2 right
    value = float(gradient @ _totals(state)) / cells
    return bounded(value, _error(state, gradient) / state["labels"], n, confidence)


def _micro(state: State, metric: str, confidence: float) -> Estimate:
    n, (right, support, predicted) = state["n"], _totals(state).tolist()
    times, weights = {"precision": (1, (0, 1)), "recall": (1, (1, 0)), "f1": (2, (1, 1))}[metric]
    below = weights[0] * support + weights[1] * predicted
    if not below:
        return Estimate()
    value = times * right / below
    gradient = np.array([times, -weights[0] * value, -weights[1] * value]) * n / below
    return bounded(value, _error(state, gradient), n, confidence)


def _average(state: State, metric: str, score: np.ndarray, support: np.ndarray | None, confidence: float) -> Estimate:
    """Σ w · score over labels, an undefined score counting as 0; with `support`, w is its share, itself random."""
    n, labels = state["n"], state["labels"]
    total = labels if support is None else int(support.sum())
    if not total or np.isnan(score).all():
        return Estimate()
    weights = np.ones(labels) / labels if support is None else support / total
    score = np.nan_to_num(score)
    value = min(float(weights @ score), 1.0)  # weights may sum to a little more than 1
    gradient = _gradient(state, metric, weights, score)
    if support is not None:
        gradient[1] += (score - value) * n / total
    return bounded(value, _joint_error(state, gradient), n, confidence)


def _gradient(state: State, metric: str, weights: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Derivative of Σ w · score by the shares of rows right, with support and predicted, (3, labels)."""
    of_support, of_predicted, times = {"precision": (0, 1, 1), "recall": (1, 0, 1), "f1": (1, 1, 2)}[metric]
    below = of_support * state["support"] + of_predicted * state["predicted"]
    each = np.divide(weights * state["n"], below, out=np.zeros(len(below)), where=below > 0)
    return np.stack((times * each, -of_support * each * score, -of_predicted * each * score))


def _joint_error(state: State, gradient: np.ndarray) -> float:
    """√(Var of gradient · (right, support, predicted) of all labels of a row / n).

    Without joint moments, the sum of the labels' own errors: what it would be if they all varied together.
    """
    n = state["n"]
    means = np.stack([state[part] for part in _PARTS]) / n
    if state["products"].size:
        flat = gradient.ravel()
        square, mean = float(flat @ state["products"] @ flat) / n, float(flat @ means.ravel())
        return math.sqrt(max(square - mean * mean, 0.0) / max(n - 1, 1))
    right, support, predicted = means
    g = gradient
    square = g[0] * (g[0] + 2 * g[1] + 2 * g[2]) * right + g[1] ** 2 * support + g[2] ** 2 * predicted
    square += 2 * g[1] * g[2] * right  # right = support and predicted
    spread = np.maximum(square - (g * means).sum(axis=0) ** 2, 0)
    return float(np.sqrt(spread / max(n - 1, 1)).sum())
