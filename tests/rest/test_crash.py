"""`kill -9` of a server under load: what it acknowledged is on record, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from luthier.rest import new_key
from luthier.stages.record import from_row
from luthier.stores.sqlite import SqliteStore

SERVER = """
import sys
from pathlib import Path
from luthier.options import ServeOptions
from luthier.rest import create_app, run
from luthier.stages.record import Recorder
from luthier.stages.serve import Server
from luthier.stores.sqlite import SqliteStore
from luthier.tasks.text_classification import TextClassification
from luthier.types import Version, utc_now

class Fixed:
    def answer(self, records):
        return [{"label": "positive", "confidence": 0.75, "scores": {"positive": 0.75}} for _ in records]

folder, keys = map(Path, sys.argv[1:])
recorder = Recorder(SqliteStore(folder))
options = ServeOptions(port=0)
server = Server(
    TextClassification(("negative", "positive")), load=lambda: (Version(1, "0" * 64, utc_now()), Fixed()),
    record=recorder.submit, newest=lambda: 1, options=options,
)
app = create_app(server, feedback=lambda labels: None, model_name="m", keys=keys, on_close=recorder.close)
run(app, options, announce=lambda url: print(url, flush=True))
print("stopped well", flush=True)
"""


def start(folder: Path, keys: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder), str(keys)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def load(url: str, token: str, first: int, until: int, process: subprocess.Popen[str]) -> list[str]:
    """Ids acknowledged as recorded before the server went; it is killed after `until` of this thread."""
    told = []
    with httpx.Client(base_url=url, headers={"X-API-Key": token}, timeout=20) as client:
        for i in range(first, first + 1000):
            try:
                reply = client.post("/v1/answer", json={"id": f"r{i}", "input": "a good film"})
            except httpx.TransportError:
                break
            if reply.status_code == 503:  # not ready yet
                continue
            assert reply.status_code == 200, reply.text
            told += [answer["id"] for answer in reply.json()["answers"] if answer["recorded"]]
            if len(told) == until:
                os.kill(process.pid, signal.SIGKILL)
    return told


def test_kill_9_under_load_loses_nothing_acknowledged(tmp_path: Path) -> None:
    token = new_key(tmp_path / "keys.json", ["predict"])
    acknowledged: list[str] = []
    for attempt in range(2):
        process, url = start(tmp_path / "store", tmp_path / "keys.json")
        with ThreadPoolExecutor(4) as pool:
            done = [
                pool.submit(load, url, token, 10_000 * attempt + 1000 * thread, 20 + 30 * attempt, process)
                for thread in range(4)
            ]
            acknowledged += [id for one in done for id in one.result()]
        assert process.wait(20) == -signal.SIGKILL
        process.communicate()
    store = SqliteStore(tmp_path / "store")
    kept = Counter(from_row(row).id for row in store.scan("answer"))
    store.close()
    assert len(acknowledged) >= 70
    assert set(acknowledged) <= set(kept)
    assert set(kept.values()) == {1}


def test_a_signal_stops_it_well(tmp_path: Path) -> None:
    new_key(tmp_path / "keys.json", ["predict"])
    process, url = start(tmp_path / "store", tmp_path / "keys.json")
    assert httpx.get(url + "/healthz").status_code == 401
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=30)
    assert (process.returncode, said.strip(), errors) == (0, "stopped well", "")
