"""How answers differ between groups of people (or of anything): rates of every group, their gaps, the worst group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import State, When, coded, column, hash64, rows, same_options, share, wilson_bounds
from luthier.types import Columns, Estimate

__all__ = ["GroupMetrics", "group_rates", "worst_group"]

_CHUNK = 1 << 19  # rows whose groups are held at once, however many there are
_CELLS = ("tp", "fp", "fn", "tn", "right")
_GAPS = {
    "accuracy_difference": ("accuracy",),
    "demographic_parity_difference": ("selection_rate",),
    "equal_opportunity_difference": ("tpr",),
    "equalized_odds_difference": ("tpr", "fpr"),
    "fpr_difference": ("fpr",),
}
_SELECTING = 0.1  # of the errors, for which pairs of groups may be the furthest apart


@register("statistic", "group_metrics.v1")
@dataclass(frozen=True, slots=True)
class GroupMetrics:
    """Exact counts of right and wrong answers, for and against class `positive`, in every group of column `group`.

    Up to `limit` groups; beyond, those with the smallest hash are kept and the rows of the others counted in `other`.
    Rows without a group ("", None, NaN), target or prediction (negative, NaN) are missing. Reads, per group (the `shown`
    largest), `accuracy[g]`, `selection_rate[g]` = P(predicted = positive), `tpr[g]`, `fpr[g]` (Wilson), and over groups
    the largest minus the smallest: `demographic_parity_difference` of selection rates, `equal_opportunity_difference`
    of true positive rates, `equalized_odds_difference`, the larger gap of true and false positive rates (Hardt, Price &
    Srebro 2016; fairlearn's definitions), `fpr_difference`, `accuracy_difference`; and `worst_accuracy`. A rate that a group
    does not have (no positives in it) takes no part in a gap; a gap needs two groups. Gaps have MOVER intervals of
    Wilson's (Zou & Donner 2008), for all pairs of groups together (Bonferroni): right for two groups, wide for many.
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    group: str = "group"
    target: str = "target"
    predicted: str = "predicted"
    positive: int = 1
    limit: int = 256
    shown: int = 20
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 2 <= self.limit <= 4096:
            raise ValueError(f"limit is {self.limit}; it must lie in [2, 4096]")

    def observe(self, columns: Columns) -> State:
        """{limit, positive, n, missing, other, names: sorted text (m,), cells: int64 (m, 5: tp, fp, fn, tn, right)}."""
        groups = rows(columns, self.group)
        target, predicted = column(columns, self.target), column(columns, self.predicted)
        if not len(groups) == len(target) == len(predicted):
            raise StateError(
                f"columns {self.group!r}, {self.target!r} and {self.predicted!r} have {len(groups)}, {len(target)} and "
                f"{len(predicted)} rows; they must have the same"
            )
        if groups.ndim != 1:
            raise StateError(f"column {self.group!r} has shape {groups.shape}; a row has one group")
        starts = range(0, max(len(groups), 1), _CHUNK)
        parts = (self._part(*(one[i : i + _CHUNK] for one in (groups, target, predicted))) for i in starts)
        return reduce(self.merge, parts)

    def _part(self, groups: np.ndarray, target: np.ndarray, predicted: np.ndarray) -> State:
        names, place = coded(groups)
        known = (target >= 0) & (predicted >= 0) & (names[place] != "")
        truth, said = target[known] == self.positive, predicted[known] == self.positive
        cell = np.where(said, np.where(truth, 0, 1), np.where(truth, 2, 3))
        width = len(names)
        counts = np.bincount(place[known] * 4 + cell, minlength=width * 4).reshape(width, 4)
        right = np.bincount(place[known][target[known] == predicted[known]], minlength=width)
        cells = np.column_stack([counts, right]).astype(np.int64)
        there = cells[:, :4].any(axis=1)
        return self._state(names[there], cells[there], 0, int(len(known) - known.sum()))

    def merge(self, a: State, b: State) -> State:
        for state in (a, b):
            same_options(state, {"limit": self.limit, "positive": self.positive}, "limit", "positive")
        names = np.union1d(a["names"], b["names"])
        cells = np.zeros((len(names), len(_CELLS)), np.int64)
        for state in (a, b):
            cells[np.searchsorted(names, state["names"])] += state["cells"]
        return self._state(names, cells, a["other"] + b["other"], a["missing"] + b["missing"])

    def read(self, state: State) -> dict[str, Estimate]:
        found = {"missing": share(state["missing"], state["n"] + state["missing"], self.confidence)}
        rates = group_rates(state)
        for gap, metrics in _GAPS.items():
            found[gap] = _largest([_gap(*rates[metric], self.confidence) for metric in metrics])
        found["worst_accuracy"] = _worst(*rates["accuracy"], self.confidence)
        size = state["cells"][:, :4].sum(axis=1)
        for i in np.sort(np.argsort(-size, kind="stable")[: self.shown]).tolist():
            for metric, (hits, of) in rates.items():
                found[f"{metric}[{state['names'][i]}]"] = share(int(hits[i]), int(of[i]), self.confidence)
        return found

    def _state(self, names: np.ndarray, cells: np.ndarray, other: int, missing: int) -> State:
        if len(names) > self.limit:
            kept = np.sort(np.lexsort((names, hash64(names)))[: self.limit])
            other += int(cells[:, :4].sum() - cells[kept, :4].sum())
            names, cells = names[kept], cells[kept]
        names = names.astype(str) if len(names) else np.zeros(0, "U1")
        return {
            "limit": self.limit, "positive": self.positive, "n": int(cells[:, :4].sum()) + other, "missing": missing,
            "other": other, "names": names, "cells": cells,
        }  # fmt: skip


def group_rates(state: State) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Hits and trials (m,) of every rate, in the order of state["names"]."""
    tp, fp, fn, tn, right = state["cells"].T
    n = tp + fp + fn + tn
    return {"accuracy": (right, n), "selection_rate": (tp + fp, n), "tpr": (tp, tp + fn), "fpr": (fp, fp + tn)}


def worst_group(state: State) -> str:
    """The group with the lowest accuracy; "" when there is none."""
    hits, of = group_rates(state)["accuracy"]
    return str(state["names"][np.argmin(hits / of)]) if len(of) else ""


def _gap(hits: np.ndarray, of: np.ndarray, confidence: float) -> Estimate:
    """Largest minus smallest rate, no end of which is surpassed by chance in one of many pairs of groups.

    The gap is that of one pair, so it lies below the highest of all pairs' upper ends, each on its own. Its lower end
    must hold for all pairs that may be the one: those whose upper end reaches the highest lower end of any, all pairs
    together. So where one pair stands out the interval is that pair's, and it is wider the more groups vie.
    """
    hits, of = hits[of > 0], of[of > 0]
    if len(of) < 2:
        return Estimate()
    rate = hits / of
    difference = rate[:, None] - rate[None, :]  # (m, m)
    above = _pair_ends(hits, of, confidence)[0]
    pairs = len(of) * (len(of) - 1) / 2
    high, low = _pair_ends(hits, of, 1 - (1 - confidence) * _SELECTING / pairs)
    reaches = high >= low.max()
    vie = max(int(np.triu(reaches | reaches.T, 1).sum()), 1)
    least = _pair_ends(hits, of, 1 - (1 - confidence) / vie)[1].max()
    value = float(difference.max())
    return Estimate(value, int(of.sum()), min(max(float(least), 0.0), value), max(min(float(above.max()), 1.0), value))


def _pair_ends(hits: np.ndarray, of: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower ends of the difference of every pair's rates, (m, m) each: MOVER of Wilson's."""
    rate = hits / of
    low, high = wilson_bounds(hits, of, confidence)
    difference = rate[:, None] - rate[None, :]
    up, down = high - rate, rate - low
    return difference + np.hypot(up[:, None], down[None, :]), difference - np.hypot(down[:, None], up[None, :])


def _largest(gaps: list[Estimate]) -> Estimate:
    known = [gap for gap in gaps if not math.isnan(gap.value)]
    if len(known) < len(gaps) or not known:
        return Estimate()
    return Estimate(*(max(getattr(gap, end) for gap in known) for end in ("value", "n", "low", "high")))


def _worst(hits: np.ndarray, of: np.ndarray, confidence: float) -> Estimate:
    """The lowest rate of any group: see `_gap`; the upper end must hold for all groups that may be the worst."""
    if not len(of):
        return Estimate()
    low, high = wilson_bounds(hits, of, 1 - (1 - confidence) * _SELECTING / len(of))
    vie = max(int((low <= high.min()).sum()), 1)
    least, most = (
        wilson_bounds(hits, of, confidence)[0].min(),
        wilson_bounds(hits, of, 1 - (1 - confidence) / vie)[1].min(),
    )
    worst = int(np.argmin(hits / of))
    value = float(hits[worst] / of[worst])
    return Estimate(value, int(of[worst]), min(float(least), value), max(float(most), value))
