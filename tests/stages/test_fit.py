"""The ladder: it climbs, it stops, it remembers, and it says why."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from luthier import names
from luthier.errors import DataError, TrainingError, UsageError
from luthier.names import get
from luthier.options import FitOptions, Requirement
from luthier.stages.fit import fit, shortfall
from luthier.types import Estimate, Record, Split

TASK = get("task", "text_classification")(labels=("negative", "positive"))
OPTIONS = FitOptions(epochs=1, threads=1, rungs=("head", "full"))


@pytest.fixture(scope="module")
def split(tweets: list[Record]) -> Split:
    return Split(tweets[:160], tweets[200:300], ())


def test_the_first_rung_that_meets_the_requirement_ends_the_climb(
    tiny_model: Path, split: Split, tmp_path: Path
) -> None:
    require = {"accuracy": Requirement(at_least=0.3), "latency_ms": Requirement(at_most=5000)}
    run = fit(TASK, tiny_model, split, require=require, options=OPTIONS, work=tmp_path)
    assert run.met
    assert run.recipe == "head"
    assert [rung["recipe"] for rung in run.rungs] == ["head"]
    assert run.why.startswith("met: accuracy 0.")
    assert run.estimates["accuracy"].n == 100
    assert run.estimates["latency_ms"].n >= 50
    assert {finding.check for finding in run.findings} == {
        "overfitting.v1",
        "divergence.v1",
        "plateau.v1",
        "unstable.v1",
    }
    folder = Path(run.folder)
    assert 0.05 <= json.loads((folder / "luthier" / "calibration.json").read_text())["temperature"] <= 20


def test_when_nothing_meets_it_the_best_is_kept_with_a_reason(tiny_model: Path, split: Split, tmp_path: Path) -> None:
    require = {"accuracy": Requirement(at_least=0.999)}
    run = fit(TASK, tiny_model, split, require=require, options=OPTIONS, work=tmp_path)
    assert not run.met
    assert [rung["recipe"] for rung in run.rungs] == ["head", "full"]
    assert (Path(run.folder) / "model.safetensors").exists()
    assert "no recipe met the requirements (head, full tried)" in run.why
    assert "required is at least 0.999. The model itself is short by" in run.why
    assert any(word in run.why for word in ("add training records", "Raise fit.learning_rate", "overfits"))
    best = max(rung["metrics"]["accuracy"]["low"] for rung in run.rungs)
    assert run.estimates["accuracy"].low == best


def test_a_second_call_repeats_nothing(tiny_model: Path, split: Split, tmp_path: Path, monkeypatch) -> None:
    require = {"accuracy": Requirement(at_least=0.999)}
    options = replace(OPTIONS, rungs=("head",))
    first = fit(TASK, tiny_model, split, require=require, options=options, work=tmp_path)
    calls = []
    monkeypatch.setattr(get("recipe", "head"), "run", lambda *_, **__: calls.append(1))
    again = fit(TASK, tiny_model, split, require=require, options=options, work=tmp_path)
    assert replace(again, rungs=()) == replace(first, rungs=())
    assert json.dumps(again.rungs) == json.dumps(first.rungs)
    assert not calls


def test_looking_at_more_rungs_asks_for_more(tiny_model: Path, split: Split, tmp_path: Path) -> None:
    one = replace(OPTIONS, rungs=("head",))
    seen = fit(TASK, tiny_model, split, require={}, options=one, work=tmp_path / "a")
    assert seen.met
    assert "nothing is required" in seen.why
    edge = {"accuracy": Requirement(at_least=seen.estimates["accuracy"].low - 1e-6)}
    assert fit(TASK, tiny_model, split, require=edge, options=one, work=tmp_path / "b").met
    many = fit(
        TASK, tiny_model, split, require=edge, options=replace(OPTIONS, rungs=("head", "head")), work=tmp_path / "c"
    )
    assert not many.rungs[0]["met"]  # the same numbers, but two looks


@dataclass(frozen=True)
class Breaks:
    """A recipe whose training always stops."""

    name = "breaks"

    def run(self, *_: object, **__: object) -> None:
        raise TrainingError("training stopped at step 3")


def test_a_rung_that_breaks_is_passed_by(tiny_model: Path, split: Split, tmp_path: Path, monkeypatch) -> None:
    get("recipe", "head")
    monkeypatch.setitem(names._found, ("recipe", "breaks"), Breaks)
    run = fit(
        TASK, tiny_model, split, require={}, options=replace(OPTIONS, rungs=("breaks", "head")), work=tmp_path / "a"
    )
    assert run.met
    assert run.recipe == "head"
    assert run.rungs[0]["why"] == "training stopped at step 3"
    with pytest.raises(TrainingError, match="breaks: training stopped at step 3"):
        fit(TASK, tiny_model, split, require={}, options=replace(OPTIONS, recipe="breaks"), work=tmp_path / "b")


def test_a_spent_budget_leaves_rungs_out_and_says_so(tiny_model: Path, split: Split, tmp_path: Path) -> None:
    options = replace(OPTIONS, budget_minutes=0.001)
    run = fit(
        TASK, tiny_model, split, require={"accuracy": Requirement(at_least=0.999)}, options=options, work=tmp_path
    )
    assert [rung["recipe"] for rung in run.rungs] == ["head"]
    assert "The time budget ended before full: raise fit.budget_minutes" in run.why


def broken(split: Split, case: str) -> Split:
    train, validation = list(split.train), list(split.validation)
    if case == "one class":
        return Split([replace(record, target="positive") for record in train], validation, ())
    if case == "empty texts":
        return Split([replace(record, input="") for record in train], validation, ())
    if case == "no targets":
        return Split([replace(record, target=None) for record in train], validation, ())
    if case == "no records":
        return Split([], validation, ())
    if case == "unknown label":
        return Split([*train, replace(train[0], id="odd", target="mixed")], validation, ())
    return Split(train, [], ())


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("one class", "all 160 training records have the target 'positive'; a classifier needs two labels"),
        ("empty texts", "160 of 260 records cannot be used. The first: record tweets-"),
        ("no targets", "160 training records, 160 without a target"),
        ("no records", "0 training records"),
        ("unknown label", "record odd: target 'mixed' is not a label"),
        ("no validation", "fit needs labelled validation records"),
    ],
)
def test_data_that_cannot_be_learned_from_stops_before_training(
    case: str, words: str, split: Split, tmp_path: Path
) -> None:
    data, work = broken(split, case), tmp_path / "w"
    with pytest.raises(DataError) as caught:
        fit(TASK, tmp_path / "no model is opened", data, require={}, options=OPTIONS, work=work)
    assert words in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_an_unknown_metric_or_recipe_stops_before_training(split: Split, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no metric 'acuracy' .* known are accuracy"):
        fit(TASK, "x", split, require={"acuracy": Requirement(at_least=0.9)}, options=OPTIONS, work=tmp_path)
    with pytest.raises(UsageError, match="no recipe 'huge'; known are auto, "):
        fit(TASK, "x", split, require={}, options=replace(OPTIONS, recipe="huge"), work=tmp_path)


def test_a_shortfall_says_whether_the_model_or_the_evidence_is_short() -> None:
    least, most = Requirement(at_least=0.9), Requirement(at_most=20)
    assert shortfall("accuracy", Estimate(0.95, 400, 0.92, 0.97), least) == ""
    assert "about 900 validation records (now 100) would show it" in shortfall(
        "accuracy", Estimate(0.91, 100, 0.88, 0.94), least
    )
    assert "The model itself is short by 0.1" in shortfall("accuracy", Estimate(0.8, 100, 0.7, 0.9), least)
    assert "upper bound 25" in shortfall("latency_ms", Estimate(18, 50, 15, 25), most)
    assert "could not be measured" in shortfall("auroc", Estimate(), least)
