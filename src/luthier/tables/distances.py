"""How far two binned samples lie apart. A distance is a description: it carries no evidence (see luthier.evidence.homogeneity).

All take counts (bins,) of the reference and of the current sample in the same bins, in any whole or weighted number,
and are NaN when either is empty. Bins that the reference fixes: `numeric_distances` and `category_distances`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.statistics.base import State
from luthier.statistics.counts import Counts, table
from luthier.statistics.histogram import cut_by_first, middles, occupied

__all__ = [
    "category_counts",
    "category_distances",
    "chi_square",
    "coarse",
    "finer",
    "hellinger",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "numeric_distances",
    "psi",
    "total_variation",
    "wasserstein",
]


SMALLEST, LARGEST = 2.0**-40, 2.0**40  # sizes that the log-buckets tell apart


def kolmogorov_smirnov(reference: Any, current: Any) -> float:
    """The largest gap between the two distribution functions, in [0, 1]; bins by rising value.

    Smirnov 1939. On the raw values it is exact when every value has its own bin, else a lower bound.
    """
    return _largest_gap(_gaps(*_shares(reference, current)))


def wasserstein(reference: Any, current: Any, values: Any) -> float:
    """The Wasserstein-1 distance in the unit of `values` (bins,), which rise and stand for their bins. Vallender 1974."""
    return _area(_gaps(*_shares(reference, current)), values)


def psi(reference: Any, current: Any) -> float:
    """Population stability index Σ (q - p) ln(q / p): Jeffreys' divergence (1946), as Siddiqi 2006 uses it.

    Half a count is added to every bin, so that an empty one does not make it infinite.
    """
    p, q = _shares(reference, current, 0.5)
    return float((q - p) @ np.log(q / p)) if len(p) else math.nan


def jensen_shannon(reference: Any, current: Any) -> float:
    """The Jensen–Shannon distance, base 2, in [0, 1]: the root of the divergence (Lin 1991; Endres & Schindelin 2003)."""
    return _jensen_shannon(*_shares(reference, current))


def hellinger(reference: Any, current: Any) -> float:
    """The Hellinger distance √(½ Σ (√p - √q)²), in [0, 1]. Hellinger 1909."""
    return _hellinger(*_shares(reference, current))


def total_variation(reference: Any, current: Any) -> float:
    """½ Σ |p - q|, in [0, 1]: the share of rows that would have to change their bin."""
    return _total_variation(*_shares(reference, current))


def chi_square(reference: Any, current: Any) -> float:
    """Pearson's statistic of homogeneity of the 2 × bins table (1900), bins empty in both left out.

    About (bins - 1) without a change; it grows with the samples, so it does not compare windows of different sizes.
    """
    p, q = _shares(reference, current)
    if not len(p):
        return math.nan
    a, b = float(np.sum(reference)), float(np.sum(current))
    pooled = (a * p + b * q) / (a + b)
    seen = pooled > 0
    return float(((p - q)[seen] ** 2 / pooled[seen]).sum()) * a * b / (a + b)


def numeric_distances(reference: State, current: State) -> dict[str, float]:
    """Every distance between two states of `histogram.v1`, by name.

    Kolmogorov–Smirnov and Wasserstein on all log-buckets; psi and chi-square on 10, the others on 30 bins with equal
    shares of the reference.
    """
    numbers, p, q = occupied(reference, current)
    ten, thirty = (cut_by_first(numbers, p, q, bins) for bins in (10, 30))
    gaps, shares = _gaps(*_shares(p, q)), _shares(*thirty)
    found = {
        "kolmogorov_smirnov": _largest_gap(gaps),
        "wasserstein": _area(gaps, middles(numbers, reference["bits"])),
        "psi": psi(*ten), "chi_square": chi_square(*ten),
        "jensen_shannon": _jensen_shannon(*shares), "hellinger": _hellinger(*shares), "total_variation": _total_variation(*shares),
    }  # fmt: skip
    one = len(p) == 1 and coarse(reference, current)
    return dict.fromkeys(found, math.nan) if one else found


def coarse(a: State, b: State) -> bool:
    """Whether the buckets are wide beside the range of all rows (so they hide most changes); a function of the pooled rows
    alone, so that what is decided by it stays exact."""
    if not (a["n"] and b["n"]):
        return False
    low, high = min(a["min"], b["min"]), max(a["max"], b["max"])
    largest = max(-low, high)
    return low < high and (largest / 2 ** a["bits"] > high / 8 - low / 8 or not SMALLEST <= largest <= LARGEST)


def finer(a: State, b: State) -> str:
    """What is not seen of values whose buckets are wide beside their range, and what to do."""
    low, high = min(a["min"], b["min"]), max(a["max"], b["max"])
    if not SMALLEST <= max(-low, high) <= LARGEST:
        return f"sizes below {SMALLEST:.2g} count as 0 and beyond {LARGEST:.2g} as one: give the column in another unit"
    size = f"{2.0 ** -a['bits']:.1%} of their size"
    return f"values are kept to {size}, too coarse for this range: subtract {low:.6g} from both to see finer changes"


def category_distances(reference: State, current: State) -> dict[str, float]:
    """Every distance that needs no order between two states of `counts.v1`, by name.

    Bins: every category that their merged state keeps, and one for all others.
    """
    pair = category_counts(reference, current)
    shares = _shares(*pair)
    return {
        "psi": psi(*pair), "chi_square": chi_square(*pair),
        "jensen_shannon": _jensen_shannon(*shares), "hellinger": _hellinger(*shares), "total_variation": _total_variation(*shares),
    }  # fmt: skip


def category_counts(reference: State, current: State) -> tuple[np.ndarray, np.ndarray]:
    """Counts (categories + 1,) of both over the categories that their merged state keeps, the last bin "other"; int64.

    So the bins depend on all rows together, not on which sample a row is in, as `luthier.evidence.homogeneity` needs it.
    """
    pooled = Counts(limit=reference["limit"], known=tuple(reference["known"])).merge(reference, current)
    pair = []
    for state in (reference, current):
        found = table(state)
        counts = [found.get(name, 0) for name in pooled["names"].tolist()]
        pair.append(np.array([*counts, state["n"] - sum(counts)], dtype=np.int64))
    return pair[0], pair[1]


def _shares(reference: Any, current: Any, extra: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Both as shares (bins,) of float64, `extra` added to every count; two empty arrays when a sample is empty."""
    p, q = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    if p.shape != q.shape or p.ndim != 1:
        raise StateError(f"counts of shapes {p.shape} and {q.shape} do not share their bins; bin both samples alike")
    whole = float(p.sum()), float(q.sum())
    if not (whole[0] > 0 and whole[1] > 0):
        return np.zeros(0), np.zeros(0)
    if extra:
        p, q = p + extra, q + extra
        whole = float(p.sum()), float(q.sum())
    return p / whole[0], q / whole[1]


# -- the same of shares (bins,) of both, none where a sample is empty ----


def _gaps(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Between the two distribution functions, at the end of every bin."""
    gaps: np.ndarray = np.abs(np.cumsum(p - q))
    return gaps


def _largest_gap(gaps: np.ndarray) -> float:
    return float(gaps.max()) if len(gaps) else math.nan


def _area(gaps: np.ndarray, values: Any) -> float:
    return float(gaps[:-1] @ np.diff(np.asarray(values, np.float64))) if len(gaps) else math.nan


def _jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    if not len(p):
        return math.nan
    middle, pair = (p + q) / 2, (p, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [float(np.where(one > 0, one * np.log2(one / middle), 0.0).sum()) for one in pair]
    return math.sqrt(min(max(sum(parts) / 2, 0.0), 1.0))


def _hellinger(p: np.ndarray, q: np.ndarray) -> float:
    return math.sqrt(min(float(((np.sqrt(p) - np.sqrt(q)) ** 2).sum()) / 2, 1.0)) if len(p) else math.nan


def _total_variation(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.abs(p - q).sum()) / 2 if len(p) else math.nan
