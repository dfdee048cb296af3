"""What a store is: append-only rows, content-addressed folders, and named snapshots of derived data."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from luthier.errors import StateError

__all__ = [
    "AUDITED",
    "LARGEST_BODY",
    "LARGEST_STATE",
    "LONGEST_ID",
    "SEALABLE",
    "Appended",
    "Encoded",
    "Row",
    "Store",
    "breaks",
    "chained",
    "checked_kind",
    "checked_state",
    "decode",
    "encode",
    "micros",
    "searchable",
]

AUDITED = ("decision", "promotion", "version")
"""Kinds whose rows form one hash chain."""
SEALABLE = ("answer", "label")
"""Kinds that grow with traffic; their old rows may move into sealed segments."""
LONGEST_ID = 512  # characters
LARGEST_BODY = 8 * 2**20  # bytes of a row's body as JSON, and of its blob
LARGEST_STATE = 256 * 2**20  # bytes of one remembered value
_MOST_NUMBERS = 1000  # of one row
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # µs
_DEEPEST = 100  # levels of a body: what is read back must not exhaust the stack
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHORT = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))
_PLAIN = json.JSONEncoder(ensure_ascii=True, check_circular=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Row:
    """One stored row. `id` is unique within its kind; `seq` is the store's own order, given on append, rising.

    `body` is JSON; `numbers` are the numeric columns that scans want fast (NaN is kept as NaN); `blob` is raw bytes (an
    embedding). Rows of AUDITED kinds come back with "previous" and "hash" in their body.
    """

    id: str
    at: datetime
    body: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    blob: bytes = b""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did: ids stored, and ids that were there before (counted once, the first row kept)."""

    stored: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()


class Store(Protocol):
    """Durable on return: a row that `append` acknowledged survives `kill -9`. Many processes may use one store.

    Kinds in use: answer label rejection finding decision version promotion run request plan. `remember` keeps the last
    value under a name: only for data that can be computed again from the rows (cursors, states, memories).

    append      all rows or none; an id that is there already is a duplicate, however long ago it was sealed
    scan        rows with seq > since and start <= at < end, in seq order (or its reverse), `limit` at most
    lookup      id to row, of those that are there; `known` only says which are there, and is cheaper
    count last  how many rows; the highest seq (0: none)
    seal        move all rows up to the newest one with at < before out of the hot part; how many moved. Fewer than
                `least` stay. Only SEALABLE kinds. Changes where rows lie, never what is read
    transaction what is appended and remembered inside commits together or not at all; may not be nested
    put get     a folder to the digest of its content and back; `verify` raises Tampered naming the file
    audit       one sentence for every break in the chain of AUDITED rows, and every changed sealed segment

    Raises StateError for what may not be stored (nothing of that append is), StoreFull without space (usable again
    once there is some), StoreError for anything else the disk says.
    """

    def append(self, kind: str, rows: Sequence[Row]) -> Appended: ...
    def scan(
        self, kind: str, *, since: int = 0, limit: int | None = None,
        start: datetime | None = None, end: datetime | None = None, newest_first: bool = False,
    ) -> Iterator[Row]: ...  # fmt: skip
    def lookup(self, kind: str, ids: Sequence[str]) -> dict[str, Row]: ...
    def known(self, kind: str, ids: Sequence[str]) -> set[str]: ...
    def count(self, kind: str) -> int: ...
    def last(self, kind: str) -> int: ...
    def seal(self, kind: str, before: datetime | None = None, *, least: int = 10_000) -> int: ...
    def remember(self, name: str, value: bytes) -> None: ...
    def recall(self, name: str) -> bytes | None: ...
    def transaction(self) -> AbstractContextManager[None]: ...
    def put(self, folder: Path) -> str: ...
    def get(self, digest: str, *, verify: bool = False) -> Path: ...
    def verify(self, digest: str) -> None: ...
    def audit(self) -> list[str]: ...
    def close(self) -> None: ...


Encoded: TypeAlias = tuple[str, int, str, str, bytes]
"""A row as it is kept: (id, at in µs since 1970 UTC, body as JSON, numbers as JSON with null for NaN, blob)."""


def encode(kind: str, row: Row) -> Encoded:
    """`row` as it is kept.

    Raises StateError naming the kind, the id and the rule that it breaks.
    """
    id = row.id
    if not isinstance(id, str) or not 0 < len(id) <= LONGEST_ID or "\0" in id or not _utf8(id):
        shown = repr(id)[:60]
        raise StateError(f"{kind} {shown}: an id is text of 1 to {LONGEST_ID} characters, valid Unicode without NUL")
    blob = row.blob
    if not isinstance(blob, bytes | bytearray | memoryview) or len(blob) > LARGEST_BODY:
        raise StateError(f"{kind} {id!r}: blob must be at most {LARGEST_BODY:,} bytes, got {_size(blob)}")
    if not isinstance(row.body, Mapping) or not isinstance(row.numbers, Mapping):
        raise StateError(f"{kind} {id!r}: body and numbers must be mappings, got {type(row.body).__name__} and others")
    return (
        id,
        micros(row.at, f"{kind} {id!r}: at"),
        _body(kind, id, row.body),
        _numbers(kind, id, row.numbers),
        bytes(blob),
    )


def decode(id: str, at: int, body: str, numbers: Any, blob: bytes, seq: int) -> Row:
    """The row that was encoded; `numbers` as JSON or already a mapping."""
    if isinstance(numbers, str):
        raw = json.loads(numbers)
        numbers = {name: math.nan if value is None else float(value) for name, value in raw.items()}
    return Row(id, _EPOCH + timedelta(microseconds=at), json.loads(body), numbers, blob, seq)


def micros(at: datetime, what: str = "at") -> int:
    """Microseconds since 1970 UTC, exactly. Raises StateError when `at` has no time zone."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise StateError(f"{what} must be a datetime with a time zone, got {at!r}; use datetime.now(UTC)")
    gap = at - _EPOCH
    moment = (gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds
    if not _FIRST <= moment <= _LAST:
        raise StateError(f"{what} is {at!r}, which lies outside the years 1 to 9999 in UTC")
    return moment


def searchable(ids: Iterable[str]) -> list[str]:
    """Each id once; what could not have been stored is not there to be found."""
    return [id for id in dict.fromkeys(ids) if isinstance(id, str) and _utf8(id)]


def checked_kind(kind: str) -> str:
    if not isinstance(kind, str) or not _NAME.fullmatch(kind):
        raise StateError(f"{kind!r:.80} is not a kind of row: a kind matches {_NAME.pattern}")
    return kind


def checked_state(name: str, value: bytes) -> bytes:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID or not _utf8(name):
        raise StateError(f"cannot remember under {name!r:.80}: a name is text of 1 to {LONGEST_ID} characters")
    if not isinstance(value, bytes) or len(value) > LARGEST_STATE:
        raise StateError(f"cannot remember {name!r}: a value is at most {LARGEST_STATE:,} bytes, got {_size(value)}")
    return value


def chained(kind: str, row: Encoded, previous: str) -> tuple[Encoded, str]:
    """The row with "previous" and "hash" in its body, and that hash: SHA-256 over the row and the hash before it."""
    body = json.loads(row[2])
    if ("previous" in body) != ("hash" in body):
        key = "previous" if "previous" in body else "hash"
        raise StateError(f"{kind} {row[0]!r}: the body may not hold {key!r}, the store's own word; use another key")
    body |= {"previous": previous, "hash": ""}  # those of a copied row are replaced
    body["hash"] = _link(kind, row, body)
    return (*row[:2], _PLAIN.encode(body), *row[3:]), body["hash"]


def breaks(rows: Iterable[tuple[str, int, Encoded]]) -> list[str]:
    """Where the chain is broken; `rows` are (kind, seq, row) of the AUDITED kinds in seq order."""
    found, previous = [], ""
    for kind, seq, row in rows:
        name = f"{kind} {row[0]!r} (row {seq})"
        try:
            body = json.loads(row[2])
            said, before = body["hash"], body["previous"]
            true = _link(kind, row, body)
        except (ValueError, KeyError, TypeError):
            found.append(f"{name}: it carries no hash; it was not written by the store")
            continue
        if before != previous:
            found.append(f"{name}: the row before it was changed, removed or put in later")
        if said != true:
            found.append(f"{name}: its content does not match its hash; it was changed")
        previous = said
    return found


def _link(kind: str, row: Encoded, body: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in body.items() if key != "hash"}
    whole = [kind, row[0], row[1], rest, row[3], hashlib.sha256(row[4]).hexdigest()]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _body(kind: str, id: str, body: Mapping[str, Any]) -> str:
    try:
        text = _SHORT.encode(body if type(body) is dict else dict(body))
        if not _utf8(text):
            text = _PLAIN.encode(dict(body))  # half a surrogate pair: kept as an escape
        if text.count("[") + text.count("{") > _DEEPEST:
            _check_depth(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(
            f"{kind} {id!r}: the body is not JSON: {error}. A number without value belongs in `numbers`"
        ) from None
    if len(text) > LARGEST_BODY // 4 and (size := len(text.encode())) > LARGEST_BODY:
        raise StateError(
            f"{kind} {id!r}: the body is {size:,} bytes; {LARGEST_BODY:,} is the most. Cut it, or use put()"
        )
    return text


def _check_depth(body: Any) -> None:
    level, depth = [body], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
        inner = [part for item in level for part in (item.values() if isinstance(item, Mapping) else item)]
        level = [part for part in inner if isinstance(part, dict | list | tuple)]


def _numbers(kind: str, id: str, numbers: Mapping[str, float]) -> str:
    if not numbers:
        return "{}"
    try:
        plain = {name: float(value) for name, value in numbers.items() if _fits(name)}
    except (TypeError, ValueError, OverflowError) as error:
        raise StateError(f"{kind} {id!r}: numbers must map names to floats: {error}") from None
    if len(plain) != len(numbers) or len(plain) > _MOST_NUMBERS:
        raise StateError(
            f"{kind} {id!r}: numbers are at most {_MOST_NUMBERS} a row, named by text of 1 to 128 characters; "
            f"got {len(numbers)}"
        )
    try:
        return _SHORT.encode(plain)
    except ValueError:
        return _SHORT.encode({name: _finite(value) for name, value in plain.items()})


def _finite(value: float) -> float | str | None:
    return value if math.isfinite(value) else None if math.isnan(value) else str(value)


@lru_cache(maxsize=4096)
def _fits(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= 128 and _utf8(name)


def _utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _size(value: Any) -> str:
    return f"{len(value):,} bytes" if isinstance(value, bytes | bytearray | memoryview) else type(value).__name__
