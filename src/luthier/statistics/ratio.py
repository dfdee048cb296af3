"""The ratio of two columns' sums, such as errors by words or cost by answers, from exact sums."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.names import register
from luthier.statistics.base import (
    State,
    When,
    add,
    exact_sum,
    known_when,
    normal,
    numbers,
    quotient,
    same_options,
    share,
)
from luthier.sums.weighing import usable
from luthier.types import Columns, Estimate

__all__ = ["Ratio"]

_SUMS = ("over", "under", "over_squares", "under_squares", "products")
_LARGEST = 2.0**500  # larger values have no square in float64


@register("statistic", "ratio.v1")
@dataclass(frozen=True, slots=True)
class Ratio:
    """Σ `over` / Σ `under` with the delta method's normal interval (Cochran 1977, chapter 6).

    With a column `weight`, Σ w · over / Σ w · under. A row counts as missing when either value is NaN, infinite or above 2**500 (2**460 with a weight) in size, or its weight not usable (see `weighing`). Reads `ratio` (nothing when
    the denominators sum to 0) and `missing` (Wilson).
    """

    name: ClassVar[str]
    over: str = "loss"
    under: str = "length"
    weight: str = ""
    confidence: float = 0.95

    @property
    def when(self) -> When:
        return known_when(self.over, self.under)

    def observe(self, columns: Columns) -> State:
        """{n, missing, and Exact sums of both, of their squares and of their products}."""
        over, under, *weights = numbers(columns, self.over, self.under, *([self.weight] if self.weight else ()))
        largest = _LARGEST * 2.0**-40 if weights else _LARGEST
        good = (np.abs(over) <= largest) & (np.abs(under) <= largest)
        for weight in weights:
            good &= usable(weight)
        x, y = over[good], under[good]
        for weight in weights:
            x, y = x * weight[good], y * weight[good]
        sums = dict(zip(_SUMS, (x, y, x * x, y * y, x * y), strict=True))
        state: dict[str, Any] = {"n": len(x), "missing": len(over) - len(x)}
        state |= {"weight": self.weight} if weights else {}
        return state | {key: exact_sum(values) for key, values in sums.items()}

    def merge(self, a: State, b: State) -> State:
        same_options({"weight": a.get("weight", "")}, {"weight": b.get("weight", "")}, "weight")
        merged: dict[str, Any] = {"n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        merged |= {"weight": a["weight"]} if "weight" in a else {}
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
