"""Columns as codes, and the rows and losses of every slice of one or two predicates, counted exactly."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Feature", "ScanOptions", "Table", "features", "scan"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Codes: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
_CHUNK = 1 << 14  # rows a pass: the codes of a pair stay in the cache
_SAMPLE = 20_000  # rows that the bins' edges are taken from
_CATEGORIES = ("predicted", "target")


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """`bins` of a numeric column, by quantiles of the rows before; `values` of a categorical one, the rest is "other".

    `least`: rows after the change that a slice must have, and as many outside it. `alpha`: chance that any slice is named
    wrongly. `named`: how many slices and examples are given. `features`: how many columns are looked at, in order.
    """

    bins: int = 10
    values: int = 20
    least: int = 30
    alpha: float = 0.05
    named: int = 3
    features: int = 40

    def __post_init__(self) -> None:
        for name, low, high in (("bins", 2, 1000), ("values", 1, 1000), ("least", 5, 10**9), ("features", 1, 1000)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must lie in [{low}, {high}]")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha!r}; it must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Feature:
    """A column as codes (n,) of the rows before and after, and the text of each code."""

    name: str
    codes: Codes
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """All slices: rows (2, m) and losses (2, m), before and after; `parts` (m, 4): feature and code, twice (-1: none)."""

    rows: Floats
    losses: Floats
    parts: Codes


def features(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray], options: ScanOptions) -> list[Feature]:
    both = [name for name in old if name in new and old[name].ndim == new[name].ndim == 1]
    skipped = {"loss", "id", "at"} | (
        {"margin", "entropy"} if "confidence" in both else set()
    )  # functions of one another
    names = [name for name in both if name not in skipped and not name.endswith("_loss")]
    return [_coded(name, old[name], new[name], options) for name in names[: options.features]]


def _coded(name: str, old: np.ndarray, new: np.ndarray, options: ScanOptions) -> Feature:
    """Floats and whole numbers of more than `values` values are binned; everything else is a category."""
    shown, kinds = name.removeprefix("tag:"), old.dtype.kind + new.dtype.kind
    if set(kinds) <= set("iu"):
        distinct, codes = _whole(np.concatenate([old, new]).astype(np.int64))
        if len(distinct) <= options.values or name in _CATEGORIES:
            return _categories(shown, distinct.tolist(), codes, options.values)
    if set(kinds) <= set("iuf"):
        return _binned(shown, old.astype(np.float64), new.astype(np.float64), options.bins)
    values = (
        [_key(value) for value in (*old.tolist(), *new.tolist())] if "O" in kinds else [*old.tolist(), *new.tolist()]
    )
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return _categories(shown, list(places), np.array(list(map(places.__getitem__, values)), np.int64), options.values)


def _key(value: Any) -> Any:
    """What a value of an object column is counted by; None, NaN and what is no number are told apart by their text."""
    return value if type(value) in (str, int, bool) else str(value)


def _whole(values: Codes) -> tuple[Codes, Codes]:
    """Distinct whole numbers and the place of each row's among them; without sorting where they lie close together."""
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * len(values) + 1024:
        distinct, codes = np.unique(values, return_inverse=True)
        return distinct, codes.astype(np.int64)
    there = np.bincount(values - low) > 0
    return np.flatnonzero(there) + low, (np.cumsum(there) - 1)[values - low]


def _binned(name: str, old: Floats, new: Floats, bins: int) -> Feature:
    """Bins (low, high] between quantiles of the rows before; what is not finite is missing, a bin of its own."""
    sample = old[:: max(len(old) // _SAMPLE, 1)]
    sample = sample[np.isfinite(sample)]
    inner = np.quantile(sample, np.arange(1, bins) / bins, method="inverted_cdf") if len(sample) else np.zeros(0)
    edges = np.unique(inner)
    values = np.concatenate([old, new])
    codes = np.searchsorted(edges, values, side="left").astype(np.int64)
    codes[~np.isfinite(values)] = len(edges) + 1
    texts = [f"{edge:.4g}" for edge in edges]
    labels = [f"{name} in ({low}, {high}]" for low, high in itertools.pairwise(texts)]
    ends = ([f"{name} ≤ {texts[0]}"], [f"{name} > {texts[-1]}"]) if texts else ([f"any {name}"], [])
    return Feature(name, codes, (*ends[0], *labels, *ends[1], f"{name} missing"))


def _categories(name: str, values: Sequence[Any], places: Codes, most: int) -> Feature:
    """The `most` frequent values on both sides together, each a code, all others one more; `places` (n,) into `values`."""
    times = np.bincount(places, minlength=len(values)).tolist()
    order = sorted(range(len(values)), key=lambda i: (-times[i], str(values[i])))
    code = np.full(len(values), min(most, len(values)), np.int64)
    code[order[:most]] = np.arange(min(most, len(values)))
    labels = [f"{name}={values[i]}"[:80] for i in order[:most]]
    return Feature(name, code[places], (*labels, f"{name} of {len(values) - len(labels)} rarer values"))


def scan(features: Sequence[Feature], loss: Floats, count: tuple[int, int], least: int) -> Table:
    """Rows and losses of all slices that have `least` rows inside and outside after the change."""
    if not features:
        return Table(np.zeros((2, 0)), np.zeros((2, 0)), np.zeros((0, 4), np.int64))
    width = max(len(one.labels) for one in features)
    pairs = [(f, g) for f in range(len(features)) for g in range(f, len(features))]  # (f, f) holds the single ones
    plain = bool(((loss == 0) | (loss == 1)).all())
    rows, sums = _counted(features, pairs, loss, count[0], width, plain)
    found: list[tuple[np.ndarray, ...]] = []
    alone = {f: rows[i].sum(axis=1) for i, (f, g) in enumerate(pairs) if f == g}
    for i, (f, g) in enumerate(pairs):
        seen, lost = rows[i], sums[i]  # (width, width, 2)
        enough = (seen[..., 1] >= least) & (seen[..., 1] <= count[1] - least)
        if f != g:  # the second predicate must take something away
            enough &= (seen != alone[f][:, None]).any(axis=2) & (seen != alone[g][None, :]).any(axis=2)
        a, b = np.nonzero(enough)
        ends = np.full(len(a), g if f != g else -1), b if f != g else np.full(len(b), -1)
        found.append((seen[a, b].T, lost[a, b].T, np.stack([np.full(len(a), f), a, *ends], axis=1)))
    return Table(
        np.concatenate([one[0] for one in found], axis=1).astype(np.float64),
        np.concatenate([one[1] for one in found], axis=1).astype(np.float64),
        np.concatenate([one[2] for one in found]),
    )


def _counted(
    features: Sequence[Feature], pairs: Sequence[tuple[int, int]], loss: Floats, old: int, width: int, plain: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and losses (pairs, width, width, 2: before and after) of every pair of codes, chunk by chunk.

    With losses of 0 and 1 one np.bincount counts right and wrong rows, before and after, of a pair's every cell.
    """
    size = width * width * 4
    rows, sums = np.zeros((len(pairs), size), np.int64), np.zeros((len(pairs), size))
    for start in range(0, len(loss), _CHUNK):
        lost = loss[start : start + _CHUNK]
        state = 2 * (np.arange(start, start + len(lost)) >= old) + (lost.astype(np.int64) if plain else 0)
        codes = [one.codes[start : start + _CHUNK] for one in features]
        high, low = [code * (width * 4) for code in codes], [code * 4 + state for code in codes]
        cells = np.empty_like(state)
        for i, (f, g) in enumerate(pairs):
            np.add(high[f], low[g], out=cells)
            rows[i] += np.bincount(cells, minlength=size)
            if not plain:
                sums[i] += np.bincount(cells, weights=lost, minlength=size)
    cut = rows.reshape(len(pairs), width, width, 2, 2)
    whole = sums.reshape(cut.shape).sum(axis=-1)
    return cut.sum(axis=-1), cut[..., 1].astype(np.float64) if plain else whole
