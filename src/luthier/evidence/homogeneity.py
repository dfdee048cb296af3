"""Evidence that two samples, seen as counts, were not drawn from one distribution: exact at every size of both.

Given the pooled counts m = reference + current, the current counts of unchanged data are multivariate hypergeometric,
whatever the distribution is: its shares cancel. So q(current | m) / hypergeometric(current | m), with any q that is
fixed by m, has mean at most 1 when nothing changed; and the reference's own sampling noise is in it, without a bound
of its own and without an approximation. It holds for 1 row or a billion, empty bins and ties included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError

__all__ = [
    "e_value",
    "log_e_samples",
    "log_e_samples_toward",
    "log_e_toward",
    "log_e_towards",
    "log_e_value",
    "log_e_values",
    "log_gamma",
    "ranks",
    "runs",
]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
LENGTHS = np.array([2.5, 4.0, 6.0, 9.0, 14.0])
"""Sizes of the shifts along a score, in standard errors, each way."""
BREADTHS = np.array([1.0, 4.0, 16.0, 64.0])
"""Variance of the alternatives, in that of the sampling noise: from shifts at the edge of being seen to large ones."""

NO_PAIR = "two binned samples need as many counts each, none below zero; bin both with the same bins"
SMALL = 1 << 14  # factorials below it are kept in a table


def e_value(reference: Any, current: Any) -> float:
    """E-value against "both counts (k,) come from one distribution over the k bins", capped at 1e300.

    The alternative q is a Dirichlet-multinomial around the pooled shares, mixed over four concentrations: what is not
    in the support of the hypergeometric only loses mass, so the mean under the null is at most 1, for every
    distribution: P(e >= 1/alpha) <= alpha (Markov). One look at one pair of samples; e-values of several windows
    against one reference combine by e-BH, whatever their dependence. An empty sample, or one bin, is no evidence: 1.

    Conditioning on the margin: Fisher 1935; e-values of two samples: Turner, Ly & Grünwald 2024 ("Generic E-variables
    for exact sequential k-sample tests"). The bins must not depend on which sample a row is in: fix them beforehand,
    or cut them by the pooled counts (`runs`), never by the reference alone.

    >>> e_value([500, 500], [510, 490]) < 1 < e_value([500, 500], [600, 400])
    True
    """
    return math.exp(min(log_e_value(reference, current), 300 * math.log(10)))


def log_e_value(reference: Any, current: Any) -> float:
    """The logarithm of `e_value`.

    Raises StateError when the counts differ in length or are not counts.
    """
    return log_e_values([(reference, current)])[0]


def log_e_values(pairs: Sequence[tuple[Any, Any]]) -> list[float]:
    """`log_e_value` of every pair of counts, in one pass: what a pair comes to does not depend on the others."""
    if not pairs:
        return []
    margins = [_margins(*pair) for pair in pairs]
    pooled, small = _checked(*(np.concatenate(every) for every in zip(*margins, strict=True)))
    logs_e: list[float] = log_e_samples(pooled, small[None], [len(m) for m, _ in margins])[0].tolist()
    return logs_e


def log_e_samples(pooled: Floats, samples: Floats, sizes: Any) -> Floats:
    """`log_e_value` (draws, P) of samples (draws, K) from the pooled counts (K,) of P columns, `sizes` (P,) bins each.

    The samples of one column are all of one size, at most half of its pool.
    """
    starts = np.cumsum(sizes) - sizes
    n, total, seen = np.add.reduceat(samples[0], starts), np.add.reduceat(pooled, starts), pooled > 0
    bins = np.add.reduceat(seen.astype(np.int64), starts)
    told, found = (n > 0) & (bins > 1), np.zeros((len(samples), len(starts)))
    if told.any():
        kept = np.repeat(told, sizes) & seen
        found[:, told] = _mixed(pooled[kept], samples[:, kept], bins[told], n[told], total[told])
    return found


def _mixed(m: Floats, small: Floats, sizes: Any, n: Floats, total: Floats) -> Floats:
    """Log e-values (draws, P) of pooled counts (K,) and samples (draws, K) in P runs of bins, of which none is empty.

    What stands in both likelihoods is left out: the factorials of the sample and of its size.
    """
    starts, k, p = np.cumsum(sizes) - sizes, len(m), len(n)
    s = n / BREADTHS[:, None]  # (4, P)
    a = np.repeat(s, sizes, axis=1) * (m / np.repeat(total, sizes))  # (4, K)
    logs = log_gamma(np.concatenate([a, s, s + n], axis=1))
    whole = _log_factorials(np.concatenate([m, total, total - n]))
    rises = np.add.reduceat(log_gamma(a + small[:, None]) - logs[:, :k], starts, axis=2)  # (draws, 4, P)
    alternatives = np.logaddexp.reduce(rises + (logs[:, k : k + p] - logs[:, k + p :]), axis=1) - math.log(len(s))
    ways = np.add.reduceat(whole[:k] - _log_factorials(m - small), starts, axis=1)
    logs_e: Floats = alternatives - (ways - (whole[k : k + p] - whole[k + p :]))
    return logs_e


def log_e_toward(reference: Any, current: Any, scores: Any) -> float:
    """Log e-value for a shift of both counts (k,) along `scores` (k,): bins of high score more, or less, frequent.

    The alternatives q are hypergeometric from urns whose bins are tilted by exp(± t score): distributions fixed by the
    pooled counts, so the promise is that of `e_value`, and one direction costs nothing for the number of bins. `scores`
    may depend on the pooled counts only. Equal scores are no direction: 0.
    """
    return log_e_towards([(reference, current, scores)])[0]


def log_e_towards(shifts: Sequence[tuple[Any, Any, Any]]) -> list[float]:
    """`log_e_toward` of every (reference, current, scores), in one pass for those of about as many bins."""
    every = [(*_margins(reference, current), scores) for reference, current, scores in shifts]
    widths, found = [32 * -(-len(m) // 32) for m, _, _ in every], np.zeros(len(shifts))
    for width in set(widths):  # each to a multiple of 32, so that its sums are the same in any company
        some = [i for i, other in enumerate(widths) if other == width]
        wide = np.zeros((3, len(some), width))
        for row, i in enumerate(some):
            for part, given in zip(wide, every[i], strict=True):
                part[row, : len(given)] = given
        pooled, small = _checked(wide[0], wide[1])
        found[some] = log_e_samples_toward(pooled, small[:, None], wide[2])[:, 0]
    logs_e: list[float] = found.tolist()
    return logs_e


def log_e_samples_toward(pooled: Floats, samples: Floats, scores: Floats) -> Floats:
    """`log_e_toward` (B, draws) of samples (B, draws, k) from the pooled counts (B, k) along scores (B, k).

    The samples from one pool are all of one size, at most half of it; bins that hold none weigh nothing.
    """
    n, total = samples[:, 0].sum(axis=1), pooled.sum(axis=1)
    z = scores - ((scores * pooled).sum(axis=1) / np.maximum(total, 1))[:, None]
    spread = np.sqrt((z * z * pooled).sum(axis=1) / np.maximum(total, 1))
    told, found = (n > 0) & (spread >= 1e-12), np.zeros(samples.shape[:2])
    if told.any():
        found[told] = _tilted(pooled[told], samples[told], z[told] / spread[told, None], n[told], total[told])
    return found


def _tilted(m: Floats, small: Floats, z: Floats, n: Floats, total: Floats) -> Floats:
    """Log e-values (B, draws) of pooled counts (B, k) and samples (B, draws, k), along z (B, k) of mean 0 and variance 1."""
    steps = LENGTHS * np.sqrt((1 - n / total) / n)[:, None]
    tilts = np.exp(np.clip(np.concatenate([steps, -steps], axis=1)[:, :, None] * z[:, None], -30, 30))  # (B, 10, k)
    sums = tilts @ m[:, :, None]
    urns = np.concatenate([np.ceil(tilts * m[:, None] * (total[:, None, None] / sums)), m[:, None]], axis=1)
    sizes, left = (
        urns.sum(axis=2),
        urns[:, None] - small[:, :, None],
    )  # (B, 11), the last is the null; (B, draws, 11, k)
    chances = (_log_factorials(urns)[:, None] - _log_factorials(np.maximum(left, 0))).sum(axis=3)  # (B, draws, 11)
    chances += (_log_factorials(np.maximum(sizes - n[:, None], 0)) - _log_factorials(sizes))[:, None]
    gains = np.where((left >= 0).all(axis=3), chances - chances[:, :, -1:], -np.inf)[:, :, :-1]
    logs_e: Floats = np.logaddexp.reduce(gains, axis=2) - math.log(2 * len(LENGTHS))
    return logs_e


def ranks(pooled: Any) -> Floats:
    """Normal score of the middle rank of every ordered bin (k,): van der Waerden 1952; its square is Klotz's, for scale."""
    pooled, score = np.asarray(pooled, dtype=np.float64), NormalDist().inv_cdf
    middle = (np.cumsum(pooled) - pooled / 2) / max(float(pooled.sum()), 1.0)
    return np.array([score(share) for share in np.clip(middle, 1e-12, 1 - 1e-12).tolist()])


def _margins(reference: Any, current: Any) -> tuple[Floats, Floats]:
    """Pooled counts (k,) and those of the smaller sample; one empty bin where there is none."""
    p, q = (np.asarray(counts, dtype=np.float64) for counts in (reference, current))
    if p.shape != q.shape or p.ndim != 1:
        raise StateError(NO_PAIR)
    return (p + q, p if p.sum() <= q.sum() else q) if len(p) else (np.zeros(1), np.zeros(1))


def _checked(pooled: Floats, small: Floats) -> tuple[Floats, Floats]:
    """What `_margins` gives of one pair or of many; StateError where a sample was no counts."""
    if not pooled.max(initial=0.0) < math.inf or small.min(initial=0.0) < 0 or (pooled - small).min(initial=0.0) < 0:
        raise StateError(NO_PAIR)  # NaN is below nothing
    return pooled, small


def runs(pooled: Any, bins: Sequence[int]) -> list[Any]:
    """Where to cut ordered fine bins into about 2, 4, 8 … runs of equal pooled count: start indices, for np.add.reduceat.

    `pooled` (fine,) are the counts of both samples together. Cuts that give the same runs are given once.
    """
    pooled = np.asarray(pooled)
    reached, total = np.cumsum(pooled), int(pooled.sum())
    marks = [np.arange(1, count) * (total / count) for count in bins]
    ends = np.searchsorted(reached, np.concatenate([np.zeros(0), *marks])) + 1  # a run ends after its bin
    found: dict[tuple[int, ...], None] = {}
    for last, mark in zip(np.cumsum([len(mark) for mark in marks]).tolist(), marks, strict=True):
        starts = (0, *sorted({end for end in ends[last - len(mark) : last].tolist() if end < len(pooled)}))
        if len(starts) > 1:
            found.setdefault(starts)
    return [np.array(starts) for starts in found]


@cache
def _small_factorials() -> Floats:
    return log_gamma(np.arange(1.0, SMALL + 1))


def _log_factorials(x: Floats) -> Floats:
    """log x! for x >= 0, any shape: from a table where all are small whole numbers, as counts of a few thousand rows are."""
    if x.max(initial=0.0) < SMALL:
        places = x.astype(np.intp)
        if np.array_equal(places, x):
            return _small_factorials()[places]
    return log_gamma(x + 1)


def log_gamma(x: Any) -> Floats:
    """log Γ(x) for x > 0, any shape, within 1e-13 of its size: Stirling's series after eight steps up."""
    x = np.asarray(x, dtype=np.float64)
    small = x < 10
    product, z = np.ones_like(x), np.where(small, x, 1.0)
    for _ in range(8):
        product *= z
        z += 1
    z = np.where(small, z, x)
    inverse = 1 / (z * z)
    series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / z
    value: Floats = (z - 0.5) * np.log(z) - z + 0.5 * math.log(2 * math.pi) + series
    return value - np.where(small, np.log(product), 0.0)
