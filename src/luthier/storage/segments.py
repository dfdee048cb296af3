"""Sealed segments: old rows as one Parquet file, with an index of their ids beside it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import Tampered

__all__ = ["Digests", "Index", "Sealed", "beside", "digests", "pick", "read", "write"]

Sealed: TypeAlias = tuple[int, str, int, str, Any, bytes]
"""(seq, id, at in µs since 1970 UTC, body as JSON, numbers as JSON or mapping, blob)."""
Digests: TypeAlias = tuple[np.ndarray, np.ndarray]
"""128 bits of BLAKE2b an id, as two uint64 arrays (n,): wide enough that equal digests are equal ids."""

_GROUP = 8192  # rows of a row group: what one looked-up row costs to decode
_MOST_COLUMNS = 256  # numbers with a column of their own; rarer names share one JSON column
_MAGIC = b"LUTHIDX1"
_MAPPED = 100_000  # rows; smaller indices are read into memory, so that many segments do not hold many open files


def write(path: Path, rows: Sequence[Sealed]) -> None:
    """Rows in rising seq as Parquet (zstd): ids and times as differences, numbers as byte streams, a column each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    seqs, ids, ats, bodies, numbers, blobs = zip(*rows, strict=True)
    columns: dict[str, Any] = {
        "seq": pa.array(seqs, pa.int64()),
        "id": pa.array(ids, pa.string()),
        "at": pa.array(ats, pa.timestamp("us", "UTC")),
        "body": pa.array(bodies, pa.large_string()),
        "blob": pa.array(blobs, pa.large_binary()),
    }
    encodings = {"seq": "DELTA_BINARY_PACKED", "at": "DELTA_BINARY_PACKED", "id": "DELTA_BYTE_ARRAY"}
    parsed = [_parsed(text) for text in numbers]
    often = [name for name, _ in Counter(name for row in parsed for name in row).most_common(_MOST_COLUMNS)]
    for name in sorted(often):
        columns[f"n.{name}"] = pa.array([row.pop(name, None) for row in parsed], pa.float64(), from_pandas=False)
        encodings[f"n.{name}"] = "BYTE_STREAM_SPLIT"
    if any(parsed):
        columns["rest"] = pa.array([json.dumps(row) if row else None for row in parsed], pa.string())
    pq.write_table(
        pa.table(columns), path, compression="zstd", use_dictionary=False, column_encoding=encodings,
        row_group_size=_GROUP, store_schema=True,
    )  # fmt: skip


def _parsed(numbers: Any) -> dict[str, float]:
    """null is NaN: JSON has no word for it, and a number that is there but NaN is not an absent number."""
    return {name: float("nan") if value is None else float(value) for name, value in json.loads(numbers).items()}


def read(path: Path, after: int, before: int, *, newest_first: bool = False) -> Iterator[Sealed]:
    """Rows with after < seq < before, in seq order or its reverse; one row group in memory at a time."""
    with _opened(path) as file:
        groups = range(file.num_row_groups)
        for group in reversed(groups) if newest_first else groups:
            seen = file.metadata.row_group(group).column(0).statistics
            if seen is not None and (seen.max <= after or seen.min >= before):
                continue
            rows = _rows(file.read_row_group(group, use_threads=False))
            yield from (row for row in (reversed(rows) if newest_first else rows) if after < row[0] < before)


def pick(path: Path, positions: Sequence[int]) -> list[Sealed]:
    """The rows at these positions, in rising position; only the row groups that hold them are decoded."""
    wanted: dict[int, list[int]] = {}
    for position in sorted(positions):
        wanted.setdefault(position // _GROUP, []).append(position % _GROUP)
    found: list[Sealed] = []
    with _opened(path) as file:
        for group, inside in wanted.items():
            found += _rows(file.read_row_group(group, use_threads=False).take(inside))
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowInvalid, OSError) as error:
        raise Tampered(f"{path}: a sealed segment is gone or was changed, restore it from a copy: {error}") from error


def _rows(table: Any) -> list[Sealed]:
    import pyarrow as pa

    plain = {name: table[name].to_pylist() for name in ("seq", "id", "body", "blob")}
    at = table["at"].cast(pa.int64()).to_pylist()
    numbers: list[dict[str, float]] = [{} for _ in at]
    for name in table.column_names:
        if name.startswith("n."):
            for row, value in zip(numbers, table[name].to_pylist(), strict=True):
                if value is not None:
                    row[name[2:]] = value
    if "rest" in table.column_names:
        for row, text in zip(numbers, table["rest"].to_pylist(), strict=True):
            row.update(json.loads(text) if text else {})
    return list(zip(plain["seq"], plain["id"], at, plain["body"], numbers, plain["blob"], strict=True))


def beside(segment: Path) -> Path:
    """Where the index of a segment lies."""
    return segment.with_suffix(".ids")


def digests(ids: Sequence[str]) -> Digests:
    """BLAKE2b-128 of every id."""
    raw = b"".join(hashlib.blake2b(id.encode(), digest_size=16).digest() for id in ids)
    pairs = np.frombuffer(raw, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


@dataclass(frozen=True, slots=True)
class Index:
    """The ids of one segment, sorted by digest: `high` and `low` (n,) uint64, `position` (n,) uint32 in the segment."""

    high: np.ndarray
    low: np.ndarray
    position: np.ndarray

    @classmethod
    def build(cls, ids: Sequence[str]) -> Index:
        high, low = digests(ids)
        order = np.lexsort((low, high))
        return cls(high[order], low[order], order.astype(np.uint32))

    @classmethod
    def load(cls, path: Path, segment: Path, rows: int) -> Index:
        """From its file, or, where that is missing or cut short, again from the segment."""
        try:
            whole = path.stat().st_size == len(_MAGIC) + 20 * rows and path.open("rb").read(len(_MAGIC)) == _MAGIC
        except OSError:
            whole = False
        if not whole:
            return cls._again(segment, rows)
        raw: Any = np.memmap(path, np.uint8, "r") if rows > _MAPPED else np.fromfile(path, np.uint8)
        data = raw[len(_MAGIC) :]
        return cls(data[: 8 * rows].view("<u8"), data[8 * rows : 16 * rows].view("<u8"), data[16 * rows :].view("<u4"))

    @classmethod
    def _again(cls, segment: Path, rows: int) -> Index:
        import pyarrow.parquet as pq

        ids = pq.read_table(segment, columns=["id"])["id"].to_pylist()
        if len(ids) != rows:
            raise Tampered(f"{segment}: it holds {len(ids)} rows where the manifest says {rows}; it was changed")
        return cls.build(ids)

    def save(self, path: Path) -> None:
        parts = (self.high.astype("<u8"), self.low.astype("<u8"), self.position.astype("<u4"))
        path.write_bytes(_MAGIC + b"".join(part.tobytes() for part in parts))

    def find(self, wanted: Digests) -> dict[int, int]:
        """Which of `wanted` are here: its place in `wanted` to its position in the segment."""
        high, low = wanted
        first = np.searchsorted(self.high, high)
        inside = np.flatnonzero(first < len(self.high))
        inside = inside[self.high[first[inside]] == high[inside]]
        found: dict[int, int] = {}
        for place, at in zip(inside.tolist(), first[inside].tolist(), strict=True):
            while at < len(self.high) and self.high[at] == high[place]:  # more than one turn: 64 equal bits
                if self.low[at] == low[place]:
                    found[place] = int(self.position[at])
                    break
                at += 1
        return found
