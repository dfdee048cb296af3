"""Tables as people have them, column by column: numpy dictionaries, Arrow, pandas, Polars and what narwhals knows.

Nothing is copied as a whole: a column of numbers is a view where its library allows it, and one column is in hand at a
time. Needs no library but the one that made the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from luthier.errors import StateError
from luthier.statistics.base import State
from luthier.statistics.counts import Counts
from luthier.statistics.histogram import Histogram
from luthier.tables.tabular import as_array, by_text, detached, eager, numbers, rows_as_objects
from luthier.tables.vectors import Vectors

__all__ = ["Column", "Kind", "columns_of", "observe", "statistic_of"]

Kind: TypeAlias = Literal["number", "category", "vector", "time", "mixed", "other"]
_PIECE = 1 << 20  # rows whose categories are counted at once, so that memory is bounded with any number of them


@dataclass(frozen=True, slots=True)
class Column:
    """`values`: numpy (n,) float, integer or object, vectors (n, d) float32, or an Arrow array. `said`: what it holds."""

    name: str
    kind: Kind
    values: Any
    said: str


def columns_of(table: Any, categories: Iterable[str] = ()) -> Iterator[Column]:
    """The columns of a table, one after the other; those named in `categories` are categories whatever they hold.

    Raises StateError when it is no table, has columns of different lengths or two of one name.
    """
    named = set(categories)
    found = _mapping(table) if isinstance(table, Mapping) else _frame(table)
    for column in found:
        yield _as_category(column) if column.name in named and column.kind in ("number", "category") else column


def statistic_of(kind: Kind) -> Histogram | Counts | Vectors | None:
    """What sums up a column of this kind: a histogram, counts, a sample of vectors, or nothing."""
    if kind == "number":
        return Histogram("x")
    if kind == "vector":
        return Vectors()
    return Counts("x") if kind in ("category", "mixed") else None


def observe(column: Column, start: int = 0) -> State:
    """The state of `statistic_of(column.kind)` over its rows, or {n, missing} where there is none.

    `start`: how many rows of the same table came before.
    """
    if column.kind == "vector":
        return Vectors().observe(column.values, start)
    if column.kind == "number":
        return Histogram("x").observe({"x": column.values})
    if column.kind == "category":
        return _counted(column.values)
    if column.kind == "mixed":
        return _mixed(column.values)
    missing = _absent(column.values)
    return {"n": len(column.values) - missing, "missing": missing}


def _absent(values: Any) -> int:
    """Times that are none; None and NaT."""
    if not isinstance(values, np.ndarray):
        return int(values.null_count)
    return int(np.count_nonzero(np.isnat(values))) if values.dtype.kind in "mM" else 0


def _mapping(table: Mapping[str, Any]) -> Iterator[Column]:
    arrays = {name: _given(values) for name, values in by_text(table).items()}
    lengths = {name: len(values) if np.ndim(values) in (1, 2) else -1 for name, values in arrays.items()}
    if odd := [name for name, rows in lengths.items() if rows < 0]:
        shape = np.shape(arrays[odd[0]])
        way_out = "flatten its rows" if shape else "make rows that are dictionaries a table: pandas.DataFrame(rows)"
        raise StateError(f"column {odd[0]!r} has shape {shape}; a column is one value or one vector a row: {way_out}")
    if len(set(lengths.values())) > 1:
        raise StateError(f"a table's columns must be of one length; lengths are {lengths}")
    for name, values in arrays.items():
        yield _arrow_column(name, values) if hasattr(values, "null_count") else _array(name, np.asarray(values))


def _given(values: Any) -> Any:
    """A column of a dictionary as it can be read: without a mask, and as Arrow where it is Arrow's or a categorical."""
    if type(getattr(values, "dtype", None)).__name__ == "CategoricalDtype":
        return _categorical(values)
    if hasattr(values, "null_count") and hasattr(values, "to_arrow"):  # a Polars series
        return values.to_arrow()
    values = detached(values)
    if hasattr(values, "null_count") and hasattr(values, "to_pylist"):
        return values.combine_chunks() if hasattr(values, "combine_chunks") else values
    return values if hasattr(values, "dtype") and not isinstance(values, np.ma.MaskedArray) else as_array(values)


def _categorical(values: Any) -> Any:
    """A pandas categorical as Arrow, or as objects where it holds what Arrow does not know (intervals, say)."""
    import pyarrow as pa

    found = pa.array(values, from_pandas=True)
    return np.asarray(values, object) if isinstance(found.type.value_type, pa.BaseExtensionType) else found


def _array(name: str, values: np.ndarray) -> Column:
    if values.ndim == 2:
        return _vectors(name, values)
    kinds: dict[str, Kind] = {"f": "number", "i": "number", "u": "number", "M": "time"}
    if values.dtype.kind == "m":
        return _arrow_column(name, _arrow(values.astype("timedelta64[us]")))
    if values.dtype.kind in kinds:
        return Column(name, kinds[values.dtype.kind], values, str(values.dtype))
    if values.dtype.kind in "bUT":
        try:
            return Column(name, "category", _arrow(values), "text" if values.dtype.kind != "b" else "bool")
        except UnicodeError:  # half a surrogate pair
            return _objects(name, values.astype(object))
    if values.dtype.kind != "O":
        return Column(name, "other", values, str(values.dtype))
    return _objects(name, values)


def _vectors(name: str, values: np.ndarray) -> Column:
    if values.dtype.kind not in "biuf":
        return Column(name, "other", values, f"{values.shape[1]} {values.dtype} a row")
    with np.errstate(over="ignore"):
        rows = values.astype(np.float32, copy=False)
    return Column(name, "vector", rows, f"vectors of {values.shape[1]}")


def _lists(name: str, array: Any) -> Column:
    """Arrow lists of numbers: vectors where all are of one length; a list that is null is a row of NaN."""
    import pyarrow.compute as pc

    lengths = pc.list_value_length(array)
    known = lengths.drop_null()
    found = pc.min_max(known).as_py() if len(known) else {"min": 0, "max": 0}
    if found["min"] != found["max"]:
        return Column(name, "other", array, f"lists of {found['min']} to {found['max']} numbers")
    flat = pc.list_flatten(array).to_numpy(zero_copy_only=False)
    values = np.full((len(array), found["max"]), np.nan, np.float32)
    if found["max"]:
        with np.errstate(over="ignore"):
            values[lengths.is_valid().to_numpy(zero_copy_only=False)] = flat.reshape(-1, found["max"])
    return Column(name, "vector", values, f"vectors of {found['max']}")


def _objects(name: str, values: np.ndarray) -> Column:
    """A column of Python objects: what Arrow makes of it, or mixed."""
    import pyarrow as pa

    try:
        array = pa.array(values, from_pandas=True)
    except OverflowError:  # whole numbers beyond 64 bits
        return _array(name, values.astype(np.float64))
    except (pa.ArrowException, TypeError, UnicodeError):
        if any(isinstance(one, np.ndarray) for one in values):  # Arrow takes no arrays beside None, but lists
            plain = [one.tolist() if isinstance(one, np.ndarray) else one for one in values]
            return _objects(name, rows_as_objects(plain))
        types = Counter(type(value).__name__ for value in values.tolist() if value is not None)
        return Column(name, "mixed", values, ", ".join(f"{count:,} {kind}" for kind, count in types.most_common(4)))
    return _arrow_column(name, array)


def _arrow_column(name: str, array: Any) -> Column:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Column(name, "number", array.to_numpy(zero_copy_only=False), str(kind))
    if pa.types.is_duration(kind):
        micros = array.cast(pa.duration("us"), safe=False).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return Column(name, "number", micros / 1e6, str(kind))
    if pa.types.is_temporal(kind):
        return Column(name, "time", array, str(kind))
    if pa.types.is_dictionary(kind):
        return Column(name, "category", array.cast(kind.value_type), str(kind.value_type))
    if _is_vector(kind):
        return _lists(name, array)
    texts = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_boolean,
        pa.types.is_null,
    )
    if any(is_text(kind) for is_text in texts):
        return Column(name, "category", array, {"bool": "bool", "null": "null"}.get(str(kind), "text"))
    return Column(name, "other", array, str(kind))


def _is_vector(kind: Any) -> bool:
    """Lists of floating numbers; whole numbers in lists of any length are more often tokens than vectors."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
    return bool((pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_floating(kind.value_type))


def _frame(table: Any) -> Iterator[Column]:
    nw, frame = eager(table)
    for name, series in zip(frame.columns, frame.iter_columns(), strict=True):  # not frame[name]: it may be a number
        yield _series(nw, str(name), series)


def _series(nw: Any, name: str, series: Any) -> Column:
    if (values := numbers(nw, series)) is not None:
        return Column(name, "number", values, str(series.dtype).lower())
    if series.dtype == nw.Object:
        return _objects(name, series.to_numpy().astype(object))
    try:
        return _arrow_column(name, series.to_arrow())
    except (ValueError, TypeError, NotImplementedError):  # what Arrow does not know: complex numbers, intervals, sparse
        return _array(name, np.asarray(series.to_numpy()))


def _as_category(column: Column) -> Column:
    if column.kind == "category":
        return column
    values = np.asarray(column.values)
    if values.dtype.kind == "f":
        return Column(column.name, "category", _arrow(values.astype(object)), "category")
    return Column(column.name, "category", _arrow(values), "category")


def _arrow(values: np.ndarray) -> Any:
    import pyarrow as pa

    return pa.array(values, from_pandas=True)


def _counted(array: Any) -> State:
    """Counts of an Arrow array's values; null is missing."""
    statistic = Counts("x")
    state = statistic.of({})
    for start in range(0, len(array), _PIECE):
        found = array.slice(start, _PIECE).value_counts()
        missing = 0
        for part in range(0, len(found), _PIECE // 8):
            piece = found.slice(part, _PIECE // 8)
            names, times = piece.field("values").to_pylist(), piece.field("counts").to_pylist()
            seen = dict(zip(names, times, strict=True))
            missing = seen.pop(None, 0)
            state = statistic.merge(state, statistic.of(seen, missing))
    return state


def _mixed(values: np.ndarray) -> State:
    """Counts of Python objects by their text; None and NaN are missing."""
    present = [value for value in values.tolist() if value is not None and value == value]
    return Counts("x").of(Counter(str(value) for value in present), len(values) - len(present))
