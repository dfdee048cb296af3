"""Reading, splitting and fingerprints."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from luthier.errors import DataError
from luthier.options import ColumnOptions, SplitOptions
from luthier.stages.data import fingerprint, read, split
from luthier.types import Record, content_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAIRS = [("a fine film", "good"), ("dull, long\nand loud", "bad"), ('he said "no"', "bad")]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(loaded) -> list[tuple[str, str]]:
    return [(record.input, record.target) for record in loaded.records]


def csv_text(delimiter: str = ",", end: str = "\n") -> str:
    quoted = [f'"{text.replace(chr(34), chr(34) * 2)}"{delimiter}{label}' for text, label in PAIRS]
    return end.join([f"text{delimiter}label", *quoted]) + end


FORMATS = {
    "a.jsonl": "\n".join(json.dumps({"text": t, "label": y}) for t, y in PAIRS),
    "a.ndjson": "\r\n".join(json.dumps({"text": t, "label": y}) for t, y in PAIRS) + "\r\n\r\n",
    "lines.json": "\n".join(json.dumps({"text": t, "label": y}) for t, y in PAIRS),
    "array.json": json.dumps([{"text": t, "label": y} for t, y in PAIRS], indent=1),
    "data.json": json.dumps({"data": [{"text": t, "label": y} for t, y in PAIRS]}, indent=1),
    "comma.csv": csv_text(),
    "bom.csv": "\ufeff" + csv_text(),
    "windows.csv": csv_text(end="\r\n"),
    "semicolon.csv": csv_text(";"),
    "pipe.csv": csv_text("|"),
    "tab.csv": csv_text("\t"),
    "tab.tsv": csv_text("\t"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_text_format_gives_the_same_records(name: str, tmp_path: Path) -> None:
    loaded = read(write(tmp_path, name, FORMATS[name]))
    assert pairs(loaded) == PAIRS
    assert loaded.issues == ()
    assert [record.id for record in loaded.records] == [content_id(text) for text, _ in PAIRS]
    assert all(record.at.tzinfo is UTC for record in loaded.records)


def test_parquet_with_dictionary_and_missing_values(tmp_path: Path) -> None:
    columns = {
        "sentence": arrow.array(["one", "two", None, "four"]),
        "class": arrow.array([1.0, None, 2.0, 2.0]),
        "shop": arrow.array(["x", "y", "x", None]).dictionary_encode(),
    }
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    loaded = read("a.parquet", ColumnOptions(tags=("shop",)), base=tmp_path)
    assert pairs(loaded) == [("one", "1"), ("four", "2")]
    assert [dict(record.tags) for record in loaded.records] == [{"shop": "x"}, {}]
    assert {(issue.rule, issue.rows) for issue in loaded.issues} == {
        ("no_label", ("a.parquet:2",)),
        ("empty_input", ("a.parquet:3",)),
    }


def test_datasets_folder_gives_class_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])})
    made = datasets.Dataset.from_dict({"text": ["one", "two"], "label": [1, 0]}, features=kinds)
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "both"))
    assert pairs(read(tmp_path / "both" / "train")) == [("one", "good"), ("two", "bad")]
    with pytest.raises(DataError, match="holds the splits test, train; name one"):
        read(tmp_path / "both")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("__label__good a fine film\n__label__bad dull\n", [("a fine film", "good"), ("dull", "bad")]),
        ("good\ta fine film\r\nbad\tdull\tindeed\r\n", [("a fine film", "good"), ("dull\tindeed", "bad")]),
    ],
)
def test_labelled_text(content: str, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    assert pairs(read(write(tmp_path, "a.txt", content))) == expected


def test_text_alone_is_read_where_no_label_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one line\nanother line\n")
    assert [record.input for record in read(path, labelled=False).records] == ["one line", "another line"]
    with pytest.raises(DataError, match="no column has a usual name for the target"):
        read(path)


def test_unlabelled_rows_keep_the_labels_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "one"}\n{"text": "two", "label": "good"}\n')
    assert pairs(read(path, labelled=False)) == [("one", None), ("two", "good")]


BAD_ROWS = {
    "malformed": '{"text": "cut sho',
    "not_text": '{"text": 5, "label": "x"}',
    "empty_input": '{"text": "  ", "label": "x"}',
    "broken_text": '{"text": "half of a \\ud83d pair", "label": "x"}',
    "no_label": '{"text": "one more", "label": NaN}',
    "bad_label": '{"text": "two labels", "label": ["x", "y"]}',
    "bad_time": '{"text": "late", "label": "x", "when": "yesterday"}',
    "id_twice": '{"text": "another text", "label": "x", "key": 1}',
    "huge_row": json.dumps({"text": "x" * 200_000, "label": "x"}),
}


@pytest.mark.parametrize("rule", BAD_ROWS)
def test_a_bad_row_is_named_and_the_rest_is_read(rule: str, tmp_path: Path) -> None:
    good = [json.dumps({"text": f"text {i}", "label": "y", "key": i, "when": "2026-01-31"}) for i in range(8)]
    path = write(tmp_path, "a.jsonl", "\n".join([*good[:4], BAD_ROWS[rule], *good[4:]]))
    loaded = read(path, ColumnOptions(id="key", at="when"))
    assert len(loaded.records) == 8
    (issue,) = loaded.issues
    assert (issue.severity, issue.rule, issue.count, issue.rows) == ("warning", rule, 1, ("a.jsonl:5",))
    assert "1 of 9 rows" in issue.message


@pytest.mark.parametrize(("text", "label"), [("a\0b", "x"), ("a", "x\0"), ("a", "\ud83d")])
def test_nul_and_half_pairs_never_reach_a_tokenizer(text: str, label: str, tmp_path: Path) -> None:
    rows = [{"text": "fine", "label": "x"}, {"text": text, "label": label}]
    loaded = read(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert pairs(loaded) == [("fine", "x")]
    assert loaded.issues[0].rule in ("broken_text", "bad_label")


def test_an_open_quote_costs_one_row(tmp_path: Path) -> None:
    rows = [f'"text {i}",a' for i in range(20)]
    rows[7] = '"text 7,a'
    loaded = read(write(tmp_path, "a.csv", "\n".join(["text,label", *rows])))
    assert [record.input for record in loaded.records] == [f"text {i}" for i in range(20) if i != 7]
    assert [issue.rows for issue in loaded.issues] == [("a.csv:9",)]


def test_rows_are_lines_even_after_quoted_newlines_and_wrong_widths(tmp_path: Path) -> None:
    loaded = read(write(tmp_path, "a.csv", 'text,label\n"one\n\nmore",a\nonly one field\ntwo,b\nx,y,z\n'))
    assert loaded.rows == ("a.csv:2", "a.csv:6")
    assert [(issue.count, issue.rows) for issue in loaded.issues] == [(2, ("a.csv:5", "a.csv:7"))]


def test_many_bad_rows_are_one_error_with_five_places(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "one", "label": "x"}\n' + "oops\n" * 9)
    (issue,) = read(path).issues
    assert (issue.severity, issue.count, len(issue.rows)) == ("error", 9, 5)
    assert str(issue).endswith("a.jsonl:6 and 4 more]")


@pytest.mark.parametrize(
    ("said", "expected"),
    [(0, "0"), (1.0, "1"), (0.5, "0.5"), (True, "true"), ("01", "01"), (" padded ", " padded "), ("None", "None")],
)
def test_labels_are_kept_as_their_text(said: object, expected: str, tmp_path: Path) -> None:
    assert pairs(read(write(tmp_path, "a.jsonl", json.dumps({"text": "t", "label": said})))) == [("t", expected)]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (1_769_860_800, datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("1769860800.5", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_times(said: object, expected: datetime, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", json.dumps({"text": "t", "label": "x", "at": said}))
    assert read(path, ColumnOptions(at="at")).records[0].at == expected


@pytest.mark.parametrize("said", [1_769_860_800_000, -1, True, "31.01.2026", "inf", "nan"])
def test_times_that_are_none(said: object, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", json.dumps({"text": "t", "label": "x", "at": said}))
    with pytest.raises(DataError, match="bad_time") as caught:
        read(path, ColumnOptions(at="at"))
    assert ("milliseconds? divide by 1000" in str(caught.value)) == (said == 1_769_860_800_000)


COLUMN_ERRORS = {
    "none": ("body_text,stars", ColumnOptions(), ["no column has a usual name for the target", "target: body_text"]),
    "two": ("text,label,intent", ColumnOptions(), ["2 columns may be the target", "target: label   # or: intent"]),
    "input": ("a b,label", ColumnOptions(), ["no column has a usual name for the input", "    input: a b"]),
    "named": ("Text,label", ColumnOptions(input="text"), ["data.columns.input", "Did you mean 'Text'?"]),
    "tag": ("text,label,shop", ColumnOptions(tags=("ship",)), ["data.columns.tags", "Did you mean 'shop'?"]),
}


@pytest.mark.parametrize("case", COLUMN_ERRORS)
def test_columns_that_cannot_be_told_are_asked_for(case: str, tmp_path: Path) -> None:
    header, columns, said = COLUMN_ERRORS[case]
    path = write(tmp_path, "a.csv", header + "\n" + ",".join("x" for _ in header.split(",")) + "\n")
    with pytest.raises(DataError) as caught:
        read(path, columns)
    for part in [*said, *map(repr, header.split(","))]:
        assert part in str(caught.value)


WHOLE_FILES = {
    "empty": ("a.csv", b"", "the file is empty"),
    "header_only": ("a.csv", b"text,label\n", "no row below the header"),
    "utf16": ("a.csv", "text,label\nx,y\n".encode("utf-16"), "UTF-16LE, seen at byte 0 .* iconv -f UTF-16LE -t UTF-8"),
    "utf16_bare": ("a.csv", "text,label\nx,y\n".encode("utf-16-be"), "UTF-16BE"),
    "latin1": (
        "a.csv",
        "text,label\nfine,y\ncafé,x\n".encode("latin-1"),
        "byte 0xe9 at position 21, row 3, .* WINDOWS-1252",
    ),
    "parquet_as_csv": ("a.csv", b"PAR1....", "this is a Parquet file; rename it"),
    "not_parquet": ("a.parquet", b"text,label\n", "not a Parquet file|cannot be read"),
    "zip": ("a.jsonl", b"PK\x03\x04....", "zip archive"),
    "pickle": ("a.txt", b"\x80\x04\x95....", "pickle, which Luthier never opens"),
    "pickle_by_name": ("a.pkl", b"\x80\x04\x95....", "cannot tell what a .pkl is"),
    "one_object": ("a.json", b'{"text": "x"\n, "label": "y"}', "holds one dict; an array of objects"),
    "cut_array": ("a.json", b'[{"text": "x", "label": "y"}', "not valid JSON"),
    "deep": ("a.json", b"[" * 100_000, "not valid JSON"),
    "twice": ("a.csv", b"text,label,text\nx,y,z\n", "names 'text' twice"),
    "blank_header": ("a.csv", b"\ntext,label\n", "the first line is blank"),
    "nothing_usable": (
        "a.jsonl",
        b"oops\n[1]\n",
        "none of its 2 rows is an object with columns: row 1: not valid JSON",
    ),
}


@pytest.mark.parametrize("case", WHOLE_FILES)
def test_a_file_that_is_unreadable_as_a_whole_says_why(case: str, tmp_path: Path) -> None:
    name, content, said = WHOLE_FILES[case]
    with pytest.raises(DataError, match=said):
        read(write(tmp_path, name, content))


def test_absent_files_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"there is no such file. Correct the path .in luthier.yaml it stands under `data:`"
    ):
        read("a.csv", base=tmp_path)
    with pytest.raises(DataError, match="not one saved by `datasets`"):
        read(tmp_path)
    with pytest.raises(DataError, match="there is no data file"):
        read([])
    with pytest.raises(DataError):
        read("a\0.csv")


def test_several_files_are_one_set_and_rows_say_which(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "text,label\none,x\n")
    (tmp_path / "more").mkdir()
    write(tmp_path, "more/a.csv", "text,label\ntwo,x\n,x\n")
    steps: list[float] = []
    loaded = read(["a.csv", "more/a.csv"], base=tmp_path, progress=lambda what, share: steps.append(share))
    assert [record.input for record in loaded.records] == ["one", "two"]
    assert loaded.rows == (f"{tmp_path}/a.csv:2", f"{tmp_path}/more/a.csv:2")
    assert steps == [0.0, 0.5]


def test_real_intents(data_folder: Path) -> None:
    loaded = read("clinc150/train.jsonl", ColumnOptions(tags=("domain",)), base=data_folder)
    assert len(loaded.records) == 15_000
    assert loaded.issues == ()
    assert len({record.target for record in loaded.records}) == 150
    assert len({record.tags["domain"] for record in loaded.records}) == 10
    sides = split(loaded.records)
    assert [round(len(side) / 15_000, 1) for side in (sides.train, sides.validation, sides.test)] == [0.7, 0.2, 0.1]


def records(n: int, start: int = 0) -> list[Record]:
    return [Record(f"id-{i}", NOW, f"Text number {i}", target=str(i % 2)) for i in range(start, start + n)]


def test_a_record_never_changes_sides() -> None:
    small, large = split(records(200)), split(random.Random(0).sample(records(2_000), 2_000))
    for side in ("train", "validation", "test"):
        assert {r.id for r in getattr(small, side)} <= {r.id for r in getattr(large, side)}
    shares = [len(side) / 2_000 for side in (large.train, large.validation, large.test)]
    assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.03)


def test_equal_texts_fall_on_one_side_whatever_their_ids() -> None:
    first = records(300)
    again = [replace(r, id=f"copy-{r.id}", input=f"  {r.input.upper()}\n", target="x") for r in first]
    sides = split(first + again)
    for side in (sides.train, sides.validation, sides.test):
        assert {r.id for r in side if r.target != "x"} == {r.id.removeprefix("copy-") for r in side if r.target == "x"}


def test_another_salt_is_another_split() -> None:
    assert split(records(300)).test != split(records(300), SplitOptions(salt="other")).test


def test_a_test_set_of_its_own_leaves_all_to_train_and_validation() -> None:
    sides = split(records(1_000), test=records(5, start=5_000))
    assert len(sides.train) + len(sides.validation) == 1_000
    assert len(sides.train) / 1_000 == pytest.approx(0.7 / 0.85, abs=0.03)
    assert [r.id for r in sides.test] == [f"id-{i}" for i in range(5_000, 5_005)]


def test_no_test_share_and_an_empty_side() -> None:
    assert split(records(100), SplitOptions(train=0.8, validation=0.2, test=0.0)).test == ()
    with pytest.raises(DataError, match="leaves validation empty; add records"):
        split(records(2), SplitOptions(train=0.98, validation=0.01, test=0.01))


def test_the_fingerprint_depends_on_inputs_and_targets_only() -> None:
    some = records(50)
    mixed = [replace(r, id="x", at=datetime.now(UTC)) for r in random.Random(1).sample(some, 50)]
    assert fingerprint(some) == fingerprint(mixed)
    assert fingerprint(some).startswith("sha256:")
    assert fingerprint(some) != fingerprint([*some, some[0]])
    assert fingerprint([*some, some[0], some[0]]) != fingerprint(some)
    assert fingerprint(some) != fingerprint([replace(some[0], target="other"), *some[1:]])
