"""What a store is: append-only rows, content-addressed folders, and named snapshots of derived data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Appended", "Row", "Store"]


@dataclass(frozen=True, slots=True)
class Row:
    """One stored row. `id` is unique within its kind; `seq` is the store's own order, given on append, rising.

    `body` is JSON; `numbers` are the numeric columns that scans want fast; `blob` is raw bytes (an embedding).
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

    Kinds in use: answer label rejection finding decision version promotion run request. `remember` keeps the last
    value under a name: only for data that can be computed again from the rows (cursors, states, memories).
    """

    def append(self, kind: str, rows: Sequence[Row]) -> Appended: ...
    def scan(
        self, kind: str, *, since: int = 0, limit: int | None = None,
        start: datetime | None = None, end: datetime | None = None, newest_first: bool = False,
    ) -> Iterator[Row]: ...  # fmt: skip
    def lookup(self, kind: str, ids: Sequence[str]) -> dict[str, Row]: ...
    def count(self, kind: str) -> int: ...
    def last(self, kind: str) -> int: ...
    def remember(self, name: str, value: bytes) -> None: ...
    def recall(self, name: str) -> bytes | None: ...
    def transaction(self) -> AbstractContextManager[None]: ...
    def put(self, folder: Path) -> str: ...
    def get(self, digest: str) -> Path: ...
    def close(self) -> None: ...
