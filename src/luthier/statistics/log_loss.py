"""How probable the truth was to the model: log loss, perplexity and the Brier score of any number of classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import State, When, mean_of, moments, numbers, on_log, rows, same_options, share
from luthier.sums.exact import add, natural_log
from luthier.types import Columns, Estimate

__all__ = ["LogLoss"]

_LEAST = 2.0**-52  # a probability is cut to [2**-52, 1 - 2**-52], as in scikit-learn
_ONE = 1e-4  # how far from 1 the probabilities of a row may sum


@register("statistic", "log_loss.v1")
@dataclass(frozen=True, slots=True)
class LogLoss:
    """Mean of -ln p(target), in nats, from a column `probability`; a row counts once or by a column `weight` ≥ 0.

    `of` "target": it holds p(target), (n,); "positive": p of class 1, (n,), and `target` is 0 or 1; "classes": p of
    all classes, (n, k), and `target` is an index into them. Reads `log_loss` (Student's t on the
    logarithm, longer above), `perplexity`, e**log_loss (its
    ends carried over), `brier` (normal; mean squared distance to the truth, summed over classes and halved for two,
    as scikit-learn has it; nothing for "target") and `missing` (Wilson): rows without a known target, with a
    probability outside [0, 1] or probabilities that do not sum to 1 within 1e-4, or a weight that is no number ≥ 0.
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    probability: str = "target_score"
    target: str = "target"
    of: Literal["target", "positive", "classes"] = "target"
    weight: str = ""
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.of not in ("target", "positive", "classes"):
            raise ValueError(f"of is {self.of!r}; it must be 'target', 'positive' or 'classes'")

    def observe(self, columns: Columns) -> State:
        """{of, weight, n, missing, and of loss and brier the `moments`}."""
        answers = {"target": self._of_target, "positive": self._of_positive, "classes": self._of_classes}
        p, distance, good = answers[self.of](columns)
        w = None
        if self.weight:
            weight, _ = numbers(columns, self.weight, self.probability if self.of == "target" else self.target)
            good &= (weight >= 0) & (weight < np.inf)
            w = weight[good]
        loss = -natural_log(np.clip(p[good], _LEAST, 1 - _LEAST))
        state: dict[str, Any] = {"of": self.of, "weight": self.weight, "n": len(loss), "missing": len(good) - len(loss)}
        return state | {"loss": moments(loss, w), "brier": moments(distance[good], w)}

    def _of_target(self, columns: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(p(target), squared distance, whether they are known), (n,) each."""
        (p,) = numbers(columns, self.probability)
        return p, np.zeros(len(p)), (p >= 0) & (p <= 1)

    def _of_positive(self, columns: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        p, target = numbers(columns, self.probability, self.target)
        good = (p >= 0) & (p <= 1) & ((target == 0) | (target == 1))
        gap = np.where(good, p - target, 0.0)
        return np.where(target == 1, p, 1 - p), gap * gap, good

    def _of_classes(self, columns: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        p, (target,) = rows(columns, self.probability), numbers(columns, self.target)
        if p.size == 0 and not len(target):
            return target, target, target > 0
        if p.ndim != 2 or p.dtype.kind not in "biuf" or len(p) != len(target):
            raise StateError(
                f"column {self.probability!r} is {p.dtype} of shape {p.shape} with {len(target)} targets; "
                f"the probabilities of all classes are numbers (n, classes)"
            )
        k = p.shape[1]
        good = np.isin(target, np.arange(k)) & ((p >= 0) & (p <= 1)).all(axis=1)
        y, p = np.where(good, target, 0).astype(np.int64), np.where(good[:, None], p, 0.0)
        total, distance = np.zeros(len(p)), np.zeros(len(p))
        for i in range(k):  # one class after the other: a row's sum never depends on its neighbours
            total += p[:, i]
            distance += (p[:, i] - (y == i)) ** 2
        good &= np.abs(total - 1) <= _ONE
        return p[np.arange(len(p)), y], distance / (2 if k < 3 else 1), good

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "of", "weight")
        merged: dict[str, Any] = {"of": a["of"], "weight": a["weight"]}
        merged |= {key: a[key] + b[key] for key in ("n", "missing")}
        return merged | {key: [add(x, y) for x, y in zip(a[key], b[key], strict=True)] for key in ("loss", "brier")}

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        loss, brier = (mean_of(state[key], n, self.confidence) for key in ("loss", "brier"))
        loss = on_log(loss.value, loss.high - loss.value, n, skewed=True) if loss.n else loss
        return {
            "log_loss": loss,
            "perplexity": Estimate(math.exp(loss.value), loss.n, math.exp(loss.low), _exp(loss.high)),
            "brier": Estimate(brier.value, brier.n, max(brier.low, 0.0), brier.high)
            if state["of"] != "target"
            else Estimate(),
            "missing": share(state["missing"], n + state["missing"], self.confidence),
        }


def _exp(x: float) -> float:
    return math.inf if x > 709 else math.exp(x)
