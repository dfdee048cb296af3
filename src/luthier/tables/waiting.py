"""Answers that wait for their label: found by id, in any order, as many as are bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from luthier.tables import objects

__all__ = ["Waiting"]


class Waiting:
    """The newest `most` answers without a label; rows stay in the blocks in which they came until few of them wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places: OrderedDict[str, tuple[int, int]] = OrderedDict()  # id to block and row
        self._blocks: dict[int, dict[str, np.ndarray]] = {}
        self._next = 0
        self._held = 0  # rows in all blocks

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._places

    def add(self, ids: Sequence[str], columns: Mapping[str, np.ndarray]) -> None:
        """One answer a row; the oldest are forgotten beyond `most`."""
        block, self._next = self._next, self._next + 1
        self._blocks[block] = {name: np.array(values) for name, values in columns.items()}
        self._held += len(ids)
        self._places.update(zip(ids, ((block, row) for row in range(len(ids))), strict=True))
        while len(self._places) > self._most:
            self._places.popitem(last=False)
        self._compact()

    def rows(self, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """The columns of these answers, in this order; what some came without is missing in them."""
        places = np.array([self._places[name] for name in ids], np.int64).reshape(-1, 2)
        blocks, back = np.unique(places[:, 0], return_inverse=True)
        parts = [self._blocks[block] for block in blocks.tolist()]
        names = dict.fromkeys(name for part in parts for name in part)
        chosen = [(np.flatnonzero(back == i), places[back == i, 1]) for i in range(len(blocks))]
        return {name: _gathered([part.get(name) for part in parts], chosen, len(places)) for name in names}

    def drop(self, ids: Iterable[str]) -> None:
        for name in ids:
            self._places.pop(name, None)
        self._compact()

    def newest(self, most: int) -> list[str]:
        """Ids of the newest answers by their column `at`, newest first; at equal times the last to come first."""
        return self._by_time(list(self._places))[: -most - 1 : -1]

    def _by_time(self, ids: list[str]) -> list[str]:
        at = self.rows(ids)["at"] if ids else np.zeros(0)
        return [ids[row] for row in np.argsort(at, kind="stable").tolist()]

    def plain(self) -> dict[str, Any]:
        """Plain data for `load`: by event time and id, the same whatever the order in which the answers came."""
        ids = self._by_time(sorted(self._places))
        columns = {
            name: values.tolist() if values.dtype.kind == "O" else values for name, values in self.rows(ids).items()
        }
        return {"ids": ids, "columns": {name: _lists(values) for name, values in columns.items()}}

    def load(self, plain: Mapping[str, Any]) -> None:
        """Add the answers of which `plain` was called."""
        if plain["ids"]:
            read = {name: objects(v) if isinstance(v, list) else v for name, v in plain["columns"].items()}
            self.add(plain["ids"], read)

    def _compact(self) -> None:
        """Few rows of many blocks may wait: copy those that do, so that memory follows their number."""
        if self._held <= 2 * len(self._places) + 100_000:
            return
        ids = list(self._places)
        columns = self.rows(ids) if ids else {}
        self._blocks, self._places, self._held = {}, OrderedDict(), 0
        if ids:
            self.add(ids, columns)


def _gathered(
    parts: Sequence[np.ndarray | None], chosen: Sequence[tuple[np.ndarray, np.ndarray]], n: int
) -> np.ndarray:
    there = [part for part in parts if part is not None]
    plain = len(there) == len(parts) and len({part.shape[1:] for part in there}) == 1
    kinds = {part.dtype.kind for part in there}
    if plain and (len(kinds) == 1 or kinds <= set("biuf")):
        out = np.empty((n, *there[0].shape[1:]), np.result_type(*{part.dtype for part in there}))
    elif all(part.ndim == 1 and part.dtype.kind in "iuf" for part in there):
        out = np.full(n, np.nan)
    else:
        out = np.empty(n, object)
    for part, (to, rows) in zip(parts, chosen, strict=True):
        if part is not None:
            values = part[rows]
            out[to] = objects(list(values)) if out.dtype.kind == "O" and values.dtype.kind != "O" else values
    return out


def _lists(values: Any) -> Any:
    """Rows of an object column as plain lists and numbers."""
    if not isinstance(values, list):
        return values
    return [_plain(one) for one in values]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
