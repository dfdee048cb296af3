"""Answers that are wrong now, each beside the nearest one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Example", "failures"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Codes: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
_NEAREST = 2_000  # rows among which neighbours are looked for


@dataclass(frozen=True, slots=True)
class Example:
    """Row `after` with a high loss, and the row `before` that is nearest to it; `usual` is the median of such distances."""

    after: int
    loss: float
    before: int
    before_loss: float
    distance: float
    usual: float


def failures(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray], named: int) -> tuple[Example, ...]:
    """Rows after the change with a high loss that cover such rows best (farthest first), and their nearest rows before."""
    if "embedding" not in old or "embedding" not in new or old["embedding"].shape[1:] != new["embedding"].shape[1:]:
        return ()
    there = [_spread_out(len(side["loss"])) for side in (old, new)]
    known, fresh = (side["embedding"][rows].astype(np.float64) for side, rows in zip((old, new), there, strict=True))
    distance = np.nan_to_num(_distances(fresh, known), nan=np.inf)  # (after, before)
    nearest = distance.argmin(axis=1)
    least = distance[np.arange(len(fresh)), nearest]
    loss = new["loss"][there[1]]
    wrong = np.flatnonzero((loss >= 0.5) & np.isfinite(least))
    if not len(wrong):
        return ()
    middle = fresh[wrong].mean(axis=0, keepdims=True)
    chosen = [int(wrong[_distances(fresh[wrong], middle)[:, 0].argmin()])]
    while len(chosen) < min(named, len(wrong)):
        gap = _distances(fresh[wrong], fresh[chosen]).min(axis=1)
        chosen.append(int(wrong[gap.argmax()]))
    usual = float(np.median(least[np.isfinite(least)]))
    return tuple(
        Example(
            int(there[1][i]), float(loss[i]), int(there[0][nearest[i]]), float(old["loss"][there[0][nearest[i]]]),
            float(least[i]), usual,
        )
        for i in chosen
    )  # fmt: skip


def _spread_out(n: int) -> Codes:
    """At most `_NEAREST` rows, evenly over n."""
    rows: Codes = np.unique(np.linspace(0, n - 1, min(n, _NEAREST)).astype(np.int64))
    return rows


def _distances(a: Floats, b: Floats) -> Floats:
    square = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2 * a @ b.T
    distances: Floats = np.sqrt(np.maximum(square, 0.0))
    return distances
