"""What is kept of a table, a few KB a column: sums that add up, of a table, of a stream of parts, or by hour of the week."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from luthier import codec
from luthier.errors import StateError
from luthier.series.hours import hours_of_week
from luthier.statistics.base import State
from luthier.tables import times
from luthier.tables.frames import columns_of, observe, statistic_of
from luthier.tables.parquet import Parquet
from luthier.tables.tabular import Table, parts_of
from luthier.tables.vectors import basis_of

__all__ = ["Summary", "alike", "hour_of_week", "summarise", "summarise_by_hour", "summed"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What is kept of a table: rows, and of every column its kind, what it holds, and the state of its statistic.

    Of a column of vectors it is two samples of 4,096 rows at most, and what `fit` derives from them.
    """

    rows: int = 0
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def merge(self, other: Summary) -> Summary:
        """The summary of both tables' rows, in any order.

        Raises StateError when their columns differ in name or kind.
        """
        if not isinstance(other, Summary):
            raise StateError(f"a {type(other).__name__} is no summary: sum it up first, with summarise")
        if not (self.columns and other.columns):
            return self if self.columns else other
        if self.columns.keys() != other.columns.keys():
            odd = sorted(self.columns.keys() ^ other.columns.keys())
            raise StateError(f"two parts of one table differ in the columns {odd}; give every part the same columns")
        columns = {name: _merged(name, mine, other.columns[name]) for name, mine in self.columns.items()}
        return Summary(self.rows + other.rows, columns)

    def fit(self) -> Summary:
        """The same, with the whitening of every column of vectors done beforehand, for comparing many tables with it."""
        columns = {
            name: {**column, "fitted": basis_of(column["state"])} if column["kind"] == "vector" else column
            for name, column in self.columns.items()
        }
        return Summary(self.rows, columns)

    def save(self, path: str | Path) -> None:
        """Write it to a file that `load` reads; the file is whole or not there. Raises StateError where it cannot be."""
        place = Path(path)
        columns = {
            name: {key: column[key] for key in ("kind", "said", "state")} for name, column in self.columns.items()
        }
        partial = place.with_name(place.name + ".partial")
        try:
            partial.write_bytes(codec.pack({"version": 1, "rows": self.rows, "columns": columns}))
            os.replace(partial, place)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StateError(
                f"{place}: cannot be written: {error.strerror}. Name a file in a folder that is there"
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> Summary:
        """Read what `save` wrote.

        Raises StateError when the file is not there, is something else or of a newer version, or was damaged.
        """
        try:
            state = codec.unpack(Path(path).read_bytes())
        except OSError as error:
            raise StateError(f"{path}: cannot be read: {error.strerror}. Name a file that `save` wrote") from error
        except StateError as error:
            raise StateError(f"{path}: {error}. Sum the table up again") from error
        if not isinstance(state, dict) or state.get("version") != 1:
            raise StateError(f"{path} is no summary of version 1: it was written by something else or a newer Luthier")
        try:
            return cls(int(state["rows"]), {name: _sound(column) for name, column in state["columns"].items()}).fit()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, StateError) as error:
            raise StateError(f"{path}: is damaged ({type(error).__name__}: {error}). Sum the table up again") from error


def _sound(column: Mapping[str, Any]) -> dict[str, Any]:
    """What was saved of a column, if it reads as what it says it is."""
    kept = {key: column[key] for key in ("kind", "said", "state")}
    statistic = statistic_of(kept["kind"])
    if statistic is None:
        kept["state"]["n"] + kept["state"]["missing"]
    else:
        statistic.merge(statistic.observe({}), kept["state"])
    return kept


def summarise(table: Table, categories: Iterable[str] = (), *, keep: str | Path | None = None) -> Summary:
    """Sum up a table, or an iterable of parts at constant memory. `categories`: columns of numbers that are names.

    `keep`: a folder in which the summary of every file of a `luthier.tables.parquet.Parquet` is kept, so that one that was
    stopped goes on where it was, and new files cost no more than themselves. Raises StateError when it is no table, and
    when its parts do not fit together.
    """
    if isinstance(table, Summary):
        return table
    named = tuple(categories)
    return (summed(table, named) if keep is None else _kept(table, named, Path(keep))).fit()


def summed(table: Table | Summary, categories: tuple[str, ...], start: int = 0) -> Summary:
    """The same, not fitted. `start`: rows of the same table before these; by their places rows of vectors are sampled."""
    if isinstance(table, Summary):
        return table
    total = Summary()
    for part in parts_of(table):
        total = total.merge(_summary(part, categories, start + total.rows))
    return total


def hour_of_week(at: Any, zone: str = "UTC") -> np.ndarray:
    """0 (Monday, midnight) to 167 for every time (n,), in a time zone with its daylight saving.

    `at`: datetimes (without a zone: UTC), numpy datetime64 (UTC) or Unix seconds.
    """
    return hours_of_week(times(at, len(at)) if np.ndim(at) else times(at, 1), zone)


def summarise_by_hour(table: Mapping[str, Any], at: Any, *, zone: str = "UTC") -> dict[int, Summary]:
    """Hour of the week to the summary of its rows: a kept reference from which `drift` takes the same hours.

    `table`: a dictionary of numpy arrays (n,), `at` their times (n,). Compare an hour of today with
    `weekly[hour]`, a whole day or week with all of its hours merged: both then hold the same mix of hours.
    """
    hours = hour_of_week(at, zone)
    if not isinstance(table, Mapping):
        raise StateError(f"a {type(table).__name__} is no dictionary of numpy arrays: give {{name: column}}")
    arrays = {name: np.asarray(values) for name, values in table.items()}
    if odd := [name for name, values in arrays.items() if values.ndim < 1 or len(values) != len(hours)]:
        raise StateError(f"{len(hours)} times, and column {odd[0]!r} of another length: give one time a row")
    return {
        int(hour): summarise({name: values[hours == hour] for name, values in arrays.items()})
        for hour in np.unique(hours)
    }


def _kept(table: Any, categories: tuple[str, ...], folder: Path) -> Summary:
    if not isinstance(table, Parquet):
        raise StateError(
            f"summaries of a {type(table).__name__} cannot be kept by file; give a luthier.tables.parquet.Parquet"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"{folder}: is no folder that can be made: {error.strerror}. Name another with keep="
        ) from error
    total = Summary()
    for part in table.parts():
        place = folder / f"{part.digest(*sorted(categories), str(total.rows))}.summary"
        summary = _loaded(place)
        if summary is not None:
            part.skip()
        else:
            summary = summed(part, categories, total.rows)
            summary.save(place)
        total = total.merge(summary)
    return total


def _loaded(place: Path) -> Summary | None:
    """What was kept; None where nothing was, or where it is damaged: it is summed up again then."""
    try:
        return Summary.load(place) if place.exists() else None
    except StateError:
        return None


def _summary(table: Any, categories: tuple[str, ...], start: int) -> Summary:
    columns: dict[str, dict[str, Any]] = {}
    rows = 0
    for column in columns_of(table, categories):
        if column.name in columns:
            raise StateError(f"the table has two columns {column.name!r}; name each column once")
        rows = len(column.values)
        columns[column.name] = {"kind": column.kind, "said": column.said, "state": observe(column, start)}
    absent = [name for name in categories if columns and name not in columns]
    if absent:
        raise StateError(f"there is no column {absent[0]!r} to read as categories; there are {', '.join(columns)}")
    return Summary(rows, columns)


def _merged(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    a, b = alike(a, b), alike(b, a)
    if a["kind"] != b["kind"]:
        raise StateError(
            f"column {name!r} holds {a['said']} in one part and {b['said']} in another; make them alike first"
        )
    statistic = statistic_of(a["kind"])
    if statistic is None:
        state: State = {key: a["state"][key] + b["state"][key] for key in ("n", "missing")}
    else:
        state = statistic.merge(a["state"], b["state"])
    return {"kind": a["kind"], "said": a["said"], "state": state}


def alike(column: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """A column of nulls only has no kind of its own: it is one of the other's kind in which every row is missing."""
    statistic = statistic_of(other["kind"])
    if column["said"] != "null" or column["kind"] == other["kind"] or statistic is None:
        return column
    state = {**statistic.observe({}), "missing": column["state"]["missing"]}
    return {"kind": other["kind"], "said": other["said"], "state": state}
