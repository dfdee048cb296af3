"""The ratio of two columns' sums, such as errors by words or cost by answers, from exact sums."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.names import register
from luthier.statistics.base import State, When, add, column, exact_sum, known_when, normal, quotient, share
from luthier.types import Columns, Estimate

__all__ = ["Ratio"]

_SUMS = ("over", "under", "over_squares", "under_squares", "products")
_LARGEST = 2.0**500  # larger values have no square in float64


@register("statistic", "ratio.v1")
@dataclass(frozen=True, slots=True)
class Ratio:
    """Σ `over` / Σ `under` with the delta method's normal interval (Cochran 1977, chapter 6).

    A row counts as missing when either value is NaN, infinite or above 2**500 in size. Reads `ratio` (nothing when
    the denominators sum to 0) and `missing` (Wilson).
    """

    name: ClassVar[str]
    over: str = "loss"
    under: str = "length"
    confidence: float = 0.95

    @property
    def when(self) -> When:
        return known_when(self.over, self.under)

    def observe(self, columns: Columns) -> State:
        """{n, missing, and Exact sums of both, of their squares and of their products}."""
        over, under = column(columns, self.over), column(columns, self.under)
        good = (np.abs(over) <= _LARGEST) & (np.abs(under) <= _LARGEST)
        x, y = over[good], under[good]
        sums = dict(zip(_SUMS, (x, y, x * x, y * y, x * y), strict=True))
        state: dict[str, Any] = {"n": len(x), "missing": len(over) - len(x)}
        return state | {key: exact_sum(values) for key, values in sums.items()}

    def merge(self, a: State, b: State) -> State:
        merged: dict[str, Any] = {"n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        return merged | {key: add(a[key], b[key]) for key in _SUMS}

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        missing = share(state["missing"], n + state["missing"], self.confidence)
        if state["under"][0] == 0:
            return {"ratio": Estimate(), "missing": missing}
        over, under, over_squares, under_squares, products = (quotient(state[key], n) for key in _SUMS)
        ratio = over / under
        rest = over_squares - 2 * ratio * products + ratio * ratio * under_squares  # mean (x - ratio · y)²
        error = math.sqrt(max(rest, 0.0) / (n - 1)) / abs(under) if n > 1 else math.nan
        return {"ratio": normal(ratio, error, n, self.confidence), "missing": missing}
