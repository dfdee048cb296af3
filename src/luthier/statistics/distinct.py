"""How many different values a column has, from the largest runs of zeros in their hashes: HyperLogLog."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import State, When, hash64, known_when, rows, same_options, share, z_score
from luthier.types import Columns, Estimate

__all__ = ["Distinct"]

_CHUNK = 1 << 16  # rows; a pass takes no more memory


@register("statistic", "distinct.v1")
@dataclass(frozen=True, slots=True)
class Distinct:
    """The number of different values (numbers, bools or text) in `column`, in 2**`precision` bytes however many.

    HyperLogLog (Flajolet et al. 2007) over 64-bit hashes, read with Ertl's estimator (2017), which needs no table and
    no switch between small and large counts. Reads `distinct` (normal on the logarithm; the relative standard error
    is 1.04 / √2**precision, 0.8 % by default, and what hashing itself adds at small counts is less) and `missing`
    (None, NaN; Wilson). A number is its value, up to 2**53: 1, 1.0 and True are one, and so are 0.0 and -0.0.
    """

    name: ClassVar[str]
    column: str = "id"
    precision: int = 14
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 11 <= self.precision <= 18:
            raise ValueError(f"precision is {self.precision!r}; it must lie in [11, 18]")

    @property
    def when(self) -> When:
        return known_when(self.column)

    def observe(self, columns: Columns) -> State:
        """{n, missing, registers: uint8 (2**precision,)}; a register is 0 or the longest run of zeros plus one."""
        values = rows(columns, self.column)
        if values.ndim != 1:
            raise StateError(f"column {self.column!r} has shape {values.shape}; distinct needs one value a row")
        registers, n = np.zeros(1 << self.precision, np.uint8), 0
        for start in range(0, len(values), _CHUNK):
            hashes = _hashes(values[start : start + _CHUNK])
            n += len(hashes)
            place = (hashes >> np.uint64(64 - self.precision)).astype(np.int64)
            rest = hashes & np.uint64((1 << (64 - self.precision)) - 1)  # below 2**53: exact as float64
            run = 65 - self.precision - np.frexp(rest.astype(np.float64))[1]
            np.maximum.at(registers, place, run.astype(np.uint8))
        return {"n": n, "missing": len(values) - n, "registers": registers}

    def merge(self, a: State, b: State) -> State:
        first, second = ({"precision": len(state["registers"]).bit_length() - 1} for state in (a, b))
        same_options(first, second, "precision")
        merged: dict[str, Any] = {key: a[key] + b[key] for key in ("n", "missing")}
        return merged | {"registers": np.maximum(a["registers"], b["registers"])}

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        missing = share(state["missing"], n + state["missing"], self.confidence)
        if n == 0:
            return {"distinct": Estimate(), "missing": missing}
        value = min(_count(state["registers"]), float(n))
        factor = math.exp(z_score(self.confidence) * _error(value, len(state["registers"])))
        low, high = max(value / factor, 1.0), min(value * factor, float(n))
        return {"distinct": Estimate(value, n, min(low, value), max(high, value)), "missing": missing}


def _error(value: float, m: int) -> float:
    """Relative standard error: 0.71 / √m of few values (linear counting's), 1.04 / √m of many; between, 4 % off in simulation."""
    filled = value / m
    return math.sqrt((0.5 + (1.04**2 - 0.5) * filled / (filled + 3)) / m)


def _hashes(values: np.ndarray) -> np.ndarray:
    """Hashes of the values that are known, (m,) uint64."""
    if values.dtype.kind in "biuU":
        return hash64(values)
    if values.dtype.kind == "f":
        return _of_floats(values.astype(np.float64))
    kept = [value for value in values.tolist() if value is not None and value == value]
    floats = [float(value) for value in kept if isinstance(value, int | float) and abs(value) < 2**1000]
    texts = [str(value) for value in kept if not (isinstance(value, int | float) and abs(value) < 2**1000)]
    return np.concatenate((_of_floats(np.array(floats, np.float64)), hash64(np.array(texts, dtype=str))))


def _of_floats(values: np.ndarray) -> np.ndarray:
    """A whole number has the hash of that integer, so that a column may change its type; others that of their bits."""
    whole = (values == np.trunc(values)) & (np.abs(values) < 2.0**63)
    others = values[~whole & ~np.isnan(values)]
    return np.concatenate((hash64(values[whole].astype(np.int64)), hash64(others.view(np.int64), salt=1)))


def _count(registers: np.ndarray) -> float:
    """Ertl's improved raw estimator ("New cardinality estimation algorithms for HyperLogLog sketches", 2017)."""
    m = len(registers)
    longest = 65 - (m.bit_length() - 1)
    times = np.bincount(registers, minlength=longest + 1)
    z = m * _tau(1 - times[longest] / m)
    for run in range(longest - 1, 0, -1):
        z = (z + float(times[run])) / 2
    return m * m / (2 * math.log(2) * (z + m * _sigma(times[0] / m)))


def _sigma(x: float) -> float:
    """x + Σ x**(2**k) 2**(k - 1) over k ≥ 1."""
    if x == 1:
        return math.inf
    total, step = x, 1.0
    while True:
        x *= x
        before, total, step = total, total + x * step, 2 * step
        if total == before:
            return total


def _tau(x: float) -> float:
    """(1 - x - Σ (1 - x**(2**-k))² 2**-k over k ≥ 1) / 3."""
    if x in (0, 1):
        return 0.0
    total, step = 1 - x, 1.0
    while True:
        x, step = math.sqrt(x), step / 2
        before, total = total, total - (1 - x) ** 2 * step
        if total == before:
            return total / 3
