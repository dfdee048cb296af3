"""Durable ingest, sealing and late labels, against plain SQLite in the same run.

    python bench/bench_ingest.py [--rows 100000]

Rows of one prediction: an id, a time, a label and four numbers. One fsync per 1,000 rows everywhere. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from luthier.stages.record import feedback, joined
from luthier.stores.base import Row
from luthier.stores.sqlite import SqliteStore

GROUP = 1000
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def made(n: int) -> list[Row]:
    draw = random.Random(0)
    names = ("confidence", "margin", "entropy", "length")
    return [
        Row(
            str(uuid.UUID(int=((1_767_225_600_000 + i) << 80) | draw.getrandbits(80))), T0 + timedelta(milliseconds=i),
            {"output": {"label": "positive"}, "model": "v1"}, {name: draw.random() for name in names},
        )
        for i in range(n)
    ]  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def plain_sqlite(path: Path, rows: list[Row]) -> float:
    """executemany of ready tuples: what any Python program on SQLite can at most do."""
    file = sqlite3.connect(path, isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    file.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, at INTEGER, body TEXT, a REAL, b REAL, c REAL, d REAL)")
    ready = [(row.id, i, json.dumps(row.body), *row.numbers.values()) for i, row in enumerate(rows)]

    def work() -> None:
        for start in range(0, len(ready), GROUP):
            file.execute("BEGIN IMMEDIATE")
            file.executemany("INSERT OR IGNORE INTO rows VALUES (?,?,?,?,?,?,?)", ready[start : start + GROUP])
            file.execute("COMMIT")

    return seconds(work)


def ours(folder: Path, rows: list[Row], *, seal_every: int | None) -> tuple[SqliteStore, float]:
    store = SqliteStore(folder)

    def work() -> None:
        for start in range(0, len(rows), GROUP):
            store.append("answer", rows[start : start + GROUP])
            if seal_every and (start + GROUP) % seal_every == 0:
                store.seal("answer", least=1)

    return store, seconds(work)


def size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    n = parser.parse_args().rows
    import pyarrow.parquet  # noqa: F401  loaded before the clock starts

    rows = made(n)
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        plain = n / plain_sqlite(home / "plain.sqlite", rows)
        _, hot = ours(home / "hot", rows, seal_every=None)
        store, sealed = ours(home / "sealed", rows, seal_every=max(n // 4, GROUP))
        labels = [{"id": row.id, "target": "negative"} for row in random.Random(1).sample(rows, n // 2)]
        parts = [labels[start : start + GROUP] for start in range(0, len(labels), GROUP)]
        told = seconds(lambda: [feedback(store, part) for part in parts])
        join = seconds(lambda: joined(store, 0, 1000))
        scan = seconds(lambda: sum(1 for _ in store.scan("answer")))
        found = {
            "rows": n,
            "plain_sqlite_rows_per_s": round(plain),
            "hot_rows_per_s": round(n / hot),
            "with_sealing_rows_per_s": round(n / sealed),
            "hot_over_plain": round(n / hot / plain, 3),
            "with_sealing_over_plain": round(n / sealed / plain, 3),
            "plain_bytes_per_row": round(size(home, "plain.sqlite") / n, 1),
            "sealed_bytes_per_row": round(size(home / "sealed", "*.parquet") / n, 1),
            "id_index_bytes_per_row": round(size(home / "sealed", "*.ids") / n, 1),
            "labels_in_random_order_per_s": round(len(labels) / told),
            "join_of_1000_random_labels_s": round(join, 3),
            "scan_of_sealed_rows_per_s": round(n / scan),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
