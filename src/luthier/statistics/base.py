"""What a statistic is, and the exact sums that make it add up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from luthier.errors import StateError
from luthier.types import Columns, Estimate

__all__ = [
    "Exact",
    "State",
    "Statistic",
    "When",
    "add",
    "column",
    "exact_squares",
    "exact_sum",
    "hash64",
    "known_when",
    "log_buckets",
    "merged_scores",
    "natural_log",
    "normal",
    "numbers",
    "on_logit",
    "quotient",
    "rows",
    "same_options",
    "scored",
    "share",
    "variance",
    "wilson_bounds",
    "z_score",
]

State: TypeAlias = Mapping[str, Any]
"""Plain data: str, int, float, lists and dicts of them, and numpy arrays without objects. Bounded; never pickled."""

When: TypeAlias = Literal["answer", "label"]

Exact: TypeAlias = Sequence[int]
"""A number without rounding: [m, e] is m · 2**e, with m odd, or [0, 0]. So equal numbers are equal data."""

_CHUNK = 1 << 14  # values a pass; so that a sum of 38-bit integers stays below 2**53 and is exact
_BITS = 38
_LOWEST = -2300  # power of two below the square of the smallest float64: the running totals are integers of it


class Statistic(Protocol):
    """`observe` folds columns to a state, states merge, a state reads as estimates.

    `when` "answer": observed as answers arrive; "label": as targets become known. `observe({})` is the empty state.
    The law (laws.py): `merge(observe(A), observe(B)) == observe(A + B)`, exactly, in any order, empty included.
    """

    name: str

    @property
    def when(self) -> When: ...
    def observe(self, columns: Columns) -> State: ...
    def merge(self, a: State, b: State) -> State: ...
    def read(self, state: State) -> Mapping[str, Estimate]: ...


def known_when(*names: str) -> When:
    """When these columns are known: "label" if one of them waits for its target (target, loss, every `…_loss`)."""
    late = any(name in ("target", "loss") or name.endswith("_loss") for name in names)
    return "label" if late else "answer"


def rows(columns: Columns, name: str) -> np.ndarray:
    """Column `name` as it is, an array with n rows; no columns at all are zero rows.

    Raises StateError when there are columns but not this one.
    """
    if not columns:
        return np.empty(0)
    if name not in columns:
        raise StateError(
            f"there is no column {name!r}; there are {', '.join(sorted(columns)) or 'none'}. "
            f"Name one of these in the statistic's options, or have the task supply {name!r}"
        )
    array = np.asarray(columns[name])
    if array.ndim == 0:
        raise StateError(f"column {name!r} is a single value; a column is an array with one row a record")
    return array


def column(columns: Columns, name: str) -> np.ndarray:
    """Column `name` as a float64 array (n,); what is not a number becomes NaN, which every statistic counts as missing.

    Raises StateError when the column is absent or not one-dimensional.
    """
    array = rows(columns, name)
    if array.ndim != 1:
        raise StateError(f"column {name!r} has shape {array.shape}; a statistic of numbers needs one number a row")
    try:
        return np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        return np.fromiter((_number(value) for value in array.tolist()), np.float64, len(array))


def numbers(columns: Columns, *names: str) -> tuple[np.ndarray, ...]:
    """These columns as float64 arrays of the same length, (n,) each; see `column`.

    Raises StateError when their lengths differ.
    """
    found = tuple(column(columns, name) for name in names)
    if len({len(values) for values in found}) > 1:
        listed, sizes = " and ".join(map(repr, names)), " and ".join(str(len(values)) for values in found)
        raise StateError(f"columns {listed} have {sizes} rows; they must have the same")
    return found


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def exact_sum(values: np.ndarray, power: int = 1) -> Exact:
    """Σ values without any rounding; values (n,) float64, finite. With `power`, Σ of their rounded powers.

    Each pass cuts the leading 38 bits off every value, as multiples of one power of two whose float64 sum cannot
    round, and leaves an exact rest (Rump, Ogita and Oishi 2008, "Accurate floating-point summation"). Two are usual.
    """
    total = 0
    for start in range(0, len(values), _CHUNK):
        part = factor = values[start : start + _CHUNK]
        for _ in range(power - 1):
            part = part * factor
        total += _chunk_sum(part)
    return _exact(total, _LOWEST)


def _chunk_sum(values: np.ndarray) -> int:
    """Σ values / 2**_LOWEST; at most _CHUNK of them."""
    peak = max(float(values.max()), -float(values.min()))
    if not 2.0**-900 < peak < 2.0**900:
        return _rare_sum(values)
    power = math.frexp(peak)[1] - _BITS
    total, passes, rest, lead = 0, 0, values.copy(), np.empty_like(values)
    while power > -900:
        magic = 1.5 * 2.0 ** (power + 52)  # adding it rounds to a multiple of 2**power
        np.add(rest, magic, out=lead)
        np.subtract(lead, magic, out=lead)
        np.subtract(rest, lead, out=rest)
        total += int(float(lead.sum()) * 2.0**-power) << (power - _LOWEST)
        if (passes := passes + 1) > 1 and not rest.any():
            return total
        power -= _BITS
    return total + _rare_sum(rest)


def _rare_sum(rest: np.ndarray) -> int:
    """The same for values so large or small that the grid's constants are not floats."""
    total, lift = 0, 0
    with np.errstate(under="ignore"):
        while peak := max(float(rest.max()), -float(rest.min())):
            if peak < 2.0**-900:  # bring it up, which is exact
                rest, lift = rest * 2.0**600, 600
                continue
            power = math.frexp(peak)[1] - _BITS
            whole = np.trunc(rest * 2.0**-power)
            total += int(whole.sum()) << (power - lift - _LOWEST)
            rest = rest - whole * 2.0**power
    return total


def exact_squares(values: np.ndarray) -> Exact:
    """Σ values² without any rounding, by Dekker's exact products (1971); values (n,) float64, finite."""
    total = 0
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        size = np.abs(part)
        large, small = size >= 2.0**400, (size < 2.0**-400) & (size > 0)
        if not (large.any() or small.any()):
            total += _square_sum(part)
            continue
        total += _square_sum(part[~(large | small)])
        total += _square_sum(part[large] * 2.0**-600) << 1200
        total += _square_sum(part[small] * 2.0**600) >> 1200  # loses nothing: _LOWEST is below every square
    return _exact(total, _LOWEST)


def _square_sum(x: np.ndarray) -> int:
    if not len(x):
        return 0
    carried = x * 134217729.0  # 2**27 + 1: splits x into two halves of 26 bits, Veltkamp 1968
    high = carried - (carried - x)
    low = x - high
    product = x * x
    error = ((high * high - product) + 2 * high * low) + low * low
    return _chunk_sum(product) + _chunk_sum(error)


def _exact(m: int, e: int) -> Exact:
    if m == 0:
        return 0, 0
    zeros = (m & -m).bit_length() - 1
    return m >> zeros, e + zeros


def add(a: Exact, b: Exact) -> Exact:
    """a + b, exactly."""
    low = min(a[1], b[1])
    return _exact((a[0] << (a[1] - low)) + (b[0] << (b[1] - low)), low)


def quotient(a: Exact, by: int) -> float:
    """a / by rounded once; beyond float64 it is ±inf.

    >>> quotient(exact_sum(np.array([1e100, 1.0, -1e100])), 2)
    0.5
    """
    m, e = a
    try:
        return (m << e) / by if e >= 0 else m / (by << -e)
    except OverflowError:
        return math.inf if (m > 0) == (by > 0) else -math.inf


def variance(total: Exact, squares: Exact, n: int) -> float:
    """The unbiased variance (n Σx² - (Σx)²) / (n (n - 1)), rounded once; NaN below two values."""
    if n < 2:
        return math.nan
    low = min(squares[1], 2 * total[1])
    top = n * (squares[0] << (squares[1] - low)) - (total[0] ** 2 << (2 * total[1] - low))
    return quotient((top, low), n * (n - 1))


def log_buckets(values: np.ndarray, bits: int) -> np.ndarray:
    """The log-bucket of every float64: sign, exponent and the leading `bits` of its mantissa, (n,) int64.

    Rises with the value from +0.0; negative values have the same bucket as their size plus 2**(11 + bits); exponent
    2047 holds inf and NaN. A bucket is 2**-bits wide relative to the power of two below it. It is DDSketch's
    linearly interpolated mapping (Masson, Rim and Lee 2019): no logarithm, so every processor gives the same bytes.
    """
    shifted: np.ndarray = np.ascontiguousarray(values, np.float64).view(np.uint64) >> np.uint64(52 - bits)
    return shifted.view(np.int64)


def natural_log(x: np.ndarray) -> np.ndarray:
    """ln x within 2 units in the last place, x (n,) > 0 and finite; 2 artanh((m - 1) / (m + 1)) by its series.

    Additions, products and quotients are rounded alike by every processor; `np.log` may differ in the last bit.
    """
    logarithm = np.empty(len(x))
    for start in range(0, len(x), _CHUNK):
        m, power = np.frexp(x[start : start + _CHUNK])
        low = m < math.sqrt(0.5)
        m += m * low
        s = (m - 1) / (m + 1)  # |s| < 0.1716
        square, series = s * s, np.zeros_like(s)
        for k in range(23, 1, -2):
            series += 1 / k
            series *= square
        logarithm[start : start + _CHUNK] = (power - low) * math.log(2) + (2 * s + 2 * s * series)
    return logarithm


_ODDS_LOW, _ODDS_HIGH = -64, 54  # powers of two of the odds; 1 - p is never below 2**-53


def scored(p: np.ndarray, y: np.ndarray, bits: int) -> dict[str, Any]:
    """Scores p in [0, 1] and targets y, 0 or 1, (n,) each, counted in 2**bits bins to the octave of p / (1 - p).

    {missing, bins: rising int64 (m,), negative, positive: int64 (m,)}; a bin is 2**-bits wide at most on the logit.
    """
    good = (p >= 0) & (p <= 1) & ((y == 0) | (y == 1))
    n = len(p)
    p, y = p[good], y[good]
    with np.errstate(divide="ignore"):
        odds = p / (1 - p)
    low, high = (1023 + _ODDS_LOW) << bits, (1023 + _ODDS_HIGH) << bits
    code = (np.clip(log_buckets(np.abs(odds), bits), low, high) - low) * 2 + (y == 1)
    found, times = _tallied(code)
    bins = np.unique(found >> 1)
    both = np.zeros((len(bins), 2), np.int64)
    both[np.searchsorted(bins, found >> 1), found & 1] = times
    return _scores(n - len(p), bins, both)


def _tallied(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct codes (n,) int64, rising, and how often each occurs."""
    first, last = (int(codes.min()), int(codes.max())) if len(codes) else (0, 0)
    if last - first > 8 * len(codes):
        return np.unique(codes, return_counts=True)
    counts = np.bincount(codes - first)
    found = np.flatnonzero(counts)
    return found + first, counts[found]


def merged_scores(a: State, b: State) -> dict[str, Any]:
    """The counts of `scored` in two states, added."""
    bins = np.union1d(a["bins"], b["bins"])
    both = np.zeros((len(bins), 2), np.int64)
    for state in (a, b):
        both[np.searchsorted(bins, state["bins"])] += np.stack((state["negative"], state["positive"]), axis=1)
    return _scores(a["missing"] + b["missing"], bins, both)


def _scores(missing: int, bins: np.ndarray, both: np.ndarray) -> dict[str, Any]:
    negative, positive = (np.ascontiguousarray(side) for side in (both[:, 0], both[:, 1]))
    return {"missing": int(missing), "bins": bins.astype(np.int64), "negative": negative, "positive": positive}


_FNV = np.uint64(0x100000001B3)


def hash64(values: np.ndarray, salt: int = 0) -> np.ndarray:
    """A 64-bit hash of every integer or text in values (n,), the same on every machine; (n,) uint64.

    Text: FNV-1a over its code points; then splitmix64's finaliser. Not cryptographic: whoever knows the salt can
    choose ids by their hash.
    """
    start = np.uint64((0xCBF29CE484222325 ^ (salt * 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF)
    if values.dtype.kind in "biu":
        return _mixed(values.astype(np.int64).view(np.uint64) ^ start)
    text = np.ascontiguousarray(values if values.dtype.kind == "U" else values.astype(str))
    state = np.full(len(text), start, dtype=np.uint64)
    if len(text) and text.dtype.itemsize:
        points = text.view(np.uint32).reshape(len(text), -1).astype(np.uint64)  # (n, longest)
        for place in range(points.shape[1]):
            here = points[:, place]
            state = np.where(here > 0, (state ^ here) * _FNV, state)  # padding leaves the hash as it is
    return _mixed(state)


def _mixed(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def same_options(a: State, b: State, *names: str) -> None:
    """Raises StateError when two states were observed with different options, for then they do not add up."""
    for name in names:
        if a[name] != b[name]:
            raise StateError(
                f"two states with {name} {a[name]!r} and {b[name]!r} cannot be merged; "
                f"observe both with the same options, or keep them apart"
            )


@lru_cache(maxsize=64)
def z_score(confidence: float) -> float:
    """The two-sided normal quantile: 1.96 for 0.95."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson_bounds(hits: ArrayLike, of: ArrayLike, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval (1927) of all hits of `of` at once, NaN where that is 0; `evidence.wilson` for arrays."""
    k, n = np.asarray(hits, np.float64), np.asarray(of, np.float64)
    z = z_score(confidence)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate, spread = k / n, z * z / n
        half = z * np.sqrt(np.maximum(rate * (1 - rate), 0) / n + spread / (4 * n))
        low, high = (rate + spread / 2 - half) / (1 + spread), (rate + spread / 2 + half) / (1 + spread)
    return np.where(k == 0, np.where(n > 0, 0.0, np.nan), low), np.where(k == n, np.where(n > 0, 1.0, np.nan), high)


def share(k: int, n: int, confidence: float) -> Estimate:
    """k of n as an Estimate with Wilson's interval."""
    if n == 0:
        return Estimate()
    low, high = wilson_bounds(k, n, confidence)
    return Estimate(int(k) / int(n), int(n), float(low), float(high))


def normal(value: float, error: float, n: int, confidence: float) -> Estimate:
    """`value` ± z · `error` (its standard error); an unknown error leaves the interval unknown."""
    if n == 0:
        return Estimate()
    half = z_score(confidence) * error
    return Estimate(value, int(n), value - half, value + half)


def on_logit(value: float, error: float, n: int, confidence: float) -> Estimate:
    """A share `value` inside (0, 1) with its standard error, as a normal interval on the logit (delta method)."""
    half = z_score(confidence) * error / (value * (1 - value))
    centre = math.log(value / (1 - value))
    low, high = ((1 + math.tanh(end / 2)) / 2 for end in (centre - half, centre + half))
    return Estimate(value, int(n), min(low, value), max(high, value))
