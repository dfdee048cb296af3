"""What every store must do. A plug-in calls `check_store` from its own tests."""
# ruff: noqa: PT018

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from luthier.errors import StateError, StoreError, Tampered
from luthier.stores.base import LARGEST_BODY, Appended, Row, Store

__all__ = ["check_store"]

_T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


def check_store(open: Callable[[], Store]) -> None:
    """Raises AssertionError naming the law that a store breaks. `open()` gives a fresh, empty store each time."""
    for law in (
        _append_and_scan, _rows_come_back_as_they_were, _duplicates_count_once, _sealing_changes_nothing, _hostile_rows,
        _transactions, _remember, _folders, _audit, _threads, _closed,
    ):  # fmt: skip
        store = open()
        try:
            law(store)
        finally:
            store.close()


def _rows(first: int, last: int) -> list[Row]:
    return [
        Row(f"a{i}", _T0 + timedelta(minutes=i), {"input": f"text {i}"}, {"confidence": i / 7}, bytes([i % 256]) * 4)
        for i in range(first, last)
    ]


def _ids(store: Store, **how: object) -> list[str]:
    return [row.id for row in store.scan("answer", **how)]  # type: ignore[arg-type]


def _append_and_scan(store: Store) -> None:
    assert (store.count("answer"), store.last("answer"), _ids(store)) == (0, 0, []), "an empty store is empty"
    assert store.append("answer", []) == Appended(), "no rows are no rows"
    store.append("answer", _rows(0, 5))
    store.append("label", _rows(0, 3))
    store.append("answer", _rows(5, 8))
    rows = list(store.scan("answer"))
    everything = [f"a{i}" for i in range(8)]
    assert [row.id for row in rows] == everything, "scan gives rows in the order of append"
    seqs = [row.seq for row in rows]
    assert seqs == sorted(set(seqs)) and seqs[0] > 0, "seq rises"
    assert min(row.seq for row in store.scan("label")) > seqs[4], "seq rises across kinds"
    assert (store.last("answer"), store.count("answer"), store.count("label")) == (seqs[-1], 8, 3)
    assert _ids(store, newest_first=True) == everything[::-1]
    assert _ids(store, since=seqs[5]) == everything[6:], "since is exclusive"
    assert _ids(store, limit=2) == everything[:2] and _ids(store, limit=0) == []
    assert _ids(store, start=_T0 + timedelta(minutes=2), end=_T0 + timedelta(minutes=4)) == ["a2", "a3"], (
        "start <= at < end"
    )
    assert list(store.lookup("answer", ["a6", "nobody", "a1", "a6"])) == ["a6", "a1"]
    assert store.known("answer", ["a6", "nobody"]) == {"a6"} and store.known("label", ["a6"]) == set()


def _rows_come_back_as_they_were(store: Store) -> None:
    body = {"text": "zażółć \ud83d 𝄞 \0 \n", "deep": [1, [2.5, None, {"x": True}]], "big": 2**70, "empty": {}}
    numbers = {"pi": math.pi, "tiny": 5e-324, "inf": math.inf, "down": -math.inf}
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    row = Row("id with ünïcode, 'quotes' and 𝄞", moment, body, numbers | {"nan": math.nan}, bytes(range(256)))
    for kind in ("answer", "run"):
        store.append(kind, [row])
        for sealed in (False, True):
            if sealed and kind == "answer":
                store.seal(kind, least=1)
            back = store.lookup(kind, [row.id])[row.id]
            assert (back.id, back.at, back.body, back.blob) == (row.id, row.at, row.body, row.blob)
            assert math.isnan(back.numbers["nan"]) and {**back.numbers, "nan": 0} == {**row.numbers, "nan": 0}


def _duplicates_count_once(store: Store) -> None:
    store.append("answer", [Row("x", _T0, {"first": True})])
    done = store.append("answer", [Row("y", _T0), Row("x", _T0, {"first": False}), Row("y", _T0), Row("z", _T0)])
    assert done.stored == ("y", "z") and sorted(done.duplicates) == ["x", "y"], "a duplicate is told and counted once"
    assert store.lookup("answer", ["x"])["x"].body == {"first": True}, "the first row is kept"
    assert store.append("label", [Row("x", _T0)]).stored == ("x",), "another kind is another name space"
    assert store.count("answer") == 3


def _sealing_changes_nothing(store: Store) -> None:
    store.append("answer", [*_rows(0, 30), Row("late", _T0 - timedelta(days=1))])
    store.append("answer", _rows(30, 50))

    def seen() -> list[object]:
        window: dict[str, object] = {"start": _T0 + timedelta(minutes=5), "end": _T0 + timedelta(minutes=40)}
        middle = next(row.seq for row in store.scan("answer") if row.id == "a20")
        scans: list[object] = [list(store.scan("answer", newest_first=back)) for back in (False, True)]
        scans += [_ids(store, **window), _ids(store, since=middle), _ids(store, newest_first=True, limit=45, **window)]
        found = store.lookup("answer", ["a3", "a45", "late", "nobody", "a3"])
        return [*scans, found, store.known("answer", list(found)), store.count("answer"), store.last("answer")]

    before = seen()
    assert store.seal("answer", _T0, least=1000) == 0, "fewer than `least` rows stay"
    for moment in (_T0 + timedelta(minutes=10), _T0 + timedelta(minutes=45), None):
        store.seal("answer", moment, least=1)
        assert seen() == before, f"sealing before {moment} changed what is read"
        again = store.append("answer", [*_rows(0, 50), Row("late", _T0)])
        assert again.stored == () and len(again.duplicates) == 51, "a sealed id is still a duplicate"
    assert store.append("answer", [Row("new", _T0)]).stored == ("new",)
    assert _ids(store)[-1] == "new" and _ids(store, newest_first=True)[0] == "new" and store.last("answer") > 51
    _raises(StateError, lambda: store.seal("decision"))


def _hostile_rows(store: Store) -> None:
    good = Row("good", _T0)
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    circle: dict[str, object] = {}
    circle["x"] = circle
    deeper = deep
    for _ in range(100_000):
        deeper = [deeper]
    for bad in (
        Row("", _T0), Row("i" * 513, _T0), Row("\ud800", _T0), Row("a\0b", _T0), Row(7, _T0), Row("b", _T0, {"x": math.nan}),  # type: ignore[arg-type]
        Row("b", _T0, {"x": {1, 2}}), Row("b", _T0, circle), Row("b", _T0, {"x": deep}), Row("b", _T0, {"x": deeper}), Row("b", _T0, {"x": "x" * (LARGEST_BODY + 1)}),
        Row("b", _T0, [1]), Row("b", _T0, {}, {"n": "many"}), Row("b", _T0, {}, {f"n{i}": 1 for i in range(1001)}),  # type: ignore[arg-type,dict-item]
        Row("b", _T0, {}, {"\ud800": 1.0}), Row("b", _T0, {}, {}, "text"), Row("b", _T0, {}, {}, b"x" * (LARGEST_BODY + 1)),  # type: ignore[arg-type]
        Row("b", datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))), Row("b", datetime(2026, 1, 1)), Row("b", "2026"),  # type: ignore[arg-type]
    ):  # fmt: skip
        error = _raises(StateError, lambda bad=bad: store.append("answer", [good, bad]))  # type: ignore[misc]
        assert "answer" in str(error) and len(str(error)) < 600, f"the error names the row, briefly: {error!s:.900}"
        assert store.count("answer") == 0, "a bad row in an append means none of its rows is stored"
    _raises(StateError, lambda: store.append("No Kind", [good]))
    _raises(StateError, lambda: store.append("", [good]))
    assert store.known("answer", ["\ud800", ""]) == set() and store.lookup("answer", ["\ud800"]) == {}
    assert store.append("answer", [Row("i" * 512, _T0, {"text": "x" * 10**6})]).stored


def _transactions(store: Store) -> None:
    class Stop(Exception):
        pass

    def stopped() -> None:
        with store.transaction():
            store.append("answer", _rows(0, 3))
            store.append("decision", [Row("d", _T0)])
            store.remember("cursor", b"3")
            assert store.count("answer") == 3, "a transaction sees its own rows"
            raise Stop

    _raises(Stop, stopped)
    assert (store.count("answer"), store.count("decision"), store.recall("cursor")) == (0, 0, None), "all or nothing"
    with store.transaction():
        store.append("answer", _rows(0, 3))
        store.remember("cursor", b"3")
        _raises(StateError, lambda: store.transaction().__enter__())
        _raises(StateError, lambda: store.seal("answer"))
        _raises(StateError, lambda: store.append("answer", [Row("", _T0)]))  # refused before anything was written
    assert (store.count("answer"), store.recall("cursor")) == (3, b"3")
    with store.transaction():
        store.append("answer", _rows(3, 4))
    assert store.count("answer") == 4, "one transaction after another is fine"


def _remember(store: Store) -> None:
    assert store.recall("state") is None
    store.remember("state", b"one")
    store.remember("state", b"\0two")
    assert store.recall("state") == b"\0two"
    _raises(StateError, lambda: store.remember("", b""))
    _raises(StateError, lambda: store.remember("state", "text"))  # type: ignore[arg-type]


def _folders(store: Store) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "model")
        (folder / "inner").mkdir(parents=True)
        _raises(StateError, lambda: store.put(folder))
        (folder / "config.json").write_text("{}")
        (folder / "inner" / "weights").write_bytes(b"\0" * 1000)
        digest = store.put(folder)
        assert len(digest) == 64 and store.put(folder) == digest, "the same content has the same digest"
        kept = store.get(digest, verify=True)
        assert kept != folder and (kept / "inner" / "weights").read_bytes() == b"\0" * 1000
        (folder / "config.json").write_text('{"a": 1}')
        assert store.put(folder) != digest and (kept / "config.json").read_text() == "{}", "a copy is kept"
        (folder / "link").symlink_to("/etc/hostname")
        assert "link" in str(_raises(StateError, lambda: store.put(folder)))
        for wrong in ("", "..", "../" + digest[3:], digest.upper(), digest[:-1]):
            _raises(StateError, lambda wrong=wrong: store.get(wrong))  # type: ignore[misc]
        _raises(StoreError, lambda: store.get("0" * 64))
        (kept / "inner" / "weights").write_bytes(b"\1" * 1000)
        assert "weights" in str(_raises(Tampered, lambda: store.verify(digest)))
        _raises(Tampered, lambda: store.get(digest, verify=True))


def _audit(store: Store) -> None:
    store.append("decision", [Row("d1", _T0, {"action": "none"}), Row("d2", _T0, {"action": "retrain"})])
    store.append("promotion", [Row("p1", _T0, {"version": 1}), Row("p1", _T0)])
    store.append("version", [Row("v1", _T0)])
    assert store.audit() == []
    first, second = store.scan("decision")
    assert (
        first.body["action"] == "none"
        and second.body["previous"] == first.body["hash"]
        and first.body["previous"] == ""
    )
    assert "previous" in str(_raises(StateError, lambda: store.append("decision", [Row("d3", _T0, {"previous": 1})])))
    store.append("decision", [Row("d4", _T0, second.body)])  # a copied row is linked where it now stands
    assert store.audit() == []


def _threads(store: Store) -> None:
    told: list[str] = []

    def work(first: int) -> None:
        for i in range(first, first + 40):
            told.extend(store.append("answer", _rows(i, i + 2)).stored)

    threads = [threading.Thread(target=work, args=(20 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == sorted(_ids(store)) == sorted(f"a{i}" for i in range(101)), "every row told stored once"


def _closed(store: Store) -> None:
    store.close()
    store.close()
    assert "closed" in str(_raises(StoreError, lambda: store.append("answer", _rows(0, 1))))


def _raises(kind: type[Exception], action: Callable[[], object]) -> Exception:
    try:
        action()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")
