"""One SQLite file, shared by threads and processes: short waits, clear errors, nothing half done."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from luthier.errors import StateError, StoreError, StoreFull

__all__ = ["Database"]

_PATIENCE = 30.0  # seconds to wait for another process
_left_behind: list[sqlite3.Connection] = []  # of a parent process: closing them here would disturb its locks


class Database:
    """A connection in WAL mode with synchronous=FULL, used by one thread at a time; made again after a fork.

    `tables` are the statements that make layout `layout` of the file; a file of a newer layout is refused.
    Raises StoreFull, or StoreError naming the folder and the way out.
    """

    def __init__(self, path: Path, tables: str, layout: int) -> None:
        self.path = path
        self._tables, self._layout = tables, layout
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process, self._closed = os.getpid(), False
        self._within, self._spoilt = False, False
        with self._turn(), self._told():
            self._open()

    @property
    def within(self) -> bool:
        """Whether this thread is inside `transaction()`."""
        with self._turn():
            return self._within

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside commits together, or, after any error, nothing of it. StateError when nested."""
        with self._turn():
            if self._within:
                raise StateError("a transaction is open already; end it before the next one begins")
            with self._told():
                connection = self._begin()
            self._within, self._spoilt = True, False
            try:
                yield
                if self._spoilt or not connection.in_transaction:
                    raise StoreError("a write inside the transaction failed, so nothing of the transaction was stored")
                with self._told():
                    connection.execute("COMMIT")
            finally:
                self._within = False
                _undo(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection that may write: in the open transaction of this thread, or in one that commits on leaving."""
        with self._turn(), self._told():
            connection = self._open() if self._within else self._begin()
            try:
                yield connection
                if not self._within:
                    connection.execute("COMMIT")
            except BaseException:
                self._spoilt = True
                if not self._within:
                    _undo(connection)
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one moment of the file. Keep it short: a long reader lets the log grow."""
        with self._turn(), self._told():
            connection = self._open()
            if self._within:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _undo(connection)

    def close(self) -> None:
        """Let go of the file; closing twice is fine."""
        with self._turn():
            self._closed = True
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _turn(self) -> threading.RLock:  # type: ignore[valid-type]  # RLock is a function before Python 3.13
        """The lock; a new one in a forked process, where nobody is left to release the old one."""
        if self._process != os.getpid():
            if self._connection is not None:
                _left_behind.append(self._connection)
            self._process, self._connection = os.getpid(), None
            self._lock, self._within, self._spoilt = threading.RLock(), False, False
        return self._lock

    def _begin(self) -> sqlite3.Connection:
        """Begin to write. SQLite's own waiting grows to 100 ms a turn, which starves writers; these turns are short."""
        connection, deadline = self._open(), time.monotonic() + _PATIENCE
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return connection
                except sqlite3.OperationalError as error:
                    if not _busy(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(random.uniform(0.0002, 0.002))
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(_PATIENCE * 1000)}")

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"the store in {self.path.parent} is closed; open it again")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        deadline = time.monotonic() + _PATIENCE
        try:
            while True:
                try:
                    self._prepare(connection)
                    return connection
                except sqlite3.OperationalError as error:  # several processes make it: WAL needs the file for itself
                    _undo(connection)
                    if not _busy(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(random.uniform(0.001, 0.02))
        except BaseException:
            connection.close()
            raise

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        if layout > self._layout:
            raise StoreError(
                f"{self.path} has layout {layout}; this Luthier knows up to {self._layout}. A newer Luthier wrote it: "
                f"update with pip install --upgrade luthier"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")  # bytes
        if layout < self._layout:
            connection.execute("BEGIN IMMEDIATE")
            for statement in self._tables.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {self._layout}")
            connection.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.Error as error:
            code = _code(error)
            folder = self.path.parent
            if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._no_space()):
                raise StoreFull(
                    f"no space is left for the store in {folder}: {error}. Nothing acknowledged is lost; free some "
                    f"space and try again"
                ) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                advice = f"another process has been writing for {_PATIENCE:.0f} s; try again"
            elif code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                advice = "store.sqlite is damaged or not a store: move it away and restore a copy"
            else:
                advice = "give a folder that this user may write, as `store:` in luthier.yaml"
            raise StoreError(f"the store in {folder} cannot be used: {error}; {advice}") from error

    def _no_space(self) -> bool:
        try:
            return shutil.disk_usage(self.path.parent).free < 2**20
        except OSError:
            return False


def _undo(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _code(error: sqlite3.Error) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
