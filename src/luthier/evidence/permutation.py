"""P-values that are exact whatever the statistic is, from what unchanged data would have given; and what they are worth
as e-values among many hypotheses."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

__all__ = ["FINEST", "POOL", "by_level", "by_to_e", "margins_p"]

ENOUGH = 20  # draws at least as strange as what was seen, after which the p-value is known well enough
MOST = 9_999  # draws
FINEST = 1 / (MOST + 1)
"""The smallest p-value that so many draws can tell."""
POOL = 10**9  # rows; numpy draws from fewer


def margins_p(pooled: Any, sample: Any, statistic: Callable[[Any], Any], finest: float) -> float:
    """P(statistic >= that of `sample`) among samples of its size drawn from the `pooled` counts (k,).

    Given the pooled counts, a part of unchanged data is multivariate hypergeometric (Fisher 1935); `statistic` maps
    samples (draws, k) to numbers (draws,). Up to 9,999 possible samples are all weighed. Beyond, so many are drawn
    that p-values of `finest` are told, at most 9,999; but draws end with the 20th that is as strange, l in all: p = 20 / l,
    else (1 + how many) / (1 + draws): P(p <= u) <= u over data and draws (Besag & Clifford 1991). The draws depend on the
    pooled counts only, so a result can be repeated. 1 for pools of 10^9 rows and more.
    """
    m, x = np.asarray(pooled, np.int64), np.asarray(sample, np.int64)
    if m.sum() >= POOL or np.count_nonzero(m) < 2:
        return 1.0
    seen = float(statistic(x[None])[0])
    limit = seen - 1e-9 * max(1.0, abs(seen))  # equal but for rounding is as strange
    tables = _tables(m, int(x.sum()))
    if len(tables):
        chances = _chances(m, tables)
        return min(float(chances[np.asarray(statistic(tables)) >= limit].sum() / chances.sum()), 1.0)
    rng, most = np.random.default_rng(m), min(max(math.ceil(4 / finest), 499), MOST)
    done, strange = 0, 0
    while done < most:
        size = min(max(done, 40), most - done, max(40_000 // len(m), 1))
        drawn = rng.multivariate_hypergeometric(m, int(x.sum()), size=size, method="marginals")
        found = strange + np.cumsum(np.asarray(statistic(drawn)) >= limit)
        if found[-1] >= ENOUGH:
            return ENOUGH / (done + int(np.argmax(found >= ENOUGH)) + 1)
        done, strange = done + size, int(found[-1])
    return (1 + strange) / (1 + done)


def _tables(m: Any, n: int) -> Any:
    """Every sample (tables, k) of n from the counts (k,), or none where there are more than 9,999 of them."""
    found, left, rest = np.zeros((1, 0), np.int64), np.array([n]), int(m.sum())
    for count in m.tolist():
        rest -= count
        low, high = np.maximum(left - rest, 0), np.minimum(left, count)
        ways = high - low + 1
        if ways.sum() > MOST:
            return found[:0]
        of = np.repeat(np.arange(len(left)), ways)
        chosen = low[of] + np.arange(len(of)) - np.repeat(np.cumsum(ways) - ways, ways)
        found, left = np.column_stack([found[of], chosen]), left[of] - chosen
    return found


def _chances(m: Any, tables: Any) -> Any:
    """The hypergeometric probability of each table (tables, k), up to a factor that all share."""
    logs = np.zeros(len(tables))
    for count, chosen in zip(m.tolist(), tables.T, strict=True):
        values, place = np.unique(chosen, return_inverse=True)
        logs -= np.array([math.lgamma(v + 1) + math.lgamma(count - v + 1) for v in values.tolist()])[place]
    return np.exp(logs - logs.max())


def by_level(hypotheses: int, alpha: float) -> float:
    """The p-value at which one of many hypotheses alone is found: Benjamini & Yekutieli 2001, any dependence."""
    return alpha / (hypotheses * _harmonic(hypotheses))


def by_to_e(p: float, hypotheses: int, alpha: float) -> float:
    """The e-value of a p-value with which e-BH at `alpha` is the test of Benjamini & Yekutieli (Wang & Ramdas, JRSS-B 2022).

    Its mean under the null is at most 1: it is hypotheses / (alpha j) on the j-th of equal steps of `by_level`. For one
    hypothesis it is 1 / alpha where p <= alpha.
    """
    step = max(math.ceil(p / by_level(hypotheses, alpha) - 1e-9), 1)
    return hypotheses / (alpha * step) if step <= hypotheses else 0.0


@cache
def _harmonic(n: int) -> float:
    return float((1 / np.arange(1, n + 1)).sum())
