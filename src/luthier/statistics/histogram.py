"""Log-bucket counts of one column: quantiles within a relative error, and bins of two of them side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.evidence.order import ranks_around
from luthier.names import register
from luthier.statistics.base import State, When, column, known_when, log_buckets, numbers, same_options, share, z_score
from luthier.sums.weighing import DIGITS, carried, usable, weighed, worth
from luthier.types import Columns, Estimate

__all__ = ["Histogram", "aligned", "buckets", "cut_by_first", "middles", "occupied", "quantile", "reference_runs"]

_FEW = 2048  # so many values are counted without a table of all buckets
_OCTAVES = 40  # sizes from 2**-40 (9e-13) to 2**40 (1e12) have their buckets
_CHUNK = 1 << 15


@register("statistic", "histogram.v1")
@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of `column` in log-buckets with sign and zero, so that a quantile is within `accuracy`, relative.

    DDSketch (Masson, Rim and Lee 2019) with the linearly interpolated mapping. Sizes below 9.1e-13 are zero, above
    1.1e12 they share the outermost bucket (`min` and `max` stay exact). NaN and infinities are missing. Reads `p1`,
    `p50` … (distribution-free interval of order statistics), `min`, `max` (exact) and `missing` (Wilson). With a column
    `weight` (see `weighing`; a row without a usable one is missing) a quantile is the value up to which that share of
    the weight lies, as numpy's "inverted_cdf", with Woodruff's interval (1952).
    """

    name: ClassVar[str]
    column: str = "confidence"
    accuracy: float = 0.01
    quantiles: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    weight: str = ""
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

        Bucket 0 is zero, ±1 the smallest sizes, ±80 · 2**bits the largest; at most 160 · 2**bits + 1 of them. With a
        weight also {weight}, and counts are sums (m, 8), see `weighing`.
        """
        bits = max(math.ceil(math.log2((1 - self.accuracy) / (2 * self.accuracy))), 1)
        if self.weight:
            return self._weighted(bits, *numbers(columns, self.column, self.weight))
        values = column(columns, self.column)
        counts, missing = _count(values, bits)
        n = len(values) - missing
        seen = values if not missing else values[np.isfinite(values)]
        ends = (float(seen.min()) + 0.0, float(seen.max()) + 0.0) if n else (None, None)
        return {"bits": bits, "n": n, "missing": missing, "min": ends[0], "max": ends[1]} | counts

    def _weighted(self, bits: int, values: np.ndarray, weights: np.ndarray) -> State:
        good = np.isfinite(values) & usable(weights)
        seen = values[good]
        sums, _ = _count(seen, bits, weights[good])
        ends = (float(seen.min()) + 0.0, float(seen.max()) + 0.0) if len(seen) else (None, None)
        return {
            "bits": bits, "weight": self.weight, "n": len(seen), "missing": len(values) - len(seen), "min": ends[0], "max": ends[1],
        } | sums  # fmt: skip

    def merge(self, a: State, b: State) -> State:
        _alike(a, b)
        merged: dict[str, Any] = {"bits": a["bits"], "n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        merged |= {"weight": a["weight"]} if "weight" in a else {}
        for key, pick in (("min", min), ("max", max)):
            known = [state[key] for state in (a, b) if state[key] is not None]
            merged[key] = pick(known) if known else None
        if not (a["n"] and b["n"]):
            full = a if a["n"] else b
            return merged | {"first": full["first"], "counts": full["counts"].copy()}
        first, *both = _aligned(a, b)
        counts = both[0] + both[1]
        return merged | {"first": first, "counts": carried(counts) if "weight" in a else counts}

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        found = {f"p{100 * q:g}": quantile(state, q, self.confidence) for q in self.quantiles}
        for key in ("min", "max"):
            found[key] = Estimate(state[key], n, state[key], state[key]) if n else Estimate()
        return found | {"missing": share(state["missing"], n + state["missing"], self.confidence)}


def _count(values: np.ndarray, bits: int, weights: np.ndarray | None = None) -> tuple[dict[str, Any], int]:
    """{first, counts} by signed bucket, empty ones at both ends left out, and how many values are not finite.

    With `weights` of finite values, counts are their sums, see `weighing`.
    """
    half = 2 * _OCTAVES << bits
    lowest = ((1023 - _OCTAVES) << bits) - 1  # all up to it is zero
    if len(values) <= _FEW or weights is not None:
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
        return {"first": 0, "counts": np.zeros(0 if weights is None else (0, DIGITS), np.int64)}, missing
    first = int(signed.min())
    if weights is not None:
        return {"first": first, "counts": weighed(signed - first, weights, int(signed.max()) - first + 1)}, missing
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


def _alike(a: State, b: State) -> None:
    for name in ("bits", "weight"):
        same_options({name: a.get(name, "")}, {name: b.get(name, "")}, name)


def aligned(a: State, b: State) -> tuple[int, np.ndarray, np.ndarray]:
    """First bucket and both counts (or sums of weights) on the buckets that either of them covers."""
    _alike(a, b)
    first, *both = _aligned(a, b)
    mine, theirs = ((one if one.ndim == 1 else worth(one)[0]) for one in both)
    return first, mine, theirs


def _aligned(a: State, b: State) -> tuple[int, np.ndarray, np.ndarray]:
    """The same, with sums of weights as they are in the state."""
    full = [state for state in (a, b) if state["n"]] or [a]
    first = min(state["first"] for state in full)
    last = max(state["first"] + len(state["counts"]) for state in full)
    both = []
    for state in (a, b):
        counts = np.zeros((last - first, *state["counts"].shape[1:]), dtype=np.int64)
        counts[state["first"] - first :][: len(state["counts"])] = state["counts"]
        both.append(counts)
    return first, both[0], both[1]


@cache
def _sizes(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper size of buckets 1, 2, … to the outermost, and the middle of each, with the same relative error to both."""
    octave, step = np.divmod(np.arange(2 * _OCTAVES << bits), 1 << bits)
    base = 2.0 ** (octave - _OCTAVES)
    low, high = base * (1 + step / (1 << bits)), base * (1 + (step + 1) / (1 << bits))
    return low, high, 2 * low * high / (low + high)


def buckets(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(low, high, counts or sums of weights) of every bucket from the first to the last that is not empty, by rising value."""
    numbers = state["first"] + np.arange(len(state["counts"]))
    low, high = (sizes[np.abs(numbers) - 1] for sizes in _sizes(state["bits"])[:2])
    tiny = 2.0**-_OCTAVES
    lower = np.where(numbers > 0, low, np.where(numbers < 0, -high, -tiny))
    upper = np.where(numbers > 0, high, np.where(numbers < 0, -low, tiny))
    return lower, upper, state["counts"] if state["counts"].ndim == 1 else worth(state["counts"])[0]


def middles(numbers: np.ndarray, bits: int) -> np.ndarray:
    """The value of each bucket with the same relative error to both ends: 2 · low · high / (low + high)."""
    middles: np.ndarray = np.sign(numbers) * _sizes(bits)[2][np.abs(numbers) - 1]
    return middles


def quantile(state: State, q: float, confidence: float = 0.95) -> Estimate:
    """The value of rank ⌊1 + q (n - 1)⌋, or up to which q of the weight lies, within the sketch's accuracy.

    The interval lies between order statistics, interpolated (Nyblom 1992) so that it holds 95 %, not 95 % or more. In
    its bucket an order statistic lies where even spread puts it, or at the edge further out where the bucket is wide
    or holds more than those beside it, as of ties: the interval is wider than needed there. An end whose rank lies
    outside the sample is NaN, and the other one a bound by itself.
    """
    reached = np.cumsum(worth(state["counts"])[0])
    total = float(reached[-1]) if len(reached) else 0.0
    if total == 0:
        return Estimate()
    weighted = "weight" in state
    place = int(np.searchsorted(reached, q * total if weighted else math.floor(1 + q * (state["n"] - 1))))
    middle = float(middles(np.array([state["first"] + place]), state["bits"])[0])
    value = min(max(middle, state["min"]), state["max"])
    if weighted:
        low, high = _woodruff(state, reached, place, q, confidence)
    else:
        ranks = ranks_around(state["n"], q, confidence)
        few = (ranks[1] - ranks[0] if ranks[1] > ranks[0] else math.inf) / _NARROW
        low, high = (_at_rank(state, reached, rank, side, few) for rank, side in zip(ranks, (-1, 1), strict=True))
    low, high = (low if math.isnan(low) else min(low, value)), (high if math.isnan(high) else max(high, value))
    return Estimate(value, state["n"], low, high)


def _woodruff(state: State, reached: np.ndarray, place: int, q: float, confidence: float) -> tuple[float, float]:
    """Woodruff's interval (1952): where the weight up to a value is q of it, give or take that share's error.

    The share's variance is Σ w² (1 or 0 - q)² / (Σ w)², here with the mean weights below and above bucket `place`'s end.
    """
    mass, squares = worth(state["counts"])
    below = squares[: place + 1].sum() / mass[: place + 1].sum()
    above = squares[place + 1 :].sum() / mass[place + 1 :].sum() if mass[place + 1 :].any() else below
    n = float(mass.sum() / ((1 - q) * below + q * above))  # rows of equal weight that tell as much
    half = z_score(confidence) * math.sqrt(n * q * (1 - q))
    first, last = math.floor(n * q - half), math.ceil(n * q + half) + 1
    rows = reached * (n / reached[-1])
    low = max(_ends(state, int(np.searchsorted(rows, first)))[0], state["min"]) if first >= 1 else math.nan
    high = min(_ends(state, int(np.searchsorted(rows, last)))[1], state["max"]) if last <= rows[-1] else math.nan
    return low, high


_NARROW = 4  # an end is interpolated in buckets that hold this part of the interval's rows at most
_BESIDE = 8  # buckets on either side that tell what an even one holds


def _at_rank(state: State, reached: np.ndarray, rank: float, side: int, few: float) -> float:
    """The order statistic of a `rank`, between two of whole ranks on a line; NaN of no rank."""
    if math.isnan(rank):
        return math.nan
    whole = math.floor(rank)
    ends = [_placed(state, reached, i, side, few) for i in (whole, min(whole + 1, state["n"]))]
    found = ends[0] + (rank - whole) * (ends[1] - ends[0])
    return float(min(max(found, state["min"]), state["max"]))


def _placed(state: State, reached: np.ndarray, rank: int, side: int, few: float) -> float:
    """Where in its bucket the order statistic of a whole `rank` lies, or the edge below (`side` -1) or above (1)."""
    place, counts = int(np.searchsorted(reached, rank)), state["counts"]
    held = int(counts[place])
    low, high = _ends(state, place)
    beside = counts[max(place - _BESIDE, 0) : place + _BESIDE + 1]
    usual = float(beside.sum() - held) / (2 * _BESIDE)
    even = held <= few and held <= 1 + 2 * usual + 3 * math.sqrt(usual)
    part = (rank - (int(reached[place]) - held) - 0.5) / held if even else (1 + side) / 2
    return float(low + part * (high - low))


def _ends(state: State, place: int) -> tuple[float, float]:
    """(low, high) of one bucket; the outermost end where the values do."""
    number = state["first"] + place
    if number == 0:
        return -(2.0**-_OCTAVES), 2.0**-_OCTAVES
    low, high = (float(sizes[abs(number) - 1]) for sizes in _sizes(state["bits"])[:2])
    if abs(number) == 2 * _OCTAVES << state["bits"]:
        high = state["max"] if number > 0 else -state["min"]
    return (low, high) if number > 0 else (-high, -low)


def reference_runs(reference: State, current: State, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of both in runs of buckets, cut where the reference passes 1/bins, 2/bins, …

    A bucket that alone holds 1/bins of the reference is a run of its own, so that what lies just below a constant or an
    atom is not taken for it: fewer than 2 · bins runs. Two empty arrays when the reference is empty.
    """
    if bins < 2:
        raise StateError(f"bins is {bins}; a distance between two binned samples needs at least 2")
    return cut_by_first(*occupied(reference, current), bins)


def occupied(a: State, b: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signed numbers of the buckets that hold a row of either, rising, and both counts; around 0 most buckets are empty."""
    first, p, q = aligned(a, b)
    taken = np.flatnonzero((p + q) > 0)  # of truths: in half the time of counts
    return first + taken, p[taken], q[taken]


def cut_by_first(numbers: np.ndarray, p: np.ndarray, q: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """`reference_runs` of what `occupied` gives; a run of empty buckets between two that stand alone is a run too."""
    reached = np.cumsum(p)
    if not len(p) or not reached[-1]:
        return np.zeros(0), np.zeros(0)
    total = reached[-1]
    alone = numbers[p * bins >= total].tolist()
    ends = numbers[np.searchsorted(reached / total, np.arange(1, bins) / bins)].tolist()  # a run ends after its bucket
    starts = sorted({int(numbers[0]), *alone, *(number + 1 for number in ends + alone)} - {int(numbers[-1]) + 1})
    places = np.searchsorted(numbers, starts)
    sums = (np.append(0, counts)[np.append(places, len(p))] for counts in (reached, np.cumsum(q)))
    first, second = (np.diff(counts) for counts in sums)
    return first, second
