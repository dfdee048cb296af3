"""Parquet files of any number of rows as one stream: the same as all rows at once, in order, with progress."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import luthier
from luthier import codec
from luthier.errors import DataError, StateError
from luthier.names import get
from luthier.stages.drift import summarise
from luthier.stages.stream import observe
from luthier.tables.parquet import Parquet

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def rows(first: int, n: int) -> pa.Table:
    rng = np.random.default_rng(first)
    return pa.table({
        "at": [BEGAN + timedelta(seconds=first + i) for i in range(n)],
        "x": rng.standard_normal(n, dtype=np.float32), "plan": rng.choice(["basic", "pro"], n),
        "loss": (rng.random(n) < 0.1).astype(float),
    })  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files whose names are not in the order of time."""
    (tmp_path / "deep").mkdir()
    for name, first in (("c", 0), ("a", 1000), ("deep/b", 3000)):
        pq.write_table(rows(first, 1000 + first), tmp_path / f"{name}.parquet", row_group_size=700)
    return tmp_path


def whole() -> pa.Table:
    return pa.concat_tables([rows(first, 1000 + first) for first in (0, 1000, 3000)])


def test_files_come_by_name_as_given_or_by_time(folder: Path) -> None:
    assert [path.name for path in Parquet(folder).files] == ["a.parquet", "c.parquet", "b.parquet"]
    assert [path.name for path in Parquet(str(folder / "*.parquet")).files] == ["a.parquet", "c.parquet"]
    assert [path.name for path in Parquet(folder, by="at").files] == ["c.parquet", "a.parquet", "b.parquet"]
    given = Parquet([folder / "deep", folder / "c.parquet"])
    assert [path.name for path in given.files] == ["b.parquet", "c.parquet"]
    assert (given.rows, given.counts) == (5000, (4000, 1000))
    assert pa.Table.from_batches(list(Parquet(folder, by="at"))).equals(whole())


def test_a_stream_is_summed_up_as_the_table_is(folder: Path) -> None:
    source = Parquet(folder, select=("x", "plan"))
    summary = summarise(source)
    assert codec.pack(dict(summary.columns)) == codec.pack(dict(summarise(whole().select(["x", "plan"])).columns))
    moved = {"x": whole()["x"].to_numpy() + 0.5, "plan": whole()["plan"].to_numpy(zero_copy_only=False)}
    assert luthier.drift(source, moved).drifted == ("x",)
    assert luthier.drift(source, source).drifted == ()


def test_statistics_and_a_monitor_read_the_same_stream(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.tables.parquet.PART_BYTES", 1)  # parts of 1,024 rows
    source, table = Parquet(folder, by="at"), whole()
    columns = {"loss": table["loss"].to_numpy(), "x": table["x"].to_numpy()}
    statistics = {"loss": get("statistic", "mean.v1")(column="loss"), "x": get("statistic", "histogram.v1")(column="x")}
    assert len(list(source)) > 6
    for name, state in observe(statistics, source.windows()).items():
        assert codec.pack(state) == codec.pack(statistics[name].observe(columns))
    at = table["at"].to_numpy()
    good = {"loss": columns["loss"][:2000]}
    one, other = (luthier.Monitor(good, checks=("risk.v1", "risk_block.v1")) for _ in range(2))
    one.observe("label", {"loss": columns["loss"]}, at=at)
    for window in source.windows():
        other.observe("label", {"loss": window["loss"]}, at=window["at"])
    assert one.findings() == other.findings()


def test_progress_rises_to_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.tables.parquet.PART_BYTES", 1)
    told: list[tuple[str, float, Any]] = []
    source = Parquet(folder, progress=lambda *said: told.append(said))
    summarise(source)
    shares = [share for _, share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert told[0][0] == "a.parquet"
    assert told[-1][2]["rows"] == 7000
    told.clear()
    summarise(source, keep=folder / "kept")
    assert told[-1][:2] == ("b.parquet", 1)
    assert [share for _, share, _ in told] == sorted(share for _, share, _ in told)


def test_a_summary_that_was_stopped_goes_on_with_the_next_file(folder: Path, tmp_path: Path) -> None:
    def stop(what: str, share: float, numbers: Any) -> None:
        if what == "b.parquet":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        summarise(Parquet(folder, progress=stop), keep=tmp_path / "kept")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert len(kept) == 2
    summary = summarise(Parquet(folder), keep=tmp_path / "kept")
    assert codec.pack(dict(summary.columns)) == codec.pack(dict(summarise(Parquet(folder)).columns))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list((tmp_path / "kept").iterdir())) == 3
    pq.write_table(rows(9000, 50), folder / "c.parquet")  # another file now
    assert summarise(Parquet(folder), keep=tmp_path / "kept").rows == 6050
    assert summarise(Parquet(folder, select=("x",)), keep=tmp_path / "kept").columns.keys() == {"x"}
    with pytest.raises(StateError, match="summaries of a dict cannot be kept by file"):
        summarise({"x": np.zeros(3)}, keep=tmp_path / "kept")


def test_windows_hold_what_columns_hold(tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table({
        "whole": pa.array([1, None, 3]), "true": pa.array([True, None, False]), "sure": pa.array([True, False, True]),
        "text": pa.array(["a", None, "b"]).dictionary_encode(), "vector": pa.array([[1.0, 2.0], None, [3.0, 4.0]]),
        "fixed": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        "at": pa.array([BEGAN, None, BEGAN]), "price": pa.array([1, 2, None], pa.int64()).cast(pa.decimal128(22, 2)),
    }), path)  # fmt: skip
    (window,) = Parquet(path).windows()
    nan = np.nan
    for name, expected in {
        "whole": [1, nan, 3], "true": [1, nan, 0], "price": [1, 2, nan], "vector": [[1, 2], [nan, nan], [3, 4]],
        "fixed": [[1, 2], [nan, nan], [3, 4]],
    }.items():  # fmt: skip
        np.testing.assert_array_equal(window[name], expected)
    assert window["sure"].dtype == bool
    assert window["text"].tolist() == ["a", None, "b"]
    assert np.isnat(window["at"]).tolist() == [False, True, False]
    pq.write_table(pa.table({"v": pa.array([[1.0], [2.0, 3.0]])}), path)
    with pytest.raises(DataError, match="column 'v' holds lists of different lengths"):
        next(Parquet(path).windows())


def test_what_cannot_be_streamed_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no Parquet file here"):
        Parquet(folder / "none-*.parquet")
    with pytest.raises(DataError, match=r"a.parquet: has no column 'y'; it has at, x, plan, loss"):
        Parquet(folder, select=("x", "y"))
    pq.write_table(rows(500, 10), folder / "d.parquet")
    with pytest.raises(DataError, match=r"d.parquet begins at at 2026-01-01 00:08:20.*before .*c.parquet ends"):
        Parquet(folder, by="at")
    pq.write_table(rows(9000, 10), folder / "d.parquet", write_statistics=False)
    with pytest.raises(DataError, match="holds no least and greatest 'at'"):
        Parquet(folder, by="at")
    (folder / "d.parquet").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match=r"d.parquet: is no Parquet file that can be read"):
        Parquet(folder)


def test_files_without_rows_are_nothing(tmp_path: Path) -> None:
    pq.write_table(rows(0, 0), tmp_path / "a.parquet")
    pq.write_table(rows(0, 10), tmp_path / "b.parquet")
    assert summarise(Parquet(tmp_path)).rows == 10
    assert [path.name for path in Parquet(tmp_path, by="at").files] == ["b.parquet"]
    assert list(Parquet(tmp_path / "a.parquet").windows()) == []
    assert not list(Parquet(tmp_path / "a.parquet", by="at"))
