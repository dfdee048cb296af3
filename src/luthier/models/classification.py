"""What people read about a classifier, from its columns: accuracy, precision, recall, F1, AUROC, log loss.

Each interval is two-sided at `confidence`. Nothing seen is NaN with n 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from luthier.evidence.estimates import area_interval, share, t_score
from luthier.types import Columns, Estimate

__all__ = ["auroc", "estimates", "f1", "share"]

_LARGEST = 50  # labels beyond which precision and recall of each are left out: nobody reads them


def f1(true_positive: int, false_positive: int, false_negative: int, confidence: float) -> Estimate:
    """F1 of one class; n counts the rows that are, or are called, this class.

    F1 = 2J / (1 + J) with J = TP / (TP + FP + FN) (Jaccard). Given how many rows have either, TP is binomial, so
    Wilson's interval of J maps to one of F1.
    """
    n = true_positive + false_positive + false_negative
    jaccard = share(true_positive, n, confidence)
    value, low, high = (2 * j / (1 + j) for j in (jaccard.value, jaccard.low, jaccard.high))
    return Estimate(value, n, low, high)


def auroc(score: Any, positive: Any, confidence: float) -> Estimate:
    """P(a positive scores above a negative), ties a half. DeLong's variance (1988) in a score interval (Newcombe 2006).

    score (n,) float; positive (n,) bool. One class only: nothing to compare, NaN with n 0.
    """
    score, positive = np.asarray(score, np.float64), np.asarray(positive, bool)
    first, second = score[positive], score[~positive]
    m, n = len(first), len(second)
    if m == 0 or n == 0:
        return Estimate()
    rank = _midranks(np.concatenate([first, second]))
    above = (rank[:m] - _midranks(first)) / n  # (m,) share of negatives below each positive
    below = 1 - (rank[m:] - _midranks(second)) / m  # (n,) share of positives above each negative
    value = float(above.mean())
    variance = _variance(above) / m + _variance(below) / n
    return area_interval(value, variance, m, n, confidence)


def estimates(columns: Columns, labels: tuple[str, ...], confidence: float = 0.95) -> Mapping[str, Estimate]:
    """Metric name to Estimate over the rows that have both an answer and a target.

    `f1_smallest` is F1 of the label with the fewest targets (the first of them on a tie). `f1_macro` is the mean
    over the labels seen, its bounds the means of theirs: wide enough however the classes depend on each other.
    """
    target, predicted = np.asarray(columns["target"]), np.asarray(columns["predicted"])
    known = (target >= 0) & np.isfinite(np.asarray(columns["loss"], np.float64))
    target, predicted = target[known], predicted[known]
    k, n = len(labels), int(known.sum())
    hit = np.bincount(target[target == predicted], minlength=k)  # (k,)
    truth = np.bincount(target, minlength=k)  # (k,)
    called = np.bincount(predicted[predicted >= 0], minlength=k)  # (k,)
    each = [f1(int(h), int(c - h), int(t - h), confidence) for h, c, t in zip(hit, called, truth, strict=True)]
    seen = np.flatnonzero(truth)
    found = {
        "accuracy": share(int(hit.sum()), n, confidence),
        "f1_smallest": each[seen[np.argmin(truth[seen])]] if len(seen) else Estimate(),
        "f1_macro": _mean([each[i] for i in seen], n),
        "log_loss": _log_loss(np.asarray(columns["target_score"], np.float64)[known], confidence),
    }
    if k == 2:
        scored = np.isfinite(np.asarray(columns["score"], np.float64)[known])
        score = np.asarray(columns["score"], np.float64)[known][scored]
        found["auroc"] = auroc(score, target[scored] == 1, confidence)
    for i in range(k if k <= _LARGEST else 0):
        found[f"precision[{labels[i]}]"] = share(int(hit[i]), int(called[i]), confidence)
        found[f"recall[{labels[i]}]"] = share(int(hit[i]), int(truth[i]), confidence)
    return found


def _mean(parts: list[Estimate], n: int) -> Estimate:
    if not parts:
        return Estimate()
    value, low, high = np.mean([(p.value, p.low, p.high) for p in parts], axis=0).tolist()
    return Estimate(value, n, low, high)


def _log_loss(probability: Any, confidence: float) -> Estimate:
    """Mean of -ln p(target), in nats, with Hall's interval for skewed values (1992) and Student's t."""
    loss = -np.log(np.clip(probability[np.isfinite(probability)], 1e-12, 1))
    n = len(loss)
    if n == 0:
        return Estimate()
    value, error = float(loss.mean()), math.sqrt(_variance(loss) / n)
    if n == 1:
        return Estimate(value, n, 0.0, math.inf)
    if not error:
        return Estimate(value, n, value, value)
    skew = float(((loss - value) ** 3).mean()) / (error * math.sqrt(n)) ** 3 / math.sqrt(n)
    low, high = (value - error * _unskewed(side * t_score(confidence, n), skew) for side in (1, -1))
    return Estimate(value, n, max(0.0, min(low, value)), max(high, value))


def _unskewed(t: float, skew: float) -> float:
    """What the studentised mean is where Hall's cubic transformation of it is `t`; `skew` is that of one row / √n."""
    if abs(skew) < 1e-6:
        return t
    cubed = 1 + skew * (t - skew / 6)
    return 3 * (math.copysign(abs(cubed) ** (1 / 3), cubed) - 1) / skew


def _midranks(values: Any) -> Any:
    """Ranks from 1, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _variance(values: Any) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
