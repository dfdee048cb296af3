"""Evidence that two samples, seen as counts, were not drawn from one distribution: exact at every size of both.

Given the pooled counts m = reference + current, the current counts of unchanged data are multivariate hypergeometric,
whatever the distribution is: its shares cancel. So q(current | m) / hypergeometric(current | m), with any q that is
fixed by m, has mean at most 1 when nothing changed; and the reference's own sampling noise is in it, without a bound
of its own and without an approximation. It holds for 1 row or a billion, empty bins and ties included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError

__all__ = [
    "View",
    "category_views",
    "e_value",
    "log_e_mean",
    "log_e_toward",
    "log_e_value",
    "log_e_values",
    "log_e_values_toward",
    "log_gamma",
    "ordered_views",
    "ranks",
    "runs",
]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
LENGTHS = np.array([2.5, 4.0, 6.0, 9.0, 14.0])
"""Sizes of the shifts along a score, in standard errors, each way."""
BREADTHS = np.array([1.0, 4.0, 16.0, 64.0])
"""Variance of the alternatives, in that of the sampling noise: from shifts at the edge of being seen to large ones."""


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
    m, small, _ = _margins(reference, current)
    return float(log_e_values(m, small[None])[0])


def log_e_values(pooled: Any, samples: Any) -> Floats:
    """`log_e_value` of many samples (draws, k) from the same pooled counts (k,), all of one size, at most half of the pool."""
    m, x = np.asarray(pooled, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    total = float(m.sum())
    n, k = float(x[0].sum()) if len(x) else 0.0, len(m)
    if n == 0 or np.count_nonzero(m) < 2:
        return np.zeros(len(x))
    m, x = m[m > 0], x[:, m > 0]
    s = n / BREADTHS  # (4,)
    a = s[:, None] * (m / total)  # (4, k)
    k = len(m)
    fixed = log_gamma(np.concatenate([a.ravel(), s, s + n, m + 1, [total + 1, n + 1, total - n + 1]]))
    base = -fixed[: 4 * k].reshape(4, k).sum(axis=1) + fixed[4 * k : 4 * k + 4] - fixed[4 * k + 4 : 4 * k + 8]
    ways, of = float(fixed[4 * k + 8 : -3].sum()), float(fixed[-3] - fixed[-2] - fixed[-1])
    logs = log_gamma(np.concatenate([a[None] + x[:, None], (m - x + 1)[:, None]], axis=1)).sum(axis=2)  # (draws, 5)
    shared = of + float(fixed[-2]) - ways - math.log(len(s))
    found: Floats = np.logaddexp.reduce(logs[:, :4] + base, axis=1) + logs[:, 4] + shared
    return found


def log_e_toward(reference: Any, current: Any, scores: Any) -> float:
    """Log e-value for a shift of both counts (k,) along `scores` (k,): bins of high score more, or less, frequent.

    The alternatives q are hypergeometric from urns whose bins are tilted by exp(± t score): distributions fixed by the
    pooled counts, so the promise is that of `e_value`, and one direction costs nothing for the number of bins. `scores`
    may depend on the pooled counts only. Equal scores are no direction: 0.
    """
    m, small, seen = _margins(reference, current)
    return float(log_e_values_toward(m, small[None], np.asarray(scores, dtype=np.float64)[seen])[0])


def log_e_values_toward(pooled: Any, samples: Any, scores: Any) -> Floats:
    """`log_e_toward` of many samples (draws, k) from the same pooled counts (k,), all of one size, at most half of the pool."""
    m, x, z = (np.asarray(given, dtype=np.float64) for given in (pooled, samples, scores))
    total, n = float(m.sum()), float(x[0].sum()) if len(x) else 0.0
    z = z - z @ m / total if total else z
    spread = math.sqrt(z * z @ m / total) if total else 0.0
    if n == 0 or spread < 1e-12:
        return np.zeros(len(x))
    steps = LENGTHS * math.sqrt((1 - n / total) / n) / spread
    tilts = np.exp(np.clip(np.concatenate([steps, -steps])[:, None] * z, -30, 30))  # (10, k)
    urns = np.concatenate([np.ceil(tilts * m * (total / (tilts @ m))[:, None]), m[None]])  # the last is the null
    sizes = urns.sum(axis=1)
    left = urns - x[:, None]  # (draws, 11, k)
    possible = (left >= 0).all(axis=2)
    fixed = log_gamma(np.concatenate([urns, sizes[:, None], sizes[:, None] - n], axis=1) + 1)
    ways = fixed[:, :-2].sum(axis=1) - fixed[:, -2] + fixed[:, -1]  # (11,)
    logs = np.where(possible, ways - log_gamma(np.maximum(left, 0) + 1).sum(axis=2), -np.inf)
    found: Floats = np.logaddexp.reduce(logs[:, :-1] - logs[:, -1:], axis=1) - math.log(len(tilts))
    return found


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at counts (cells,): summed up by `into` (cells, runs; None: as they are), along `scores` or any way."""

    into: Floats | None = None
    scores: Floats | None = None

    def log_e(self, pooled: Any, samples: Any) -> Floats:
        """Log e-values of samples (draws, cells) from the pooled counts (cells,)."""
        m, x = (pooled, samples) if self.into is None else (pooled @ self.into, samples @ self.into)
        return log_e_values(m, x) if self.scores is None else log_e_values_toward(m, x, self.scores)


def log_e_mean(pooled: Any, samples: Any, views: Sequence[View]) -> Floats:
    """The log of the mean of the e-values of all views, of samples (draws, cells) of one size: an e-value itself."""
    logs = np.array([view.log_e(pooled, samples) for view in views])  # (views, draws)
    mean: Floats = np.logaddexp.reduce(logs, axis=0) - math.log(len(views))
    return mean


def ordered_views(reference: Any, current: Any, parts: Sequence[int]) -> tuple[Floats, Floats, list[View]]:
    """Counts (cells,) of both in the cells that the views need, and the views: runs, place and scale.

    `reference` and `current` (fine,) are counts in ordered bins; runs are cut by both together: see `runs`.
    """
    cuts = runs(reference + current, parts)
    if not cuts:
        return np.zeros(1), np.zeros(1), []
    cells = np.unique(np.concatenate(cuts))
    p, q = (np.add.reduceat(counts, cells).astype(np.float64) for counts in (reference, current))
    into = [_into(np.searchsorted(cut, cells, side="right") - 1, len(cut)) for cut in cuts]
    place = ranks((p + q) @ into[-1])
    return p, q, [View(one) for one in into] + [View(into[-1], scores) for scores in (place, place**2)]


def category_views(
    reference: Any, current: Any, parts: Sequence[int], single: int
) -> tuple[Floats, Floats, list[View]]:
    """Counts (categories,) of both, the most frequent first, and the views: the `single` most frequent one by one, runs by
    frequency and by name, and along both. The categories come in the order of their names."""
    pooled = reference + current
    order = np.argsort(-pooled, kind="stable")
    p, q = (np.asarray(counts, np.float64)[order] for counts in (reference, current))
    if np.count_nonzero(pooled) < 2:
        return p, q, []
    m, cells = p + q, len(p)
    views = [View(_into(np.minimum(np.arange(cells), single), min(single, cells) + 1))]
    for places in (np.arange(cells), np.argsort(order)):  # by frequency, by name
        for cut in runs(m[places], parts):
            run = np.empty(cells, np.int64)
            run[places] = np.searchsorted(cut, np.arange(cells), side="right") - 1
            views.append(View(_into(run, len(cut))))
        scores = np.empty(cells)
        scores[places] = ranks(m[places])
        views.append(View(None, scores))
    return p, q, views


def _into(run: Any, count: int) -> Floats:
    """The matrix (cells, count) that sums the cells of every run."""
    matrix = np.zeros((len(run), count))
    matrix[np.arange(len(run)), run] = 1
    return matrix


def ranks(pooled: Any) -> Floats:
    """Normal score of the middle rank of every ordered bin (k,): van der Waerden 1952; its square is Klotz's, for scale."""
    from statistics import NormalDist

    pooled = np.asarray(pooled, dtype=np.float64)
    middle = (np.cumsum(pooled) - pooled / 2) / max(float(pooled.sum()), 1.0)
    return np.array([NormalDist().inv_cdf(min(max(share, 1e-12), 1 - 1e-12)) for share in middle.tolist()])


def _margins(reference: Any, current: Any) -> tuple[Floats, Floats, Any]:
    """Pooled counts and those of the smaller sample, in the bins that hold any, and which those are."""
    pair = [np.asarray(counts, dtype=np.float64) for counts in (reference, current)]
    bad = pair[0].shape != pair[1].shape or pair[0].ndim != 1
    if bad or any((x < 0).any() or not np.isfinite(x).all() for x in pair):
        raise StateError("two binned samples need as many counts each, none below zero; bin both with the same bins")
    seen = (pair[0] + pair[1]) > 0
    return (pair[0] + pair[1])[seen], min(pair, key=np.sum)[seen], seen


def runs(pooled: Any, bins: Sequence[int]) -> list[Any]:
    """Where to cut ordered fine bins into about 2, 4, 8 … runs of equal pooled count: start indices, for np.add.reduceat.

    `pooled` (fine,) are the counts of both samples together. Cuts that give the same runs are given once.
    """
    pooled = np.asarray(pooled)
    reached, total = np.cumsum(pooled), int(pooled.sum())
    found: list[Any] = []
    for count in bins:
        cuts = np.unique(
            np.searchsorted(reached, np.arange(1, count) * (total / count)) + 1
        )  # a run ends after its bin
        starts = np.concatenate(([0], cuts[cuts < len(pooled)]))
        if len(starts) > 1 and not any(np.array_equal(starts, other) for other in found):
            found.append(starts)
    return found


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
