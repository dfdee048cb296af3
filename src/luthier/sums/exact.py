"""Sums of floats without rounding, and a logarithm that every processor rounds alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np

__all__ = [
    "Exact",
    "add",
    "exact_squares",
    "exact_sum",
    "fraction",
    "natural_log",
    "product_parts",
    "quotient",
    "variance",
]

Exact: TypeAlias = Sequence[int]
"""A number without rounding: [m, e] is m · 2**e, with m odd, or [0, 0]. So equal numbers are equal data."""

_CHUNK = 1 << 14  # values a pass; so that a sum of 38-bit integers stays below 2**53 and is exact
_BITS = 38
_LOWEST = -2300  # power of two below the square of the smallest float64: the running totals are integers of it


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
    product, error = product_parts(x, x)
    return _chunk_sum(product) + _chunk_sum(error)


def product_parts(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x · y as a rounded product and its exact error (Dekker 1971), (n,) each; sizes below 2**400, no tiny ones."""
    halves = []
    for values in (x, y):
        carried = values * 134217729.0  # 2**27 + 1: splits a value into two halves of 26 bits, Veltkamp 1968
        high = carried - (carried - values)
        halves.append((high, values - high))
    (a, b), (c, d) = halves
    product = x * y
    return product, ((a * c - product) + (a * d + b * c)) + b * d


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


def fraction(a: Exact) -> Fraction:
    """The number itself."""
    m, e = a
    return Fraction(m << e) if e >= 0 else Fraction(m, 1 << -e)


def variance(total: Exact, squares: Exact, n: int) -> float:
    """The unbiased variance (n Σx² - (Σx)²) / (n (n - 1)), rounded once; NaN below two values."""
    if n < 2:
        return math.nan
    low = min(squares[1], 2 * total[1])
    top = n * (squares[0] << (squares[1] - low)) - (total[0] ** 2 << (2 * total[1] - low))
    return quotient((top, low), n * (n - 1))


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
