"""Slices by one or two predicates, such as `lang=en` or `lang=en&plan=pro`, a bounded number of them.

Which are watched depends on the rows seen, not on their order or on how they were cut: the reference's most frequent
come first, all others by the hash of their name. So parts that saw a shard each agree with one that saw everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from luthier.statistics.base import hash64

__all__ = ["MOST", "Watched", "kept", "named", "pinned", "rows_in"]

MOST = 100  # slices of one tag or pair that are watched on their own
_TEXT = 64  # characters of a value
Columns: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Watched:
    """The slices of one option (`lang`, `lang&plan`): those `pinned` by the reference, and those seen beside them."""

    pinned: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def all(self) -> frozenset[str]:
        return frozenset((*self.pinned, *self.others))


@dataclass(frozen=True, slots=True)
class _Named:
    """The slice of every row: `names` (m,), "" for none, and `place` (n,) among them."""

    names: np.ndarray
    place: np.ndarray = field(repr=False)


def named(columns: Columns, option: str, *, quoted: bool) -> _Named | None:
    """The slice of every row by `option`; None where a column is absent. A row without a value is in no slice."""
    parts = [_one(columns, tag, quoted) for tag in option.split("&")]
    if any(part is None for part in parts):
        return None
    first, *second = [part for part in parts if part is not None]
    if not second:
        return first
    pairs, place = np.unique(first.place * len(second[0].names) + second[0].place, return_inverse=True)
    a, b = (part.names[index] for part, index in zip(parts, np.divmod(pairs, len(second[0].names)), strict=True))  # type: ignore[union-attr]
    both = np.char.add(np.char.add(a, "&"), b)
    return _Named(np.where((a == "") | (b == ""), "", both), place.reshape(-1))


def pinned(columns: Columns, option: str, *, quoted: bool) -> Watched:
    """The reference's most frequent slices, which are watched whatever else comes."""
    found = named(columns, option, quoted=quoted)
    if found is None:
        return Watched()
    times = np.bincount(found.place, minlength=len(found.names))
    order = np.lexsort((found.names, -times))
    return Watched(tuple(str(found.names[i]) for i in order if found.names[i])[:MOST])


def kept(watched: Watched, names: Sequence[str] | np.ndarray) -> Watched:
    """What is watched once these slices were seen too."""
    fresh = np.setdiff1d(np.asarray(names, dtype=str), np.array(["", *watched.pinned]))
    free = MOST - len(watched.pinned)
    if len(fresh) > 0:
        fresh = np.union1d(fresh, np.array(watched.others, dtype=str))
        fresh = fresh[np.lexsort((fresh, hash64(fresh)))[:free]]
        return Watched(watched.pinned, tuple(sorted(fresh.tolist())))
    return watched


def rows_in(found: _Named, watched: Watched) -> list[tuple[str, np.ndarray]]:
    """The watched slices among the rows, by name, and which rows (n,) are in each."""
    wanted = np.flatnonzero(np.isin(found.names, np.array(sorted(watched.all), dtype=str)))
    return sorted((str(found.names[i]), found.place == i) for i in wanted.tolist() if found.names[i])


def _one(columns: Columns, tag: str, quoted: bool) -> _Named | None:
    values = columns.get(f"tag:{tag}", columns.get(tag))
    if values is None:
        return None
    array = np.asarray(values)
    if array.dtype.kind == "O":
        array = np.array(["" if one is None else str(one)[:_TEXT] for one in array.tolist()], dtype=f"U{_TEXT}")
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
