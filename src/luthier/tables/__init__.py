"""Tables as people have them to numpy columns: dictionaries of arrays or lists, Arrow, pandas, Polars.

A dictionary of numpy arrays needs numpy alone. Each row reads the same however the table is cut into parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError
from luthier.series.moments import unix_seconds
from luthier.tables.tabular import by_text, detached, eager, numbers, unmasked

__all__ = [
    "Judge",
    "arrays",
    "first_wrong",
    "floats",
    "has_lists",
    "is_matrix",
    "matrix",
    "objects",
    "padded",
    "times",
    "times_among",
]

Judge: TypeAlias = Callable[[str, np.ndarray, Any, str, str], None]
"""What is done about wrong rows: `first_wrong` refuses them; one that returns has them read as missing."""
_LAST = 253_402_300_800.0  # Unix seconds: the year 10000
_FIRST = -62_135_596_800.0  # the year 1


def arrays(table: Any, names: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
    """Column name to array with one row a record; None values are absent columns.

    Numbers and truth values are numpy arrays (NaN where missing), times Unix seconds, durations seconds, text numpy text or objects (None
    where missing), lists object arrays with one list a row; what mixes types stays as it is, as objects. `names` maps a
    name of ours to the table's, or to several that are stacked to (n, several).

    Raises StateError for what is no table, for lengths that differ and for names that clash.
    """
    found = dict(_mapping(table) if isinstance(table, Mapping) else _frame(table))
    found = _renamed(found, names or {})
    lengths = {name: len(array) if array.ndim else -1 for name, array in found.items()}
    if len(set(lengths.values())) > 1 or -1 in lengths.values():
        raise StateError(f"columns must be arrays of one length, one row a record; lengths are {lengths}")
    return found


def first_wrong(name: str, wrong: np.ndarray, values: Any, rule: str, way_out: str) -> None:
    """Raise StateError that names column, row count, first row, rule and way out, if any row (n,) is wrong."""
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    value = values[row]
    shown = repr(value.tolist() if hasattr(value, "tolist") else value)[:80]
    raise StateError(
        f"column {name!r}: {int(wrong.sum()):,} of {len(wrong):,} rows {rule} (first: row {row}, {shown}). {way_out}"
    )


def matrix(name: str, values: np.ndarray) -> np.ndarray:
    """Rows of equally long lists of numbers as float64 (n, d); a row of None is NaN throughout.

    Raises StateError when the lengths differ or a list holds no numbers.
    """
    if values.ndim != 1 or values.dtype.kind != "O":
        return values
    sizes = _sizes(name, values)
    width = int(sizes.max(initial=-1))
    first_wrong(
        name, (sizes != width) & (sizes >= 0), values, f"hold another number of values than {width}",
        "Give every row as many",
    )  # fmt: skip
    whole = np.full((len(values), max(width, 0)), np.nan)
    try:
        for row in np.flatnonzero(sizes >= 0).tolist():
            whole[row] = values[row]
    except (TypeError, ValueError) as error:
        raise StateError(f"column {name!r}: row {row} holds what is no number ({error}). Give numbers") from error
    return whole


def is_matrix(values: np.ndarray) -> bool:
    """Whether lists are numbers, as many in every row."""
    try:
        matrix("", values)
    except StateError:
        return False
    return True


def padded(name: str, values: np.ndarray) -> np.ndarray:
    """Lists of numbers of any length as float64 (n, longest), NaN beyond the end of each and where one is missing."""
    if not has_lists(values):
        return floats(name, values if values.ndim > 1 else values[:, None])
    sizes = np.maximum(_sizes(name, values), 0)
    whole = np.full((len(values), int(sizes.max(initial=0))), np.nan)
    try:
        for row in np.flatnonzero(sizes).tolist():
            whole[row, : sizes[row]] = values[row]
    except (TypeError, ValueError) as error:
        raise StateError(f"column {name!r}: row {row} holds what is no number ({error}). Give numbers") from error
    return whole


def _sizes(name: str, values: np.ndarray) -> np.ndarray:
    """How long the list in each row is (n,), -1 where it is missing. Raises StateError for a row that is no list."""
    rows = values.tolist()
    wrong = np.array([not (row is None or hasattr(row, "__len__")) for row in rows], bool)
    first_wrong(name, wrong, values, "hold no list of numbers", "Give one a row, as long as the others'")
    return np.array([-1 if row is None else len(row) for row in rows], np.int64)


def has_lists(values: np.ndarray) -> bool:
    """Whether the rows of an object array are lists, by the first that is there."""
    if values.dtype.kind != "O" or values.ndim != 1:
        return False
    first = next((value for value in values if value is not None), None)
    return isinstance(first, list | tuple | np.ndarray | set | frozenset)


def floats(name: str, values: np.ndarray) -> np.ndarray:
    """Numbers as float64, NaN where missing. Raises StateError that counts the rows that hold none."""
    if values.dtype.kind == "c":
        first_wrong(name, np.ones(len(values), bool), values, "are complex numbers", "Give the real part, or the size")
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        wrong = np.array([not (one is None or _spells_number(one)) for one in values.tolist()])
        first_wrong(name, wrong, values, "hold no number", "Give numbers, None or NaN where one is missing")
        raise


def _spells_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def times(at: Any, n: int) -> np.ndarray:
    """Event times as Unix seconds (n,): one for all rows, or one a row; without a time zone they are UTC.

    Raises StateError that counts the rows without a time, or with one outside the years 1 to 9999.
    """
    if not isinstance(at, list | tuple) and np.ndim(at) == 0:
        return np.repeat(times([at], 1), n)
    if len(at) != n or np.ndim(at if isinstance(at, np.ndarray) else 0) > 1:
        raise StateError(
            f"{np.shape(at) if isinstance(at, np.ndarray) else len(at)} event times for {n} rows: give one a row"
        )
    values = at if isinstance(at, np.ndarray) else objects(list(at))
    seconds = unix_seconds(values)
    with np.errstate(invalid="ignore"):
        sound = (seconds >= _FIRST) & (seconds < _LAST)
    first_wrong(
        "at", ~sound, values, "have no event time between the years 1 and 9999",
        "Give each ISO 8601 text, a datetime or Unix seconds (not milliseconds), or `at=` one time for all",
    )  # fmt: skip
    return seconds


def times_among(table: Any) -> frozenset[str]:
    """Names of a table's columns of dates or times; durations and texts that spell a time are none.

    Raises StateError for what is no table.
    """
    if isinstance(table, Mapping):
        return frozenset(name for name, values in by_text(table).items() if _is_time(values))
    _, frame = eager(table)
    return frozenset(
        str(name) for name, one in zip(frame.columns, frame.iter_columns(), strict=True) if _is_time(one.to_native())
    )


def _is_time(values: Any) -> bool:
    kind = str(getattr(values, "dtype", getattr(values, "type", "object"))).lower()
    if kind != "object" or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        return kind.startswith(("datetime", "timestamp", "date"))
    rows = (one for one in values if one is not None and not _missing(one))
    first = next(rows, None)
    return isinstance(first, date) and all(isinstance(one, date) for one in rows)


def objects(values: Sequence[Any]) -> np.ndarray:
    """An object array (n,) of whatever the values are, lists among them."""
    array = np.empty(len(values), object)
    for row, value in enumerate(values):
        array[row] = value
    return array


def _renamed(found: dict[str, np.ndarray], names: Mapping[str, Any]) -> dict[str, np.ndarray]:
    for ours, theirs in names.items():
        parts = [theirs] if isinstance(theirs, str) else list(theirs)
        if not all(part in found for part in parts):
            continue
        if ours in found and ours not in parts:
            raise StateError(
                f"columns: {ours!r} is {theirs!r} of your table, which has a column {ours!r} of its own. Leave it out, or "
                f"give it another name"
            )
        taken = [found.pop(part) for part in parts]
        found[ours] = taken[0] if isinstance(theirs, str) else np.column_stack(taken)
    return found


def _mapping(table: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for name, values in by_text(table).items():
        if values is not None:
            yield name, _array(name, values)


def _array(name: str, values: Any) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray):
        return _plain(unmasked(values))
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OMmTSV":
        return values
    if isinstance(values, np.ndarray):
        return _plain(values)
    if hasattr(values, "to_arrow") or hasattr(values, "iloc"):  # a Polars or pandas series
        import narwhals as nw

        return _series(nw, nw.from_native(values, series_only=True))
    if hasattr(values, "to_pylist"):  # an Arrow array
        values = values.to_pylist()
    if hasattr(values, "__array__"):  # a tensor
        return _plain(np.asarray(detached(values)))
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise StateError(
            f"column {name!r} is a {type(values).__name__}; a column is an array or list, one row a record"
        )
    return _plain(objects(values))


def _plain(values: np.ndarray) -> np.ndarray:
    """An array of any dtype as numbers, text or objects."""
    kind = values.dtype.kind
    if kind in "biufU":
        return values
    if kind == "M":
        return unix_seconds(values)
    if kind == "m":
        return np.where(np.isnat(values), np.nan, values.astype("timedelta64[us]").astype(np.int64) / 1e6)
    if kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace")
    if kind == "T":
        return _of_objects(values.astype(object).ravel()).reshape(values.shape)
    return _of_objects(values) if kind == "O" and values.ndim == 1 else values


def _of_objects(values: np.ndarray) -> np.ndarray:
    rows = [None if value is None or _missing(value) else value for value in values.tolist()]
    kinds = {type(row) for row in rows if row is not None}
    if not kinds:
        return objects(rows)
    if all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return np.array(rows, bool) if None not in rows else objects(rows)
    if all(issubclass(kind, int | float | Decimal | np.number) and kind is not bool for kind in kinds):
        whole = None not in rows and all(issubclass(kind, int | np.integer) for kind in kinds)
        numbers = [np.nan if row is None else float(row) for row in rows]
        return _whole(rows) if whole else np.array(numbers, np.float64)
    if all(issubclass(kind, timedelta) for kind in kinds):
        return np.array([np.nan if row is None else row.total_seconds() for row in rows], np.float64)
    if all(issubclass(kind, date) for kind in kinds):
        return unix_seconds(objects([_moment(row) for row in rows]))
    return objects(rows)


def _whole(rows: list[Any]) -> np.ndarray:
    try:
        return np.array(rows, np.int64)
    except OverflowError:
        return np.array([float(row) for row in rows])


def _moment(value: Any) -> Any:
    return value if value is None or isinstance(value, datetime) else datetime(value.year, value.month, value.day)


def _missing(value: Any) -> bool:
    """NaN, pandas' NA and NaT: what does not equal itself."""
    if isinstance(value, str | int | list | tuple | dict | np.ndarray | timedelta):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError, ArithmeticError):  # pandas.NA has no truth value, a signalling NaN no equal
        return True


def _frame(table: Any) -> Iterator[tuple[str, np.ndarray]]:
    nw, frame = eager(table)
    for name, series in zip(frame.columns, frame.iter_columns(), strict=True):  # not frame[name]: it may be a number
        yield str(name), _series(nw, series)


def _series(nw: Any, series: Any) -> np.ndarray:
    kind = series.dtype
    if (values := numbers(nw, series)) is not None:
        return values
    if isinstance(kind, nw.Datetime):
        micros = _series(nw, series.dt.timestamp("us"))
        return micros / 1e6
    if kind == nw.Boolean and not series.null_count():
        return np.asarray(series.to_numpy(), bool)
    return _of_objects(objects(series.to_list()))
