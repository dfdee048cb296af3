"""Rows of many shards as one stream in order of (event time, id), a bounded part of each shard in hand at a time."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError
from luthier.tables import first_wrong, times
from luthier.tables.tabular import rows_of

__all__ = ["ids_of", "in_order", "repeated"]

_Columns: TypeAlias = dict[str, np.ndarray]


def ids_of(values: Any) -> list[str]:
    """Ids as text; a whole number is the same in every type. Raises StateError when one is missing."""
    array = np.asarray(values) if not isinstance(values, list | tuple) else values
    found = array.tolist() if isinstance(array, np.ndarray) else list(array)
    several = np.array([isinstance(one, list | tuple | dict | np.ndarray) for one in found], bool)
    first_wrong("id", several, found, "have several values", "An id is one text or number a row")
    gone = np.array([one is None or one != one or one in ("", np.inf, -np.inf) for one in found], bool)
    first_wrong("id", gone, found, "have no id", "Give each row one of its own")
    return [str(int(one)) if isinstance(one, float) and one == int(one) else str(one) for one in found]


def repeated(ids: Sequence[str], known: Container[str]) -> np.ndarray:
    """Which ids (n,) are known already, or came earlier among these."""
    seen: set[str] = set()
    again = np.zeros(len(ids), bool)
    for row, name in enumerate(ids):
        again[row] = name in seen or name in known
        seen.add(name)
    return again


def in_order(shards: Sequence[Iterable[_Columns]]) -> Iterator[_Columns]:
    """The rows of all shards by event time `at`, at equal times by `id` as text; windows of whole parts' size.

    A shard is an iterable of parts whose times rise from part to part; rows within a part may stand in any order.
    Raises StateError that names the shard where times fall from part to part, and where two rows share time and id.
    """
    names: set[str] = set()
    streams = [_sorted(number, iter(parts), names) for number, parts in enumerate(shards)]
    heads = [next(stream, None) for stream in streams]
    last: tuple[float, str] | None = None
    while any(head is not None for head in heads):
        end = min(_key(head, -1) for head in heads if head is not None)
        window: list[_Columns] = []
        for number, head in enumerate(heads):
            if head is None:
                continue
            count = _upto(head, end)
            if count:
                window.append({name: values[:count] for name, values in head.items()})
            rest = {name: values[count:] for name, values in head.items()}
            heads[number] = rest if rows_of(rest) else next(streams[number], None)
        rows = _by_key(_joined(window))
        _once(rows, last)
        last = _key(rows, -1)
        yield rows


def _sorted(number: int, parts: Iterator[_Columns], names: set[str]) -> Iterator[_Columns]:
    """The parts of one shard, each in order; `names`: the columns of the first part of all."""
    before: tuple[float, str] | None = None
    for part in parts:
        n = rows_of(part)
        if not n:
            continue
        if not {"at", "id"} <= part.keys():
            raise StateError(
                f"shard {number} has no column {'at' if 'at' not in part else 'id'!r}: rows of shards are put in order of "
                f"event time and id. Name yours with columns={{'id': …, 'at': …}}"
            )
        if odd := sorted(part.keys() ^ (names or part.keys())):
            raise StateError(
                f"shard {number} and those before differ in the columns {odd}; give every shard the same columns"
            )
        names.update(part)
        keyed = {**part, "at": times(part["at"], n), "id": np.array(ids_of(part["id"]), dtype=str)}
        rows = _by_key(keyed)
        if before is not None and _key(rows, 0) <= before:
            raise StateError(
                f"shard {number}: a part begins at {_said(_key(rows, 0))}, not after the end of the part before, "
                f"{_said(before)}. Sort the shard by event time and id, or hand it over as one table, which is sorted here"
            )
        before = _key(rows, -1)
        yield rows


def _by_key(rows: _Columns) -> _Columns:
    order = np.lexsort((rows["id"], rows["at"]))
    return {name: values[order] for name, values in rows.items()}


def _key(rows: Mapping[str, np.ndarray], row: int) -> tuple[float, str]:
    return float(rows["at"][row]), str(rows["id"][row])


def _upto(rows: Mapping[str, np.ndarray], end: tuple[float, str]) -> int:
    """How many rows do not come after `end`."""
    first = int(np.searchsorted(rows["at"], end[0], side="left"))
    same = int(np.searchsorted(rows["at"], end[0], side="right"))
    return first + int(np.searchsorted(rows["id"][first:same], end[1], side="right"))


def _joined(parts: Sequence[_Columns]) -> _Columns:
    joined: _Columns = {}
    for name in parts[0]:
        pieces = [part[name] for part in parts]
        if any(piece.dtype.kind == "O" for piece in pieces):
            pieces = [piece.astype(object) for piece in pieces]
        joined[name] = np.concatenate(pieces)
    return joined


def _once(rows: _Columns, last: tuple[float, str] | None) -> None:
    again = np.zeros(len(rows["at"]), bool)
    again[1:] = (rows["at"][1:] == rows["at"][:-1]) & (rows["id"][1:] == rows["id"][:-1])
    again[:1] = last is not None and _key(rows, 0) == last
    first_wrong("id", again, rows["id"], "are there twice, in one shard or in two", "Give each row to one shard, once")


def _said(key: tuple[float, str]) -> str:
    return f"({key[0]:.6f}, {key[1]!r})"
