"""kill -9 amid recording, labelling, sealing and keeping folders: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from luthier.stages.record import joined, labelled
from luthier.stores.sqlite import SqliteStore

KILLS = 25

WORKER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import pyarrow.parquet  # slow to load, so that kills do not all fall there
from luthier.stages.record import append, feedback, to_row
from luthier.stores.base import Row
from luthier.stores.sqlite import SqliteStore
from luthier.types import Record

home, start = Path(sys.argv[1]), int(sys.argv[2])
store = SqliteStore(home / "store")
folder = home / f"model-{start}"
folder.mkdir()
say = lambda *what: print(*what, flush=True)
say("ready")
for i in range(start, start + 1_000_000):
    ids = [f"a{i}-{j}" for j in range(20)]
    now = datetime.now(UTC)
    rows = [to_row(Record(id, now, "text " * 20, output={"label": "x", "confidence": 0.5})) for id in ids]
    if i % 2:
        append(store, rows)
        say("answer", *ids)
    feedback(store, [{"id": id, "target": "x"} for id in ids[::3]])
    say("label", *ids[::3])
    if not i % 2:
        append(store, rows + rows)
        say("answer", *ids)
    with store.transaction():
        store.append("decision", [Row(f"d{i}", now, {"action": "none"})])
        store.remember("decisions", str(i).encode())
    say("decision", f"d{i}")
    if i % 4 == 1:
        store.seal("answer", least=1)
        store.seal("label", least=1)
    if i % 4 == 2:
        (folder / "weights").write_bytes(bytes([i % 256]) * 300_000)
        (folder / "config.json").write_text(str(i))
        say("blob", store.put(folder))
"""


def _killed(home: Path, start: int, lines: int, wait: float) -> list[list[str]]:
    """What the worker acknowledged before it was killed, `wait` seconds after its first `lines` acknowledgements."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(home), str(start)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stderr is not None
        assert worker.stdout.readline() == "ready\n", worker.stderr.read()
        said = [worker.stdout.readline() for _ in range(lines)]
        time.sleep(wait)
        worker.kill()
        said += worker.stdout.read().splitlines(keepends=True)
    return [line.split() for line in said if line.endswith("\n")]


def test_kill_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    draw = random.Random(0)
    told: dict[str, set[str]] = {"answer": set(), "label": set(), "decision": set(), "blob": set()}
    given: list[str] = []
    cursor = 0
    for kill in range(KILLS):
        for kind, *ids in _killed(tmp_path, kill * 1_000_000 + kill % 4, draw.randrange(16), draw.uniform(0.0, 0.06)):
            told[kind] |= set(ids)
        store = SqliteStore(tmp_path / "store")
        part = joined(store, cursor)
        given, cursor = given + [one.id for one in part.records], part.cursor
        for kind in ("answer", "label", "decision"):
            assert store.known(kind, list(told[kind])) == told[kind]
        store.close()
    store = SqliteStore(tmp_path / "store")
    for kind in ("answer", "label", "decision"):
        kept = [row.id for row in store.scan(kind)]
        assert len(kept) == len(set(kept)) == store.count(kind)
        assert told[kind] <= set(kept)
    for digest in told["blob"]:
        store.verify(digest)
    decisions = [row.id for row in store.scan("decision")]
    assert decisions[-1] == "d" + (store.recall("decisions") or b"").decode()
    assert store.audit() == []
    assert len(given) == len(set(given))
    assert sorted(given) == sorted(one.id for one in labelled(store))
    assert min(map(len, told.values())) > 5, {kind: len(ids) for kind, ids in told.items()}
    assert list((tmp_path / "store" / "segments" / "answer").glob("*.parquet"))
