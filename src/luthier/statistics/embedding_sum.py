"""Sum and second moment of an embedding, exact on a fixed grid: the mean, the covariance and what whitens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import State, When, known_when, rows, same_options, share, t_score
from luthier.types import Columns, Estimate

__all__ = ["EmbeddingSum", "covariance", "mean"]

_FINE = 2.0**20  # steps a unit, for the sum
_COARSE = 2.0**12  # steps a unit, for the products
_LARGEST = 256.0  # larger components are cut to this, and counted
_FULL = 2**62  # an int64 total may not pass this


@register("statistic", "embedding_sum.v1")
@dataclass(frozen=True, slots=True)
class EmbeddingSum:
    """Count, sum, squares and, with `second`, all products of a `column` of vectors (n, d).

    Components are rounded to multiples of 2**-20 for the sum and 2**-12 for the products, so that integers add up
    exactly in any order; components beyond ±256 are cut to that and the row counted as `cut`. A row with a NaN or an
    infinity is missing. Reads `norm`, the length of the mean vector (from its variance along itself with `second`, else
    from all of the covariance's trace, wider than needed), and the shares `missing` and `cut` (Wilson). `mean(state)` and `covariance(state)` give arrays.
    """

    name: ClassVar[str]
    column: str = "embedding"
    second: bool = False
    confidence: float = 0.95

    @property
    def when(self) -> When:
        return known_when(self.column)

    def observe(self, columns: Columns) -> State:
        """{second, n, missing, cut, sum (d,), squares (d,), products (d (d + 1) / 2,) or (0,): int64}; no rows: d 0."""
        vectors = rows(columns, self.column)
        if vectors.size == 0:
            return _state(self.second, 0, len(vectors), 0, *(np.zeros(0, np.int64),) * 3)
        if vectors.ndim != 2 or vectors.dtype.kind not in "biuf":
            raise StateError(
                f"column {self.column!r} is {vectors.dtype} of shape {vectors.shape}; embeddings are numbers (n, d)"
            )
        d = vectors.shape[1]
        total, squares = np.zeros(d, np.int64), np.zeros(d, np.int64)
        products = np.zeros((d, d) if self.second else (0, 0), np.int64)
        n = cut = 0
        step = max(2**20 // d, 1)  # 8 MB at a time
        for start in range(0, len(vectors), step):
            part = vectors[start : start + step].astype(np.float64)
            part = part[np.isfinite(part).all(axis=1)]
            if not len(part):
                continue
            cut += int((np.abs(part).max(axis=1) > _LARGEST).sum())
            np.clip(part, -_LARGEST, _LARGEST, out=part)
            n += len(part)
            total += np.rint(part * _FINE).sum(axis=0).astype(np.int64)  # below 2**28 · 2**20
            coarse = np.rint(part * _COARSE)
            squares += (coarse * coarse).sum(axis=0).astype(np.int64)
            if self.second:
                _add_products(products, coarse)
        upper = products[np.triu_indices(d)] if self.second else np.zeros(0, np.int64)
        return _state(
            self.second, n, len(vectors) - n, cut, *((total, squares, upper) if n else (np.zeros(0, np.int64),) * 3)
        )

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "second")
        if a["n"] and b["n"]:
            if len(a["sum"]) != len(b["sum"]):
                raise StateError(
                    f"embeddings of {len(a['sum'])} and {len(b['sum'])} components cannot be merged; "
                    f"another model answered: keep its states apart"
                )
            if int(a["squares"].max()) + int(b["squares"].max()) >= _FULL:
                raise StateError("the sum of squares is full; start a new state, say one a day, and merge no more here")
            sums = [a[key] + b[key] for key in ("sum", "squares", "products")]
        else:
            full = a if a["n"] else b
            sums = [full[key].copy() for key in ("sum", "squares", "products")]
        return _state(a["second"], *(a[key] + b[key] for key in ("n", "missing", "cut")), *sums)

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        found = {
            "missing": share(state["missing"], n + state["missing"], self.confidence),
            "cut": share(state["cut"], n, self.confidence),
        }
        if n == 0:
            return {"norm": Estimate()} | found
        return {"norm": _norm(state, self.confidence)} | found


def _norm(state: State, confidence: float) -> Estimate:
    """The length of the mean vector; with products, all lengths θ with |length² - trace / n - θ²| ≤ t σ(θ).

    σ²(θ) = 4 θ² uᵀΣu / n + 2 tr Σ² / n², u the mean's direction: a mean of n vectors is longer than the true one by
    chance, by trace / n in square, and varies along u alone. Without products uᵀΣu may be all of the trace.
    """
    n, centre = state["n"], mean(state)
    value = float(np.linalg.norm(centre))
    if n < 2:
        return Estimate(value, n)
    t = t_score(confidence, n)
    if not state["second"]:
        variance = state["squares"] / n / _COARSE**2 - centre**2  # (d,)
        half = t * math.sqrt(max(float(variance.sum()), 0.0) / (n - 1))
        return Estimate(value, n, max(value - half, 0.0), value + half)
    spread = covariance(state) / n
    along, by_chance = float(centre @ spread @ centre), float((spread * spread).sum())
    square = value**2 - float(np.trace(spread))
    along = max(along / value**2, (along - by_chance) / square if square > value**2 / 2 else 0.0) if value else 0.0
    middle = square + 2 * t * t * along
    reach = math.sqrt(max(middle**2 - square**2 + 2 * t * t * by_chance, 0.0))
    low, high = (math.sqrt(max(end, 0.0)) for end in (middle - reach, middle + reach))
    return Estimate(value, n, min(low, value), max(high, value))


def mean(state: State) -> np.ndarray:
    """The mean vector (d,) float64; NaN without rows."""
    if state["n"] == 0:
        return np.full(len(state["sum"]), np.nan)
    centre: np.ndarray = state["sum"] / _FINE / state["n"]
    return centre


def covariance(state: State) -> np.ndarray:
    """The covariance matrix (d, d) float64, divided by n - 1; the grid adds about 5e-9 to its diagonal.

    Raises StateError when the state has no products or fewer than two rows.
    """
    n, d = state["n"], len(state["sum"])
    if not state["second"] or n < 2:
        raise StateError(
            f"a covariance needs products and two rows; this state has second={state['second']} and n={n}. "
            f"Observe more with EmbeddingSum(second=True)"
        )
    upper = np.zeros((d, d))
    upper[np.triu_indices(d)] = state["products"] / _COARSE**2
    products = upper + np.triu(upper, 1).T
    centre = mean(state)
    spread: np.ndarray = (products - n * np.outer(centre, centre)) / (n - 1)
    return spread


def _state(
    second: bool, n: int, missing: int, cut: int, total: np.ndarray, squares: np.ndarray, products: np.ndarray
) -> dict[str, Any]:
    return {
        "second": second, "n": n, "missing": missing, "cut": cut,
        "sum": total, "squares": squares, "products": products,
    }  # fmt: skip


def _add_products(products: np.ndarray, coarse: np.ndarray) -> None:
    """products += coarseᵀ coarse, in runs of rows whose float64 products cannot round."""
    peak = max(float(np.abs(coarse).max()), 1.0)
    step = max(int(2**53 // (peak * peak)), 1)
    for start in range(0, len(coarse), step):
        part = coarse[start : start + step]
        products += (part.T @ part).astype(np.int64)
