"""A draft is a configuration that reads back, for every format, and says what it found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from luthier import config
from luthier.errors import DataError
from luthier.stages.data import read
from luthier.stages.draft import draft

ROWS = [
    {"Review": f"text number {i}", "Sentiment": ["good", "bad", "no"][i % 3], "ID": i, "shop": "ab"[i % 2]}
    for i in range(300)
]
LINES = "\n".join(",".join(map(str, row.values())) for row in ROWS)
FORMATS = {
    "a.csv": "Review,Sentiment,ID,shop\n" + LINES,
    "a.tsv": "Review\tSentiment\tID\tshop\n" + LINES.replace(",", "\t"),
    "a.jsonl": "\n".join(map(json.dumps, ROWS)),
    "a.json": json.dumps(ROWS),
    "fasttext.txt": "\n".join(f"__label__{row['Sentiment']} {row['Review']}" for row in ROWS),
    "tabs.txt": "\n".join(f"{row['Sentiment']}\t{row['Review']}" for row in ROWS),
    "a.parquet": "",
    "saved": "",
}


def written(folder: Path, text: str) -> config.Config:
    (folder / "luthier.yaml").write_text(text, encoding="utf-8")
    return config.read(folder / "luthier.yaml")


@pytest.mark.parametrize("name", FORMATS)
def test_a_draft_of_every_format_reads_back_and_reads_the_data(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        parquet.write_table(arrow.Table.from_pylist(ROWS), path)
    elif name == "saved":
        saved = pytest.importorskip("datasets").Dataset.from_list(ROWS)
        pytest.importorskip("datasets").DatasetDict({"train": saved, "test": saved}).save_to_disk(str(path))
    else:
        path.write_text(FORMATS[name], encoding="utf-8")
    made = written(tmp_path, draft(path, base=tmp_path))
    assert made.labels == ("bad", "good", "no")  # "no" stays a text
    assert made.data.train == (("saved/train",) if name == "saved" else (name,))
    assert made.data.test == (("saved/test",) if name == "saved" else ())
    assert set(made.require) == {"accuracy", "latency_ms"}
    loaded = read(made.data.train, made.data.columns, base=tmp_path)
    assert len(loaded.records) == 300
    if not name.endswith(".txt"):
        assert (made.data.columns.id, made.data.columns.tags) == ("ID", ("shop",))
        assert loaded.records[7].id == "7"


def test_every_commented_line_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(FORMATS["a.csv"])
    text = draft(tmp_path / "a.csv", base=tmp_path)
    full = written(tmp_path, re.sub(r"(?m)^# (?=(?:fit|gate|monitor|update|serve|store):|  \w+:)", "", text))
    assert full.model_copy(update={"require": {}}) == written(tmp_path, text).model_copy(update={"require": {}})
    for name in config.settings():
        if name.split(".")[0] in ("fit", "gate", "monitor", "update", "serve"):
            assert re.search(rf"(?m)^#   {name.split('.')[1]}: ", text), name


@pytest.mark.parametrize(
    ("n", "share", "expected"),
    [(20, 0.5, None), (60, 0.5, 0.6), (300, 0.5, 0.75), (5_000, 0.5, 0.75), (5_000, 0.9, 0.95), (300, 0.9, None)],
)
def test_the_requirement_fits_the_size_and_the_largest_class(
    n: int, share: float, expected: float | None, tmp_path: Path
) -> None:
    rows = [json.dumps({"text": f"text {i}", "label": "a" if i < n * share else "b"}) for i in range(n)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    made = written(tmp_path, draft(tmp_path / "a.jsonl", base=tmp_path))
    assert (made.require["accuracy"].at_least if made.require else None) == expected


def test_names_that_need_quotes_and_times_that_are_none(tmp_path: Path) -> None:
    rows = [{"text": f"t {i}", "label": ["yes", "1", ": #x\n", 'q"\\'][i % 4], "at": "someday"} for i in range(80)]
    rows = [row | {"null": str(i % 2), "True": "ab"[i % 2]} for i, row in enumerate(rows)]
    (tmp_path / "1 Über: [x].jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = written(tmp_path, draft(tmp_path / "1 Über: [x].jsonl", base=tmp_path))
    assert set(made.labels) == {"yes", "1", ": #x\n", 'q"\\'}
    assert made.data.train == ("1 Über: [x].jsonl",)
    assert made.data.columns.at is None
    assert made.data.columns.tags == ("null", "True")


def test_many_labels_are_left_to_the_data(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"text {i}", "label": f"l{i % 500}"}) for i in range(1_000)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    text = draft(tmp_path / "a.jsonl", base=tmp_path)
    assert "# labels: 500 were found" in text
    assert written(tmp_path, text).labels == ()


def test_a_draft_of_nothing_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n,x\ny,\n")
    with pytest.raises(DataError, match="no row has both a text in 'text' and a label in 'label'"):
        draft(tmp_path / "a.csv")
    with pytest.raises(DataError, match="there is no such file"):
        draft(tmp_path / "b.csv")


def test_real_intents(data_folder: Path, tmp_path: Path) -> None:
    made = written(tmp_path, draft(data_folder / "clinc150" / "train.jsonl", base=tmp_path))
    assert len(made.labels) == 150
    assert {"yes", "no"} <= set(made.labels)
    assert made.data.columns.tags == ("domain",)
    assert Path(made.data.train[0]).is_absolute()
