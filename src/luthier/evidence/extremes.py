"""Evidence that rows lie where the reference has none: beyond its range, in no category of it, or all in one place.

All are exact at every size of both samples, by the argument of `luthier.evidence.homogeneity`: given the pooled rows, which of them
are current is a draw without replacement, so an indicator over its probability has mean 1 when nothing changed, and
so has an average of such with weights fixed by the pooled rows.
"""

from __future__ import annotations

import math

import numpy as np

from luthier.errors import StateError
from luthier.evidence import LARGEST

__all__ = ["all_in_one", "beyond", "log_apart", "novel"]


def beyond(above: int, below: int, n: int, of: int) -> float:
    """E-value of `above` + `below` of `n` current rows outside the range of a reference of `of` rows.

    The k largest of all rows are current with probability Π (n - i) / (n + of - i); averaged over k = 1, 2, 4, …, both ends.

    >>> beyond(0, 0, 100, 100), round(beyond(20, 0, 100, 100))
    (0.0, 9153)
    """
    _counts(n, of, above, below)
    if not (n and of):
        return 1.0
    steps = [2**i for i in range(n.bit_length()) if 2**i <= n]
    logs = [-_log_all(step, n, of) for step in steps]
    found = sum(math.exp(min(log, 700.0)) for count in (above, below) for step, log in zip(steps, logs, strict=True) if count >= step)  # fmt: skip
    return min(found / (2 * len(steps)), LARGEST)


def novel(counts: np.ndarray, n: int, of: int, distinct: int) -> float:
    """E-value of categories (k,) with these current counts that none of `of` reference rows has; `distinct` of both pooled.

    Every row of a category with c pooled rows is current with probability C(n + of - c, of) / C(n + of, of).
    """
    _counts(n, of)
    if not (n and of and distinct):
        return 1.0
    found = sum(math.exp(min(-_log_all(int(count), n, of), 700.0)) for count in counts if count)
    return min(found / max(distinct, 1), LARGEST)


def all_in_one(pooled: int, n: int, of: int) -> float:
    """E-value of all `n` current rows in one place that holds `pooled` of all n + `of` rows.

    The place's weight is its share of the rows; all current rows lie in it with probability C(pooled, n) / C(n + of, n).
    """
    _counts(n, of)
    if not (n and of) or pooled < n:
        return 1.0
    log = math.log(pooled / (n + of)) + _choose(n + of, n) - _choose(pooled, n)
    return math.exp(min(log, math.log(LARGEST)))


def log_apart(reference: tuple[float, float, int], current: tuple[float, float, int]) -> float:
    """Log e-value, -inf unless all rows of one sample lie above all of the other's; each is (smallest, largest, rows).

    That has probability 1 / C(n + of, n) at most in either direction, and each direction has half of the weight.

    >>> round(math.exp(log_apart((0.0, 1.0, 3), (2.0, 3.0, 3))))
    10
    """
    (low, high, of), (least, most, n) = reference, current
    _counts(n, of)
    return _choose(n + of, n) - math.log(2) if high < least or most < low else -math.inf


def _log_all(k: int, n: int, of: int) -> float:
    """log P(k given rows of n + of are all among the n): C(n, k) / C(n + of, k)."""
    return _choose(n, k) - _choose(n + of, k)


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _counts(n: int, of: int, *parts: int) -> None:
    if n < 0 or of < 0 or any(part < 0 for part in parts) or sum(parts) > max(n, 0):
        raise StateError(f"{parts} of {n} rows against {of}: counts are not negative, and parts no more than the whole")
