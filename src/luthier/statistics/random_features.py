"""The mean of random Fourier features of an embedding: a whole distribution in a few hundred numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import State, When, known_when, normal, rows, same_options, share
from luthier.types import Columns, Estimate

__all__ = ["RandomFeatures", "mean", "mmd2"]

_STEPS = 2.0**12  # steps a unit of the embedding
_LARGEST = 256.0
_TURN = 1 << 14  # steps of a full turn in the table of cosines
_GRID = 2.0**20  # steps a unit of a feature


@register("statistic", "random_features.v1")
@dataclass(frozen=True, slots=True)
class RandomFeatures:
    """Σ of cos and sin of `features` / 2 random projections of a `column` of vectors (n, d).

    The distance of two mean vectors is the maximum mean discrepancy under a Gaussian kernel exp(-|x-y|²/2h²), h the
    `bandwidth` in the embedding's unit (Rahimi and Recht 2007; the median distance between rows is the usual choice).
    Exact in any order: the vectors (rounded to 2**-12, cut at ±256) and the seeded projections are integers, whose
    products float64 holds without rounding, and cosines come from a table of 2**14 steps. A row with a NaN or an
    infinity is missing. Reads `norm`, the length of the mean feature vector (conservative normal interval; 1 when all
    rows are equal), and `missing` (Wilson). `mean(state)` is the vector, `mmd2(a, b)` the unbiased squared MMD.
    """

    name: ClassVar[str]
    column: str = "embedding"
    features: int = 256
    bandwidth: float = 1.0
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.features < 2 or self.features % 2 or self.features > 65_536:
            raise ValueError(f"features is {self.features!r}; it must be an even number in [2, 65536]")
        if not 0.01 <= self.bandwidth <= 1e6:
            raise ValueError(f"bandwidth is {self.bandwidth!r}; it must lie in [0.01, 1e6]")

    @property
    def when(self) -> When:
        return known_when(self.column)

    def observe(self, columns: Columns) -> State:
        """{features, bandwidth, seed, d: 0 while unknown, n, missing, sum: int64 (features,)}."""
        vectors = rows(columns, self.column)
        if vectors.size == 0:
            return self._state(0, 0, len(vectors), np.zeros(self.features, np.int64))
        if vectors.ndim != 2 or vectors.dtype.kind not in "biuf":
            raise StateError(
                f"column {self.column!r} is {vectors.dtype} of shape {vectors.shape}; embeddings are numbers (n, d)"
            )
        d = vectors.shape[1]
        weights, shift = _weights(d, self.features // 2, self.bandwidth, self.seed)
        total = np.zeros(self.features, np.int64)
        n = 0
        step = max(2**19 // max(d, self.features), 1)
        for start in range(0, len(vectors), step):
            part = vectors[start : start + step].astype(np.float64)
            part = part[np.isfinite(part).all(axis=1)]
            n += len(part)
            whole = np.rint(np.clip(part, -_LARGEST, _LARGEST) * _STEPS)
            phase = (whole @ weights).astype(np.int64)  # exact: below 2**53
            place = (phase >> shift) & (_TURN - 1)
            total += np.concatenate([table[place].sum(axis=0) for table in _tables()])
        return self._state(d if n else 0, n, len(vectors) - n, total)

    def merge(self, a: State, b: State) -> State:
        for state in (a, b):
            same_options(state, self._state(0, 0, 0, a["sum"]), "features", "bandwidth", "seed")
        if a["d"] and b["d"]:
            same_options(a, b, "d")
        return self._state(a["d"] or b["d"], a["n"] + b["n"], a["missing"] + b["missing"], a["sum"] + b["sum"])

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        missing = share(state["missing"], n + state["missing"], self.confidence)
        if n == 0:
            return {"norm": Estimate(), "missing": missing}
        square = float(np.sum(mean(state) ** 2))
        error = math.sqrt(max(1 - square, 0.0) / (n - 1)) if n > 1 else math.nan  # a row's vector has length 1
        norm = normal(math.sqrt(square), error, n, self.confidence)
        return {"norm": Estimate(norm.value, n, max(norm.low, 0.0), norm.high), "missing": missing}

    def _state(self, d: int, n: int, missing: int, total: np.ndarray) -> dict[str, Any]:
        return {
            "features": self.features, "bandwidth": self.bandwidth, "seed": self.seed,
            "d": d, "n": n, "missing": missing, "sum": total,
        }  # fmt: skip


def mean(state: State) -> np.ndarray:
    """The mean feature vector (features,) float64, of length 1 at most; NaN without rows."""
    total = state["sum"] / (_GRID * math.sqrt(state["features"] / 2))
    centre: np.ndarray = total / state["n"] if state["n"] else np.full(len(total), np.nan)
    return centre


def mmd2(a: State, b: State) -> float:
    """The unbiased squared maximum mean discrepancy (Gretton et al. 2012); NaN below two rows on either side."""
    same_options(a, b, "features", "bandwidth", "seed")
    if min(a["n"], b["n"]) < 2:
        return math.nan
    same_options(a, b, "d")
    x, y = mean(a), mean(b)
    inner: list[float] = [
        (s["n"] * float(v @ v) - 1) / (s["n"] - 1) for s, v in ((a, x), (b, y))
    ]  # without a row and itself
    return inner[0] + inner[1] - 2 * float(x @ y)


@lru_cache(maxsize=8)
def _weights(d: int, count: int, bandwidth: float, seed: int) -> tuple[np.ndarray, int]:
    """Projections (d, count) as whole float64 numbers, and the shift from a phase to a step of the table.

    RandomState's stream is frozen by numpy's compatibility policy, so a seed means the same projections for ever.
    """
    turns = np.random.RandomState(seed).standard_normal((d, count)) / (2 * math.pi * bandwidth)  # turns a unit
    room = 2.0**52 / (d * _LARGEST * _STEPS)  # largest weight whose d products stay exact
    power = min(math.floor(math.log2(room / float(np.abs(turns).max()))), 40)
    shift = power + 12 - 14
    if shift < 0:
        raise StateError(f"embeddings of {d} components are too wide for bandwidth {bandwidth:g}; raise the bandwidth")
    return np.rint(turns * 2.0**power), shift


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of every step of a turn, times 2**20, rounded, (2**14,) int64 each."""
    angles = [2 * math.pi * step / _TURN for step in range(_TURN)]
    cos, sin = ([round(_GRID * f(angle)) for angle in angles] for f in (math.cos, math.sin))
    return np.array(cos, np.int64), np.array(sin, np.int64)
