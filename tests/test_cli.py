"""Every verb from the command line: what it prints, `--json`, and its exit code."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import luthier
from luthier import cli
from luthier.stages import pages, record
from luthier.types import Finding, Promise, Record

HOME = Path(__file__).parents[1]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """`call("fit", "--json")` gives (exit code, standard output, standard error), run in tmp_path."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["luthier", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_from_a_file_to_answers(call: Call, tmp_path: Path, tiny_model: Path, tweets: list[Record]) -> None:
    with (tmp_path / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([one.input, one.target] for one in tweets[:900])
    assert call("init", "reviews.csv")[0] == 0
    assert call("init", "reviews.csv")[0] == 2, "an existing file is not replaced"
    text = (tmp_path / "luthier.yaml").read_text()
    text = re.sub(r"(?m)^model: .*", f"model: {json.dumps(str(tiny_model))}", text)
    (tmp_path / "luthier.yaml").write_text(re.sub(r"(?m)^  (accuracy|f1\w+): .*", r"  \1: 0.2", text))
    code, out, _ = call("check", "--json")
    assert code == 0, out
    assert json.loads(out)["errors"] == 0
    code, out, err = call("fit", "--promote", "--json")
    assert code == 0, err
    assert json.loads(out)["promoted"] is True
    code, out, _ = call("evaluate", "--json")
    assert code == 0
    assert 0 < json.loads(out)["metrics"]["accuracy"]["value"] <= 1
    code, out, _ = call("answer", "reviews.csv", "-o", "said.jsonl")
    assert "answered" in out
    said = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(said) > 800
    assert set(said[0]) >= {"id", "model", "label", "confidence"}


def test_versions_promote_rollback_gate_and_history(call: Call, project: Path) -> None:
    assert "champion: v1" in call("versions")[1]
    assert [one["number"] for one in json.loads(call("versions", "--json")[1])["versions"]] == [1]
    code, out, _ = call("gate", "v1", "--json")
    assert code == 0, out
    assert json.loads(out)["verdict"]["outcome"] == "pass"
    assert call("promote", "v1")[0] == 0
    assert call("rollback", "--why", "a drill")[0] == 0
    assert "a drill" in call("history")[1]
    code, out, err = call("promote", "v9")
    assert code == 2
    assert "versions are v1" in err
    assert call("promote", "latest")[0] == 2


def test_labels_watch_status_and_report(call: Call, project: Path, tweets: list[Record]) -> None:
    opened = luthier.open(project)
    adapter = opened.task().adapter(opened.registry.folder(opened.versions()[0]))
    start = datetime(2026, 3, 1, tzinfo=UTC)
    asked = [Record(one.id, start + timedelta(minutes=i), one.input) for i, one in enumerate(tweets[1500:1560])]
    said = [
        Record(a.id, a.at, a.input, output=o, model="v1") for a, o in zip(asked, adapter.answer(asked), strict=True)
    ]
    record.append(opened.store, [record.to_row(one) for one in said])
    opened.close()
    with (project / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "target"])
        rows.writerows([one.id, one.target] for one in tweets[1500:1560])
        rows.writerow([tweets[1500].id, "neither"])
        rows.writerow(["tweets-never", "positive"])
    code, out, _ = call("feedback", "labels.csv", "--json")
    taken = json.loads(out)
    assert code == 1, "one label was rejected"
    assert (taken["stored"], taken["waiting"]) == (61, 1)
    assert "neither" in taken["rejected"][0][1]
    code, out, _ = call("watch")
    assert code == 0
    assert "60 new answers, 60 new labels" in out
    found = json.loads(call("status", "--json")[1])
    assert found["rows"] == {"answer": 60, "label": 61, "rejection": 1, "request": 0}
    assert {one["check"] for one in found["findings"]} >= {"risk.v1", "embedding_shift.v1"}
    assert "risk_lifetime.v1" in call("status")[1]
    assert call("report", "-o", "told")[0] == 0
    assert (project / "told" / "report.md").exists()
    code, _, err = call("update")
    assert (code, "update" in err) in ((0, False), (1, False), (1, True)), (
        "too few labels of a change, or nothing to repair"
    )


def answered_by_the_champion(project: Path, asked: list[Record], labelled: int) -> None:
    """Answers of v1, one every ten minutes, and the targets of the first `labelled` of them."""
    opened = luthier.open(project)
    adapter = opened.task().adapter(opened.registry.folder(opened.versions()[0]))
    start = datetime(2026, 3, 1, tzinfo=UTC)
    plain = [Record(one.id, start + timedelta(minutes=10 * i), one.input) for i, one in enumerate(asked)]
    said = [
        Record(a.id, a.at, a.input, output=o, model="v1") for a, o in zip(plain, adapter.answer(plain), strict=True)
    ]
    record.append(opened.store, [record.to_row(one) for one in said])
    opened.feedback([{"id": one.id, "target": one.target} for one in asked[:labelled]])
    opened.close()


def test_reports_of_the_champion_and_many_models_on_one_page(call: Call, project: Path, tweets: list[Record]) -> None:
    answered_by_the_champion(project, tweets[1500:1900], 300)
    code, out, err = call("report", "--kind", "performance", "--every", "day", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["kind"] == "performance"
    page = json.loads((project / "report" / "performance.json").read_text(encoding="utf-8"))
    accuracy = [row for row in page["rows"] if row["metric"] == "accuracy"]
    assert [row["window"] for row in accuracy] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert sum(row["measured"]["n"] for row in accuracy) == 300
    assert "mood v1: performance" in (project / "report" / "performance.html").read_text(encoding="utf-8")
    code, out, err = call("report", "--kind", "performance", "--since", "2026-03-02", "--until", "2026-03-03", "--json")
    assert code == 0, err
    page = json.loads((project / "report" / "performance.json").read_text(encoding="utf-8"))
    assert {window["name"][:10] for window in page["windows"]} == {"2026-03-02"}
    for kind in ("drift", "quality"):
        code, out, err = call("report", "--kind", kind, "-o", "told")
        assert code == 0, err
        assert (project / "told" / f"{kind}.html").exists()
    code, out, err = call("report", "--compare", "--json")
    assert code == 0, err
    assert "1 version" in json.loads(out)["headline"]
    shutil.copytree(project, project / "other", ignore=shutil.ignore_patterns("other", "report", "told"))
    code, out, err = call("report", "--compare", "luthier.yaml", "other", "-o", "both")
    assert code == 0, err
    rows = json.loads((project / "both" / "compare.json").read_text(encoding="utf-8"))["rows"]
    assert len({row["project"] for row in rows}) == 2
    assert [row["answers"] for row in rows] == [400, 400]
    assert all(row["accuracy_now"]["n"] >= 200 for row in rows)


def test_reports_of_files_need_no_project(call: Call, tmp_path: Path) -> None:
    for name, age in (("good", 40), ("new", 60)):
        lines = "".join(f"{age + i % 10},2026-03-0{1 + i % 3}T08:00:00\n" for i in range(600))
        (tmp_path / f"{name}.csv").write_text(f"age,at\n{lines}")
    files = ("--reference", "good.csv", "--current", "new.csv")
    code, out, err = call("report", "--kind", "drift", *files, "--at", "at", "--every", "day")
    assert code == 0, err
    assert "1 column of 1 drifted in 3 of 3 windows" in out
    assert (tmp_path / "report" / "drift.md").exists()
    code, out, _ = call("report", "--kind", "quality", *files, "-o", "told", "--strict", "--json")
    assert code == 1, "--strict, and all ages are out of range"
    assert json.loads(out)["alarms"][0]["subject"] == "age"
    assert call("report", *files, "--every", "720", "--at", "at")[0] == 0, "drift is the default"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kind", "drift", "--reference", "a.csv"), "needs both"),
        (("--kind", "drift", "--reference", "a.csv", "--current", "none.csv"), "no such file"),
        (("--kind", "weather", "--reference", "a.csv", "--current", "a.csv"), "known are drift"),
        (("--kind", "performance", "--reference", "a.csv", "--current", "a.csv"), "Say which one is"),
        (("--kind", "performance", "--reference", "a.csv", "--current", "a.csv", "--column", "x"), "--column target=churned"),
        (("--kind", "drift", "--reference", "a.csv", "--current", "a.csv", "--every", "soon", "--at", "x"), "give hour"),
        (("--kind", "drift", "--reference", "a.csv", "--current", "a.csv", "--every", "day"), "`at`"),
        (("a.csv",), "--compare"),
        (("--kind", "drift"), "luthier.yaml"),
        (("--compare", "nowhere"), "nowhere"),
    ],
)  # fmt: skip
def test_a_wrong_report_is_exit_code_two(call: Call, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n2,3\n")
    code, _, err = call("report", *arguments)
    assert code == 2
    assert words in err


FILES = ("--reference", "a.csv", "--current", "a.csv")


@pytest.mark.parametrize(
    ("arguments", "option", "way_out"),
    [
        (("report", "--category", "zip"), "--category", "--kind drift --reference GOOD"),
        (("report", "--strict"), "--strict", "`luthier report --compare`"),
        (("report", "--since", "2026-03-01"), "--since", "`luthier report --kind performance`"),
        (("report", "--kind", "drift", "--at", "time"), "--at", "--kind drift --reference GOOD --current NEW"),
        (("report", "--kind", "performance", "--task", "binary"), "--task", "--kind performance --reference GOOD"),
        (("report", "--kind", "quality", "--relevant", "0.1"), "--relevant", "--kind drift"),
        (("report", "--kind", "drift", *FILES, "--column", "target=x"), "--column", "--kind performance --reference"),
        (("report", *FILES, "--task", "binary"), "--task", "--kind performance --reference"),
        (("report", "--kind", "performance", *FILES, "--category", "x"), "--category", "--kind quality --reference"),
        (("report", *FILES, "--since", "2026-03-01"), "--since", "--kind drift`"),
        (("report", *FILES, "--file", "other.yaml"), "--file", "--kind drift`"),
        (("report", "--compare", "--every", "day"), "--every", "--kind drift`"),
        (("report", "--compare", *FILES), "--reference", "--kind drift --reference"),
        (("report", "--compare", "--kind", "drift"), "--kind", "`luthier report --kind drift`"),
        (("labels", "--import", "plan.csv", "--for", "accuracy"), "--for", "`luthier labels N`"),
        (("labels", "--import", "plan.csv", "--out", "other.csv"), "--out", "`luthier labels N --out FILE`"),
        (("labels", "5", "--blind"), "--blind", "`luthier labels N --out FILE`"),
        (("labels", "5", "--candidate", "v2"), "--candidate", "`luthier labels N --for better`"),
        (("page", "--why", "on it"), "--why", "`luthier page ack p3`"),
        (("page", "list", "--hours", "8"), "--hours", "`luthier page snooze p3`"),
        (("page", "ack", "p1", "--hours", "8"), "--hours", "`luthier page snooze p3`"),
    ],
)  # fmt: skip
def test_an_option_that_would_be_ignored_is_refused(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], option: str, way_out: str
) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n2,3\n")
    code, _, err = call(*arguments)
    assert code == 2
    assert f"{option} was given, but `luthier {arguments[0]}" in err
    assert way_out in err
    assert "leave it out" in err


def test_every_option_of_a_report_is_read_by_some_form() -> None:
    import typer

    command = typer.main.get_command(cli.app).commands["report"]  # type: ignore[attr-defined]
    read = {name for names in cli.seeing._REPORTS.values() for name in names.split()}
    assert {parameter.name for parameter in command.params} - read <= {"out", "as_json"}


def test_labels_are_planned_written_and_taken_back(call: Call, project: Path, tweets: list[Record]) -> None:
    opened = luthier.open(project)
    adapter = opened.task().adapter(opened.registry.folder(opened.versions()[0]))
    truth = {one.id: one.target for one in tweets[1500:1800]}
    start = datetime(2026, 3, 1, tzinfo=UTC)
    asked = [Record(one.id, start + timedelta(minutes=i), one.input) for i, one in enumerate(tweets[1500:1800])]
    said = [
        Record(a.id, a.at, a.input, output=o, model="v1") for a, o in zip(asked, adapter.answer(asked), strict=True)
    ]
    record.append(opened.store, [record.to_row(one) for one in said])
    opened.close()
    assert "few_labels" in json.loads(call("status", "--json")[1])
    code, out, err = call("labels", "120", "--for", "accuracy", "--out", "plan.csv", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["open"], len(told["plan"]["requests"])) == (120, 120)
    assert 0 < told["plan"]["buys"]["half_width"] < 0.2
    assert sum(one["at_random"] for one in told["plan"]["requests"]) < 120
    with (project / "plan.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (project / "plan.csv").open("w", encoding="utf-8", newline="") as file:
        out_rows = csv.writer(file)
        out_rows.writerow(["id", "target"])
        out_rows.writerows([row["id"], truth[row["id"]]] for row in rows[:100])
        out_rows.writerows([row["id"], ""] for row in rows[100:])
        out_rows.writerow([rows[0]["id"], "neither"])
    code, out, _ = call("labels", "--import", "plan.csv")
    assert code == 1, "one row was rejected"
    assert "99 stored" in out
    assert "20 not labelled yet, 2 rejected" in out
    assert "two_labels" in out
    assert call("watch")[0] in (0, 1)
    found = json.loads(call("status", "--json")[1])
    few = found["few_labels"]
    assert (few["came"], few["asked"]) == (99, 120)
    assert few["risk"]["estimate"]["low"] < few["risk"]["estimate"]["value"] < few["risk"]["estimate"]["high"]
    fair = {one["id"] for one in told["plan"]["requests"] if one["at_random"]}
    risk = next(one for one in found["findings"] if one["check"] == "risk.v1")
    assert risk["n"] == len(fair & {row["id"] for row in rows[1:100]}) < 99, "picked labels stay out of the evidence"
    assert "99 of 120 labels: mean loss" in call("status")[1]
    code, out, _ = call("labels", "5")
    assert code == 0
    assert out.count("\n") == 6
    assert "would be shown" in out or "too few" in out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "give either the number of records to label, or --import"),
        (("5", "--import", "x.csv"), "give either"),
        (("5",), "has no answers among the newest 20,000"),
        (("--import", "x.csv"), "no such file"),
    ],
)
def test_labels_that_cannot_be_planned(call: Call, project: Path, arguments: tuple[str, ...], why: str) -> None:
    code, _, err = call("labels", *arguments)
    assert code == 2
    assert why in err


def test_pages_are_listed_acknowledged_and_snoozed(call: Call, project: Path) -> None:
    assert call("page", "list")[1] == "no page yet\n"
    loud = Finding(
        "risk.v1", 0.3, 0.1, 1e9, Promise("e-detector", 1e5), True, 500, "mean loss 0.3 is high", "mood v1", "", NOON
    )
    with contextlib.closing(luthier.open(project)) as opened:
        pages.follow(
            opened.store,
            {"v1": [loud, replace(loud, slice="shop=q")]},
            {"v1": [loud, replace(loud, slice="shop=q")]},
            NOON,
        )
    assert "p1    2026-03-01 12:00  open  v1 risk.v1   in hindsight: unknown" in call("page")[1]
    assert call("page", "ack", "p1", "--why", "on it") == (0, "p1 acknowledged: risk.v1\n", "")
    code, out, _ = call("page", "snooze", "p2", "--hours", "8", "--json")
    assert code == 0
    assert json.loads(out)["slice"] == "shop=q"
    listed = json.loads(call("page", "list", "--json")[1])
    assert [(one["id"], one["acknowledged"], bool(one["snoozed_until"])) for one in listed["pages"]] == [
        ("p1", "on it", False),
        ("p2", "", True),
    ]
    assert listed["precision"]["n"] == 0
    assert "page p1 open since 2026-03-01T12:00: risk.v1" in call("status")[1]
    assert "'p7' is not an open page: open are p1, p2" in call("page", "ack", "p7")[2]
    assert call("page", "ack", "p7")[0] == 2
    assert "cannot ack ''" in call("page", "ack")[2]
    assert call("page", "close", "p1")[0] == 2


def test_keys_are_shown_once_and_kept_as_hashes(call: Call, project: Path) -> None:
    code, out, _ = call("key", "--scope", "predict", "--name", "shop")
    assert code == 0
    token = out.strip()
    kept = (project / ".luthier" / "keys.json").read_text()
    assert token not in kept
    assert "shop" in kept
    assert call("key", "--scope", "everything")[0] == 2


def test_errors_have_one_message_and_their_exit_code(call: Call, tmp_path: Path) -> None:
    code, out, err = call("fit", "--json")
    assert code == 2
    assert json.loads(out)["kind"] == "ConfigError"
    assert "luthier init" in err
    (tmp_path / "luthier.yaml").write_text("task: text_classification\nfit: {epochs: 0}\nrequire: {acuracy: 0.9}\n")
    code, _, err = call("check")
    assert code == 2
    assert "epochs" in err
    assert call("no-such-verb")[0] == 2
    assert call("evaluate", "--version")[0] == 2


def test_unknown_metrics_are_named_before_any_training(call: Call, tmp_path: Path) -> None:
    shutil.copytree(HOME / "examples" / "reviews", tmp_path, dirs_exist_ok=True)
    assert call("check")[0] == 0
    path = tmp_path / "luthier.yaml"
    path.write_text(path.read_text().replace("accuracy:", "acuracy:"))
    code, _, err = call("check")
    assert code == 2
    assert "acuracy" in err
    assert "accuracy" in err


def test_the_doctor_finds_the_environment_well(call: Call) -> None:
    code, out, _ = call("doctor", "--json")
    assert code == 0
    assert {"python", "torch", "bf16", "free disk"} <= {item["name"] for item in json.loads(out)}


def test_the_version_of_the_package_is_told() -> None:
    assert luthier.__version__ == "0.1.0"
