"""Parquet files as one stream of parts: any number of rows at constant memory, in order, with progress."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import DataError

__all__ = ["Parquet", "Progress"]

Progress: TypeAlias = Callable[[str, float, Mapping[str, float]], None]
"""What is worked on, the share of all rows done in [0, 1], and the latest numbers; `luthier.progress.Bar` is one."""

PART_BYTES = 1 << 25  # of one part, as it lies decoded in memory
_LONGEST = 4096  # characters of a path
MOST_ROWS, FEWEST_ROWS = 1 << 17, 1 << 10


@dataclass(frozen=True)
class Parquet:
    """A file, a folder (with its folders), a glob such as "logs/2026-*.parquet", or several of these, as one stream.

    Iterate over it for Arrow record batches of at most 32 MB, so it goes wherever a stream of tables does
    (`luthier.drift`, `summarise`); `windows()` gives dictionaries of numpy arrays for statistics, checks and a Monitor.
    Files come in the order given, those of a folder or glob by name, or all of them by the times in column `by`: then
    no file may begin before the one before it ends. `select`: the columns to read, all where empty. `progress` is
    called after every part.

    Raises DataError when there is no file, one is no Parquet file, lacks a column, or overlaps the next in time.
    """

    source: str | Path | Sequence[str | Path]
    select: tuple[str, ...] = ()
    by: str = ""
    progress: Progress | None = None
    files: tuple[Path, ...] = field(init=False)
    counts: tuple[int, ...] = field(init=False)
    """Rows of each file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "select", tuple(self.select))
        files, found = _files(self.source), []
        for path in files:
            with _opened(path, self.select + ((self.by,) if self.by else ())) as file:
                found.append((_times(file, path, self.by) if self.by else (), path, file.metadata.num_rows))
        if self.by:
            found = _in_order([one for one in found if one[2]], self.by)
        object.__setattr__(self, "files", tuple(path for _, path, _ in found))
        object.__setattr__(self, "counts", tuple(rows for _, _, rows in found))

    @property
    def rows(self) -> int:
        return sum(self.counts)

    def __iter__(self) -> Iterator[Any]:
        """Arrow record batches, of every file in turn."""
        tell = _teller(self.progress, self.rows)
        for path in self.files:
            with _opened(path, self.select) as file:
                done = 0
                for batch in _batches(file, path, _part_rows(file, self.select), list(self.select) or None):
                    done += batch.num_rows
                    yield batch
                    tell(path.name, batch.num_rows)
                if done != file.metadata.num_rows:
                    raise DataError(
                        f"{path}: says it has {file.metadata.num_rows:,} rows and has {done:,}. Write it anew"
                    )

    def windows(self) -> Iterator[dict[str, np.ndarray]]:
        """The same as columns (n,), or (n, d) for lists of numbers; what is null is NaN, NaT, or None in text."""
        for batch in self:
            yield {name: _array(name, batch.column(name)) for name in batch.schema.names}

    def parts(self) -> Iterator[Parquet]:
        """One stream a file, which share one progress."""
        tell = _teller(self.progress, self.rows)
        for path, rows in zip(self.files, self.counts, strict=True):
            told = 0.0

            def on(what: str, done: float, numbers: Mapping[str, float], rows: int = rows) -> None:
                nonlocal told
                tell(what, round(done * rows) - round(told * rows))
                told = done

            yield replace(self, source=path, by="", progress=on)

    def skip(self) -> None:
        """Say that all of it is done without reading it."""
        if self.progress is not None:
            self.progress(self.files[-1].name, 1.0, {})

    def digest(self, *options: str) -> str:
        """Changes when a file is another one (its path, size, time of change), or other columns are read, or `options`."""
        stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in self.files]
        return hashlib.sha256(repr((stats, self.select, options)).encode()).hexdigest()[:32]


def _files(source: str | Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        if not isinstance(source, Iterable) or isinstance(source, bytes | bytearray | Mapping):
            raise DataError(f"a {type(source).__name__} names no Parquet file; give a path, a glob, or a list of them")
        return [path for one in source for path in _files(one)]
    path = Path(source)
    if len(str(source)) > _LONGEST:
        raise DataError(f"a path of {len(str(source)):,} characters names no file: {str(source)[:60]}…")
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(one for one in path.rglob("*.parquet") if not one.name.startswith((".", "_")))
    else:
        anchor = Path(path.anchor)
        found = sorted(one for one in anchor.glob(str(path.relative_to(anchor))) if one.is_file())
    if not found:
        raise DataError(
            f"{source}: there is no Parquet file here; give a file, a folder that holds *.parquet, or a glob"
        )
    return found


def _opened(path: Path, names: Sequence[str]) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: is no Parquet file that can be read: {error}") from error
    there = file.schema_arrow.names
    if absent := [name for name in names if name not in there]:
        file.close()
        raise DataError(
            f"{path}: has no column {absent[0]!r}; it has {', '.join(there)}. Select others, or leave it out"
        )
    return file


def _batches(file: Any, path: Path, rows: int, names: list[str] | None) -> Iterator[Any]:
    """Its record batches. Raises DataError where the file is damaged."""
    import pyarrow as pa

    batches = file.iter_batches(batch_size=rows, columns=names)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: is damaged: {error}. Write it anew, or leave it out") from error
        if batch is None:
            return
        yield batch


def _times(file: Any, path: Path, by: str) -> tuple[Any, Any]:
    """The least and greatest of column `by`, from the file's own statistics."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    found = [
        group.column(place).statistics
        for group in groups
        if group.num_rows
        for place in range(group.num_columns)
        if group.column(place).path_in_schema == by
    ]
    if any(one is None or not one.has_min_max for one in found):
        raise DataError(
            f"{path}: holds no least and greatest {by!r}; write it with statistics, or give the files in order"
        )
    return (min(one.min for one in found), max(one.max for one in found)) if found else (None, None)


def _in_order(found: list[Any], by: str) -> list[Any]:
    found = sorted(found, key=lambda one: one[0])
    for (earlier, path, _), (later, other, _) in itertools.pairwise(found):
        if later[0] < earlier[1]:
            raise DataError(
                f"{other} begins at {by} {later[0]}, before {path} ends at {earlier[1]}: their rows cannot be read in the "
                f"order of time. Sort them into files that follow each other"
            )
    return found


def _part_rows(file: Any, names: Sequence[str]) -> int:
    """Rows of a part, by the decoded size of the columns that are read."""
    chosen, size = set(names), 0
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        for place in range(group.num_columns):
            column = group.column(place)
            if not chosen or column.path_in_schema.split(".")[0] in chosen:
                size += max(column.total_uncompressed_size, 4 * column.num_values)
    return int(min(max(PART_BYTES * max(file.metadata.num_rows, 1) // max(size, 1), FEWEST_ROWS), MOST_ROWS))


def _teller(progress: Progress | None, rows: int) -> Callable[[str, int], None]:
    begun, done = time.monotonic(), 0

    def tell(what: str, more: int) -> None:
        nonlocal done
        done += more
        if progress is not None and rows:
            rate = done / max(time.monotonic() - begun, 1e-9)
            progress(what, done / rows, {"rows": done, "rows a second": rate})

    return tell


def _array(name: str, values: Any) -> np.ndarray:
    import pyarrow as pa

    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    elif pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _vectors(name, values)
    elif pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
    if values.null_count and (pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)):
        whole = values if pa.types.is_integer(values.type) else values.cast(pa.int8())
        values = whole.cast(pa.float64(), safe=False)  # beyond 2**53 to the nearest, as numpy does
    try:
        array: np.ndarray = values.to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise DataError(
            f"column {name!r} holds text that is not UTF-8: {error}. Write it anew as UTF-8, or as binary"
        ) from error
    return array


def _vectors(name: str, values: Any) -> np.ndarray:
    """Lists of one length as (n, d); a null is a row of NaN."""
    flat, n = values.flatten().to_numpy(zero_copy_only=False), len(values) - values.null_count
    width, rest = divmod(len(flat), n) if n else (0, 0)
    lengths = values.value_lengths().drop_null().unique().to_pylist() if hasattr(values, "value_lengths") else [width]
    if rest or lengths not in ([], [width]):
        raise DataError(f"column {name!r} holds lists of different lengths; a column of vectors has one length")
    rows: np.ndarray = flat.reshape(n, width)
    if not values.null_count:
        return rows
    filled = np.full((len(values), width), np.nan, rows.dtype if rows.dtype.kind == "f" else np.float64)
    filled[values.is_valid().to_numpy(zero_copy_only=False)] = rows
    return filled
