"""Plans as files for people and tools, and what comes back: every row is a label, open, or rejected by name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.errors import DataError, UsageError
from luthier.fewlabels.labelplan import LabelPlan, asked, design
from luthier.stages import labelfiles

INPUTS = ["good film", "bad, very\nbad", '=HYPERLINK("http://x")', "naïve café ☕", "-3 of 10", '"quoted"']
IDS = ["a", "b/2", "7", "ü", "e#2", " f"]


@pytest.fixture
def plan() -> LabelPlan:
    columns = {"confidence": np.linspace(0.5, 0.99, 6), "predicted": np.array([0, 1, 0, 1, -1, 1])}
    return asked(
        design(columns, 6, "accuracy"), IDS, INPUTS, columns, names=("negative", "positive"), model="v3", known={"ü"}
    )


def filled(path: Path, target: str) -> None:
    """A person fills in every row of a written plan."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        with path.open("w", encoding="utf-8", newline="") as file:
            out = csv.DictWriter(file, rows[0])
            out.writeheader()
            out.writerows(row | {"target": target} for row in rows)
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(json.dumps(row | {"target": target}) + "\n" for row in rows), encoding="utf-8")
    else:
        tasks = json.loads(path.read_text(encoding="utf-8"))
        for number, task in enumerate(tasks, 1):
            task |= {"id": number, "annotations": [annotation(target)]}
        path.write_text(json.dumps(tasks), encoding="utf-8")


def annotation(*choices: str, cancelled: bool = False) -> dict[str, Any]:
    """As Label Studio exports one, with its own fields around it."""
    result = {
        "id": "Dx",
        "from_name": "label",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": list(choices)},
    }
    return {"id": 1001, "completed_by": 1, "was_cancelled": cancelled, "lead_time": 4.2, "result": [result]}


@pytest.mark.parametrize("ending", labelfiles.ENDINGS)
def test_what_is_written_comes_back_under_its_id(plan: LabelPlan, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"plan{ending}"
    assert labelfiles.write(plan, path) == 5, "a record with a label is not asked for again"
    if ending != ".json":
        assert labelfiles.read(path).open == 5, "nobody has labelled anything yet"
    filled(path, "positive")
    back = labelfiles.read(path)
    assert {one["id"] for one in back.labels} == set(IDS) - {"ü"}
    assert {one["target"] for one in back.labels} == {"positive"}
    assert (back.open, back.repeated, back.rejected) == (0, 0, ())
    assert [one.name for one in tmp_path.iterdir()] == [path.name], "no half-written file is left"


def test_tasks_hold_data_prediction_and_id_as_label_studio_reads_them(plan: LabelPlan, tmp_path: Path) -> None:
    labelfiles.write(plan, tmp_path / "tasks.json")
    tasks = {task["data"]["luthier_id"]: task for task in json.loads((tmp_path / "tasks.json").read_text())}
    task = tasks["b/2"]
    assert task["data"]["text"] == "bad, very\nbad"
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "v3"
    assert 0 < prediction["score"] < 1
    (result,) = prediction["result"]
    assert (result["from_name"], result["to_name"], result["type"]) == ("label", "text", "choices")
    assert result["value"] == {"choices": ["positive"]}
    assert set(task["meta"]) == {"chance", "at_random", "cell", "plan"}
    assert "predictions" not in tasks["e#2"], "the model's answer is not known"
    shown = labelfiles.interface(["a<b", "c"])
    assert '<Choice value="a&lt;b"/>' in shown
    assert 'name="label" toName="text"' in shown
    labelfiles.write(plan, tmp_path / "blind.json", blind=True)
    assert all("predictions" not in task for task in json.loads((tmp_path / "blind.json").read_text()))


def test_text_that_a_spreadsheet_would_run_is_quoted_and_the_id_is_not(plan: LabelPlan, tmp_path: Path) -> None:
    labelfiles.write(plan, tmp_path / "plan.csv")
    with (tmp_path / "plan.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert rows["7"]["input"] == '\'=HYPERLINK("http://x")'
    assert rows["e#2"]["input"] == "'-3 of 10"
    assert rows["b/2"]["input"] == "bad, very\nbad"
    assert rows["a"]["target"] == ""


def test_each_way_a_row_can_be_wrong_has_its_name(tmp_path: Path) -> None:
    tasks: list[Any] = [
        {"id": 1, "data": {"luthier_id": "a"}, "annotations": [annotation("x")]},
        {"id": 2, "data": {"luthier_id": "b"}, "annotations": [annotation("x", "y")]},
        {"id": 3, "data": {"luthier_id": "c"}, "annotations": [annotation("x"), annotation("y")]},
        {"id": 4, "data": {"luthier_id": "d"}, "annotations": [annotation("x", cancelled=True)]},
        {"id": 5, "data": {"luthier_id": "e"}, "annotations": [{"result": [{"type": "textarea", "value": {"text": ["x"]}}]}]},
        {"id": 6, "data": {"text": "whose?"}, "annotations": [annotation("x")]},
        {"id": 7, "data": {"luthier_id": "g"}, "annotations": []},
        {"id": 8, "data": {"luthier_id": "h"}, "annotations": "x"},
        {"id": 9, "data": {"luthier_id": "i"}, "annotations": [annotation({"a": 1})]},  # type: ignore[arg-type]
        "no task",
        {"id": 10, "data": {"luthier_id": "j"}, "annotations": [annotation("x"), annotation("x"), annotation("y", cancelled=True)]},
        {"id": 11, "data": {"luthier_id": "a"}, "annotations": [annotation("x")]},
        {"id": 12, "data": {"luthier_id": "k"}, "annotations": [annotation("x")]},
        {"id": 13, "data": {"luthier_id": "k"}, "annotations": [annotation("y")]},
        {"id": 14, "data": {"luthier_id": "k"}, "annotations": [annotation("y")]},
        {"id": 15, "data": {"luthier_id": True}, "annotations": [annotation("x")]},
    ]  # fmt: skip
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    back = labelfiles.read(tmp_path / "export.json")
    assert back.labels == ({"id": "a", "target": "x"}, {"id": "j", "target": "x"})
    assert (back.open, back.repeated) == (1, 1)
    assert back.counts == {
        "several_labels": 1, "annotators_disagree": 1, "skipped": 1, "no_choice": 1, "no_id": 2, "malformed": 2,
        "bad_label": 1, "two_labels": 3,
    }  # fmt: skip
    assert len(back.labels) + back.open + back.repeated + len(back.rejected) == len(tasks)
    assert all(place.startswith("export.json:") and why for place, _, why in back.rejected)


def test_exports_that_flatten_tasks_are_read_too(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "luthier_id": "a", "text": "t", "label": "x", "annotator": 1},
        {"id": 2, "luthier_id": "b", "text": "t", "label": {"choices": ["x"]}},
        {"id": 3, "luthier_id": "c", "text": "t", "label": {"choices": ["x", "y"]}},
        {"id": 4, "luthier_id": "d", "text": "t"},
    ]
    (tmp_path / "min.json").write_text(json.dumps(rows))
    back = labelfiles.read(tmp_path / "min.json")
    assert [one["id"] for one in back.labels] == ["a", "b"], "ids are ours, not Label Studio's numbers"
    assert (back.counts, back.open) == ({"several_labels": 1}, 1)
    (tmp_path / "back.csv").write_text("id,target\na,x\nb,\n,x\nc,x,z\nd,nan\n7,y\n")
    back = labelfiles.read(tmp_path / "back.csv")
    assert back.labels == ({"id": "a", "target": "x"}, {"id": "7", "target": "y"})
    assert (back.counts, back.open) == ({"no_id": 1, "malformed": 1}, 2)


def test_files_that_are_no_labels(plan: LabelPlan, tmp_path: Path) -> None:
    (tmp_path / "text.csv").write_text("text,mood\nx,y\n")
    with pytest.raises(DataError, match="columns are text, mood"):
        labelfiles.read(tmp_path / "text.csv")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="not valid JSON"):
        labelfiles.read(tmp_path / "deep.json")
    with pytest.raises(DataError, match="no such file"):
        labelfiles.read(tmp_path / "absent.json")
    with pytest.raises(UsageError, match=r"\.csv, \.jsonl, \.json, not \.xlsx"):
        labelfiles.write(plan, tmp_path / "plan.xlsx")
    with pytest.raises(UsageError, match="cannot be written"):
        labelfiles.write(plan, tmp_path / "nowhere" / "plan.csv")


def test_a_plan_with_nothing_open_is_still_a_file(plan: LabelPlan, tmp_path: Path) -> None:
    done = LabelPlan(plan.id, plan.decision, plan.model, plan.pool, plan.buys, plan.requests, frozenset(IDS))
    assert [labelfiles.write(done, tmp_path / f"p{ending}") for ending in labelfiles.ENDINGS] == [0, 0, 0]
    assert labelfiles.read(tmp_path / "p.csv").labels == ()
