"""How often each category of a column was seen: exact and bounded, all beyond the bound in an exact "other"."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import State, When, hash64, known_when, rows, same_options, share, z_score
from luthier.sums.heavy import heavy, narrowed, shortened, sketch
from luthier.types import Columns, Estimate

__all__ = ["Counts", "table"]

_CHUNK = 1 << 18  # rows whose categories are held at once, however many there are
_LONGEST = 64  # characters of a category's name; longer ones end in their hash


@register("statistic", "counts.v1")
@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the categories (integers, bools or text) of `column`.

    Up to `limit` distinct categories every count is exact. Beyond, a category is kept when it is in `known` (say, the
    heavy ones of the reference), then by the smallest hash: that rule alone lets parts merge to the whole exactly,
    since a category that was dropped anywhere is dropped everywhere; all others are one exact count, "other".
    `missing`: None, NaN and the integers in `missing`. Reads `share[…]` of the `shown` most frequent, `other` and
    `missing` (Wilson), and `distinct` (exact, or beyond `limit` the KMV estimate of Bar-Yossef et al. 2002: the k-th smallest hash
    is a gamma variable, whose quantiles are Wilson and Hilferty's, 1931).
    """

    name: ClassVar[str]
    column: str = "predicted"
    limit: int = 4096
    known: tuple[str, ...] = ()
    missing: tuple[int, ...] = (-1,)
    shown: int = 20
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.limit < 16 or len(self.known) > self.limit // 2:
            raise ValueError(
                f"limit is {self.limit} with {len(self.known)} known categories; "
                f"it must be at least 16 and twice the number of known ones"
            )

    @property
    def when(self) -> When:
        return known_when(self.column)

    def observe(self, columns: Columns) -> State:
        """{limit, known, n, missing, other, names: sorted text (m,), counts: int64 (m,)}, m ≤ limit."""
        values = rows(columns, self.column)
        if values.ndim != 1:
            raise StateError(f"column {self.column!r} has shape {values.shape}; counts need one category a row")
        state = self._part(values[:_CHUNK])
        for start in range(_CHUNK, len(values), _CHUNK):
            state = self.merge(state, self._part(values[start : start + _CHUNK]))
        return state

    def _part(self, values: np.ndarray) -> State:
        if values.dtype.kind == "U":
            return self.of(Counter(values.tolist()))
        if values.dtype.kind not in "iu":
            return self._state(*self._counted(values))
        return self._tallied(*self._integers(values))

    def _tallied(self, names: np.ndarray, times: np.ndarray, missing: int) -> State:
        """The state of text `names` (m,) that were seen `times` (m,) each."""
        kept = self._near(names)
        found = dict(zip(names[kept].tolist(), times[kept].tolist(), strict=True))
        return self._state(found, missing, int(times[~kept].sum()), self._lost(names[~kept], times[~kept]))

    def _lost(self, names: np.ndarray, times: np.ndarray) -> np.ndarray | None:
        """What is kept of categories that are dropped, beside how many rows they have; sums of these are sums of those."""
        return None

    def _integers(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Names and counts of the categories of integers, (m,) each, and how many rows have none."""
        distinct, times = np.unique(values, return_counts=True)
        absent = np.isin(distinct, list(self.missing))
        return distinct[~absent].astype(str), times[~absent], int(times[absent].sum())

    def _near(self, names: np.ndarray) -> np.ndarray:
        """Whether each name may be kept: known, or among the `limit` smallest hashes."""
        if len(names) <= self.limit:
            return np.ones(len(names), bool)
        ranks = hash64(names)
        near: np.ndarray = ranks <= np.partition(ranks, self.limit - 1)[self.limit - 1]
        return near | np.isin(names, list(self.known))

    def of(self, found: Mapping[Any, int], missing: int = 0) -> State:
        """The state of rows that were counted elsewhere: category to count, and rows without one."""
        if len(found) > self.limit and (names := _as_texts(found)) is not None:
            return self._tallied(names, np.fromiter(found.values(), np.int64, len(found)), missing)
        named: Counter[str] = Counter()
        for value, times_seen in found.items():
            named[_named(value)] += times_seen
        return self._state(named, missing, 0)

    def merge(self, a: State, b: State) -> State:
        for state in (a, b):
            same_options(state, {"limit": self.limit, "known": list(self.known)}, "limit", "known")
        found = Counter(table(a))
        found.update(table(b))
        return self._state(
            found, a["missing"] + b["missing"], a["other"] + b["other"], _joined(*(s.get("lost") for s in (a, b)))
        )

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        found = {
            "distinct": self._distinct(state),
            "other": share(state["other"], n, self.confidence),
            "missing": share(state["missing"], n + state["missing"], self.confidence),
        }
        top = sorted(table(state).items(), key=lambda item: (-item[1], item[0]))[: self.shown]
        return found | {f"share[{name}]": share(count, n, self.confidence) for name, count in top}

    def _counted(self, values: np.ndarray) -> tuple[dict[str, int], int]:
        """Counts by name, and how many rows have no category."""
        pairs = Counter(_hashable(value) for value in values.tolist())
        found: Counter[str] = Counter()
        missing = 0
        for value, times_seen in pairs.items():
            if value is None or value != value or (not isinstance(value, bool) and value in self.missing):
                missing += times_seen
            else:
                found[_named(value)] += times_seen
        return found, missing

    def _state(
        self, found: Mapping[str, int], missing: int, other: int = 0, lost: np.ndarray | None = None
    ) -> dict[str, Any]:
        names = list(found)
        if len(names) > self.limit:
            names = self._kept(names)
            dropped = found.keys() - set(names)
            times = np.array([found[name] for name in dropped], np.int64)
            other += int(times.sum())
            lost = _joined(lost, self._lost(np.array(list(dropped)), times))
        names.sort()
        counts = np.array([found[name] for name in names], dtype=np.int64)
        return {
            "limit": self.limit, "known": list(self.known), "n": int(counts.sum()) + other, "missing": missing,
            "other": other, "names": np.array(names, dtype=str) if names else np.zeros(0, "U1"), "counts": counts,
        }  | ({} if lost is None else {"lost": lost})  # fmt: skip

    def _kept(self, names: list[str]) -> list[str]:
        """The known names and, of the others, those with the smallest hash: `limit` in all."""
        known = set(self.known)
        kept, others = [name for name in names if name in known], [name for name in names if name not in known]
        room = self.limit - len(kept)
        ranks = hash64(np.array(others))
        near = np.flatnonzero(ranks <= np.partition(ranks, room - 1)[room - 1])  # equal hashes are settled by name
        return kept + [others[i] for i in sorted(near.tolist(), key=lambda i: (ranks[i], others[i]))[:room]]

    def _distinct(self, state: State) -> Estimate:
        n, names = state["n"], state["names"]
        if n == 0:
            return Estimate()
        if not state["other"]:
            return Estimate(len(names), n, len(names), len(names))
        drawn = names[~np.isin(names, list(self.known))]  # the smallest hashes of all unknown categories
        k = len(drawn)
        reached = (int(hash64(drawn).max()) + 1) / 2.0**64  # of all hashes
        value = (k - 1) / reached
        z, third = z_score(self.confidence), (1 - reached) / (9 * k)
        ends = [value * k / (k - 1) * (1 - third + side * math.sqrt(third)) ** 3 for side in (-z, z)]
        least = len(names) + 1.0  # those kept, and one at least was dropped
        low, value, high = (max(one + len(names) - k, least) for one in (ends[0], value, ends[1]))
        return Estimate(value, n, low, high)


@register("statistic", "counts.v2")
@dataclass(frozen=True, slots=True)
class HeavyCounts(Counts):
    """counts.v1 that also names every category with a share of 1 / `heavy` or more, however many categories there are.

    Beyond `limit` a frequent category that was dropped is spelled from sums (`luthier.sums.heavy`), in a state that is at
    most 2.8 MB with the default `heavy`; missed are fewer than one in 1,000. Its `share[…]` is within one part in ten
    of 1 / `heavy` of the truth and its interval knows the error; categories that were kept, and "other", are exact.
    A dropped category's name is cut at 24 bytes of UTF-8 and ends in its hash then.
    """

    name: ClassVar[str]
    limit: int = 1024
    heavy: int = 32

    def __post_init__(self) -> None:
        Counts.__post_init__(self)
        if not 2 <= self.heavy <= 256:
            raise ValueError(f"heavy is {self.heavy}; it must lie in [2, 256], as the state grows with it")

    def _lost(self, names: np.ndarray, times: np.ndarray) -> np.ndarray | None:
        return narrowed(sketch(names, times, 4 * self.heavy)) if len(names) else None

    def merge(self, a: State, b: State) -> State:
        for state in (a, b):
            width = state["lost"].shape[1] if "lost" in state else 4 * self.heavy
            same_options({"heavy": width // 4}, {"heavy": self.heavy}, "heavy")
        return Counts.merge(self, a, b)

    def read(self, state: State) -> dict[str, Estimate]:
        found, n = Counts.read(self, state), state["n"]
        if "lost" not in state:
            return found
        least = 0.9 * n / self.heavy
        dropped = {one.name: one for one in heavy(state["lost"], least)}
        exact = {name: times for name, times in table(state).items() if shortened(name) not in dropped}
        rows = exact | {name: one.rows for name, one in dropped.items()}
        shares = {}
        shown = max(self.shown, sum(times >= least for times in rows.values()))
        for name in sorted(rows, key=lambda name: (-rows[name], name))[:shown]:
            one = dropped.get(name)
            low, high = (one.low, one.high) if one else (rows[name], rows[name])
            ends = (share(k, n, self.confidence) for k in (low, high))
            shares[f"share[{name}]"] = Estimate(rows[name] / n, n, next(ends).low, next(ends).high)
        return {key: one for key, one in found.items() if not key.startswith("share[")} | shares


def _joined(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    if a is None or b is None:
        return b if a is None else a
    return narrowed(a.astype(np.int64) + b)


def table(state: State) -> dict[str, int]:
    """The exact count of every kept category, by name."""
    return dict(zip(state["names"].tolist(), state["counts"].tolist(), strict=True))


def _as_texts(values: Iterable[Any]) -> np.ndarray | None:
    """All values by name at once, (m,) text, where each is a short text or a whole number; else None."""
    try:
        kinds, found = set(map(type, values)), list(values)
        if kinds == {int}:
            return np.array(found, np.int64).astype(str)
        names = np.array(found) if kinds == {str} and "\x00" not in "".join(found) else None
    except OverflowError:
        return None
    return names if names is not None and names.dtype.itemsize <= 4 * _LONGEST else None


def _hashable(value: Any) -> Any:
    """The value if it can be a key; True is a text, for as a key it would be 1."""
    plain = value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))
    return value if plain else str(value)


def _named(value: Any) -> str:
    """The category's name: bounded, and without NUL characters, which numpy drops at the end of a text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = str(value).replace("\x00", "␀")
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 17]}…{int(hash64(np.array([name]))[0]):016x}"
