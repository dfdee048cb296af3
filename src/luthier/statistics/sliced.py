"""Any statistic of every slice of the rows: of each value of a column, and of each pair of values of two columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import get, register
from luthier.statistics.base import State, Statistic, When, coded, rows, same_options
from luthier.sums.hashing import hash64
from luthier.types import Columns, Estimate

__all__ = ["Sliced"]

_CHUNK = 1 << 19  # rows whose slices are held at once, however many there are


@register("statistic", "sliced.v1")
@dataclass(frozen=True, slots=True)
class Sliced:
    """The statistic `of` (with `options`) over all rows and over every slice by the columns `by`.

    A slice is one predicate, `region=eu`, or with `pairs` also two, `region=eu & device=ios`, columns in the order of
    `by`; a row without a value ("", None, NaN) is in no slice of that column, and a value with & or " in it is quoted.
    Of more than `limit` slices those of one predicate are kept first, then by the smallest hash, and each that is kept is
    exact; `other` counts the rows of the others, once for each. Cut numbers into ranges first. Reads what `of` reads, and the same of the `shown` largest slices: `mean[region=eu]`.
    """

    name: ClassVar[str]
    of: str = "mean.v1"
    by: tuple[str, ...] = ("group",)
    options: Mapping[str, Any] = field(default_factory=dict)
    pairs: bool = True
    limit: int = 256
    shown: int = 20

    def __post_init__(self) -> None:
        if not self.by or len(set(self.by)) != len(self.by):
            raise ValueError(f"by is {self.by!r}; name one column or more to slice by, each once")
        if not 1 <= self.limit <= 4096:
            raise ValueError(f"limit is {self.limit}; it must lie in [1, 4096]")
        if self.of == self.name:
            raise ValueError(f"of is {self.of!r}; slices of slices are not kept: name more columns in `by`")

    @property
    def when(self) -> When:
        return self._inner.when

    @property
    def _inner(self) -> Statistic:
        inner: Statistic = get("statistic", self.of)(**self.options)
        return inner

    def observe(self, columns: Columns) -> State:
        """{of, by, pairs, limit, all: State, other, slices: {key: {rows, state}}}; at most `limit` of them, by key."""
        n = len(rows(columns, self.by[0]))
        if n <= _CHUNK:
            return self._part(columns)
        table = {name: np.asarray(values) for name, values in columns.items()}
        parts = ({name: values[i : i + _CHUNK] for name, values in table.items()} for i in range(0, n, _CHUNK))
        return reduce(self.merge, map(self._part, parts))

    def _part(self, columns: Columns) -> State:
        inner = self._inner
        state: dict[str, Any] = {"all": inner.observe(columns), "other": 0, "slices": {}}
        if columns:
            table = {name: np.asarray(values) for name, values in columns.items()}
            found = list(self._places(table))
            for key, count, place in self._kept(found):
                part = {name: values[place] for name, values in table.items()}
                state["slices"][key] = {"rows": count, "state": inner.observe(part)}
            total = sum(int(times.sum()) for _, times, _ in found)
            state["other"] = total - sum(one["rows"] for one in state["slices"].values())
        return self._state(state)

    def merge(self, a: State, b: State) -> State:
        for state in (a, b):
            same_options(state, self._named(), *self._named())
        inner, slices = self._inner, {**a["slices"], **b["slices"]}
        for key in a["slices"].keys() & b["slices"].keys():
            one, two = a["slices"][key], b["slices"][key]
            slices[key] = {"rows": one["rows"] + two["rows"], "state": inner.merge(one["state"], two["state"])}
        merged = {"all": inner.merge(a["all"], b["all"]), "other": a["other"] + b["other"]}
        return self._state(merged | {"slices": slices})

    def read(self, state: State) -> dict[str, Estimate]:
        inner = self._inner
        found = dict(inner.read(state["all"]))
        most = sorted(state["slices"].items(), key=lambda item: (-item[1]["rows"], item[0]))[: self.shown]
        for key, one in most:
            found |= {f"{name}[{key}]": value for name, value in inner.read(one["state"]).items()}
        return found

    def _named(self) -> dict[str, Any]:
        return {"of": self.of, "by": list(self.by), "pairs": self.pairs, "limit": self.limit}

    def _state(self, parts: dict[str, Any]) -> dict[str, Any]:
        slices = parts["slices"]
        kept = _nearest(list(slices), self.limit)
        other = parts["other"] + sum(one["rows"] for key, one in slices.items() if key not in kept)
        return {
            **self._named(),
            "all": parts["all"],
            "other": other,
            "slices": {key: slices[key] for key in sorted(kept)},
        }

    def _coded(self, table: Columns) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Of each column its name, its values as text (k,) and each row's place among them (n,)."""
        found = []
        for name in self.by:
            values = rows(table, name)
            if values.ndim != 1:
                raise StateError(f"column {name!r} has shape {values.shape}; a row has one value to slice by")
            texts, place = coded(values)
            quoted = [json.dumps(text) if "&" in text or '"' in text else text for text in texts.tolist()]
            found.append((name, np.array(quoted, dtype=str), place))
        return found

    def _places(self, table: Columns) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each column or pair the keys of its slices (m,), how many rows each has, and each row's slice, m for none."""
        columns = self._coded(table)
        for name, values, place in columns:
            keys = np.char.add(f"{name}=", values)
            yield _counted(keys, np.where(values[place] == "", len(keys), place))
        for (first, one, left), (second, two, right) in combinations(columns, 2) if self.pairs else ():
            pairs, place = np.unique(left * len(two) + right, return_inverse=True)
            a, b = one[pairs // len(two)], two[pairs % len(two)]
            keys = np.char.add(np.char.add(f"{first}=", a), np.char.add(f" & {second}=", b))
            yield _counted(keys, np.where(((a == "") | (b == ""))[place], len(keys), place))

    def _kept(self, found: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Iterator[tuple[str, int, np.ndarray]]:
        """Key, rows and places (rows,) of the slices that may be kept."""
        kept = _nearest([key for keys, times, _ in found for key in keys[times > 0].tolist()], self.limit)
        for keys, times, place in found:
            order = np.argsort(place, kind="stable")
            ends = np.cumsum(times)
            for at in np.flatnonzero(times):
                if (key := str(keys[at])) in kept:
                    yield key, int(times[at]), order[ends[at] - times[at] : ends[at]]


def _counted(keys: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return keys, np.bincount(place, minlength=len(keys) + 1)[: len(keys)], place


def _nearest(keys: list[str], limit: int) -> set[str]:
    """The first `limit` keys by predicates, then hash: what is dropped in a part is dropped in the whole."""
    if len(keys) <= limit:
        return set(keys)
    names = np.array(keys)
    return set(names[np.lexsort((names, hash64(names), np.char.find(names, " & ") >= 0))[:limit]].tolist())
