"""Sums of weights and of their squares, exact on a fixed grid, so that parts add up to the whole in any order.

A sum is a row of eight int64: four digits of 32 bits for Σw and four for Σw², the largest first, from 2**63 to 2**-64.
Σw² tells how many rows of equal weight the weighted ones are worth: (Σw)² / Σw² (Kish 1965).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["DIGITS", "carried", "digits", "squares", "usable", "weighed", "worth"]

DIGITS = 8
_UNITS = 2.0 ** np.array([32, 0, -32, -64])
_CHUNK = 1 << 20  # rows whose digits add up below 2**53
_LEAST, _MOST = 2.0**-30, 2.0**31


def usable(weights: np.ndarray) -> np.ndarray:
    """Whether each weight (n,) is 0 or between 2**-30 and 2**31; beyond, the grid would lose it. NaN is not."""
    known: np.ndarray = (weights == 0) | ((weights >= _LEAST) & (weights <= _MOST))
    return known


def weighed(place: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Sums of the usable `weights` (n,) by `place` (n,) from 0 to size - 1; (size, 8) int64."""
    sums = np.zeros((size, DIGITS), np.int64)
    for start in range(0, len(weights), _CHUNK):
        at, w = place[start : start + _CHUNK], weights[start : start + _CHUNK]
        for digit, lead in digits(w):
            sums[:, digit] += np.bincount(at, lead, size).astype(np.int64)
    return carried(sums)


def digits(weights: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(place, digit (n,), a whole float64 below 2**32) of usable weights, 0 to 3 of w and 4 to 7 of w²; zeros left out."""
    for first, rest in ((0, weights), (4, weights * weights)):
        for digit, unit in enumerate(_UNITS, start=first):
            lead = np.floor(rest / unit)
            rest = rest - lead * unit  # exact
            if lead.any():
                yield digit, lead


def carried(sums: np.ndarray) -> np.ndarray:
    """The same sums (…, 8), or (…, 4) of one kind, with every digit below 2**32 but the largest.

    So equal sums are equal bytes.
    """
    sums = sums.copy()
    for first in range(0, sums.shape[-1], 4):
        for digit in range(first + 3, first, -1):
            over = sums[..., digit] >> 32
            sums[..., digit] -= over << 32
            sums[..., digit - 1] += over
    return sums


def worth(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Σw, Σw²) of sums (m, 8), float64 (m,) each; plain counts (m,) of rows that weigh 1 are both."""
    if sums.ndim < 2:
        return sums.astype(np.float64), sums.astype(np.float64)
    return sums[:, :4] @ _UNITS, sums[:, 4:] @ _UNITS


def squares(sums: np.ndarray) -> np.ndarray:
    """Σw² of sums (…, 4) that hold nothing else, float64 (…)."""
    return sums @ _UNITS
