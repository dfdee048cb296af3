"""Files as tables: Parquet in parts, CSV and JSON Lines with their types, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from luthier.errors import DataError
from luthier.tables import tablefiles


def test_parquet_comes_in_parts_with_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.tables.parquet._part_rows", lambda file, names: 100)
    table = pa.table({"a": range(250), "b": ["x"] * 250})
    parquet.write_table(table, tmp_path / "a.parquet")
    told: list[float] = []
    parts = list(tablefiles.parts(tmp_path / "a.parquet", lambda what, done, numbers: told.append(done)))
    assert [part.num_rows for part in parts] == [100, 100, 50]
    assert told == [0.4, 0.8, 1.0]
    assert tablefiles.whole(tmp_path / "a.parquet").equals(table)
    parquet.write_table(table, tmp_path / "b.parquet")
    for several in (tmp_path, tmp_path / "*.parquet"):
        assert tablefiles.whole(several).num_rows == 500
    parquet.write_table(table.slice(0, 0), tmp_path / "none.parquet")
    assert tablefiles.whole(tmp_path / "none.parquet").column_names == ["a", "b"]


def test_csv_has_types_and_a_mixed_column_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n;at;name;odd\n1;2026-03-01;ä;1\n2;2026-03-02;b;two\n", encoding="utf-8-sig")
    table = tablefiles.whole(path)
    kinds = dict(zip(table.column_names, map(str, table.schema.types), strict=True))
    assert kinds["n"] == "int64"
    assert kinds["at"].startswith(("date", "timestamp"))
    assert kinds["name"] == kinds["odd"] == "string"


def test_a_type_that_changes_far_down_the_file_makes_the_column_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = "".join(f"{i},{i / 2}\n" for i in range(300_000))
    path.write_text(f"a,b\n{rows}oops,\n", encoding="utf-8")
    table = tablefiles.whole(path)
    assert [str(kind) for kind in table.schema.types] == ["string", "double"]
    assert table.column("b").null_count == 1
    assert table.num_rows == 300_001


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1, "b": "x"}\n{"a": 2}\n', encoding="utf-8")
    assert tablefiles.whole(path).to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"a,b\n1,caf\xe9\n", "iconv"),
        ("a.csv", b"", "empty"),
        ("a.csv", b"a,b\n1,2,3\n", "row"),
        ("a.jsonl", b'{"a": 1}\nnot json\n', "row 2"),
        ("a.parquet", b"PAR1 this is none", "no Parquet file"),
        ("a.xlsx", b"PK\x03\x04", "endings read are"),
    ],
)
def test_a_bad_file_is_an_error_that_says_what_to_do(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        tablefiles.whole(tmp_path / name)


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "none.jsonl"])
def test_an_absent_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="there is no"):
        tablefiles.whole(tmp_path / name)
