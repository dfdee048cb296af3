"""Any result as a table: `frame(result)` is a pandas, Polars or Arrow frame, `rows(result)` plain rows."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from luthier.errors import MissingPackage, UsageError, need
from luthier.types import Estimate, Promise

__all__ = ["frame", "rows"]

_LIBRARIES = ("pandas", "polars", "arrow")


def frame(result: Any, library: str = "") -> Any:
    """A result as a frame of `library`: "pandas", "polars", "arrow", or "" for the first of them that is installed.

    A result is whatever Luthier hands out: a report, Drift, RootCause, findings, Monitor.timeline(), pages, estimates by
    name. One row an item; what is nested becomes columns (`true`, `true_n`, `true_low`, `true_high`), and the lists of one
    result stand below each other, told apart by the column `part`.

    Raises UsageError for another library and for what has no rows, MissingPackage when the library is not installed.

    >>> frame({"accuracy": Estimate(0.9, 200, 0.85, 0.93)}, "arrow").to_pylist()
    [{'name': 'accuracy', 'value': 0.9, 'n': 200, 'low': 0.85, 'high': 0.93}]
    """
    table = _arrow(rows(result))
    chosen = library or next((name for name in _LIBRARIES[:2] if importlib.util.find_spec(name)), "arrow")
    if chosen not in _LIBRARIES:
        raise UsageError(f"{library!r} is no library of frames; known are {', '.join(_LIBRARIES)}")
    if chosen == "arrow":
        return table
    if importlib.util.find_spec(chosen) is None:
        raise MissingPackage(
            f'{chosen} is not installed. Install it with: pip install {chosen}; or ask for another: frame("arrow")'
        )
    return table.to_pandas() if chosen == "pandas" else need("polars", extra="dev").from_arrow(table)


def rows(result: Any) -> list[dict[str, Any]]:
    """A result as plain rows: name to text, number, truth value, time or None.

    Raises UsageError for what has no rows: a text, a number.
    """
    if callable(own := getattr(result, "rows", None)):
        return [_flat(row) for row in own()]
    if isinstance(result, Mapping) and result and all(_is_item(value) for value in result.values()):
        return [{"name": str(name)} | _flat(value) for name, value in result.items()]
    if isinstance(result, Mapping):
        return [_flat(result)]
    if is_dataclass(result) and not isinstance(result, type):
        return _parts(result)
    if isinstance(result, str | bytes) or not isinstance(result, Iterable):
        raise UsageError(f"a {type(result).__name__} has no rows; give a result of Luthier, such as luthier.drift(…)")
    found = list(result)
    if odd := [type(item).__name__ for item in found if not _is_item(item)]:
        raise UsageError(
            f"a {type(result).__name__} that holds a {odd[0]} has no rows; give results, findings or dictionaries"
        )
    return [_flat(item) for item in found]


def _parts(result: Any) -> list[dict[str, Any]]:
    """The rows of every list in a dataclass; one row of all its fields where it holds none."""
    lists = {field.name: getattr(result, field.name) for field in fields(result)}
    lists = {
        name: value for name, value in lists.items()
        if isinstance(value, list | tuple) and value and all(_is_item(item) for item in value)
    }  # fmt: skip
    if not lists:
        return [_flat(result)]
    if len(lists) == 1:
        return [_flat(item) for item in next(iter(lists.values()))]
    return [{"part": name} | _flat(item) for name, items in lists.items() for item in items]


def _is_item(value: Any) -> bool:
    return isinstance(value, Mapping) or (is_dataclass(value) and not isinstance(value, type))


def _flat(item: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pairs = item.items() if isinstance(item, Mapping) else ((f.name, getattr(item, f.name)) for f in fields(item))
    for name, value in pairs:
        found |= _column(str(name), value)
    return found


def _column(name: str, value: Any) -> dict[str, Any]:
    """One value as one column or several."""
    if isinstance(value, Estimate):
        return {name: value.value, f"{name}_n": value.n, f"{name}_low": value.low, f"{name}_high": value.high}
    if isinstance(value, Promise):
        return {name: value.kind, f"{name}_level": value.level}
    if _is_item(value):
        return {f"{name}_{key}": cell for key, cell in _flat(value).items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return {name: json.dumps(list(value), ensure_ascii=False, default=str)}
    return {name: value}


def _arrow(found: list[dict[str, Any]]) -> Any:
    """The rows as an Arrow table; a column of several types as text."""
    import pyarrow as pa

    columns = {}
    for name in dict.fromkeys(name for row in found for name in row):
        values = [row.get(name) for row in found]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeError):
            columns[name] = pa.array([None if value is None else _text(value) for value in values])
    return pa.table({_text(name): values for name, values in columns.items()})


def _text(value: Any) -> str:
    """As text; half of a surrogate pair, which no file can hold, is written as its escape."""
    return str(value).encode("utf-8", "backslashreplace").decode()
