"""The embedded store: one SQLite file for what is new and small, sealed Parquet segments, folders by digest."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from luthier.errors import StateError
from luthier.names import register
from luthier.storage.database import Database
from luthier.storage.folders import Folders, durable, refusals, sha256
from luthier.storage.segments import Index, Sealed, beside, digests, pick, read, write
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
    searchable,
)

__all__ = ["LAYOUT", "SqliteStore"]

LAYOUT = 1
"""Version of the tables, kept as SQLite's user_version; a store of a newer one is refused, never guessed at."""

_TABLES = """
CREATE TABLE IF NOT EXISTS rows (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice, also when sealed rows have left
    kind TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL,
    body TEXT NOT NULL, numbers TEXT NOT NULL, blob BLOB NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS rows_of_kind ON rows (kind);
CREATE TABLE IF NOT EXISTS segments (
    path TEXT PRIMARY KEY, kind TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, rows INTEGER NOT NULL,
    min_seq INTEGER NOT NULL, max_seq INTEGER NOT NULL, min_at INTEGER NOT NULL, max_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "id, at, body, numbers, blob, seq"
_PAGE_ROWS, _PAGE_BYTES = 2000, 32 * 2**20  # of one read: short, since a long reader keeps the log from being folded in
_SEGMENT_ROWS, _SEGMENT_BYTES = 250_000, 64 * 2**20  # of one segment, in memory while it is written
_VARIABLES = 500  # ids of one query
_ORPHAN = 3600.0  # seconds after which a segment file that no manifest row names is rubbish
_EVER = 2**63 - 1


@register("store", "sqlite.v1")
class SqliteStore:
    """A store in `folder`, made when absent; any number of threads and processes may have it open.

    store.sqlite (WAL, synchronous=FULL) holds the hot rows, the manifest of segments and what is remembered;
    segments/<kind>/*.parquet (with *.ids beside it) the sealed rows, every one of them older than the hot rows of its
    kind; blobs/<digest>/ the folders. Raises StoreError when the folder cannot be used.
    """

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._folders = Folders(self.folder / "blobs")
        self._indices: dict[str, Index] = {}
        with refusals(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._database = Database(self.folder / "store.sqlite", _TABLES, LAYOUT)
            durable(self.folder)

    def append(self, kind: str, rows: Sequence[Row]) -> Appended:
        """Store rows durably. Raises StateError (none of them is stored), StoreFull, StoreError."""
        checked_kind(kind)
        encoded = [encode(kind, row) for row in rows]
        if not encoded:
            return Appended()
        ids = [row[0] for row in encoded]
        wanted = digests(ids) if self._indices and kind in SEALABLE else None  # hashed before the lock is taken
        with self._database.writing() as connection:
            there = self._sealed_ids(connection, kind, ids, wanted)
            if kind in AUDITED:
                stored = self._append_chained(connection, kind, encoded)
            else:
                stored = _insert(connection, kind, [row for row in encoded if row[0] not in there])
        return Appended(
            tuple(stored), tuple((Counter(ids) - Counter(stored)).elements()) if len(stored) < len(ids) else ()
        )

    def _append_chained(self, connection: sqlite3.Connection, kind: str, rows: list[Encoded]) -> list[str]:
        marks = ",".join("?" * len(AUDITED))
        newest = f"SELECT json_extract(body, '$.hash') FROM rows WHERE kind IN ({marks}) ORDER BY seq DESC LIMIT 1"
        previous = (connection.execute(newest, AUDITED).fetchone() or ("",))[0] or ""
        there = {row[0] for row in _hot(connection, kind, [row[0] for row in rows], "id")}
        stored = []
        for row in rows:
            if row[0] not in there:
                linked, previous = chained(kind, row, previous)
                stored += _insert(connection, kind, [linked])
                there.add(row[0])
        return stored

    def scan(
        self, kind: str, *, since: int = 0, limit: int | None = None,
        start: datetime | None = None, end: datetime | None = None, newest_first: bool = False,
    ) -> Iterator[Row]:  # fmt: skip
        """Rows in seq order or its reverse, read page by page: what is appended meanwhile may or may not be met."""
        checked_kind(kind)
        low = -_EVER if start is None else micros(start, "start")
        high = _EVER if end is None else micros(end, "end")
        return self._scan(kind, since, _EVER, (low, high), newest_first, _EVER if limit is None else limit)

    def _scan(
        self, kind: str, after: int, before: int, window: tuple[int, int], newest_first: bool, limit: int
    ) -> Iterator[Row]:
        while limit > 0:
            found = self._next(kind, (after, before), window, newest_first, limit)
            if found is None:
                return
            rows, first, last = found
            for seq, id, at, body, numbers, blob in rows:
                if window[0] <= at < window[1]:
                    yield decode(id, at, body, numbers, blob, seq)
                    limit -= 1
                    if limit <= 0:
                        return
            after, before = (after, first) if newest_first else (last, before)

    def _next(
        self, kind: str, between: tuple[int, int], window: tuple[int, int], newest_first: bool, limit: int
    ) -> tuple[Iterable[Sealed], int, int] | None:
        """The next page or segment with its lowest and highest seq. Every segment lies before every hot row.

        Both are looked for in one snapshot, so that a seal in between neither hides nor doubles a row.
        """
        with self._database.reading() as connection:
            page = _page(connection, kind, *between, window, True, limit) if newest_first else []
            segment = None if page else _segment(connection, kind, *between, window, newest_first)
            if segment is None and not newest_first:
                page = _page(connection, kind, *between, window, False, limit)
        if segment is not None:
            path, first, last = segment
            return read(self.folder / path, *between, newest_first=newest_first), first, last
        return (page, min(page[0][0], page[-1][0]), max(page[0][0], page[-1][0])) if page else None

    def lookup(self, kind: str, ids: Sequence[str]) -> dict[str, Row]:
        """The rows of those ids that are there."""
        checked_kind(kind)
        ids = searchable(ids)
        with self._database.reading() as connection:
            found = {row[0]: decode(*row) for row in _hot(connection, kind, ids, _COLUMNS)}
            left = [id for id in ids if id not in found]
            places = self._places(connection, kind, left, None)
        for path, positions in places.items():
            with refusals(self.folder):
                for seq, id, at, body, numbers, blob in pick(self.folder / path, list(positions.values())):
                    found[id] = decode(id, at, body, numbers, blob, seq)
        return {id: found[id] for id in ids if id in found}

    def known(self, kind: str, ids: Sequence[str]) -> set[str]:
        """Which of the ids are there."""
        checked_kind(kind)
        ids = searchable(ids)
        with self._database.reading() as connection:
            hot = {row[0] for row in _hot(connection, kind, ids, "id")}
            return hot | self._sealed_ids(connection, kind, [id for id in ids if id not in hot], None)

    def count(self, kind: str) -> int:
        """How many rows of the kind there are."""
        with self._database.reading() as connection:
            query = (
                "SELECT count(*) FROM rows WHERE kind = ?1 UNION ALL SELECT total(rows) FROM segments WHERE kind = ?1"
            )
            return sum(int(row[0]) for row in connection.execute(query, (kind,)))

    def last(self, kind: str) -> int:
        """The highest seq of the kind; 0 when there is none."""
        with self._database.reading() as connection:
            query = (
                "SELECT max(seq) FROM rows WHERE kind = ?1 UNION ALL SELECT max(max_seq) FROM segments WHERE kind = ?1"
            )
            return max(row[0] or 0 for row in connection.execute(query, (kind,)))

    def _places(
        self, connection: sqlite3.Connection, kind: str, ids: list[str], wanted: Any
    ) -> dict[str, dict[str, int]]:
        """Segment path to id to position, for the ids that are sealed."""
        if kind not in SEALABLE or not ids:
            return {}
        found: dict[str, dict[str, int]] = {}
        for path, rows in connection.execute("SELECT path, rows FROM segments WHERE kind = ?", (kind,)).fetchall():
            wanted = digests(ids) if wanted is None else wanted
            if path not in self._indices:
                self._indices[path] = Index.load(beside(self.folder / path), self.folder / path, rows)
            if hits := self._indices[path].find(wanted):
                found[path] = {ids[place]: position for place, position in hits.items()}
        return found

    def _sealed_ids(self, connection: sqlite3.Connection, kind: str, ids: list[str], wanted: Any) -> set[str]:
        with refusals(self.folder):
            return {id for places in self._places(connection, kind, ids, wanted).values() for id in places}

    def seal(self, kind: str, before: datetime | None = None, *, least: int = 10_000) -> int:
        """Move hot rows, up to the last appended one with at < before (None: all), into segments; how many moved.

        Rows appended ahead of that one move with it, so segments always lie before hot rows. A kill at any point
        leaves every row readable exactly once.
        """
        if kind not in SEALABLE:
            raise StateError(f"rows of kind {kind!r} stay where they are; only {', '.join(SEALABLE)} may be sealed")
        if self._database.within:
            raise StateError("seal() is a transaction of its own; call it outside transaction()")
        high = _EVER if before is None else micros(before, "before")
        with self._database.reading() as connection:
            query = "SELECT max(seq), count(*) FROM rows WHERE kind = ? AND at < ?"
            end = connection.execute(query, (kind, high)).fetchone()[0]
            count = connection.execute("SELECT count(*) FROM rows WHERE kind = ? AND seq <= ?", (kind, end)).fetchone()[
                0
            ]
        moved = 0
        if end is None or count < least:
            return moved
        home = self.folder / "segments" / kind
        with refusals(self.folder):
            home.mkdir(parents=True, exist_ok=True)
            durable(home.parent)
            self._sweep(home)
        while step := self._seal_one(kind, home, end):
            moved += step
        return moved

    def _seal_one(self, kind: str, home: Path, end: int) -> int:
        rows: list[Sealed] = []
        size, after = 0, 0
        while len(rows) < _SEGMENT_ROWS and size < _SEGMENT_BYTES:
            with self._database.reading() as connection:
                page = _page(connection, kind, after, end + 1, (-_EVER, _EVER), False, _SEGMENT_ROWS - len(rows))
            if not page:
                break
            rows += page
            size, after = size + sum(len(row[3]) + len(row[5]) for row in page), page[-1][0]
        if not rows:
            return 0
        path, manifest = self._write_segment(kind, home, rows)
        with self._database.writing() as connection:
            query = "SELECT min(seq) FROM rows WHERE kind = ?"
            if connection.execute(query, (kind,)).fetchone()[0] != rows[0][0]:
                path.unlink(missing_ok=True)  # another process sealed the same rows first
                beside(path).unlink(missing_ok=True)
                return 0
            connection.execute("INSERT INTO segments VALUES (?,?,?,?,?,?,?,?,?)", manifest)
            connection.execute("DELETE FROM rows WHERE kind = ? AND seq <= ?", (kind, rows[-1][0]))
        return len(rows)

    def _write_segment(self, kind: str, home: Path, rows: list[Sealed]) -> tuple[Path, tuple[Any, ...]]:
        """Written beside, fsynced, renamed, folder fsynced; then the manifest row that makes it count."""
        name = f"{rows[0][0]:016d}-{rows[-1][0]:016d}-{os.getpid()}-{random.getrandbits(32):08x}.parquet"
        path, fresh = home / name, home / f"{name}.fresh"
        with refusals(self.folder):
            try:
                Index.build([row[1] for row in rows]).save(fresh)
                durable(fresh)
                fresh.replace(beside(path))
                write(fresh, rows)
                durable(fresh)
                digest, size = sha256(fresh), fresh.stat().st_size
                fresh.replace(path)
                durable(home)
            except BaseException:
                for left in (fresh, path, beside(path)):
                    left.unlink(missing_ok=True)
                raise
        times = [row[2] for row in rows]
        where = path.relative_to(self.folder).as_posix()
        return path, (where, kind, digest, size, len(rows), rows[0][0], rows[-1][0], min(times), max(times))

    def _sweep(self, home: Path) -> None:
        """Remove files that a killed seal left behind."""
        with self._database.reading() as connection:
            kept = {self.folder / row[0] for row in connection.execute("SELECT path FROM segments")}
        for path in home.iterdir():
            if path not in kept and path.with_suffix(".parquet") not in kept:
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > _ORPHAN:
                        path.unlink()

    def remember(self, name: str, value: bytes) -> None:
        """Keep `value` as the last one under `name`."""
        checked_state(name, value)
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, value))

    def transaction(self) -> AbstractContextManager[None]:
        """What is appended and remembered inside commits together; other writers wait. StateError when nested."""
        return self._database.transaction()

    def recall(self, name: str) -> bytes | None:
        """The last value remembered under `name`."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, folder: Path) -> str:
        """Keep a copy of `folder`; its digest. See luthier.storage.folders."""
        return self._folders.put(folder)

    def get(self, digest: str, *, verify: bool = False) -> Path:
        """The folder kept under `digest`; with `verify`, read again in full first."""
        return self._folders.get(digest, verify=verify)

    def verify(self, digest: str) -> None:
        """Raises Tampered naming the file that has changed."""
        self._folders.verify(digest)

    def audit(self) -> list[str]:
        """One sentence for each break in the chain of audited rows and each missing or changed segment."""
        marks = ",".join("?" * len(AUDITED))
        with self._database.reading() as connection:
            query = f"SELECT kind, seq, id, at, body, numbers, blob FROM rows WHERE kind IN ({marks}) ORDER BY seq"
            rows = [(row[0], row[1], row[2:]) for row in connection.execute(query, AUDITED)]
            segments = connection.execute("SELECT path, sha256 FROM segments ORDER BY min_seq").fetchall()
        found = breaks(rows)
        for path, digest in segments:
            try:
                if sha256(self.folder / path) != digest:
                    found.append(f"{path}: its content does not match its SHA-256; it was changed")
            except OSError as error:
                found.append(f"{path}: it cannot be read: {error}")
        return found

    def close(self) -> None:
        """Let go of the file; closing twice is fine."""
        self._database.close()


def _insert(connection: sqlite3.Connection, kind: str, rows: list[Encoded]) -> list[str]:
    """Insert what is not there; the ids that were stored, in order."""
    changes = connection.total_changes
    newest = (connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'rows'").fetchone() or (0,))[0]
    connection.executemany(
        "INSERT OR IGNORE INTO rows (kind, id, at, body, numbers, blob) VALUES (?, ?, ?, ?, ?, ?)",
        [(kind, *row) for row in rows],
    )
    if connection.total_changes - changes == len(rows):
        return [row[0] for row in rows]
    query = "SELECT id FROM rows WHERE seq > ? AND kind = ? ORDER BY seq"
    return [row[0] for row in connection.execute(query, (newest, kind))]


def _hot(connection: sqlite3.Connection, kind: str, ids: list[str], columns: str) -> Iterator[Any]:
    for start in range(0, len(ids), _VARIABLES):
        some = ids[start : start + _VARIABLES]
        query = f"SELECT {columns} FROM rows WHERE kind = ? AND id IN ({','.join('?' * len(some))})"
        yield from connection.execute(query, (kind, *some)).fetchall()


def _page(
    connection: sqlite3.Connection, kind: str, after: int, before: int, window: tuple[int, int], newest_first: bool,
    limit: int,
) -> list[Sealed]:  # fmt: skip
    query = (
        "SELECT seq, id, at, body, numbers, blob FROM rows WHERE kind = ? AND seq > ? AND seq < ? "
        f"AND at >= ? AND at < ? ORDER BY seq {'DESC' if newest_first else 'ASC'} LIMIT ?"
    )
    page: list[Sealed] = []
    size = 0
    for row in connection.execute(query, (kind, after, before, *window, min(limit, _PAGE_ROWS))):
        page.append(row)
        size += len(row[3]) + len(row[5])
        if size > _PAGE_BYTES:
            break
    return page


def _segment(
    connection: sqlite3.Connection, kind: str, after: int, before: int, window: tuple[int, int], newest_first: bool
) -> tuple[str, int, int] | None:
    """(path, min_seq, max_seq) of the next segment that may hold wanted rows."""
    query = (
        "SELECT path, min_seq, max_seq FROM segments WHERE kind = ? AND max_seq > ? AND min_seq < ? "
        f"AND max_at >= ? AND min_at < ? ORDER BY min_seq {'DESC' if newest_first else 'ASC'} LIMIT 1"
    )
    found: tuple[str, int, int] | None = connection.execute(query, (kind, after, before, *window)).fetchone()
    return found
