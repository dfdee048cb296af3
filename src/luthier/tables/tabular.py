"""What every reader of tables shares: what is a table, its rows and names, parts of it, and one door to all frames.

A table is a dictionary of arrays or lists, an Arrow table or record batch, a pandas or Polars frame. Nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError

__all__ = [
    "Table",
    "as_array",
    "by_text",
    "detached",
    "eager",
    "is_stream",
    "is_table",
    "names_of",
    "numbers",
    "part_of",
    "parts_of",
    "rows_as_objects",
    "rows_of",
    "unmasked",
]

Table: TypeAlias = Any
"""A dictionary of numpy arrays, an Arrow table, a pandas or Polars frame, or an iterable of them (read once)."""


def is_table(thing: Any) -> bool:
    """Whether it is one table, rather than a stream of tables or a list of ids."""
    return isinstance(thing, Mapping) or hasattr(thing, "columns") or hasattr(thing, "column_names")


def is_stream(thing: Any) -> bool:
    """Whether it may be iterated over for parts, as a table, text and bytes may not."""
    return (
        isinstance(thing, Iterable)
        and not is_table(thing)
        and not isinstance(thing, str | bytes | bytearray | np.ndarray)
    )


def parts_of(table: Table) -> Iterable[Any]:
    """A table as one part, a stream of tables as it is. Raises StateError for what is neither."""
    if is_table(table):
        return [table]
    if not isinstance(table, Iterable) or isinstance(table, str | bytes | np.ndarray):
        raise _no_table(table)
    return _tables(table)


def _tables(stream: Iterable[Any]) -> Iterator[Any]:
    for number, part in enumerate(stream):
        if not is_table(part):
            raise _no_table(part, f", and stands as part {number} of a {type(stream).__name__}")
        yield part


def by_text(table: Mapping[Any, Any]) -> dict[str, Any]:
    """The columns of a dictionary by their names as text. Raises StateError where two are the same."""
    found = {str(name): values for name, values in table.items()}
    if len(found) < len(table):
        raise StateError(f"two columns of {[*table]} have one name as text; give each a name of its own")
    return found


def detached(values: Any) -> Any:
    """A tensor as numpy can read it: without its gradient, on the CPU, bfloat16 as float32; anything else as it is."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    return values.float() if str(values.dtype) == "torch.bfloat16" else values


def unmasked(values: np.ndarray) -> np.ndarray:
    """The same without a mask: objects, None where a value was masked."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    found = values.data.astype(object)
    found[np.ma.getmaskarray(values)] = None  # type: ignore[no-untyped-call]
    return found


def names_of(table: Any) -> list[str]:
    """The names of a table's columns. Raises StateError when it is no table."""
    if isinstance(table, Mapping):
        return [str(name) for name in table]
    if not is_table(table):
        raise _no_table(table)
    names = table.column_names if hasattr(table, "column_names") else table.columns
    return [str(name) for name in (names() if callable(names) else names)]


def rows_of(table: Any) -> int:
    """Rows of a table; 0 without a column."""
    if isinstance(table, Mapping):
        return max((len(values) for values in table.values() if hasattr(values, "__len__")), default=0)
    return table.num_rows if hasattr(table, "num_rows") else len(table)


def part_of(table: Any, rows: Any = slice(None), names: Iterable[str] | None = None) -> Any:
    """Those rows (a slice or indices) of those columns (None: all), as a table of the same library."""
    if isinstance(table, Mapping):
        given = by_text(table)
        kept = {name: as_array(given[name]) for name in (given if names is None else names)}
        return {
            name: values[rows] if values.ndim else values for name, values in kept.items()
        }  # one value: refused later
    _, frame = eager(table)
    known = names_of(frame)
    places = [known.index(name) for name in (known if names is None else names)]  # names may be numbers in the frame
    return frame[rows, places].to_native()


def as_array(values: Any) -> np.ndarray:
    """A column of a dictionary as an array, whatever library it is of; rows of different lengths as objects."""
    if isinstance(values, np.ma.MaskedArray):
        return unmasked(values)
    try:
        return np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else detached(values))
    except ValueError:
        return rows_as_objects(values.to_pylist() if hasattr(values, "to_pylist") else list(values))


def rows_as_objects(values: list[Any]) -> np.ndarray:
    """An object array (n,) of whatever the rows are, lists among them."""
    array = np.empty(len(values), object)
    for row, value in enumerate(values):
        array[row] = value
    return array


def eager(table: Any) -> tuple[Any, Any]:
    """narwhals, and the table as its frame. Raises StateError when it is no table, lazy, or has two columns of one name."""
    import narwhals as nw

    if type(table).__module__.startswith("pyarrow") and hasattr(table, "to_struct_array"):  # a record batch is no frame
        import pyarrow as pa

        table = table if isinstance(table, pa.Table) else pa.Table.from_batches([table])
    try:
        frame = nw.from_native(table, eager_only=True)
        names = [str(name) for name in frame.columns]
    except (TypeError, nw.exceptions.NarwhalsError) as error:
        raise _no_table(table, f" with one column a name ({error})") from error
    if len(set(names)) < len(names):
        raise StateError(f"two columns are called {max(names, key=names.count)!r} as text; give each a name of its own")
    return nw, frame


def numbers(nw: Any, series: Any) -> np.ndarray | None:
    """A series of numbers as numpy, a view where its library allows it, NaN where missing; None for what holds others."""
    if not series.dtype.is_numeric() or series.dtype.is_decimal():
        return None
    values: np.ndarray = series.to_numpy()
    return values if values.dtype.kind in "iuf" else series.cast(nw.Float64).to_numpy().astype(np.float64)


def _no_table(thing: Any, why: str = "") -> StateError:
    return StateError(
        f"a {type(thing).__name__} is not a table{why}. Give a dictionary of numpy arrays, an Arrow table, a pandas or "
        f"Polars frame (collect a lazy one first), or where parts are read an iterable of them"
    )
