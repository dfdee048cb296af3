"""How far is too far: limits from a tolerance, absolute or relative, or chosen by cross-validation on the reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

__all__ = ["Limit", "held_out_floor", "limit"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
FOLDS = 10
FEWEST = 100  # reference rows for a cross-validation
FALLBACK = 0.02


class Limit(NamedTuple):
    """`value` that a mean loss is held against, the `tolerance` in it, and how that came about."""

    value: float
    tolerance: float
    how: str


def limit(losses: Floats, tolerance: float | None, relative: float | None, bound: Callable[[Floats], float]) -> Limit:
    """U + tolerance, or U (1 + relative) where `relative` is given; U = bound(losses), losses (n,) in [0, 1].

    Without either the tolerance is the smallest at which every held-out tenth of the reference, in its order, stays
    within the limit of the other nine: what the reference itself does is no alarm.
    """
    upper = bound(losses)
    if relative is not None:
        return Limit(upper * (1 + relative), upper * relative, f"the relative tolerance of {relative:.3g}")
    if tolerance is not None:
        return Limit(upper + tolerance, tolerance, "the tolerance")
    if len(losses) < FEWEST:
        how = f"a tolerance of {FALLBACK:g}, as {len(losses)} reference rows are too few to choose one"
        return Limit(upper + FALLBACK, FALLBACK, how)
    held = _folds(losses)
    excess = [float(fold.mean()) - bound(np.concatenate(held[:i] + held[i + 1 :])) for i, fold in enumerate(held)]
    chosen = math.ceil(max(*excess, 0.0) * 1e4) / 1e4
    how = f"a tolerance of {chosen:g}, chosen by {FOLDS}-fold cross-validation on the reference"
    return Limit(upper + chosen, chosen, how)


def held_out_floor(rows: Any, measure: Callable[[Any], float]) -> tuple[float, str]:
    """The level that `measure` keeps on every held-out tenth of the reference rows (n, …), and how it was chosen.

    nan where there are fewer than 100 rows.
    """
    if len(rows) < FEWEST:
        return (
            math.nan,
            f"{len(rows)} labelled reference rows are too few to choose a threshold from; {FEWEST} are needed",
        )
    levels = [measure(fold) for fold in _folds(rows)]
    known = [level for level in levels if not math.isnan(level)]
    if not known:
        return math.nan, "no tenth of the reference has rows that count for this metric"
    chosen = math.floor(min(known) * 1e4) / 1e4
    return chosen, f"chosen by {FOLDS}-fold cross-validation: every held-out tenth of the reference keeps it"


def _folds(rows: Any) -> list[Any]:
    return np.array_split(rows, FOLDS)
