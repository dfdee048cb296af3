"""Between which order statistics of a sample a quantile lies, at ranks that need not be whole."""

from __future__ import annotations

import math
from functools import lru_cache

from luthier.evidence.intervals import binomial_tail, normal_quantile

__all__ = ["ranks_around"]


def ranks_around(n: int, q: float, confidence: float) -> tuple[float, float]:
    """Ranks, from 1 to n and not whole, of both ends of the interval for quantile `q` of a population, from n values.

    Where one end would lie outside the sample it is NaN, and the other is a bound by itself.
    """
    miss = (1 - confidence) / 2
    low, high = _rank(n, q, miss), n + 1 - _rank(n, 1 - q, miss)
    if math.isnan(low):
        return low, n + 1 - _rank(n, 1 - q, 2 * miss)
    return (_rank(n, q, 2 * miss), high) if math.isnan(high) else (low, high)


@lru_cache(maxsize=4096)
def _rank(n: int, q: float, miss: float) -> float:
    """The rank r, not whole, whose order statistic exceeds the quantile with probability `miss`; NaN below the first.

    Between whole ranks by Nyblom, "Note on interpolated order statistics" (1992); in large samples by the binomial's
    Cornish–Fisher expansion, 0.03 ranks off at most. Below rank 2 it is rounded down, as the tail's shape is not known.
    """
    z, variance = normal_quantile(miss), n * q * (1 - q)
    rank = n * q + z * math.sqrt(variance) + (1 - 2 * q) * (z * z - 1) / 6 + 0.5
    if variance >= 100:
        return rank
    whole = min(max(math.floor(rank), 0), n - 1)
    while whole > 0 and binomial_tail(whole - 1, n, q) > miss:
        whole -= 1
    while whole < n - 1 and binomial_tail(whole, n, q) <= miss:
        whole += 1
    if whole < 2:
        return float(whole) if whole else math.nan
    below, above = (binomial_tail(k, n, q) for k in (whole - 1, whole))
    return whole + (n - whole) * q * (miss - below) / (
        (n - whole) * q * (miss - below) + whole * (1 - q) * (above - miss)
    )
