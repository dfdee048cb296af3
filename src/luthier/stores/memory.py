"""The store that lives as long as the process: for `luthier.Monitor`, for tests, for trying things out."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from luthier.errors import StateError, StoreError
from luthier.names import register
from luthier.storage.folders import Folders
from luthier.stores.base import (
    AUDITED,
    SEALABLE,
    Appended,
    Encoded,
    Row,
    breaks,
    chained,
    checked_kind,
    checked_state,
    decode,
    encode,
    micros,
)

__all__ = ["MemoryStore"]


@register("store", "memory.v1")
class MemoryStore:
    """The contract of `Store` but for durability; folders lie in a temporary folder that goes with the store."""

    name: str

    def __init__(self, folder: Path | None = None) -> None:
        self._rows: dict[str, dict[str, tuple[int, Encoded]]] = {}  # kind to id to (seq, row), in seq order
        self._memory: dict[str, bytes] = {}
        self._seq, self._link = 0, ""
        self._lock = threading.RLock()
        self._within, self._closed = False, False
        home = Path(folder) / "blobs" if folder else Path(tempfile.mkdtemp(prefix="luthier-"))
        self._folders = Folders(home)
        if folder is None:
            weakref.finalize(self, shutil.rmtree, home, ignore_errors=True)

    def append(self, kind: str, rows: Sequence[Row]) -> Appended:
        """Store rows. Raises StateError, and then none of them is stored."""
        checked_kind(kind)
        encoded = [encode(kind, row) for row in rows]
        stored, duplicates, fresh = [], [], {}
        with self._turn():
            there, link, seq = self._rows.get(kind, {}), self._link, self._seq
            for row in encoded:
                if row[0] in there or row[0] in fresh:
                    duplicates.append(row[0])
                    continue
                if kind in AUDITED:
                    row, link = chained(kind, row, link)
                seq += 1
                fresh[row[0]] = (seq, row)
                stored.append(row[0])
            self._rows.setdefault(kind, {}).update(fresh)
            self._link, self._seq = link, seq
        return Appended(tuple(stored), tuple(duplicates))

    def scan(
        self, kind: str, *, since: int = 0, limit: int | None = None,
        start: datetime | None = None, end: datetime | None = None, newest_first: bool = False,
    ) -> Iterator[Row]:  # fmt: skip
        """Rows in seq order or its reverse."""
        checked_kind(kind)
        low = None if start is None else micros(start, "start")
        high = None if end is None else micros(end, "end")
        with self._turn():
            rows = list(self._rows.get(kind, {}).values())
        wanted = (
            (seq, row)
            for seq, row in (reversed(rows) if newest_first else rows)
            if seq > since and (low is None or row[1] >= low) and (high is None or row[1] < high)
        )
        return (decode(*row, seq) for (seq, row), _ in zip(wanted, _counted(limit), strict=False))

    def lookup(self, kind: str, ids: Sequence[str]) -> dict[str, Row]:
        """The rows of those ids that are there."""
        with self._turn():
            rows = self._rows.get(checked_kind(kind), {})
            return {id: decode(*rows[id][1], rows[id][0]) for id in dict.fromkeys(ids) if id in rows}

    def known(self, kind: str, ids: Sequence[str]) -> set[str]:
        """Which of the ids are there."""
        with self._turn():
            return set(ids) & self._rows.get(checked_kind(kind), {}).keys()

    def count(self, kind: str) -> int:
        """How many rows of the kind there are."""
        with self._turn():
            return len(self._rows.get(kind, {}))

    def last(self, kind: str) -> int:
        """The highest seq of the kind; 0 when there is none."""
        with self._turn():
            rows = self._rows.get(kind)
            return next(reversed(rows.values()))[0] if rows else 0

    def seal(self, kind: str, before: datetime | None = None, *, least: int = 10_000) -> int:
        """Nothing to move: 0."""
        if kind not in SEALABLE:
            raise StateError(f"rows of kind {kind!r} stay where they are; only {', '.join(SEALABLE)} may be sealed")
        if before is not None:
            micros(before, "before")
        if self._within:
            raise StateError("seal() is a transaction of its own; call it outside transaction()")
        return 0

    def remember(self, name: str, value: bytes) -> None:
        """Keep `value` as the last one under `name`."""
        with self._turn():
            self._memory[name] = checked_state(name, value)

    def recall(self, name: str) -> bytes | None:
        """The last value remembered under `name`."""
        with self._turn():
            return self._memory.get(name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is appended and remembered inside stays together or goes together. StateError when nested."""
        with self._turn():
            if self._within:
                raise StateError("a transaction is open already; end it before the next one begins")
            sizes = {kind: len(rows) for kind, rows in self._rows.items()}
            memory, link = dict(self._memory), self._link
            self._within = True
            try:
                yield
            except BaseException:
                for kind, rows in self._rows.items():
                    while len(rows) > sizes.get(kind, 0):
                        rows.popitem()
                self._memory, self._link = memory, link
                raise
            finally:
                self._within = False

    def put(self, folder: Path) -> str:
        """Keep a copy of `folder`; its digest. See luthier.storage.folders."""
        return self._folders.put(folder)

    def get(self, digest: str, *, verify: bool = False) -> Path:
        """The folder kept under `digest`; with `verify`, read again in full first."""
        return self._folders.get(digest, verify=verify)

    def verify(self, digest: str) -> None:
        """Raises Tampered naming the file when what is kept under `digest` has changed."""
        self._folders.verify(digest)

    def audit(self) -> list[str]:
        """One sentence for each break in the chain of audited rows."""
        with self._turn():
            rows = [(seq, kind, row) for kind in AUDITED for seq, row in self._rows.get(kind, {}).values()]
        return breaks((kind, seq, row) for seq, kind, row in sorted(rows))

    def close(self) -> None:
        """Closing twice is fine; anything after it raises StoreError."""
        self._closed = True

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed; open a new one")
            yield


def _counted(limit: int | None) -> Iterator[int]:
    count = 0
    while limit is None or count < limit:
        yield count
        count += 1
