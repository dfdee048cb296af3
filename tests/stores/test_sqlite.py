"""What only the embedded store does: segments, several processes, full disks, damaged files."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from luthier.errors import StateError, StoreError, StoreFull, Tampered
from luthier.stores import sqlite
from luthier.stores.base import Row
from luthier.stores.sqlite import SqliteStore

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def rows(first: int, last: int) -> list[Row]:
    return [
        Row(f"a{i}", T0 + timedelta(seconds=i), {"i": i}, {"confidence": i / 3}, b"12345678")
        for i in range(first, last)
    ]


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    call = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_segments_are_parquet_that_anyone_reads_with_compact_encodings(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    store = SqliteStore(tmp_path)
    store.append("answer", rows(0, 20_000))
    assert store.seal("answer") == 20_000
    (path,) = (tmp_path / "segments" / "answer").glob("*.parquet")
    table = pq.read_table(path)
    assert table.column_names == ["seq", "id", "at", "body", "blob", "n.confidence"]
    assert table["n.confidence"][7].as_py() == 7 / 3
    with pq.ParquetFile(path) as file:
        group = file.metadata.row_group(0)
        encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)}
    assert "DELTA_BINARY_PACKED" in encodings["seq"]
    assert "BYTE_STREAM_SPLIT" in encodings["n.confidence"]
    assert path.stat().st_size / 20_000 < 25  # bytes a row


def test_rare_numbers_and_nan_survive_sealing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    many = [Row(f"r{i}", T0, {}, {f"own{i}": float(i), "shared": math.nan if i % 2 else 1.0}) for i in range(400)]
    store.append("answer", [*many, Row("bare", T0)])
    store.seal("answer", least=1)
    back = store.lookup("answer", ["r3", "r399", "bare"])
    assert back["r3"].numbers["own3"] == 3.0
    assert math.isnan(back["r399"].numbers["shared"])
    assert back["r399"].numbers.keys() == {"own399", "shared"}
    assert back["bare"].numbers == {}


def test_large_histories_become_several_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_SEGMENT_ROWS", 1000)
    monkeypatch.setattr(sqlite, "_PAGE_ROWS", 300)
    store = SqliteStore(tmp_path)
    for first in range(0, 5000, 500):
        store.append("answer", rows(first, first + 500))
        store.append("label", rows(first, first + 500))
    assert store.seal("answer", T0 + timedelta(seconds=4200)) == 0  # below `least`
    assert store.seal("answer", T0 + timedelta(seconds=4200), least=1) == 4200
    assert [row.body["i"] for row in store.scan("answer")] == list(range(5000))
    assert [row.body["i"] for row in store.scan("answer", newest_first=True)] == list(range(4999, -1, -1))
    window = {"start": T0 + timedelta(seconds=2990), "end": T0 + timedelta(seconds=4300)}
    assert [row.body["i"] for row in store.scan("answer", **window)] == list(range(2990, 4300))  # type: ignore[arg-type]
    assert len(store.lookup("answer", [f"a{i}" for i in range(0, 5000, 7)])) == 715
    assert store.audit() == []


def test_a_scan_under_way_survives_a_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_PAGE_ROWS", 100)
    store = SqliteStore(tmp_path)
    store.append("answer", rows(0, 1000))
    for newest_first in (False, True):
        scan = store.scan("answer", newest_first=newest_first)
        seen = [next(scan).id for _ in range(150)]
        store.seal("answer", T0 + timedelta(seconds=500), least=1)
        seen += [row.id for row in scan]
        assert sorted(seen) == sorted(f"a{i}" for i in range(1000))


def test_an_index_that_is_gone_is_made_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.append("answer", rows(0, 50))
    store.seal("answer", least=1)
    (index,) = (tmp_path / "segments" / "answer").glob("*.ids")
    index.write_bytes(index.read_bytes()[:100])
    again = SqliteStore(tmp_path)
    assert again.append("answer", rows(40, 60)).duplicates == tuple(f"a{i}" for i in range(40, 50))


def test_a_changed_segment_is_named(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.append("answer", rows(0, 50))
    store.seal("answer", least=1)
    (path,) = (tmp_path / "segments" / "answer").glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-10])
    assert path.name in store.audit()[0]
    with pytest.raises(Tampered, match=path.name):
        list(store.scan("answer"))


def test_a_changed_removed_or_added_decision_is_found(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    for i in range(4):
        store.append("decision", [Row(f"d{i}", T0, {"action": "none"})])
    file = sqlite3.connect(tmp_path / "store.sqlite")
    file.execute("""UPDATE rows SET body = replace(body, '"none"', '"promote"') WHERE id = 'd1'""")
    file.commit()
    assert [text.split(" (")[0] for text in store.audit()] == ["decision 'd1'"]
    file.execute("DELETE FROM rows WHERE id = 'd2'")
    file.execute("INSERT INTO rows (kind, id, at, body, numbers, blob) VALUES ('version', 'v', 0, '{}', '{}', x'')")
    file.commit()
    file.close()
    assert [text.split(" (")[0] for text in store.audit()] == ["decision 'd1'", "decision 'd3'", "version 'v'"]


def test_several_processes_count_overlapping_ids_once(tmp_path: Path) -> None:
    code = """
        import sys
        from datetime import datetime, UTC
        from pathlib import Path
        from luthier.stores.base import Row
        from luthier.stores.sqlite import SqliteStore
        store, first = SqliteStore(Path(sys.argv[1])), int(sys.argv[2])
        for i in range(first, first + 60):
            rows = [Row(f"a{j}", datetime.now(UTC), {"by": first}) for j in range(3 * i, 3 * i + 6)]
            done = store.append("answer", rows)
            store.append("decision", [Row(f"d{first}-{i}", datetime.now(UTC))])
            print(*done.stored)
            if i % 20 == 0:
                store.seal("answer", least=1)
    """
    workers = [python(code, tmp_path, first) for first in (0, 20, 40)]
    told: list[str] = []
    for worker in workers:
        out, error = worker.communicate(timeout=60)
        assert worker.returncode == 0, error
        told += out.split()
    store = SqliteStore(tmp_path)
    kept = [row.id for row in store.scan("answer")]
    assert sorted(told) == sorted(kept) == sorted(f"a{j}" for j in range(303))
    assert store.count("answer") == 303
    assert (store.count("decision"), store.audit()) == (180, [])


def test_writers_do_not_starve_each_other(tmp_path: Path) -> None:
    code = """
        import sys, time
        from datetime import datetime, UTC
        from pathlib import Path
        from luthier.stores.base import Row
        from luthier.stores.sqlite import SqliteStore
        store, end, n = SqliteStore(Path(sys.argv[1])), time.time() + 1.5, 0
        while time.time() < end:
            store.append("answer", [Row(f"{sys.argv[2]}-{n}-{j}", datetime.now(UTC)) for j in range(50)])
            n += 1
        print(n)
    """
    workers = [python(code, tmp_path, name) for name in "ab"]
    groups = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert min(groups) > 0.1 * max(groups), groups


def test_a_full_disk_is_told_and_the_store_goes_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.append("answer", rows(0, 100))
    with store._database.writing() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    big = [Row(f"big{i}", T0, {"text": "x" * 100_000}) for i in range(3)]
    with pytest.raises(StoreFull, match=r"no space.*free some"):
        store.append("answer", big)
    with pytest.raises(StoreFull), store.transaction():  # noqa: PT012
        store.remember("cursor", b"1")
        store.append("answer", big)
    with pytest.raises(StoreError, match="nothing of the transaction"), store.transaction():  # noqa: PT012
        store.remember("cursor", b"1")
        with pytest.raises(StoreFull):
            store.append("answer", big)
    assert store.count("answer") == 100
    assert store.recall("cursor") is None
    assert store.append("answer", rows(100, 101)).stored == ("a100",)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert len(store.append("answer", big).stored) == 3


def test_a_file_size_limit_is_a_full_disk_too(tmp_path: Path) -> None:
    code = """
        import sys, signal
        from datetime import datetime, UTC
        from pathlib import Path
        from luthier.errors import StoreFull, StoreError
        from luthier.stores.base import Row
        from luthier.stores.sqlite import SqliteStore
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        import resource
        store, n = SqliteStore(Path(sys.argv[1])), 0
        folder = Path(sys.argv[1]) / "model"
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(2_000_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        try:
            while True:
                store.append("answer", [Row(f"a{n}", datetime.now(UTC), {"text": "x" * 50_000})])
                n += 1
        except StoreError as error:
            print(type(error).__name__, n)
        try:
            store.put(folder)
        except StoreFull:
            print("put full", len(list((Path(sys.argv[1]) / "blobs").iterdir())))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert store.count("answer") == n
        store.append("answer", [Row("after", datetime.now(UTC))])
        assert store.get(store.put(folder), verify=True)
        assert store.count("answer") == n + 1
    """
    worker = python(code, tmp_path)
    out, error = worker.communicate(timeout=60)
    assert worker.returncode == 0, error
    assert out.splitlines()[1] == "put full 0"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_tiny_disk_that_fills_up(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        store, n = SqliteStore(disk), 0
        with pytest.raises(StoreFull, match="no space is left"):  # noqa: PT012
            while True:
                store.append("answer", [Row(f"a{n}", T0, {"text": "x" * 20_000})])
                n += 1
        assert n > 5
        assert store.count("answer") == n
        with pytest.raises(StoreFull):
            store.append("answer", [Row("more", T0, {"text": "x" * 500_000})])
        store.close()
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        store = SqliteStore(disk)
        store.append("answer", [Row("more", T0, {"text": "x" * 500_000})])
        assert [row.id for row in store.scan("answer")] == [*(f"a{i}" for i in range(n)), "more"]
        store.close()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*may write.*luthier\.yaml"):
        SqliteStore(tmp_path / "file" / "store")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "store.sqlite").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore(tmp_path / "damaged")


def test_a_store_of_a_newer_luthier_is_left_alone(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    file = sqlite3.connect(tmp_path / "store.sqlite")
    file.execute("PRAGMA user_version = 7")
    file.close()
    with pytest.raises(StoreError, match=r"layout 7.*update"):
        SqliteStore(tmp_path)


def test_a_forked_process_opens_its_own_connection(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.append("answer", rows(0, 1))
    child = os.fork()
    if child == 0:
        done = store.append("answer", rows(0, 2)).stored
        os._exit(0 if done == ("a1",) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.count("answer") == 2


def test_a_reader_in_another_thread_waits_for_the_transaction(tmp_path: Path) -> None:
    store, seen = SqliteStore(tmp_path), []
    with store.transaction():
        store.append("answer", rows(0, 1))
        reader = threading.Thread(target=lambda: seen.append(store.count("answer")))
        reader.start()
        store.append("answer", rows(1, 2))
    reader.join()
    assert seen == [2]


def test_rubbish_of_a_killed_seal_is_swept_in_time(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    home = tmp_path / "segments" / "answer"
    home.mkdir(parents=True)
    for name, age in (("old.parquet", 4000), ("old.parquet.fresh", 4000), ("young.parquet.fresh", 10)):
        (home / name).write_bytes(b"")
        moment = datetime.now(UTC).timestamp() - age
        os.utime(home / name, (moment, moment))
    store.append("answer", rows(0, 3))
    store.seal("answer", least=1)
    store.append("answer", rows(3, 6))
    store.seal("answer", least=1)
    assert [path.name for path in home.iterdir() if not path.name.startswith("0")] == ["young.parquet.fresh"]
    assert store.count("answer") == 6


def test_special_files_and_odd_names_are_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "good").write_text("x")
    os.mkfifo(folder / "pipe")
    with pytest.raises(StateError, match="pipe"):
        store.put(folder)
    (folder / "pipe").unlink()
    (folder / "a\\..\\b").write_text("x")
    with pytest.raises(StateError, match="backslash"):
        store.put(folder)
    with pytest.raises(StateError, match="not a folder"):
        store.put(tmp_path / "nothing")


def test_added_and_missing_files_are_tampering_and_putting_again_repairs(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    kept = store.get(store.put(folder))
    (kept / "adapter_config.json").write_text("{}")
    with pytest.raises(Tampered, match=r"adapter_config\.json.*added"):
        store.verify(kept.name)
    (kept / "adapter_config.json").unlink()
    (kept / "config.json").unlink()
    with pytest.raises(Tampered, match=r"config\.json.*missing"):
        store.get(kept.name, verify=True)
    assert store.put(folder) == kept.name
    store.verify(kept.name)
    assert {path.name for path in (tmp_path / "store" / "blobs").iterdir()} == {kept.name, f"{kept.name}.files"}
