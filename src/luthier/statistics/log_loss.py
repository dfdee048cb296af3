"""How probable the truth was to the model: log loss, perplexity and, for all classes, the Brier score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.errors import StateError
from luthier.exact import add, exact_sum, natural_log, quotient
from luthier.names import register
from luthier.statistics.base import State, When, column, normal, numbers, rows, same_options, share
from luthier.types import Columns, Estimate

__all__ = ["LogLoss"]

_LEAST = 2.0**-52  # a probability is cut to [2**-52, 1 - 2**-52], as in scikit-learn
_SUMS = ("loss", "loss_squares", "brier", "brier_squares")
_ONE = 1e-4  # how far from 1 the probabilities of a row may sum


@register("statistic", "log_loss.v1")
@dataclass(frozen=True, slots=True)
class LogLoss:
    """Mean of -ln p(target), in nats, from a column `probability`.

    `of` "target": it holds p(target), (n,); "positive": p of class 1, (n,), and `target` is 0 or 1; "classes": p of
    all classes, (n, k), and `target` is an index into them. Reads `log_loss` (normal), `perplexity` = e**log_loss (its
    ends carried over), `brier` (normal; mean squared distance to the truth, summed over classes; halved for two, as
    scikit-learn has it; nothing for "target") and `missing` (Wilson): rows without a known target or with a
    probability outside [0, 1], or whose probabilities do not sum to 1 within 1e-4.
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    probability: str = "target_score"
    target: str = "target"
    of: Literal["target", "positive", "classes"] = "target"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.of not in ("target", "positive", "classes"):
            raise ValueError(f"of is {self.of!r}; it must be 'target', 'positive' or 'classes'")

    def observe(self, columns: Columns) -> State:
        """{of, n, missing, and Exact sums of loss and Brier score and of their squares}."""
        read = {"target": self._of_target, "positive": self._of_positive, "classes": self._of_classes}
        p, distance, seen = read[self.of](columns)
        loss = -natural_log(np.clip(p, _LEAST, 1 - _LEAST))
        values = zip(_SUMS, (loss, loss * loss, distance, distance * distance), strict=True)
        state: dict[str, Any] = {"of": self.of, "n": len(p), "missing": seen - len(p)}
        return state | {key: exact_sum(part) for key, part in values}

    def _of_target(self, columns: Columns) -> tuple[np.ndarray, np.ndarray, int]:
        """(p(target), squared distance, rows seen) of the rows that are known."""
        p = column(columns, self.probability)
        known = p[(p >= 0) & (p <= 1)]
        return known, np.zeros(0), len(p)

    def _of_positive(self, columns: Columns) -> tuple[np.ndarray, np.ndarray, int]:
        p, target = numbers(columns, self.probability, self.target)
        good = (p >= 0) & (p <= 1) & ((target == 0) | (target == 1))
        gap = np.abs(p - target)[good]
        return np.where(target[good] == 1, p[good], 1 - p[good]), gap * gap, len(p)

    def _of_classes(self, columns: Columns) -> tuple[np.ndarray, np.ndarray, int]:
        p, target = rows(columns, self.probability), column(columns, self.target)
        if p.size == 0 and not len(target):
            return np.zeros(0), np.zeros(0), 0
        if p.ndim != 2 or p.dtype.kind not in "biuf" or len(p) != len(target):
            raise StateError(
                f"column {self.probability!r} is {p.dtype} of shape {p.shape} with {len(target)} targets; "
                f"the probabilities of all classes are numbers (n, classes)"
            )
        k = p.shape[1]
        good = ((p >= 0) & (p <= 1)).all(axis=1) & np.isin(target, np.arange(k))
        p, y = p[good].astype(np.float64), target[good].astype(np.int64)
        total, distance = np.zeros(len(p)), np.zeros(len(p))
        for i in range(k):  # a fixed order of additions, so that a row's sum never depends on its neighbours
            total += p[:, i]
            distance += (p[:, i] - (y == i)) ** 2
        whole = np.abs(total - 1) <= _ONE
        return p[np.arange(len(p)), y][whole], distance[whole] / (2 if k < 3 else 1), len(target)

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "of")
        merged: dict[str, Any] = {"of": a["of"], "n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        return merged | {key: add(a[key], b[key]) for key in _SUMS}

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        loss, brier = (_mean(state, key, self.confidence) for key in ("loss", "brier"))
        perplexity = Estimate(*(_power(x) for x in (loss.value,)), n, _power(loss.low), _power(loss.high))
        return {
            "log_loss": loss,
            "perplexity": perplexity if n else Estimate(),
            "brier": brier if state["of"] != "target" else Estimate(),
            "missing": share(state["missing"], n + state["missing"], self.confidence),
        }


def _power(loss: float) -> float:
    return math.exp(loss)


def _mean(state: State, key: str, confidence: float) -> Estimate:
    n = state["n"]
    if n == 0:
        return Estimate()
    mean, square = quotient(state[key], n), quotient(state[f"{key}_squares"], n)
    error = math.sqrt(max(square - mean * mean, 0.0) / (n - 1)) if n > 1 else math.nan
    found = normal(mean, error, n, confidence)
    return Estimate(mean, n, max(found.low, 0.0), found.high)
