"""Log-bucket counts of one column: quantiles within a relative error, and bins of two of them side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.evidence.intervals import binomial_tail, normal_quantile
from luthier.names import register
from luthier.statistics.base import State, When, column, known_when, log_buckets, same_options, share
from luthier.types import Columns, Estimate

__all__ = ["Histogram", "aligned", "buckets", "middles", "quantile", "reference_runs"]

_FEW = 2048  # so many values are counted without a table of all buckets
_OCTAVES = 40  # sizes from 2**-40 (9e-13) to 2**40 (1e12) have their buckets
_CHUNK = 1 << 15


@register("statistic", "histogram.v1")
@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of `column` in log-buckets with sign and zero, so that a quantile is within `accuracy`, relative.

    DDSketch (Masson, Rim and Lee 2019) with the linearly interpolated mapping. Sizes below 9.1e-13 are zero, above
    1.1e12 they share the outermost bucket (`min` and `max` stay exact). NaN and infinities are missing. Reads `p1`,
    `p50` … (distribution-free interval of order statistics), `min`, `max` (exact) and `missing` (Wilson).
    """

    name: ClassVar[str]
    column: str = "confidence"
    accuracy: float = 0.01
    quantiles: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0.0005 <= self.accuracy <= 0.2:
            raise ValueError(f"accuracy is {self.accuracy!r}; it must lie in [0.0005, 0.2]")
        if not all(0 < q < 1 for q in self.quantiles):
            raise ValueError(f"quantiles are {self.quantiles!r}; each must lie in (0, 1)")

    @property
    def when(self) -> When:
        return known_when(self.column)

    def observe(self, columns: Columns) -> State:
        """{bits, n, missing, min, max, first: signed number of the first bucket that is not empty, counts: int64}.

        Bucket 0 is zero, ±1 the smallest sizes, ±80 · 2**bits the largest; at most 160 · 2**bits + 1 of them.
        """
        bits = max(math.ceil(math.log2((1 - self.accuracy) / (2 * self.accuracy))), 1)
        values = column(columns, self.column)
        counts, missing = _count(values, bits)
        n = len(values) - missing
        seen = values if not missing else values[np.isfinite(values)]
        ends = (float(seen.min()) + 0.0, float(seen.max()) + 0.0) if n else (None, None)
        return {"bits": bits, "n": n, "missing": missing, "min": ends[0], "max": ends[1]} | counts

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "bits")
        merged: dict[str, Any] = {"bits": a["bits"], "n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        for key, pick in (("min", min), ("max", max)):
            known = [state[key] for state in (a, b) if state[key] is not None]
            merged[key] = pick(known) if known else None
        if not (a["n"] and b["n"]):
            full = a if a["n"] else b
            return merged | {"first": full["first"], "counts": full["counts"].copy()}
        first, *both = aligned(a, b)
        return merged | {"first": first, "counts": both[0] + both[1]}

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        found = {f"p{100 * q:g}": quantile(state, q, self.confidence) for q in self.quantiles}
        for key in ("min", "max"):
            found[key] = Estimate(state[key], n, state[key], state[key]) if n else Estimate()
        return found | {"missing": share(state["missing"], n + state["missing"], self.confidence)}


def _count(values: np.ndarray, bits: int) -> tuple[dict[str, Any], int]:
    """{first, counts} by signed bucket, empty ones at both ends left out, and how many values are not finite."""
    half = 2 * _OCTAVES << bits
    lowest = ((1023 - _OCTAVES) << bits) - 1  # all up to it is zero
    if len(values) <= _FEW:
        there = log_buckets(values, bits)
        negative, size, times = there >> (11 + bits), there & ((2048 << bits) - 1), np.ones(len(values), np.int64)
    else:
        total = np.zeros((2, (2048 << bits) - lowest), dtype=np.int64)  # by sign and size
        for start in range(0, len(values), _CHUNK):  # stays in the processor's cache
            _tally(total, log_buckets(values[start : start + _CHUNK], bits), 11 + bits, lowest)
        negative, size = np.nonzero(total)
        times = total[negative, size]
        size += lowest
    finite = size < 2047 << bits
    missing = int(times[~finite].sum())
    place = np.clip(size - lowest, 0, half)  # beyond the largest: the outermost bucket
    signed = np.where(negative, -place, place)[finite]
    if not len(signed):
        return {"first": 0, "counts": np.zeros(0, np.int64)}, missing
    first = int(signed.min())
    counts = np.bincount(signed - first, weights=times[finite])  # exact: below 2**53
    return {"first": first, "counts": counts.astype(np.int64)}, missing


def _tally(total: np.ndarray, there: np.ndarray, sign: int, lowest: int) -> None:
    """Adds the buckets `there`, whose sign is bit `sign`, to total[sign, size - lowest], at least 0."""
    least, most = int(there.min()), int(there.max())
    signed = most >> sign  # some are negative
    if signed:
        size = there & ((1 << sign) - 1)
        least, most = int(size.min()), int(size.max())
    else:
        size = there
    if least < lowest:
        size, least, most = np.maximum(size, lowest), lowest, max(most, lowest)
    width = most - least + 1
    size = size - least
    if signed:
        size += (there >> sign) * width
    part = np.bincount(size, minlength=2 * width)
    place = slice(least - lowest, most - lowest + 1)
    total[0, place] += part[:width]
    total[1, place] += part[width:]


def aligned(a: State, b: State) -> tuple[int, np.ndarray, np.ndarray]:
    """First bucket and both counts on the buckets that either of them covers."""
    same_options(a, b, "bits")
    full = [state for state in (a, b) if state["n"]] or [a]
    first = min(state["first"] for state in full)
    last = max(state["first"] + len(state["counts"]) for state in full)
    both = []
    for state in (a, b):
        counts = np.zeros(last - first, dtype=np.int64)
        counts[state["first"] - first :][: len(state["counts"])] = state["counts"]
        both.append(counts)
    return first, both[0], both[1]


def _edges(numbers: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper size of buckets 1, 2, …; (buckets,) each, in the column's unit."""
    octave, step = np.divmod(np.abs(numbers) - 1, 1 << bits)
    base = 2.0 ** (octave - _OCTAVES)
    return base * (1 + step / (1 << bits)), base * (1 + (step + 1) / (1 << bits))


def buckets(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(low, high, counts) of every bucket from the first to the last that is not empty, by rising value."""
    numbers = state["first"] + np.arange(len(state["counts"]))
    low, high = _edges(numbers, state["bits"])
    tiny = 2.0**-_OCTAVES
    lower = np.where(numbers > 0, low, np.where(numbers < 0, -high, -tiny))
    upper = np.where(numbers > 0, high, np.where(numbers < 0, -low, tiny))
    return lower, upper, state["counts"]


def middles(numbers: np.ndarray, bits: int) -> np.ndarray:
    """The value of each bucket with the same relative error to both ends: 2 · low · high / (low + high)."""
    low, high = _edges(np.where(numbers == 0, 1, numbers), bits)
    middles: np.ndarray = np.sign(numbers) * 2 * low * high / (low + high)
    return middles


def quantile(state: State, q: float, confidence: float = 0.95) -> Estimate:
    """The value of rank ⌊1 + q (n - 1)⌋ within the sketch's accuracy.

    The interval lies between order statistics, interpolated (Nyblom 1992) so that it holds 95 %, not 95 % or more. In
    its bucket an order statistic lies where even spread puts it, or at the edge further out where the bucket is wide
    or holds more than those beside it, as of ties: the interval is wider than needed there. An end whose rank lies
    outside the sample is NaN, and the other one a bound by itself.
    """
    n, counts = state["n"], state["counts"]
    if n == 0:
        return Estimate()
    reached = np.cumsum(counts)
    place = int(np.searchsorted(reached, math.floor(1 + q * (n - 1))))
    middle = float(middles(np.array([state["first"] + place]), state["bits"])[0])
    value = min(max(middle, state["min"]), state["max"])
    first, last = _ranks(n, q, confidence)
    few = (last - first if last > first else math.inf) / _NARROW
    low, high = (_at_rank(state, reached, rank, side, few) for rank, side in ((first, -1), (last, 1)))
    return Estimate(
        value, n, low if math.isnan(low) else min(low, value), high if math.isnan(high) else max(high, value)
    )


_NARROW = 4  # an end is interpolated in buckets that hold this part of the interval's rows at most
_BESIDE = 8  # buckets on either side that tell what an even one holds


def _at_rank(state: State, reached: np.ndarray, rank: float, side: int, few: float) -> float:
    """The order statistic of a `rank`, between two of whole ranks on a line; NaN of no rank."""
    if math.isnan(rank):
        return math.nan
    whole = math.floor(rank)
    ends = [_placed(state, reached, i, side, few) for i in (whole, min(whole + 1, state["n"]))]
    found = ends[0] + (rank - whole) * (ends[1] - ends[0])
    return min(max(found, state["min"]), state["max"])


def _placed(state: State, reached: np.ndarray, rank: int, side: int, few: float) -> float:
    """Where in its bucket the order statistic of a whole `rank` lies, or the edge below (`side` -1) or above (1)."""
    place, counts = int(np.searchsorted(reached, rank)), state["counts"]
    number, held = state["first"] + place, int(counts[place])
    if abs(number) == 2 * _OCTAVES << state["bits"]:  # the outermost has no end
        edges = np.array([state["min"], state["max"]])
    else:
        edges = np.sort(np.sign(number) * np.concatenate(_edges(np.array([number]), state["bits"])))
        edges = edges if number else np.array([-(2.0**-_OCTAVES), 2.0**-_OCTAVES])
    beside = counts[max(place - _BESIDE, 0) : place + _BESIDE + 1]
    usual = float(beside.sum() - held) / (2 * _BESIDE)
    even = held <= few and held <= 1 + 2 * usual + 3 * math.sqrt(usual)
    part = (rank - (int(reached[place]) - held) - 0.5) / held if even else (1 + side) / 2
    return float(edges[0] + part * (edges[1] - edges[0]))


def _ranks(n: int, q: float, confidence: float) -> tuple[float, float]:
    """Fractional ranks of both ends; where one would lie outside the sample it is NaN, and the other holds alone."""
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


def reference_runs(reference: State, current: State, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of both in runs of buckets, cut where the reference passes 1/bins, 2/bins, …

    A bucket that alone holds 1/bins of the reference is a run of its own, so that what lies just below a constant or an
    atom is not taken for it: fewer than 2 · bins runs. Two empty arrays when the reference is empty.
    """
    if bins < 2:
        raise StateError(f"bins is {bins}; a distance between two binned samples needs at least 2")
    _, p, q = aligned(reference, current)
    if not reference["n"]:
        return np.zeros(0), np.zeros(0)
    reached = np.cumsum(p) / reference["n"]
    ends = np.searchsorted(reached, np.arange(1, bins) / bins) + 1  # a run ends after its bucket
    alone = np.flatnonzero(p * bins >= reference["n"])
    cuts = np.union1d(ends, [*alone, *(alone + 1)]).astype(np.int64)
    starts = np.concatenate(([0], cuts[(cuts > 0) & (cuts < len(p))]))
    return np.add.reduceat(p, starts), np.add.reduceat(q, starts)
