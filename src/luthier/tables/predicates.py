"""Slices by one or two predicates, such as `lang=en` or `lang=en&plan=pro`, a bounded number of them.

Which are watched depends on the rows seen, not on their order or on how they were cut: the reference's most frequent
come first, all others by the hash of their name. So parts that saw a shard each agree with one that saw everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from luthier.statistics.base import hash64

__all__ = ["MOST", "Slices"]

MOST = 100  # slices of one tag or pair that are watched on their own
_TEXT = 64  # characters of a value
Columns: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Slices:
    """The watched slices of every option (`lang`, `lang&plan`): `pinned` by the reference, and `others` seen since."""

    pinned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Sequence[str], reference: Columns) -> Slices:
        """Those of the reference, which are watched whatever else comes: its most frequent, `MOST` an option."""
        pinned = {}
        for option in options:
            found = _named(reference, option, _quoted(options))
            pinned[option] = () if found is None else found.most_frequent()
        return cls(pinned, dict.fromkeys(options, ()))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for held in (self.pinned, self.others) for part in held.values() for name in part)

    def seen(self, columns: Columns) -> tuple[Slices, list[tuple[str, np.ndarray]]]:
        """What is watched once these rows were seen too, and the numbers of the rows in each watched slice, rising."""
        others, rows = dict(self.others), list[tuple[str, np.ndarray]]()
        for option in self.pinned:
            found = _named(columns, option, _quoted(self.pinned))
            if found is not None:
                others[option] = self._kept(option, found.names)
                rows += found.rows_in((*self.pinned[option], *others[option]))
        return Slices(self.pinned, others), rows

    def beside(self, others: Mapping[str, Sequence[str]]) -> Slices:
        """What is watched where others of the same reference were seen elsewhere too."""
        return Slices(self.pinned, {one: self._kept(one, others.get(one, ())) for one in self.pinned})

    def rows(self, reference: Columns) -> dict[str, np.ndarray]:
        """The numbers of the reference's rows in every slice that it pins."""
        found = {option: _named(reference, option, _quoted(self.pinned)) for option in self.pinned}
        return {
            name: rows for option, one in found.items() if one is not None for name, rows in one.rows_in(self.pinned[option])
        }  # fmt: skip

    def _kept(self, option: str, names: Sequence[str] | np.ndarray) -> tuple[str, ...]:
        """Bottom-k by hash: a slice that stays was among the k all along, so none of its rows was passed over."""
        known = ["", *self.pinned[option]]
        near = np.setdiff1d(_nearest(np.asarray(names, dtype=str), MOST + len(known)), np.array(known))
        fresh = np.union1d(near, np.array(self.others[option], dtype=str))
        order = np.lexsort((fresh, hash64(fresh)))[: MOST - len(self.pinned[option])]
        return tuple(sorted(fresh[order].tolist()))


@dataclass(frozen=True, slots=True)
class _Named:
    """The slice of every row: different `names` (m,), "" for none, and `place` (n,) among them."""

    names: np.ndarray
    place: np.ndarray

    def most_frequent(self) -> tuple[str, ...]:
        times = np.bincount(self.place, minlength=len(self.names))
        order = np.lexsort((self.names, -times))
        return tuple(str(self.names[i]) for i in order if self.names[i])[:MOST]

    def rows_in(self, watched: Sequence[str]) -> list[tuple[str, np.ndarray]]:
        chosen = np.unique(np.array([name for name in watched if name], dtype=str))
        at = self._among(chosen)
        code = np.full(len(self.names), -1)
        code[at] = np.searchsorted(chosen, self.names[at])
        slices = code[self.place]
        rows = np.flatnonzero(slices >= 0)
        order = np.argsort(slices[rows], kind="stable")
        ends = np.cumsum(np.bincount(slices[rows], minlength=len(chosen)))
        parts = np.split(rows[order], ends[:-1])
        return [(name, part) for name, part in zip(chosen.tolist(), parts, strict=False) if len(part)]

    def _among(self, chosen: np.ndarray) -> np.ndarray:
        """Where the chosen names stand, by their hashes first: millions of names are compared as numbers."""
        ranks = np.sort(hash64(chosen))
        if not len(ranks):
            return np.zeros(0, np.int64)
        here = hash64(self.names)
        near = np.flatnonzero(ranks[np.minimum(np.searchsorted(ranks, here), len(ranks) - 1)] == here)
        return near[np.isin(self.names[near], chosen)]


def _nearest(names: np.ndarray, k: int) -> np.ndarray:
    """The k names with the smallest hashes, and those that tie with the last."""
    if len(names) <= k:
        return names
    ranks = hash64(names)
    nearest: np.ndarray = names[ranks <= np.partition(ranks, k - 1)[k - 1]]
    return nearest


def _quoted(options: Iterable[str]) -> bool:
    return any("&" in option for option in options)


def _named(columns: Columns, option: str, quoted: bool) -> _Named | None:
    """The slice of every row by `option`; None where a column is absent. A row without a value is in no slice."""
    parts = [part for tag in option.split("&") if (part := _one(columns, tag, quoted)) is not None]
    if len(parts) < 1 + option.count("&"):
        return None
    if len(parts) == 1:
        return parts[0]
    first, second = parts
    pairs, place = np.unique(first.place * len(second.names) + second.place, return_inverse=True)
    left, right = np.divmod(pairs, max(len(second.names), 1))
    a, b = first.names[left], second.names[right]
    both = np.where((a == "") | (b == ""), "", np.char.add(np.char.add(a, "&"), b))
    return _Named(both, place.reshape(-1))


def _one(columns: Columns, tag: str, quoted: bool) -> _Named | None:
    values = columns.get(f"tag:{tag}", columns.get(tag))
    if values is None:
        return None
    array = np.asarray(values)
    if array.dtype.kind == "O":
        array = np.array(["" if one is None else str(one)[:_TEXT] for one in array.tolist()], dtype=f"U{_TEXT}")
    elif array.dtype.kind == "U" and array.dtype.itemsize > 4 * _TEXT:
        array = array.astype(f"U{_TEXT}")
    distinct, place = np.unique(array, return_inverse=True)
    text = [_text(one, quoted) for one in distinct.tolist()]
    names = np.array([f"{tag}={one}" if one else "" for one in text], dtype=str)
    return _Named(names, place.reshape(-1))


def _text(value: Any, quoted: bool) -> str:
    """A value in a slice's name; where pairs are watched, % and & are written %25 and %26."""
    if value is None or value != value:
        return ""
    text = str(value)[:_TEXT]
    return text.replace("%", "%25").replace("&", "%26") if quoted else text
