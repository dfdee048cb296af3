"""Control charts on standard normal scores: CUSUM and EWMA, and how long they run before they alarm.

The average run length comes from the Markov chain method (Brook & Evans 1972; Lucas & Saccucci 1990): the chart's
statistic is cut into cells, moves between them with normal probabilities, and the ARL solves (I - Q) L = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

__all__ = ["arl_cusum", "arl_ewma", "cusum", "cusum_limit", "ewma", "follow", "onset"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _cdf(x: Floats) -> Floats:
    p: Floats = 0.5 * (1 + _erf(x / math.sqrt(2)))
    return p


def cusum(z: Floats, k: float = 0.5, carried: float = 0.0) -> Floats:
    """C <- max(0, C + z - k) of scores (n,), from `carried` on (Page 1954); for a fall hand in -z."""
    path = np.empty(len(z))
    for t, score in enumerate(z.tolist()):
        carried = max(0.0, carried + score - k)
        path[t] = carried
    return path


def onset() -> dict[str, Any]:
    """The state of `follow` before the first score."""
    return {"value": 0.0, "total": 0.0, "n": 0, "since": 0}


def follow(state: Mapping[str, Any], score: Floats, marks: Floats, places: Any, k: float = 0.5) -> dict[str, Any]:
    """A CUSUM of scores (n,) beside what happened since it last was 0, the likely onset of a shift (Page 1954).

    `value` of the CUSUM; `total` of `marks` (n,), count `n` and first of `places` (n,) whole numbers, `since`.
    """
    if not len(score):
        return dict(state)
    path = cusum(score, k, state["value"])
    zeros = np.flatnonzero(path == 0)
    begin = int(zeros[-1]) + 1 if len(zeros) else 0
    kept = onset() if len(zeros) else state
    total = np.add.accumulate(np.concatenate([[kept["total"]], marks[begin:]]))[-1]
    since = kept["since"] if kept["n"] or begin == len(score) else int(places[begin])
    return {"value": float(path[-1]), "total": float(total), "n": kept["n"] + len(score) - begin, "since": since}


def ewma(z: Floats, weight: float = 0.1, carried: float = 0.0) -> Floats:
    """E <- (1 - w) E + w z of scores (n,) (Roberts 1959); its standard deviation settles at sqrt(w / (2 - w))."""
    path = np.empty(len(z))
    for t, score in enumerate(z.tolist()):
        carried = (1 - weight) * carried + weight * score
        path[t] = carried
    return path


@lru_cache(maxsize=4096)
def arl_cusum(h: float, shift: float = 0.0, k: float = 0.5, cells: int = 101) -> float:
    """Average observations until a two-sided CUSUM of N(shift, 1) passes h; both sides start at 0.

    1 / ARL = 1 / ARL_upper + 1 / ARL_lower, exact for equal sides (Kemp 1971).

    >>> [round(arl_cusum(4.0, shift), 2) for shift in (0.0, 1.0)]
    [167.68, 8.38]
    """
    return 1 / (1 / _arl_one_side(h, shift - k, cells) + 1 / _arl_one_side(h, -shift - k, cells))


def _arl_one_side(h: float, drift: float, cells: int) -> float:
    """Of max(0, C + N(drift, 1)) > h from 0: cell 0 holds 0, the others are 2 h / (2 cells - 1) wide around i w."""
    width = 2 * h / (2 * cells - 1)
    place = np.arange(cells) * width
    upper = _cdf(place[None, :] + width / 2 - place[:, None] - drift)  # (from, to)
    q = np.diff(upper, axis=1, prepend=0.0)
    return float(np.linalg.solve(np.eye(cells) - q, np.ones(cells))[0])


@lru_cache(maxsize=256)
def cusum_limit(arl: float, k: float = 0.5) -> float:
    """The h at which a two-sided CUSUM of N(0, 1) alarms once in `arl` observations on average; arl at least 3.

    >>> round(cusum_limit(465.4), 2)
    5.0
    """
    low, high = 0.05, 60.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if arl_cusum(middle, 0.0, k, 61) < arl else (low, middle)
    return low


def arl_ewma(weight: float, limit: float, shift: float = 0.0, cells: int = 101) -> float:
    """Average observations until an EWMA of N(shift, 1) from 0 leaves ± limit sqrt(w / (2 - w)).

    >>> round(arl_ewma(0.1, 2.814, 1.0), 1)
    10.3
    """
    half = limit * math.sqrt(weight / (2 - weight))
    width = 2 * half / cells
    place = -half + (np.arange(cells) + 0.5) * width
    edges = -half + np.arange(cells + 1) * width
    reached = _cdf((edges[None, :] - (1 - weight) * place[:, None]) / weight - shift)
    lengths = np.linalg.solve(np.eye(cells) - np.diff(reached, axis=1), np.ones(cells))
    return float(lengths[cells // 2])
