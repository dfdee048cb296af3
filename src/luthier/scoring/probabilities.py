"""Probabilities of classes: what can be one, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.tables import Judge, first_wrong, floats, has_lists, matrix
from luthier.tables.labels import codes, listed

__all__ = ["derived", "proper", "row_mean", "upright"]

_HALF = 5e-3  # how far rounding to 11 bits may take that sum
_ONE = 1e-4  # how far from 1 the probabilities of a row may sum, as in log_loss.v1


def derived(
    values: np.ndarray, labels: Sequence[Any] | None, normalise: bool, judge: Judge = first_wrong
) -> dict[str, np.ndarray]:
    """`probabilities` (n, k), `predicted` (an index, -1 where missing), confidence, margin, entropy, `score` of the second of two."""
    half = values.dtype == np.float16
    p = floats("probabilities", matrix("probabilities", values))
    if p.ndim == 1:
        p = proper(p[:, None], judge)[:, 0]
        p = np.stack([1 - p, p], axis=1)
    if p.ndim != 2 or p.shape[1] < 2:
        way_out = ". Give the one column as (n,): probabilities[:, 0]" if p.ndim == 2 and p.shape[1] == 1 else ""
        raise StateError(
            f"probabilities must be (n, k) with k ≥ 2, or (n,) of the second class; not {p.shape}{way_out}"
        )
    if labels is not None and p.shape[1] != len(labels):
        raise StateError(
            f"probabilities have {p.shape[1]} columns, but there are {len(labels)} labels: {listed(labels)}. "
            f"Name all of them in the order of the columns: Scoring(labels=…)"
        )
    p = _summed(_whole(proper(p, judge)) if half else proper(p, judge), normalise, judge)
    first, second = _two_best(p)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0.0 * p).sum(axis=1)
    likeliest = (p[:, 1] > p[:, 0]).astype(np.int64) if p.shape[1] == 2 else np.nan_to_num(p).argmax(axis=1)
    predicted = np.where(np.isnan(p[:, 0]), -1, likeliest)
    columns = {
        "probabilities": p,
        "predicted": predicted,
        "confidence": first,
        "margin": first - second,
        "entropy": entropy,
    }
    return columns | ({"score": p[:, 1]} if p.shape[1] == 2 else {})


def _two_best(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest and the second largest of every row (n, k), NaN where it is missing."""
    if p.shape[1] == 2:  # in a tenth of the time of sorting rows of two
        return np.maximum(p[:, 0], p[:, 1]), np.minimum(p[:, 0], p[:, 1])
    best = np.sort(p, axis=1)
    return best[:, -1], best[:, -2]


def proper(p: np.ndarray, judge: Judge = first_wrong) -> np.ndarray:
    """Probabilities (n, k) in [0, 1]; a row with a NaN is missing, NaN throughout."""
    if p.ndim != 2:
        raise StateError(f"probabilities have shape {p.shape}; they must be (n, k)")
    with np.errstate(invalid="ignore"):
        wrong = _any((p < 0) | (p > 1))
    shown = p[:, 0] if p.shape[1] == 1 else p
    way_out = "Divide percent by 100; apply softmax (or a sigmoid) to logits"
    judge("probabilities", wrong, shown, "hold a value outside [0, 1]", way_out)
    missing = wrong | _any(np.isnan(p))
    return np.where(missing[:, None], np.nan, p)


def _any(cells: np.ndarray) -> np.ndarray:
    """Whether any of a row's cells (n, k) is so, (n,): mostly none at all, which is quickly seen."""
    return np.asarray(cells.any(axis=1)) if cells.any() else np.zeros(len(cells), bool)


def _summed(p: np.ndarray, normalise: bool, judge: Judge) -> np.ndarray:
    total = row_mean(p) * p.shape[1]
    with np.errstate(invalid="ignore"):
        off = np.abs(total - 1) > _ONE
    if normalise:
        judge("probabilities", total == 0, p, "are 0 throughout", "Give at least one class a probability")
        with np.errstate(invalid="ignore"):
            return np.where(off[:, None], p / total[:, None], p)
    judge(
        "probabilities", off, p, f"do not sum to 1 within {_ONE:g}",
        "Apply softmax to logits, or have them divided by their sum: Scoring(normalise=True)",
    )  # fmt: skip
    return np.where(off[:, None], np.nan, p) if off.any() else p


def _whole(p: np.ndarray) -> np.ndarray:
    """Probabilities (n, k) that were rounded to float16, divided by their sum where that is why it is not 1."""
    total = row_mean(p)[:, None] * p.shape[1]
    return np.where(np.abs(total - 1) <= _HALF, p / np.where(total > 0, total, 1.0), p)


def row_mean(values: np.ndarray) -> np.ndarray:
    """The mean of every row, (n, k) to (n,)."""
    total = np.zeros(len(values))
    for k in range(values.shape[1]):  # one after the other: a row's sum never depends on its neighbours
        total += values[:, k]
    return np.asarray(total / max(values.shape[1], 1))


def upright(labels: tuple[Any, ...], reference: Mapping[str, np.ndarray]) -> None:
    """Raise StateError where the probability of the label that was taken for the positive one rises with the other."""
    if len(labels) != 2 or not {"probabilities", "target"} <= reference.keys():
        return
    p, target = reference["probabilities"], reference["target"]
    if p.ndim != 1 or has_lists(p):
        return
    p, of = floats("probabilities", p), codes("target", target, labels)
    groups = [p[(of == index) & ~np.isnan(p)] for index in (0, 1)]
    if min(map(len, groups)) < 10:
        return
    gap = float(groups[0].mean() - groups[1].mean())
    if gap > 4 * math.sqrt(sum(float(one.var()) / len(one) for one in groups)) + 1e-12:
        raise StateError(
            f"column 'probabilities': {groups[0].mean():.3f} on average where the target is {labels[0]!r}, "
            f"{groups[1].mean():.3f} where it is {labels[1]!r}, which was taken for the positive label. Say which label they "
            f"are the probabilities of, as the last: Scoring('binary', labels=({labels[1]!r}, {labels[0]!r}))"
        )
