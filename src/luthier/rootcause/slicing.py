"""Columns as codes, and the rows and losses of every slice of one or two predicates, counted exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Feature", "ScanOptions", "Table", "features", "scan"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Codes: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
_CHUNK = 1 << 14  # rows a pass: the codes of a pair stay in the cache
_RUNS = 10  # bins of a number up to which runs of neighbours are looked at
_BATCH = 1 << 17  # slices that are handed on together
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
    """A column as codes (n,) of the rows before and after, and the text of each code.

    `spans` (k, 2): first and last code of what one predicate may choose, with its text in `named`: every code, and of a number
    also every run of neighbouring bins.
    """

    name: str
    codes: Codes
    labels: tuple[str, ...]
    spans: Codes
    named: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Slices: rows (2, m) and losses (2, m), before and after; `parts` (m, 4): feature and span, twice (-1: none)."""

    rows: Floats
    losses: Floats
    parts: Codes

    @classmethod
    def of(cls, pieces: Sequence[Table]) -> Table:
        """The slices of all pieces together; none of no pieces."""
        if not pieces:
            return cls(np.zeros((2, 0)), np.zeros((2, 0)), np.zeros((0, 4), np.int64))
        rows, losses = (np.concatenate([getattr(one, name) for one in pieces], axis=1) for name in ("rows", "losses"))
        return cls(rows, losses, np.concatenate([one.parts for one in pieces]))

    def at(self, chosen: Codes) -> Table:
        """The chosen slices."""
        return Table(self.rows[:, chosen], self.losses[:, chosen], self.parts[chosen])


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
        whole = set(kinds) <= set("iu")
        return _binned(shown, old.astype(np.float64), new.astype(np.float64), options.bins, whole)
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


def _binned(name: str, old: Floats, new: Floats, bins: int, whole: bool) -> Feature:
    """Bins (low, high] between quantiles of the rows before; what is not finite is missing, a bin of its own.

    Runs of neighbouring bins are looked at too where there are at most ten bins: 54 with the bins themselves.
    """
    sample = old[:: max(len(old) // _SAMPLE, 1)]
    sample = sample[np.isfinite(sample)]
    inner = np.quantile(sample, np.arange(1, bins) / bins, method="inverted_cdf") if len(sample) else np.zeros(0)
    edges = np.unique(inner)
    values = np.concatenate([old, new])
    codes = np.searchsorted(edges, values, side="left").astype(np.int64)
    last = len(edges)  # the code of the highest bin
    codes[~np.isfinite(values)] = last + 1
    spans = [(i, i) for i in range(last + 2)]
    if last < _RUNS:
        spans += [(i, j) for i in range(last) for j in range(i + 1, last + 1) if (i, j) != (0, last)]
    texts = [_span(name, edges.tolist(), i, j, whole) for i, j in spans]
    return Feature(name, codes, tuple(texts[: last + 2]), np.array(spans, np.int64), tuple(texts))


def _span(name: str, edges: Sequence[float], first: int, last: int, whole: bool) -> str:
    """Bins `first` to `last` in words."""
    if first > len(edges):
        return f"{name} missing"
    if not edges:
        return f"any {name}"
    if first == 0:
        return f"{name} ≤ {edges[last]:.4g}"
    if last == len(edges):
        return f"{name} > {edges[first - 1]:.4g}"
    if whole and abs(edges[last]) < 1e15:
        low, high = int(edges[first - 1]) + 1, int(edges[last])
        return f"{name}={high}" if low == high else f"{name} {low} to {high}"
    return f"{name} in ({edges[first - 1]:.4g}, {edges[last]:.4g}]"


def _categories(name: str, values: Sequence[Any], places: Codes, most: int) -> Feature:
    """The `most` frequent values on both sides together, each a code, all others one more; `places` (n,) into `values`."""
    times = np.bincount(places, minlength=len(values)).tolist()
    order = sorted(range(len(values)), key=lambda i: (-times[i], str(values[i])))
    code = np.full(len(values), min(most, len(values)), np.int64)
    code[order[:most]] = np.arange(min(most, len(values)))
    labels = [f"{name}={values[i]}"[:80] for i in order[:most]]
    labels.append(f"{name} of {len(values) - len(labels)} rarer values")
    spans = np.repeat(np.arange(len(labels))[:, None], 2, axis=1)
    return Feature(name, code[places], tuple(labels), spans, tuple(labels))


def scan(features: Sequence[Feature], loss: Floats, count: tuple[int, int], least: int) -> Iterator[Table]:
    """Rows and losses of all slices that have `least` rows inside and outside after the change, many at a time."""
    if not features:
        return
    width = max(len(one.labels) for one in features)
    pairs = [(f, g) for f in range(len(features)) for g in range(f, len(features))]  # (f, f) holds the single ones
    plain = bool(((loss == 0) | (loss == 1)).all())
    rows, sums = _counted(features, pairs, loss, count[0], width, plain)
    runs = [_runs(one, width) for one in features]
    alone = {f: _summed(rows[i].sum(axis=1), runs[f]) for i, (f, g) in enumerate(pairs) if f == g}
    waiting: list[Table] = []
    for i, (f, g) in enumerate(pairs):
        if f == g:
            seen, lost = alone[f][:, None], _summed(sums[i].sum(axis=1), runs[f])[:, None]
        else:
            seen, lost = (
                _summed(_summed(part[i], runs[f]).swapaxes(0, 1), runs[g]).swapaxes(0, 1) for part in (rows, sums)
            )
        enough = (seen[..., 1] >= least) & (seen[..., 1] <= count[1] - least)
        if f != g:  # the second predicate must take something away
            enough &= (seen != alone[f][:, None]).any(axis=2) & (seen != alone[g][None, :]).any(axis=2)
        a, b = np.nonzero(enough)
        ends = (np.full(len(a), g), b) if f != g else (np.full(len(a), -1), np.full(len(a), -1))
        waiting.append(Table(seen[a, b].T, lost[a, b].T, np.stack([np.full(len(a), f), a, *ends], axis=1)))
        if sum(one.rows.shape[1] for one in waiting) >= _BATCH:
            yield Table.of(waiting)
            waiting = []
    yield Table.of(waiting)


def _runs(feature: Feature, width: int) -> Floats | None:
    """(k, width): 1 where a span holds a code; None where spans are codes, one for one."""
    if len(feature.spans) == len(feature.labels):
        return None
    code = np.arange(width)
    held: Floats = ((code >= feature.spans[:, :1]) & (code <= feature.spans[:, 1:])).astype(np.float64)
    return held


def _summed(cells: np.ndarray, runs: Floats | None) -> Floats:
    """Cells (width, …) added up over the codes of every span: (k, …). Counts stay whole: float64 adds them exactly."""
    if runs is None:
        return cells.astype(np.float64, copy=False)
    flat = runs @ cells.reshape(len(cells), -1).astype(np.float64, copy=False)
    return flat.reshape(len(runs), *cells.shape[1:])


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
