"""Data files as Arrow tables, part by part: Parquet (a file, a folder, a glob) as a stream, CSV and JSON Lines whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.errors import DataError
from luthier.reading.files import BadRow
from luthier.reading.files import table as read_rows
from luthier.tables.parquet import Parquet, Progress

__all__ = ["parts", "whole"]


def parts(path: str | Path, progress: Progress | None = None) -> Iterator[Any]:
    """The file's rows as Arrow tables, in order. `progress(what, share done, numbers)` is called between them.

    Raises DataError when it is absent, empty, damaged, no UTF-8 text, or of an unknown kind; malformed rows too.
    """
    path = Path(path)
    if path.suffix.lower() == ".parquet" or path.is_dir():
        yield from _parquet(path, progress)
    else:
        yield _delimited(path) if path.suffix.lower() in (".csv", ".tsv") else _objects(path)


def whole(path: str | Path, progress: Progress | None = None) -> Any:
    """The file as one Arrow table."""
    import pyarrow as pa

    return pa.concat_tables(list(parts(path, progress)))


def _parquet(path: Path, progress: Progress | None) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    stream = Parquet(path, progress=progress)
    if not stream.rows:  # its columns are known all the same
        yield parquet.read_schema(stream.files[0]).empty_table()
    try:
        for batch in stream:
            yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged: {error}. Write it again, or leave it out") from error


def _delimited(path: Path) -> Any:
    """A CSV file; a column whose values do not have one type is text. What Arrow cannot read is told by our reader."""
    import pyarrow as pa
    import pyarrow.csv as csv

    if not path.is_file() or not path.stat().st_size:
        return _objects(path)
    with path.open("rb") as file:
        names = file.readline().decode("utf-8-sig", "replace")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;|\t", key=names.count)
    form = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        try:
            table = csv.read_csv(
                path, parse_options=form, convert_options=csv.ConvertOptions(strings_can_be_null=False)
            )
            return _objects(path) if any(map(pa.types.is_binary, table.schema.types)) else table  # binary: no UTF-8
        except pa.ArrowInvalid:
            head = csv.open_csv(path, parse_options=form).schema.names
            text = csv.ConvertOptions(column_types=dict.fromkeys(head, pa.string()))
            return _typed(csv.read_csv(path, parse_options=form, convert_options=text))
    except pa.ArrowException:
        return _objects(path)


def _typed(table: Any) -> Any:
    """Columns of text as numbers or times where every value is one; an empty field is null."""
    import pyarrow as pa
    import pyarrow.compute as compute

    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        filled = compute.if_else(compute.equal(column, ""), None, column)
        for kind in (pa.int64(), pa.float64(), pa.timestamp("us", "UTC"), pa.timestamp("us")):
            try:
                found[name] = filled.cast(kind)
                break
            except pa.ArrowInvalid:
                found[name] = column
    return pa.table(found)


def _objects(path: Path) -> Any:
    """Rows read one by one by `luthier.reading.files`; the error of the first malformed one."""
    import pyarrow as pa

    file = read_rows(path)
    columns: dict[str, list[Any]] = {name: [] for name in file.columns}
    for number, row in file.rows:
        if isinstance(row, BadRow):
            raise DataError(f"{path}: row {number:,}: {row.why}. Correct it, or leave it out")
        for name, values in columns.items():
            values.append(row.get(name))
    return pa.table({name: _array(values) for name, values in columns.items()})


def _array(values: list[Any]) -> Any:
    """An Arrow array; values of several types as text."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])
