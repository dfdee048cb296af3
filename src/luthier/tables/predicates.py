"""Slices by one or two predicates, such as `lang=en` or `lang=en&plan=pro`, a bounded number of them.

Which are watched depends on the rows seen, not on their order or on how they were cut: the reference's most frequent
come first, all others by the hash of their name. So parts that saw a shard each agree with one that saw everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError, among, misspelt
from luthier.options import MonitorOptions
from luthier.statistics.base import hash64

__all__ = ["MOST", "Slices", "group_of"]

MOST = 100  # slices of one tag or pair that are watched on their own
_TEXT = 64  # characters of a value
Columns: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Slices:
    """The watched slices of every option (`lang`, `lang&plan`): `pinned` by the reference, and `others` seen since."""

    pinned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Sequence[str], reference: Columns, names: Mapping[str, Any] | None = None) -> Slices:
        """Those of the reference, which are watched whatever else comes: its most frequent, `MOST` an option.

        `names`: our column names to those of the user's table. Raises StateError for what no row can ever be in, and for a
        column that the reference lacks while it has one of nearly that name; any other may still come, see `said`.
        """
        pinned = {}
        for option in options:
            _possible(option, options, reference, names or {})
            found = _named(reference, option, _quoted(options))
            pinned[option] = () if found is None else found.most_frequent()
        return cls(pinned, dict.fromkeys(options, ()))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for held in (self.pinned, self.others) for part in held.values() for name in part)

    @property
    def said(self) -> str:
        """In words, which options no row has had a value of yet: they may be misspelt."""
        waiting = [name for name in self.pinned if not self.pinned[name] and not self.others[name]]
        return "".join(f"; slices {name!r} not watched yet: no row has had a value of it" for name in waiting)

    def known(self, name: str, kept: Iterable[Iterable[str]] = ()) -> None:
        """Raise StateError for a slice that is neither watched nor in a part of `kept`, unless it may be one without rows so far: of a
        tag that nothing had a value of yet, or a pair of two known values.
        """
        if not name or name in self.names or name in (known := self.names.union(*kept) - {""}):
            return
        parts = _parts(str(name), _quoted(self.pinned))
        option = "&".join(part.partition("=")[0] for part in parts)
        alike = [other for other in known if other.startswith(f"{parts[0].partition('=')[0]}=")]
        values = {part for other in alike for part in _parts(other, True)}
        if option in self.pinned and (not alike or (len(parts) > 1 and values.issuperset(parts))):
            return
        if not known:
            there = ", ".join(map(repr, self.pinned)) or "none"
            raise StateError(
                f"there is no slice {name!r}: MonitorOptions(slices=…) names {there}, of which nothing was seen yet"
            )
        raise StateError(f"there is no slice {name!r}: {among(str(name), known)}")

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


def group_of(name: str, reference: Columns) -> str:
    """The column of the reference whose groups are compared; "" where it has none under the usual name.

    Raises StateError for another name that it lacks: a group is compared only if the reference has it.
    """
    if name in reference or name == MonitorOptions().group:
        return name if name in reference else ""
    raise StateError(
        f"group is {name!r}, and the reference has no such column: {among(name, reference)}. Name one of them in "
        f"MonitorOptions(group=…), or give the reference that column"
    )


def _possible(option: str, options: Sequence[str], reference: Columns, names: Mapping[str, Any]) -> None:
    tags = option.split("&")
    if len(tags) > 2 or not all(tags) or len({*tags}) < len(tags):
        raise StateError(f"slices: {option!r} must name one column, or two different ones as 'lang&plan'")
    for tag in tags:
        values = reference.get(f"tag:{tag}", reference.get(tag))
        if values is not None and np.ndim(values) != 1:
            raise StateError(
                f"slices: column {tag!r} holds {np.shape(values)[1]} numbers a row; slices are of columns with one value a row"
            )
        if values is not None:
            continue
        ours = next((ours for ours, theirs in names.items() if theirs == tag), "")
        if ours:
            raise StateError(f"slices: column {tag!r} is read as {ours!r}: slice by that name")
        named = {one for other in options for one in other.split("&")}
        if misspelt(tag, free := [one for one in reference if one.removeprefix("tag:") not in named]):
            raise StateError(
                f"slices: the reference has no column {tag!r}; {among(tag, free)}. If {tag!r} only comes later, give the "
                f"reference that column with None in every row"
            )


def _parts(name: str, quoted: bool) -> list[str]:
    """The predicates of a slice's name; only where pairs are watched is a & never part of a value."""
    return name.split("&") if quoted else [name]


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
