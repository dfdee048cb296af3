"""A uniform sample of rows that is the same however the rows were divided: those with the smallest hash of their id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import (
    State,
    When,
    exact_squares,
    exact_sum,
    hash64,
    known_when,
    normal,
    quotient,
    rows,
    same_options,
    variance,
)
from luthier.types import Columns, Estimate

__all__ = ["Sample"]

_LONGEST = 256  # characters of a text that are kept


@register("statistic", "sample.v1")
@dataclass(frozen=True, slots=True)
class Sample:
    """The `size` rows with the smallest 64-bit hash of `id` (and `salt`), with their `columns`.

    Bottom-k sampling (Cohen and Kaplan 2007): without replacement, uniform over ids. Numbers are kept as float64,
    vectors (n, d) as float32, text up to 256 characters. The same id twice is two rows. Reads `mean[…]` of every
    column of numbers (normal interval; NaN and infinities left out) and `kept`, the size of the sample.
    """

    name: ClassVar[str]
    columns: tuple[str, ...] = ("confidence",)
    id: str = "id"
    size: int = 1000
    salt: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 1_000_000:
            raise ValueError(f"size is {self.size!r}; it must lie in [1, 1000000]")
        if self.id in self.columns:
            raise ValueError(f"columns hold the id {self.id!r}, which is kept anyway; leave it out")

    @property
    def when(self) -> When:
        return known_when(*self.columns)

    def observe(self, columns: Columns) -> State:
        """{size, salt, n: rows seen, hashes: rising uint64 (m,), rows: {id, columns…: (m, …)}}, m ≤ size."""
        ids = rows(columns, self.id)
        table = {name: rows(columns, name) for name in self.columns}
        for name, values in table.items():
            if len(values) != len(ids):
                raise StateError(f"columns {self.id!r} and {name!r} have {len(ids)} and {len(values)} rows")
        if ids.dtype.kind not in "biuU":
            ids = ids.astype(str)
        hashes = hash64(ids, self.salt)
        if len(ids) > self.size:  # ties at the cut are kept here and settled below
            near = np.flatnonzero(hashes <= np.partition(hashes, self.size - 1)[self.size - 1])
            hashes, ids = hashes[near], ids[near]
            table = {name: values[near] for name, values in table.items()}
        plain = {self.id: _plain(ids.astype(str))} | {name: _plain(values) for name, values in table.items()}
        return self._state(len(rows(columns, self.id)), hashes, plain)

    def merge(self, a: State, b: State) -> State:
        for state in (a, b):
            same_options(state, {"size": self.size, "salt": self.salt}, "size", "salt")
        if not (a["n"] and b["n"]):
            full = a if a["n"] else b
            return self._state(full["n"], full["hashes"], full["rows"])
        both = {name: _joined(name, a["rows"][name], b["rows"][name]) for name in a["rows"]}
        return self._state(a["n"] + b["n"], np.concatenate((a["hashes"], b["hashes"])), both)

    def read(self, state: State) -> dict[str, Estimate]:
        n, kept = state["n"], len(state["hashes"])
        found = {"kept": Estimate(kept, n, kept, kept) if n else Estimate()}
        for name in self.columns:
            values = state["rows"].get(name, np.zeros(0))
            if values.ndim == 1 and values.dtype.kind == "f":
                found[f"mean[{name}]"] = _mean(values[np.isfinite(values)], self.confidence)
        return found

    def _state(self, n: int, hashes: np.ndarray, table: Mapping[str, np.ndarray]) -> dict[str, Any]:
        order = _order(hashes, table)[: self.size]
        chosen = {name: _tight(values[order]) for name, values in table.items()} if n else {}
        return {"size": self.size, "salt": self.salt, "n": n, "hashes": hashes[order], "rows": chosen}


def _order(hashes: np.ndarray, table: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows by hash; equal hashes (an id seen twice) by the bytes of the row, so that their order is no accident."""
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    if not (ranked[1:] == ranked[:-1]).any():
        return order
    keys = [(int(hashes[i]), *(_bytes(table[name][i]) for name in sorted(table))) for i in order.tolist()]
    return order[sorted(range(len(keys)), key=keys.__getitem__)]


def _bytes(value: Any) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else np.asarray(value).tobytes()


def _plain(values: np.ndarray) -> np.ndarray:
    """Numbers as float64 (n,), vectors as float32 (n, d), all else as text."""
    if values.ndim > 1:
        return values.astype(np.float32)
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return np.array([str(value)[:_LONGEST] for value in values.tolist()], dtype=str)


def _tight(values: np.ndarray) -> np.ndarray:
    """Text only as wide as its longest row: equal rows are equal bytes."""
    return np.array(values.tolist(), dtype=str) if values.dtype.kind == "U" and len(values) else values


def _joined(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.ndim != b.ndim or a.shape[1:] != b.shape[1:] or a.dtype.kind != b.dtype.kind:
        raise StateError(
            f"column {name!r} is {a.dtype} {a.shape} in one state and {b.dtype} {b.shape} in the other; "
            f"samples of different columns cannot be merged"
        )
    return np.concatenate((a, b))


def _mean(values: np.ndarray, confidence: float) -> Estimate:
    n = len(values)
    if n == 0:
        return Estimate()
    total = exact_sum(values)
    error = math.sqrt(variance(total, exact_squares(values), n) / n)
    return normal(quotient(total, n), error, n, confidence)
