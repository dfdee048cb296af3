"""Data files to numbered rows: JSON Lines, JSON, CSV, TSV, Parquet, labelled text and saved `datasets` folders.

A malformed row becomes a `BadRow` and reading goes on after it; a file that is unreadable as a whole raises DataError.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from luthier.errors import DataError, need

__all__ = ["LONGEST", "BadRow", "Rows", "Table", "broken", "label_text", "moment", "table"]

LONGEST = 131_072
"""Characters one text may have (the limit of the standard csv module, kept for every format)."""

_DELIMITERS = ",\t;|"
_MAGIC = {
    b"PAR1": "a Parquet file; rename it to .parquet",
    b"PK\x03\x04": "a zip archive (or an Excel workbook); unpack it, or save the sheet as CSV",
    b"\x1f\x8b": "gzip-compressed; unpack it with: gunzip",
    b"BZh": "bzip2-compressed; unpack it with: bunzip2",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; unpack it with: unzstd",
    b"\x80\x04": "a pickle, which Luthier never opens; save it as CSV, JSON Lines or Parquet",
    b"%PDF": "a PDF",
}
_UTF16 = {b"\xff\xfe": "UTF-16LE", b"\xfe\xff": "UTF-16BE"}


@dataclass(frozen=True, slots=True)
class BadRow:
    """Why one row was not read."""

    rule: str
    why: str


Rows: TypeAlias = Iterator[tuple[int, Mapping[str, Any] | BadRow]]
"""(row, values by column): a line number in text files, a count from 1 elsewhere."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file's columns, and its rows, to be walked once."""

    path: Path
    columns: tuple[str, ...]
    rows: Rows


def table(path: Path) -> Table:
    """Open a data file by its ending, or a saved `datasets` folder.

    Raises DataError when it is absent, empty, of an unknown kind, or not UTF-8 text where text is expected.
    """
    try:
        if path.is_dir():
            return _folder(path)
        if not path.is_file():
            raise DataError(
                f"{path}: there is no such file. Correct the path (in luthier.yaml it stands under `data:`)"
            )
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(
                f"{path}: cannot tell what a {path.suffix or 'file without ending'} is; "
                f"endings read are {', '.join(_READERS)}, and folders saved by `datasets`"
            )
        return reader(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def label_text(value: Any) -> str | None:
    """A label as text: 1 and 1.0 are "1", True is "true", and None, NaN and blank text are None (no label).

    Raises ValueError for anything that is no single label.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str):
        if fault := broken(value):
            raise ValueError(f"{fault} stands in the label")
        return None if not value.strip() or value.strip() in ("nan", "NaN") else value
    if isinstance(value, int | float):
        return str(value)
    raise ValueError(f"a label is one text or number, not a {type(value).__name__}: {str(value)[:60]}")


def broken(text: str) -> str:
    """What no tokenizer reads: a NUL, or half a surrogate pair (JSON can spell one, UTF-8 cannot); else ""."""
    if "\0" in text:
        return "a NUL"
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return "half a surrogate pair"
    return ""


def moment(value: Any) -> datetime | None:
    """ISO 8601 or Unix seconds as UTC; a time without a zone is taken as UTC; blank is None.

    Raises ValueError for anything else, milliseconds included.
    """
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = datetime.fromisoformat(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < 2**33:  # the year 2242; milliseconds land far beyond it
            raise ValueError(
                f"{value:g} are no Unix seconds{' (milliseconds? divide by 1000)' if 2**33 <= value < math.inf else ''}"
            )
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, datetime):
        raise ValueError(f"{str(value)[:40]!r} is no time")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _text(path: Path) -> str:
    """The whole file as text; raises DataError naming the byte, the row and the way out."""
    content = path.read_bytes()
    for magic, what in _MAGIC.items():
        if content.startswith(magic):
            raise DataError(f"{path}: this is {what}")
    encoding = _UTF16.get(content[:2]) or _utf16_without_mark(content[:4096])
    if encoding:
        raise DataError(
            f"{path}: the file is {encoding}, seen at byte {0 if content[:2] in _UTF16 else content.index(0)} (row 1). "
            f"Luthier reads UTF-8; convert it with: iconv -f {encoding} -t UTF-8 {path.name} > utf8-{path.name}"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: byte 0x{content[error.start]:02x} at position {error.start:,}, row {row:,}, is not UTF-8; "
            f"the file is probably Windows-1252 or Latin-1. Convert it with: "
            f"iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}"
        ) from error


def _utf16_without_mark(head: bytes) -> str:
    """Every second byte of ASCII text in UTF-16 is NUL."""
    if len(head) >= 8 and head[1::2].count(0) > 0.4 * len(head[1::2]):
        return "UTF-16LE"
    return "UTF-16BE" if len(head) >= 8 and head[::2].count(0) > 0.4 * len(head[::2]) else ""


def _jsonl(path: Path) -> Table:
    text = _text(path)
    if path.suffix.lower() == ".json" and text.lstrip()[:1] != "{":
        return _json_array(path, text)
    rows = [(number, _json_row(line)) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if path.suffix.lower() == ".json" and all(isinstance(row, BadRow) for _, row in rows):
        return _json_array(path, text)  # one object over many lines
    return _objects(path, rows)


def _json_row(line: str) -> Mapping[str, Any] | BadRow:
    if len(line) > 8 * LONGEST:
        return BadRow("huge_row", f"the line has {len(line):,} characters; {8 * LONGEST:,} are read at most")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow("malformed", f"not valid JSON: {str(error) or 'nested too deeply'}")
    return _object(value)


def _object(value: Any) -> Mapping[str, Any] | BadRow:
    return (
        value if isinstance(value, dict) else BadRow("malformed", f"a row is an object, not {json.dumps(value)[:60]}")
    )


def _json_array(path: Path, text: str) -> Table:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not valid JSON: {error or 'nested too deeply'}. One object a line is read too"
        ) from error
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    if not isinstance(value, list):
        raise DataError(f"{path}: holds one {type(value).__name__}; an array of objects is expected: [{{…}}, {{…}}]")
    rows = [(number, _object(item)) for number, item in enumerate(value, 1)]
    return _objects(path, rows)


def _objects(path: Path, rows: list[tuple[int, Mapping[str, Any] | BadRow]]) -> Table:
    columns = tuple(dict.fromkeys(str(key) for _, row in rows if not isinstance(row, BadRow) for key in row))
    if not columns:
        first = next((f": row {number}: {row.why}" for number, row in rows if isinstance(row, BadRow)), "")
        raise DataError(f"{path}: none of its {len(rows):,} rows is an object with columns{first}")
    return Table(path, columns, iter(rows))


def _csv(path: Path) -> Table:
    lines = list(io.StringIO(_text(path), newline=""))
    if not lines[0].strip():
        raise DataError(f"{path}: the first line is blank; it must name the columns")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(lines)
    found = _csv_rows(lines, delimiter)
    _, header = next(found, (1, BadRow("malformed", "there is no header")))
    if isinstance(header, BadRow):
        raise DataError(f"{path}: the header (row 1) cannot be read: {header.why}")
    columns = tuple(name.strip() for name in header)
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise DataError(f"{path}: the header names {', '.join(map(repr, twice))} twice; rename one of them")
    return Table(path, columns, _named(columns, found))


def _delimiter(lines: list[str]) -> str:
    """The one that cuts the header most often, as long as it cuts the next rows equally often."""

    def score(delimiter: str) -> tuple[int, int]:
        widths = [len(row) for _, row in _first(_csv_rows(lines, delimiter), 21) if not isinstance(row, BadRow)]
        return (sum(width == widths[0] for width in widths[1:]), widths[0]) if widths and widths[0] > 1 else (-1, 0)

    return max(_DELIMITERS, key=score)


def _first(rows: Iterator[Any], n: int) -> Iterator[Any]:
    return (row for row, _ in zip(rows, range(n), strict=False))


def _csv_rows(lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    """(line, fields). After a broken row, such as an unclosed quote, reading goes on at the next line."""
    start = 0
    while start < len(lines):
        reader = csv.reader((lines[i] for i in range(start, len(lines))), delimiter=delimiter, strict=True)
        begun = 0
        try:
            for fields in reader:
                if fields:
                    yield start + begun + 1, fields
                begun = reader.line_num
            return
        except csv.Error as error:
            rule = "huge_row" if "field limit" in str(error) and len(lines[start + begun]) > LONGEST else "malformed"
            yield start + begun + 1, BadRow(rule, f"not valid CSV: {error} (is a quote left open?)")
            start += begun + 1


def _named(columns: tuple[str, ...], found: Iterator[tuple[int, list[str] | BadRow]]) -> Rows:
    for number, fields in found:
        if isinstance(fields, BadRow):
            yield number, fields
        elif len(fields) != len(columns):
            yield number, BadRow("malformed", f"the row has {len(fields)} fields, the header {len(columns)}")
        else:
            yield number, dict(zip(columns, fields, strict=True))


def _lines(path: Path) -> Table:
    """`__label__x text` (fastText), `label<TAB>text`, or text alone, whichever the first lines are."""
    lines = [(n, line.rstrip("\r")) for n, line in enumerate(_text(path).split("\n"), 1) if line.strip()]
    head = [line for _, line in lines[:50]]
    if 2 * sum(line.startswith("__label__") for line in head) > len(head):
        return Table(path, ("label", "text"), ((n, _fasttext(line)) for n, line in lines))
    if 2 * sum("\t" in line for line in head) > len(head):
        return Table(path, ("label", "text"), ((n, _tabbed(line)) for n, line in lines))
    return Table(path, ("text",), ((n, {"text": line}) for n, line in lines))


def _fasttext(line: str) -> Mapping[str, Any] | BadRow:
    label, _, text = line.partition(" ")
    if not label.startswith("__label__") or text.lstrip().startswith("__label__"):
        return BadRow("malformed", "a line is one `__label__x`, a space and the text")
    return {"label": label.removeprefix("__label__"), "text": text}


def _tabbed(line: str) -> Mapping[str, Any] | BadRow:
    label, tab, text = line.partition("\t")
    return {"label": label, "text": text} if tab else BadRow("malformed", "a line is the label, a tab and the text")


def _parquet(path: Path) -> Table:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
    except arrow.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from error

    def rows() -> Rows:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (arrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: damaged after row {number:,}: {error}") from error

    return Table(path, tuple(file.schema_arrow.names), rows())


def _folder(path: Path) -> Table:
    if (path / "dataset_dict.json").is_file():
        parts = sorted(part.name for part in path.iterdir() if (part / "state.json").is_file())
        raise DataError(
            f"{path}: holds the splits {', '.join(parts)}; name one, such as {path / parts[0] if parts else path}"
        )
    if not (path / "state.json").is_file():
        raise DataError(
            f"{path}: a folder, but not one saved by `datasets` (Dataset.save_to_disk); name the data files"
        )
    saved = need("datasets", extra="fit")
    try:
        dataset = saved.load_from_disk(str(path))
        found = dataset.to_list()
    except Exception as error:  # whatever datasets and Arrow raise for a damaged folder
        raise DataError(f"{path}: `datasets` cannot read this folder: {error}") from error
    names = {name: kind.names for name, kind in dataset.features.items() if hasattr(kind, "int2str")}

    def rows() -> Rows:
        for number, row in enumerate(found, 1):
            for name, classes in names.items():
                index = row[name]
                row[name] = classes[index] if isinstance(index, int) and 0 <= index < len(classes) else None
            yield number, row

    return Table(path, tuple(dataset.column_names), rows())


_READERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _jsonl,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".txt": _lines,
}
