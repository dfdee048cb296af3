"""The ways to look at the counts of one column of two samples, each an e-value of `homogeneity`: runs of neighbouring bins that
change any way, and shifts along scores. All of them depend on the pooled counts only, so the mean of their e-values is one as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from luthier.evidence.homogeneity import log_e_samples, log_e_samples_toward, log_e_towards, ranks, runs

__all__ = ["NO_VIEWS", "Views", "as_they_are", "category_views", "log_e_means", "ordered_views"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Ints: TypeAlias = "np.ndarray[Any, np.dtype[np.intp]]"


@dataclass(frozen=True, slots=True)
class Views:
    """`pooled` counts (cells,) of two samples, those of the smaller `sample` (cells,), and how to look at both.

    `starts` and `stops` (K,) are runs of cells. The first sum(sizes) of them are looked at any way, a view of `sizes` (P,) runs
    each; the last k along each of `scores` (A, k). No views: no evidence.
    """

    pooled: Floats
    sample: Floats
    starts: Ints
    stops: Ints
    sizes: tuple[int, ...]
    scores: Floats
    places: Ints | None = None
    """The cells that runs are of, by place, such as all cells in one order and in another; None: as they lie."""

    def __len__(self) -> int:
        return len(self.sizes) + len(self.scores)

    def sums(self, counts: Floats) -> tuple[Floats, Floats]:
        """Counts (..., cells) summed up in the runs that are looked at any way (..., sum(sizes)), and along scores (..., k)."""
        laid = counts if self.places is None else counts[..., self.places]
        reached = np.zeros((*laid.shape[:-1], laid.shape[-1] + 1))
        np.cumsum(laid, axis=-1, out=reached[..., 1:])
        sums = reached[..., self.stops] - reached[..., self.starts]
        return sums[..., : sum(self.sizes)], sums[..., len(self.starts) - self.scores.shape[1] :]

    def log_e(self, samples: Any) -> Floats:
        """`log_e_means` (draws,) of other samples (draws, cells) from the same pool, all of one size, at most half of it."""
        (pooled, pool), (drawn, along) = self.sums(self.pooled), self.sums(np.asarray(samples))
        shown = log_e_samples(pooled, drawn, self.sizes)  # (draws, P)
        pools = np.broadcast_to(pool, self.scores.shape)
        toward = log_e_samples_toward(pools, np.broadcast_to(along, (len(self.scores), *along.shape)), self.scores)
        return _mean(np.concatenate([shown, toward.T], axis=1))


NO_VIEWS = Views(np.zeros(0), np.zeros(0), np.zeros(0, np.intp), np.zeros(0, np.intp), (), np.zeros((0, 0)))


def log_e_means(columns: Sequence[Views]) -> list[float]:
    """The log of the mean of the e-values of all views, of every column, in one pass: a column's does not depend on the others."""
    every = [views.sums(np.stack([views.pooled, views.sample])) for views in columns]
    sizes = [size for views in columns for size in views.sizes]
    if not sizes:
        return [0.0] * len(columns)
    pooled, samples = np.concatenate([sums for sums, _ in every], axis=1)
    single = iter(log_e_samples(pooled, samples[None], sizes)[0].tolist())
    pairs = zip(columns, every, strict=True)
    toward = iter(log_e_towards([(x, m - x, one) for views, (_, (m, x)) in pairs for one in views.scores]))
    logs = [[next(single) for _ in views.sizes] + [next(toward) for _ in views.scores] for views in columns]
    return [float(_mean(np.array([one]))[0]) if one else 0.0 for one in logs]


def as_they_are(reference: Any, current: Any) -> Views:
    """One view: the counts (cells,) of both as they are."""
    pooled, sample = _margins(reference, current)
    cells = np.arange(len(pooled))
    return Views(pooled, sample, cells, cells + 1, (len(cells),), np.zeros((0, 0)))


def ordered_views(reference: Any, current: Any, parts: Sequence[int]) -> Views:
    """Runs of ordered bins (fine,) of about equal pooled count, as many as `parts` says, and the last in place and in scale."""
    cuts = runs(reference + current, parts)
    if not cuts:
        return NO_VIEWS
    cells, starts = np.unique(np.concatenate(cuts), return_inverse=True)
    pooled, sample = _margins(np.add.reduceat(reference, cells), np.add.reduceat(current, cells))
    sizes = tuple(len(cut) for cut in cuts)
    place = ranks(np.add.reduceat(pooled, starts[-sizes[-1] :]))
    return Views(pooled, sample, starts, _stops(starts, sizes, len(cells)), sizes, np.stack([place, place**2]))


def category_views(reference: Any, current: Any, parts: Sequence[int], single: int) -> Views:
    """The `single` most frequent categories one by one, runs by frequency and by name, and all along both.

    `reference` and `current` (categories,) are counts in the order of the categories' names.
    """
    order = np.argsort(-(reference + current), kind="stable")
    pooled, sample = _margins(reference[order], current[order])
    k, every = len(order), np.arange(len(order))
    if np.count_nonzero(pooled) < 2:
        return NO_VIEWS
    orders = (every, np.argsort(order))  # by frequency, by name
    cuts, ends, scores = [every[: single + 1]], [k], np.empty((len(orders), k))
    for at, places in enumerate(orders):
        found = runs(pooled[places], parts)
        cuts += [cut + at * k for cut in found]
        ends += [(at + 1) * k] * len(found)
        scores[at, places] = ranks(pooled[places])
    sizes, starts = tuple(len(cut) for cut in cuts), np.concatenate(cuts)
    stops = np.concatenate([_stops(starts, sizes, ends), every + 1])
    return Views(pooled, sample, np.append(starts, every), stops, sizes, scores, np.concatenate(orders))


def _stops(starts: Ints, sizes: Sequence[int], ends: Any) -> Ints:
    """Where runs end: where the next of their view starts, the last of each view at its end."""
    stops = np.append(starts[1:], 0)
    stops[np.cumsum(sizes) - 1] = ends
    return stops


def _margins(reference: Any, current: Any) -> tuple[Floats, Floats]:
    """Counts of both together, and those of the smaller."""
    p, q = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    return p + q, p if p.sum() <= q.sum() else q


def _mean(logs: Floats) -> Floats:
    """The log (n,) of the means of e-values given as logs (n, views)."""
    mean: Floats = np.logaddexp.reduce(logs, axis=1) - math.log(logs.shape[1])
    return mean
