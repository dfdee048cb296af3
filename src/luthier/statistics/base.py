"""What a statistic is, and what several of them share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from luthier.errors import StateError
from luthier.evidence.estimates import (
    area_interval,
    bounded,
    by_score,
    class_scores,
    normal,
    on_log,
    on_logit,
    share,
    skewed,
    stretched,
    t_score,
    wilson_bounds,
    z_score,
)
from luthier.sums.exact import Exact, add, exact_squares, exact_sum, fraction, natural_log, quotient, variance
from luthier.sums.hashing import hash64
from luthier.sums.weighing import carried, usable, weighed, worth
from luthier.types import Columns, Estimate

__all__ = [
    "Exact",
    "Side",
    "State",
    "Statistic",
    "When",
    "add",
    "area_interval",
    "area_under",
    "bounded",
    "by_score",
    "class_scores",
    "coded",
    "column",
    "exact_squares",
    "exact_sum",
    "hash64",
    "known_when",
    "log_buckets",
    "mean_of",
    "mean_with_error",
    "merged_scores",
    "moments",
    "natural_log",
    "normal",
    "numbers",
    "on_log",
    "on_logit",
    "quotient",
    "read_scores",
    "rows",
    "same_options",
    "scored",
    "share",
    "skewed",
    "stretched",
    "t_score",
    "variance",
    "wilson_bounds",
    "z_score",
]

State: TypeAlias = Mapping[str, Any]
"""Plain data: str, int, float, lists and dicts of them, and numpy arrays without objects. Bounded; never pickled."""

When: TypeAlias = Literal["answer", "label"]


class Statistic(Protocol):
    """`observe` folds columns to a state, states merge, a state reads as estimates.

    `when` "answer": observed as answers arrive; "label": as targets become known. `observe({})` is the empty state.
    The law (laws.py): `merge(observe(A), observe(B)) == observe(A + B)`, exactly, in any order, empty included.
    """

    name: str

    @property
    def when(self) -> When: ...
    def observe(self, columns: Columns) -> State: ...
    def merge(self, a: State, b: State) -> State: ...
    def read(self, state: State) -> Mapping[str, Estimate]: ...


def known_when(*names: str) -> When:
    """When these columns are known: "label" if one of them waits for its target (target, loss, every `…_loss`)."""
    late = any(name in ("target", "loss") or name.endswith("_loss") for name in names)
    return "label" if late else "answer"


def rows(columns: Columns, name: str) -> np.ndarray:
    """Column `name` as it is, an array with n rows; no columns at all are zero rows.

    Raises StateError when there are columns but not this one.
    """
    if not columns:
        return np.empty(0)
    if name not in columns:
        raise StateError(
            f"there is no column {name!r}; there are {', '.join(sorted(columns)) or 'none'}. "
            f"Name one of these in the statistic's options, or have the task supply {name!r}"
        )
    array = np.asarray(columns[name])
    if array.ndim == 0:
        raise StateError(f"column {name!r} is a single value; a column is an array with one row a record")
    return array


def column(columns: Columns, name: str) -> np.ndarray:
    """Column `name` as a float64 array (n,); what is not a number becomes NaN, which every statistic counts as missing.

    Raises StateError when the column is absent or not one-dimensional.
    """
    array = rows(columns, name)
    if array.ndim != 1:
        raise StateError(f"column {name!r} has shape {array.shape}; a statistic of numbers needs one number a row")
    try:
        return np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        return np.fromiter((_number(value) for value in array.tolist()), np.float64, len(array))


def numbers(columns: Columns, *names: str) -> tuple[np.ndarray, ...]:
    """These columns as float64 arrays of the same length, (n,) each; see `column`.

    Raises StateError when their lengths differ.
    """
    found = tuple(column(columns, name) for name in names)
    if len({len(values) for values in found}) > 1:
        listed, sizes = " and ".join(map(repr, names)), " and ".join(str(len(values)) for values in found)
        raise StateError(f"columns {listed} have {sizes} rows; they must have the same")
    return found


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def log_buckets(values: np.ndarray, bits: int) -> np.ndarray:
    """The log-bucket of every float64: sign, exponent and the leading `bits` of its mantissa, (n,) int64.

    Rises with the value from +0.0; negative values have the same bucket as their size plus 2**(11 + bits); exponent
    2047 holds inf and NaN. A bucket is 2**-bits wide relative to the power of two below it. It is DDSketch's
    linearly interpolated mapping (Masson, Rim and Lee 2019): no logarithm, so every processor gives the same bytes.
    """
    shifted: np.ndarray = np.ascontiguousarray(values, np.float64).view(np.uint64) >> np.uint64(52 - bits)
    return shifted.view(np.int64)


_ODDS_LOW, _ODDS_HIGH = -64, 54  # powers of two of the odds; 1 - p is never below 2**-53


def scored(p: np.ndarray, y: np.ndarray, bits: int, w: np.ndarray | None = None) -> dict[str, Any]:
    """Scores p in [0, 1] and targets y, 0 or 1, (n,) each, counted in 2**bits bins to the octave of p / (1 - p).

    {missing, bins: rising int64 (m,), negative, positive: int64 (m,), or (m, 8) of weights w, see `weighing`}; a bin
    is 2**-bits wide at most on the logit.
    """
    good = (p >= 0) & (p <= 1) & ((y == 0) | (y == 1))
    if w is not None:
        good &= usable(w)
    n = len(p)
    p, y = p[good], y[good]
    with np.errstate(divide="ignore"):
        odds = p / (1 - p)
    low, high = (1023 + _ODDS_LOW) << bits, (1023 + _ODDS_HIGH) << bits
    code = (np.clip(log_buckets(np.abs(odds), bits), low, high) - low) * 2 + (y == 1)
    if w is not None:
        found, at = np.unique(code, return_inverse=True)
        times = weighed(at, w[good], len(found))
    else:
        found, times = _tallied(code)
    place = found >> 1
    new = np.diff(place, prepend=-1) > 0
    both = np.zeros((np.count_nonzero(new), 2, *times.shape[1:]), np.int64)
    both[np.cumsum(new) - 1, found & 1] = times
    return _scores(n - len(p), place[new], both)


def _tallied(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct codes (n,) int64 ≥ 0, rising, and how often each occurs."""
    first, last = (int(codes.min()), int(codes.max())) if len(codes) else (0, 0)
    if last - first > 8 * len(codes):
        ordered = np.sort(codes)
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        return ordered[starts], np.diff(starts, append=len(codes))
    counts = np.bincount(codes - first)
    found = np.flatnonzero(counts)
    return found + first, counts[found]


def merged_scores(a: State, b: State) -> dict[str, Any]:
    """The counts of `scored` in two states, added."""
    bins = np.union1d(a["bins"], b["bins"])
    both = np.zeros((len(bins), 2, *a["negative"].shape[1:]), np.int64)
    for state in (a, b):
        both[np.searchsorted(bins, state["bins"])] += np.stack((state["negative"], state["positive"]), axis=1)
    return _scores(a["missing"] + b["missing"], bins, both)


def _scores(missing: int, bins: np.ndarray, both: np.ndarray) -> dict[str, Any]:
    sides = (carried(side) if side.ndim > 1 else side for side in (both[:, 0], both[:, 1]))
    negative, positive = (np.ascontiguousarray(side) for side in sides)
    return {"missing": int(missing), "bins": bins.astype(np.int64), "negative": negative, "positive": positive}


@dataclass(frozen=True, slots=True)
class Side:
    """One class of `scored` by bin (m,): its weights and their squares, both the count where every row weighs 1.

    `worth`: how many rows of equal weight the class is worth.
    """

    mass: np.ndarray
    squares: np.ndarray
    total: float
    worth: float

    @classmethod
    def of(cls, sums: np.ndarray) -> Side:
        mass, squares = worth(sums)
        total = float(mass.sum())
        return cls(mass, squares, total, total**2 / float(squares.sum()) if total else 0.0)


def area_under(positive: Side, negative: Side) -> tuple[float, float]:
    """The area under the ROC curve and its variance, from the placements of either class (DeLong et al. 1988)."""
    beaten = (
        np.cumsum(negative.mass) - negative.mass / 2
    ) / negative.total  # share of negatives below a positive of each bin
    beats = 1 - (np.cumsum(positive.mass) - positive.mass / 2) / positive.total  # share of positives above a negative
    area = float(positive.mass @ beaten) / positive.total
    spread = 0.0
    for side, place in ((positive, beaten), (negative, beats)):
        more = max(side.worth - 1, 0.0) or math.inf
        spread += float(side.squares @ (place - area) ** 2) / side.total**2 * side.worth / more
    return area, spread


def read_scores(state: State, positive: Side, negative: Side, confidence: float) -> dict[str, Estimate]:
    """`area`, where both classes were seen, `positive` and `missing` of the counts of `scored`; a weighted state has `n`."""
    both = positive.total + negative.total
    rate = both / float(positive.squares.sum() + negative.squares.sum()) if both else 0.0
    seen = state["n"] if "weight" in state else round(both)
    known = positive.total and negative.total
    return {
        "area": area_interval(*area_under(positive, negative), positive.worth, negative.worth, confidence)
        if known else Estimate(),
        "positive": share(positive.total * rate, both * rate, confidence),
        "missing": share(state["missing"], seen + state["missing"], confidence),
    }  # fmt: skip


_LONGEST = 64  # characters of a group's name


def coded(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted names (m,) and each row's place among them (n,); whole numbers are named once each."""
    if groups.dtype.kind not in "iu":
        names, place = np.unique(_texts(groups), return_inverse=True)
        return names, place
    distinct, place = np.unique(groups, return_inverse=True)
    names, order = np.unique(distinct.astype(str), return_inverse=True)
    return names, order[place]


def _texts(groups: np.ndarray) -> np.ndarray:
    """Groups as text (n,), "" for none; long names end in their hash."""
    if groups.dtype.kind in "OfSV":
        values = [None if value is None or value != value else value for value in groups.tolist()]
        groups = np.array(["" if value is None else str(value) for value in values], dtype=str)
    text = groups.astype(str)
    if text.dtype.itemsize <= 4 * _LONGEST:
        return text
    long = np.char.str_len(text) > _LONGEST
    short = text.astype(f"U{_LONGEST}")
    short[long] = [
        f"{name[: _LONGEST - 17]}…{int(code):016x}" for name, code in zip(text[long], hash64(text[long]), strict=True)
    ]
    return short


def same_options(a: State, b: State, *names: str) -> None:
    """Raises StateError when two states were observed with different options, for then they do not add up."""
    for name in names:
        if a[name] != b[name]:
            raise StateError(
                f"two states with {name} {a[name]!r} and {b[name]!r} cannot be merged; "
                f"observe both with the same options, or keep them apart"
            )


def moments(x: np.ndarray, w: np.ndarray | None = None) -> list[Exact]:
    """Exact Σw, Σw², Σwx, Σw²x and Σw²x² (products rounded), for `mean_of`; x and w (n,) finite, w 1 if None."""
    if w is None:
        n, total = add((len(x), 0), (0, 0)), exact_sum(x)
        return [n, n, total, total, exact_sum(x * x)]
    v = w * w
    return [exact_sum(part) for part in (w, v, w * x, v * x, v * (x * x))]


def mean_of(sums: Sequence[Exact], n: int, confidence: float) -> Estimate:
    """Σwx / Σw of n rows, its interval from Σw² (x - mean)²; of no weight nothing, of one row no interval.

    Weighted rows are worth (Σw)² / Σw² equal ones (Kish 1965), which sets the degrees of freedom.
    """
    w, v = (fraction(part) for part in sums[:2])
    if not w:
        return Estimate()
    return normal(*mean_with_error(sums), n, confidence, float(w * w / v) if v else math.nan)


def mean_with_error(sums: Sequence[Exact]) -> tuple[float, float]:
    """The mean of `moments` with a weight above 0 and its standard error, NaN of what is worth one row."""
    w, v, wx, vx, vxx = map(fraction, sums)
    mean, worth = wx / w, w * w / v if v else Fraction(0)  # squares of tiny weights are 0
    spread = max(vxx - 2 * mean * vx + mean * mean * v, Fraction(0))
    return float(mean), math.sqrt(spread / w**2 * worth / (worth - 1)) if worth > 1 else math.nan
