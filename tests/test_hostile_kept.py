"""Damaged files, saved states and odd parts: a right answer, or an error of ours, and nothing half done."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import luthier
from luthier import codec
from luthier.errors import DataError, LuthierError, StateError, UsageError
from luthier.fewlabels import active, chances, combined, error_rates, labelplan, labels_only, ppi
from luthier.fewlabels.label_shift import bbse, em
from luthier.fleet import Fleet
from luthier.options import MonitorOptions
from luthier.stages import labelfiles
from luthier.stages.drift import Summary, hour_of_week, summarise, summarise_by_hour
from luthier.tables.parquet import Parquet

RNG = np.random.default_rng(0)
N = 40


def refused(work: Callable[[], object]) -> None:
    with pytest.raises(LuthierError) as caught:
        work()
    assert len(str(caught.value)) > 20


# -- summaries ----

TABLE = {"x": RNG.normal(size=N), "plan": RNG.choice(["a", "b"], N), "v": RNG.normal(size=(N, 3))}
STATE: dict[str, Any] = {
    "version": 1, "rows": N, "columns": {name: dict(column) for name, column in summarise(TABLE).columns.items()},
}  # fmt: skip
for held in STATE["columns"].values():
    held.pop("fitted", None)
GOOD = codec.pack(STATE)


def _column(**parts: Any) -> bytes:
    return codec.pack({**STATE, "columns": {"x": parts}})


DAMAGED = {
    "empty": b"", "cut": GOOD[:-7], "text": b"hello world, no summary", "zeros": bytes(100), "a byte": GOOD[:50] + b"\x7f" + GOOD[51:],
    "deep": struct.pack("<I", 200_000) + b"[" * 200_000, "a list": codec.pack([1]), "version 2": codec.pack({**STATE, "version": 2}),
    "no columns": codec.pack({"version": 1, "rows": 5}), "no rows": codec.pack({"version": 1, "columns": {}}),
    "columns in a list": codec.pack({**STATE, "columns": [1]}), "a number for a column": codec.pack({**STATE, "columns": {"x": 5}}),
    "a column of nothing": _column(), "numbers of nothing": _column(kind="number", said="float64", state={}),
    "vectors of nothing": _column(kind="vector", said="", state={}), "counts of nothing": _column(kind="category", said="", state={}),
    "a monitor": luthier.Monitor({"loss": np.zeros(50)}).save(),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_summary_is_refused_by_file(name: str, tmp_path: Path) -> None:
    place = tmp_path / "kept.summary"
    place.write_bytes(DAMAGED[name])
    with pytest.raises(StateError, match=r"kept\.summary"):
        Summary.load(place)


def test_summaries_that_cannot_be_read_written_or_merged(tmp_path: Path) -> None:
    kept = summarise(TABLE)
    (tmp_path / "folder").mkdir()
    for work in (
        lambda: Summary.load(tmp_path / "none"), lambda: Summary.load(tmp_path), lambda: kept.save(tmp_path / "no" / "x"),
        lambda: kept.save(tmp_path / "folder"), lambda: kept.merge(None), lambda: kept.merge(TABLE),  # type: ignore[arg-type]
    ):  # fmt: skip
        refused(work)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_damaged_summary_of_a_file_is_summed_up_again(tmp_path: Path) -> None:
    source = _written(tmp_path / "rows.parquet", x=pa.array(RNG.normal(size=N)))
    good = summarise(Parquet(source), keep=tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(b"x")
    assert codec.pack(dict(summarise(Parquet(source), keep=tmp_path / "kept").columns)) == codec.pack(
        dict(good.columns)
    )
    refused(lambda: summarise(Parquet(source), keep=source))


@pytest.mark.parametrize("zone", ["Mars/X", "../etc", None, ""])
def test_what_is_no_time_zone(zone: Any) -> None:
    with pytest.raises(StateError, match="is no time zone: give a name such as Europe/Berlin"):
        hour_of_week([0.0], zone)


@pytest.mark.parametrize("at", [None, ["x"], [math.nan], [math.inf], [1e18], [1.7e12]])
def test_what_is_no_time(at: Any) -> None:
    with pytest.raises(StateError, match=r"1 of 1 rows have no event time .*not milliseconds"):
        hour_of_week(at)


@pytest.mark.parametrize("table", [[1], {"x": 5}, {"x": np.zeros(3)}, pd.DataFrame({"x": np.zeros(5)})])
def test_tables_by_hour_that_are_none(table: Any) -> None:
    refused(lambda: summarise_by_hour(table, np.arange(N) * 3600.0))


# -- Parquet ----


def _written(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


def _read(source: Any, **options: Any) -> int:
    files = Parquet(source, **options)
    assert sum(len(next(iter(window.values()))) for window in files.windows()) == files.rows
    return summarise(Parquet(source)).rows


HELD = {
    "whole numbers beyond 2**53 and a null": pa.array([2**62, None]), "nothing": pa.nulls(2), "structures": pa.array([{"a": 1}, None]),
    "lists of text": pa.array([["a"], ["b"]]), "null lists": pa.array([None, None], pa.list_(pa.float64())), "bytes": pa.array([b"\xff", b"a"]),
    "a zone": pa.array([0, 1], pa.timestamp("us", "Asia/Tokyo")), "far times": pa.array([2**62, -(2**62)], pa.timestamp("us")),
    "durations": pa.array([0, None], pa.duration("us")), "half floats": pa.array(np.array([1, 2], np.float16)),
    "a large cell": pa.array(["y" * 10_000_000, "b"]), "numbered categories": pa.array([1, None]).dictionary_encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_whatever_a_parquet_file_holds_is_read(name: str, tmp_path: Path) -> None:
    assert _read(_written(tmp_path / "x.parquet", x=HELD[name])) == 2


def test_parquet_files_that_are_none_are_named(tmp_path: Path) -> None:
    good = _written(tmp_path / "good.parquet", x=pa.array(np.arange(1000.0)))
    whole = good.read_bytes()
    damaged = {
        "junk": b"PAR1junkjunkPAR1", "empty": b"", "cut": whole[:-20],
        "flipped": whole[:100] + bytes(byte ^ 0x5A for byte in whole[100:600]) + whole[600:],
    }  # fmt: skip
    for name, data in damaged.items():
        (tmp_path / f"{name}.parquet").write_bytes(data)
        with pytest.raises(DataError, match=rf"{name}\.parquet: is (damaged|no Parquet file)"):
            _read(tmp_path / f"{name}.parquet")
    text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    for source in (None, 5, b"abc", {"a": 1}, "a" * 5000, "a\0b", tmp_path / "none.parquet"):
        refused(lambda source=source: _read(source))
    with pytest.raises(DataError, match="column 'x' holds text that is not UTF-8"):
        _read(_written(tmp_path / "text.parquet", x=text))


# -- fleets ----


def _fleet(*names: str, loss: float = 0.0) -> Fleet:
    fleet = Fleet({name: luthier.Monitor({"loss": np.zeros(500)}, checks=("risk.v1",)) for name in names})
    for monitor in fleet.values():
        monitor.observe("label", {"loss": np.full(50, loss)}, at="2026-01-01")
    return fleet


def test_a_fleet_holds_monitors_by_text() -> None:
    monitor = luthier.Monitor({"loss": np.zeros(500)})
    for monitors in ({"a": 5}, {"a": None}, [monitor], {1: monitor}, 5):
        with pytest.raises(UsageError, match="a fleet has monitors by name"):
            Fleet(monitors)  # type: ignore[arg-type]
    for budget in (0, -1, math.nan, math.inf, "1", None):
        with pytest.raises(UsageError, match="must be positive, a number"):
            Fleet({}, false_pages_per_month=budget)  # type: ignore[arg-type]


def test_a_fleet_that_cannot_be_restored_is_as_it_was() -> None:
    saved = codec.unpack(_fleet("a", "b", loss=1.0).save())
    odd: list[Any] = [
        b"junk", None, "abc", codec.pack(saved)[:-5], luthier.Monitor({"loss": np.zeros(50)}).save(),
        *(codec.pack({**saved, **parts}) for parts in (
            {"pages": None}, {"pages": [1]}, {"pages": [["a", "b", "c"]]}, {"monitors": [1]}, {"monitors": {"a": 5}}, {"monitors": {"c": 5}},
            {"monitors": saved["monitors"] | {"b": np.zeros(5, np.uint8)}},
            {"monitors": saved["monitors"] | {"b": np.frombuffer(codec.pack({"version": 2}), np.uint8)}},
        )),
    ]  # fmt: skip
    fleet = _fleet("a", "b")
    before = fleet.save()
    for data in odd:
        refused(lambda data=data: fleet.restore(data))
        assert fleet.save() == before
    fleet.restore(codec.pack(saved))
    assert codec.unpack(fleet.save())["monitors"].keys() == {"a", "b"}
    assert fleet.save() != before


def test_times_and_hours_of_pages() -> None:
    fleet = _fleet("a", loss=1.0)
    for now in ("2026-01-01", 5.0):
        with pytest.raises(UsageError, match="give a datetime"):
            fleet.page(now)  # type: ignore[arg-type]
    (page,) = fleet.page(datetime(2026, 1, 2)).calling  # without a zone it is UTC
    assert page.opened <= datetime(2026, 1, 2, tzinfo=UTC)
    for hours in (math.nan, -5, math.inf, "a", None):
        with pytest.raises(UsageError, match="cannot snooze for"):
            fleet.snooze(page.id, hours)  # type: ignore[arg-type]


# -- shards ----


def _shard(name: str = "s", **options: Any) -> luthier.Monitor:
    labels = {"predicted": np.array([0, 1] * 50), "target": np.array([0, 1] * 50)}
    monitor = luthier.Monitor(labels, checks=(), **options)
    monitor.answer([f"{name}{i}" for i in range(5)], predicted=np.zeros(5, int), at="2026-01-01")
    return monitor


def test_merging_what_is_no_shard_changes_nothing() -> None:
    monitor = _shard()
    before = monitor.save()
    other = _shard("t", options=MonitorOptions(window_minutes=7))
    for parts in (
        None,
        5,
        [5],
        ["abc"],
        "abc",
        [b"junk"],
        [_fleet("a").save()],
        [GOOD],
        [_shard("t"), b"junk"],
        [_shard("t"), _shard("t")],
        [other],
    ):
        refused(lambda parts=parts: monitor.merge(parts))
        assert monitor.save() == before
    one, many = _shard(), _shard()
    one.merge(_shard("t"))
    many.merge([bytearray(_shard("t").save())])
    assert one.save() == many.save() != before


def test_replaying_what_is_no_table() -> None:
    rows = {"id": [f"r{i}" for i in range(10)], "at": [f"2026-01-01T00:00:{i:02d}" for i in range(10)], "predicted": np.zeros(10, int), "target": np.zeros(10, int)}  # fmt: skip
    monitor = _shard()
    before = monitor.save()
    odd = {
        "no id": {name: values for name, values in rows.items() if name != "id"}, "ids missing": rows | {"id": [None] * 10},
        "no times": rows | {"at": np.full(10, math.nan)}, "twice": None,
    }  # fmt: skip
    for shards in (
        None,
        5,
        [None],
        [5],
        ["abc"],
        [iter([5])],
        *([table] for name, table in odd.items() if table),
        [rows, rows],
    ):
        refused(lambda shards=shards: monitor.replay("label", shards))
        assert monitor.save() == before
    one, many = _shard(), _shard()
    one.replay("label", rows)  # type: ignore[arg-type]
    many.replay("label", [pd.DataFrame(rows)])
    assert one.save() == many.save() != before


# -- few labels ----

Y, F, T = RNG.integers(0, 2, N) * 1.0, RNG.random(N), np.array([0, 1] * (N // 2))
P = np.c_[np.full(N, 0.3), np.full(N, 0.7)]
CALLS: dict[str, Callable[[], object]] = {
    "losses that are text": lambda: ppi(["a"] * 5, F[:5], F), "chances that are text": lambda: combined(Y, F, F, ["a"] * N),
    "chances of 0": lambda: combined(Y, F, F, np.zeros(N)), "tiny chances": lambda: active(Y, F, np.full(N, 1e-320), F),
    "guesses missing": lambda: combined(Y, F, F * math.nan), "losses infinite": lambda: labels_only(np.full(N, math.inf)),
    "guesses that are text": lambda: chances(["a"], 3), "a budget below 0": lambda: chances(F, -5), "a mix of 7": lambda: chances(F, 5, mix=7),
    "a reference of text": lambda: error_rates(["a"], [1]), "of two lengths": lambda: error_rates([1.0], [1.0, 0.5]),
    "confidence that is text": lambda: error_rates(Y, F).guess(["a"]), "an embedding of text": lambda: labelplan.design({"embedding": np.full((N, 2), "a")}, 20),
    "answers' text": lambda: labelplan.design({"confidence": np.full(N, "a")}, 5), "classes of text": lambda: bbse(T.astype(str), T, T, 2),
    "classes by half": lambda: bbse(T, T, T, 2.0), "classes '2'": lambda: bbse(T, T, T, "2"), "10,000 classes": lambda: bbse(T, T, T, 10_000),  # type: ignore[arg-type]
    "no class": lambda: bbse(T + 5, T, T, 2), "truths and answers": lambda: bbse(T, T[:-1], T, 2), "probabilities of text": lambda: em([["a", "b"]], [0.5, 0.5]),
    "ragged": lambda: em([[0.1, 0.9], [1.0]], [0.5, 0.5]), "shares of text": lambda: em(P, ["a", "b"]), "infinite shares": lambda: em(P, [math.inf, 1]),
    "missing shares": lambda: em(P, [math.nan, 1]), "no probabilities": lambda: em(P * 2, [0.5, 0.5]),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_odd_calls_for_few_labels(name: str) -> None:
    refused(CALLS[name])


def _choice(*choices: Any) -> list[Any]:
    return [{"result": [{"value": {"choices": list(choices)}}]}]


ROWS: dict[str, tuple[str, list[Any]]] = {
    "jsonl": (".jsonl", [
        {"id": "a", "target": "x"}, {"id": "b", "target": None}, {"id": "c", "target": math.nan}, {"id": "d", "target": math.inf},
        {"id": "e", "target": {"a": 1}}, {"id": "f", "target": ["x", "y"]}, {"id": None, "target": "x"}, {"id": 1.5, "target": "x"},
        {"id": [1], "target": "x"}, {"id": "g", "target": "x\0"}, {"id": "h", "target": "\ud800"}, {"id": "i", "target": "z" * 2_000_000},
        [1, 2], "x", None, {"id": "j", "target": "x"}, {"id": "j", "target": "y"}, {"id": "k", "target": "x"}, {"id": "k", "target": "x"},
    ]),
    "label studio": (".json", [
        {"data": {"luthier_id": "a"}, "annotations": _choice("x")}, {"data": {"luthier_id": "b"}, "annotations": []},
        {"data": {"luthier_id": "c"}, "annotations": _choice("x", "y")}, {"data": {"luthier_id": "d"}, "annotations": _choice({"a": 1})},
        {"data": {"luthier_id": "e"}, "annotations": _choice(None)}, {"data": {"luthier_id": "f"}, "annotations": [None]},
        {"data": {"luthier_id": "g"}, "annotations": [{"was_cancelled": True}]}, {"data": {"luthier_id": "h"}, "annotations": _choice("x") + _choice("y")},
        {"data": {"luthier_id": "i"}}, {"data": {}, "annotations": []}, {"data": None}, {"data": "x"}, {"data": {"luthier_id": ["j"]}, "annotations": []}, 5, None, [],
    ]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
def test_every_row_of_labels_ends_in_one_place(kind: str, tmp_path: Path) -> None:
    ending, rows = ROWS[kind]
    path = tmp_path / f"back{ending}"
    path.write_text(
        json.dumps(rows) if ending == ".json" else "\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8"
    )
    back = labelfiles.read(path)
    assert len(back.labels) + back.open + back.repeated + len(back.rejected) == len(rows)
    assert back.labels[0] == {"id": "a", "target": "x"}
    assert {label["target"] for label in back.labels} == {"x"}
    assert all(place.startswith(path.name) and why for place, _, why in back.rejected)


TEXTS = {
    "empty.csv": b"", "header.csv": b"id\n1\n", "twice.csv": b"id,target,target\na,b,c\n", "latin.csv": b"id,target\na,\xff\n",
    "utf16.csv": "id,target\na,b\n".encode("utf-16"), "empty.jsonl": b"", "empty.json": b"", "cut.json": b'[{"id": "a", "ta',
    "deep.json": b"[" * 100_000, "deep.jsonl": b'{"id":"a","target":' + b"[" * 100_000, "number.json": b"5", "rows.xlsx": b"id,target\n",
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_label_files_that_cannot_be_read_at_all_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(TEXTS[name])
    with pytest.raises(DataError, match=name):
        labelfiles.read(tmp_path / name)


def test_a_huge_cell_or_an_open_quote_costs_its_own_row(tmp_path: Path) -> None:
    place = tmp_path / "back.csv"
    place.write_text("id,target\na," + "x" * 10_000_000 + '\nb,good\nc,"y\nd,good\n', encoding="utf-8")
    back = labelfiles.read(place)
    assert [label["id"] for label in back.labels] == ["b", "d"]
    assert back.counts == {"huge_row": 1, "malformed": 1}
