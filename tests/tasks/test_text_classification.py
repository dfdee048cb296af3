"""The text task: its laws, its errors, and a model folder that others can use and that nobody can smuggle code into."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from luthier.errors import ModelError, RecordError, TargetError
from luthier.models import classification, hardware, textmodel
from luthier.models.textmodel import TextClassifier
from luthier.names import get
from luthier.options import FitOptions
from luthier.tasks.laws import check_task
from luthier.types import Record, Split

LABELS = ("negative", "positive")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = get("task", "text_classification")(labels=LABELS)


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tweets: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny head candidate."""
    work = tmp_path_factory.mktemp("trained")
    split = Split(tweets[:200], tweets[200:300], ())
    return get("recipe", "head")().run(TASK, tiny_model, split, FitOptions(threads=1), work / "head").folder


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "model"))


def test_the_task_obeys_the_laws(trained: Path, tweets: list[Record], tmp_path: Path) -> None:
    columns = check_task(TASK, TextClassifier.load(trained), tweets[300:340], tmp_path)
    assert columns["embedding"].shape == (40, 32)
    assert columns["embedding"].dtype == np.float32
    assert np.allclose(columns["confidence"], np.maximum(columns["score"], 1 - columns["score"]))


@pytest.mark.parametrize(
    ("record", "error", "words"),
    [
        (Record("7", NOW, 12.5), RecordError, "record 7: input is float 12.5"),
        (Record("7", NOW, None), RecordError, "record 7: input is NoneType"),
        (Record("7", NOW, " \n\t"), RecordError, "a text with nothing in it"),
        (Record("7", NOW, "fine", target="postive"), TargetError, "target 'postive' is not a label of text_class"),
        (Record("7", NOW, "fine", target=1), TargetError, "labels are ['negative', 'positive']"),
        (Record("7", NOW, "fine", target=["positive"]), TargetError, "unknown_labels: drop"),
    ],
)
def test_a_record_that_cannot_be_used_is_named_with_a_way_out(record: Record, error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        TASK.check(record)
    assert words in str(caught.value)


def test_columns_of_mixed_ages_keep_absent_absent() -> None:
    output = {
        "label": "positive",
        "confidence": 0.9,
        "margin": 0.8,
        "entropy": 0.3,
        "length": 4,
        "scores": {"positive": 0.9, "negative": 0.1},
    }
    rows = [
        Record("1", NOW, "a", output, "positive"),
        Record("2", NOW, "b", output, "negative"),
        Record("3", NOW, "c", output),
        Record("4", NOW, "d", None, "positive"),
        Record("5", NOW, "e", {"label": "gone", "confidence": "high", "embedding": np.ones(3, np.float16)}, "positive"),
    ]
    columns = TASK.columns(rows)
    assert columns["loss"].tolist()[:2] == [0.0, 1.0]
    assert np.isnan(columns["loss"][2:4]).all()
    assert columns["loss"][4] == 1.0
    assert columns["predicted"].tolist() == [1, 1, 1, -1, -1]
    assert columns["target"].tolist() == [1, 0, -1, 1, 1]
    assert np.isnan(columns["confidence"][3:]).all()
    assert np.isnan(columns["embedding"][:4]).all()
    assert columns["target_score"].tolist()[:2] == [0.9, 0.1]


def test_a_label_beyond_the_five_best_gets_its_share_of_the_rest() -> None:
    task = get("task", "text_classification")(labels=tuple("abcdefg"))
    output = {"label": "a", "scores": {"a": 0.5, "b": 0.2, "c": 0.1, "d": 0.05, "e": 0.05}}
    columns = task.columns([Record("1", NOW, "text", output, "g")])
    assert columns["target_score"][0] == pytest.approx(0.05)


def test_metrics_are_the_published_ones() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(0)
    labels = ("a", "b", "c")
    target = rng.choice(3, 500, p=[0.6, 0.3, 0.1])
    predicted = np.where(rng.random(500) < 0.8, target, rng.integers(0, 3, 500))
    columns = {
        "target": target, "predicted": predicted, "loss": (target != predicted).astype(float),
        "score": np.full(500, np.nan), "target_score": rng.uniform(0.1, 1, 500),
    }  # fmt: skip
    found = classification.estimates(columns, labels)
    each = metrics.f1_score(target, predicted, average=None)
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(target, predicted))
    assert found["f1_macro"].value == pytest.approx(each.mean())
    assert found["f1_smallest"].value == pytest.approx(each[2])
    assert found["precision[b]"].value == pytest.approx(metrics.precision_score(target, predicted, average=None)[1])
    assert found["log_loss"].value == pytest.approx(-np.log(columns["target_score"]).mean())
    score, positive = np.round(rng.normal(target == 0, 1), 1), target == 0
    assert classification.auroc(score, positive, 0.95).value == pytest.approx(metrics.roc_auc_score(positive, score))


def test_the_intervals_of_f1_and_auroc_cover_as_promised() -> None:
    rng = np.random.default_rng(1)
    f1, auroc, runs = 0, 0, 400
    for _ in range(runs):
        target = rng.random(200) < 0.3
        predicted = np.where(rng.random(200) < 0.85, target, ~target)  # P(tp) .255 P(fp) .105 P(fn) .045
        counts = ((target & predicted).sum(), (~target & predicted).sum(), (target & ~predicted).sum())
        seen = classification.f1(*map(int, counts), 0.95)
        f1 += seen.low <= 2 * 0.255 / (2 * 0.255 + 0.15) <= seen.high
        seen = classification.auroc(rng.normal(target, 1.0), target, 0.95)
        auroc += seen.low <= 0.7602 <= seen.high  # Phi(1 / sqrt 2)
    assert min(f1, auroc) / runs > 0.92  # 0.95 less three standard errors
    assert max(f1, auroc) / runs < 0.99


def test_one_class_has_no_auroc() -> None:
    assert classification.auroc([0.1, 0.2], [True, True], 0.95).n == 0


def test_a_pipeline_loads_the_folder_as_it_is_and_says_the_same(trained: Path, tweets: list[Record]) -> None:
    import transformers

    adapter = TextClassifier.load(trained)
    adapter.bf16, adapter.temperature = False, 1.0
    mine = adapter.answer(tweets[300:350])
    pipeline = transformers.pipeline("text-classification", str(trained))
    for record, output in zip(tweets[300:350], mine, strict=True):
        theirs = pipeline(record.input)[0]
        assert theirs["label"] == output["label"]
        assert theirs["score"] == pytest.approx(output["confidence"], abs=1e-5)


def test_the_temperature_of_the_folder_is_applied_and_changes_no_label(
    trained: Path, tweets: list[Record], tmp_path: Path
) -> None:
    folder = copy(trained, tmp_path)
    (folder / "luthier" / "calibration.json").write_text('{"temperature": 4.0}')
    cool, warm = TextClassifier.load(trained).answer(tweets[:30]), TextClassifier.load(folder).answer(tweets[:30])
    assert [output["label"] for output in cool] == [output["label"] for output in warm]
    assert np.mean([output["entropy"] for output in warm]) > np.mean([output["entropy"] for output in cool])


def test_calibration_finds_the_temperature_of_overconfident_logits(trained: Path) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (2000, 2))
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = [Record(str(i), NOW, "text", target=LABELS[int(rng.random() < p)]) for i, p in enumerate(probability[:, 1])]
    adapter = TextClassifier.load(trained)
    adapter.logits = lambda records: (3 * logits).astype(np.float32)  # type: ignore[method-assign]
    assert adapter.calibrate(rows) == pytest.approx(3, rel=0.15)
    assert adapter.calibrate(rows[:10]) == 1.0


def test_labels_in_another_order_are_the_same_labels(trained: Path, tweets: list[Record]) -> None:
    other = get("task", "text_classification")(labels=LABELS[::-1])
    adapter = other.adapter(trained)
    assert not adapter.fresh
    done = [replace(r, output=o) for r, o in zip(tweets[:20], adapter.answer(tweets[:20]), strict=True)]
    assert other.columns(done)["loss"].tolist() == TASK.columns(done)["loss"].tolist()
    assert np.allclose(other.columns(done)["score"], 1 - TASK.columns(done)["score"], atol=1e-6)


def test_other_labels_get_a_new_classifier_that_does_not_answer(trained: Path, tweets: list[Record]) -> None:
    adapter = get("task", "text_classification")(labels=("a", "b", "c")).adapter(trained)
    assert adapter.fresh
    assert adapter.labels == ("a", "b", "c")
    with pytest.raises(ModelError, match="not trained"):
        adapter.answer(tweets[:1])
    with pytest.raises(TargetError, match="no label of the model"):
        adapter.batch(tweets[:1])


def test_texts_are_computed_with_others_of_their_length(trained: Path, tweets: list[Record]) -> None:
    adapter = TextClassifier.load(trained)
    mixed = [replace(one, input=one.input if i % 2 else one.input.split()[0]) for i, one in enumerate(tweets[:64])]
    computed = []
    adapter.model.register_forward_pre_hook(
        lambda _, __, inputs: computed.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    answers = adapter.answer(mixed)
    assert sum(computed) < 1.3 * sum(adapter.sizes(mixed)), "most of it is padding"
    assert [one["length"] for one in answers] == adapter.sizes(mixed), "answers keep the order of their records"


def test_lanes_side_by_side_say_what_one_says(
    trained: Path, tweets: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, beside = TextClassifier.load(trained), TextClassifier.load(trained)
    expected, features = alone.answer(tweets[:200]), alone.features(tweets[:200])
    for module in (textmodel, hardware):
        monkeypatch.setattr(module, "processors", lambda: 2)
    for one, other in zip(beside.answer(tweets[:200]), expected, strict=True):
        assert (one["label"], one["confidence"]) == (other["label"], pytest.approx(other["confidence"], abs=1e-6))
    assert np.allclose(beside.features(tweets[:200]), features, atol=1e-6)
    assert beside.answer([]) == []


def test_hostile_texts_are_answered_quickly(trained: Path) -> None:
    adapter = TextClassifier.load(trained)
    texts = ["\ud800 lone surrogate", "\x00", "a" * 10_000_000, "word " * 2_000_000, "🎻" * 5000]
    began = time.monotonic()
    outputs = adapter.answer([Record(str(i), NOW, text) for i, text in enumerate(texts)])
    assert time.monotonic() - began < 10
    assert all(np.isfinite(output["confidence"]) for output in outputs)
    assert all(output["length"] <= 128 for output in outputs)


def test_broken_weights_give_an_error_not_a_nan(trained: Path, tweets: list[Record]) -> None:
    import torch

    adapter = TextClassifier.load(trained)
    with torch.no_grad():
        adapter.head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"gives nan for record tweets-"):
        adapter.answer(tweets[:1])


def _only_a_pickle(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return "pytorch_model.bin"


def _no_weights(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    return "no weights"


def _cut_weights(folder: Path) -> str:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    return "cannot be loaded"


def _no_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    return "no config.json"


def _no_tokenizer(folder: Path) -> str:
    for path in folder.glob("*token*"):
        path.unlink()
    return "has no tokenizer"


def _own_code(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    return "cannot be loaded"


def _an_adapter(folder: Path) -> str:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    return "merge_and_unload"


def _bad_temperature(folder: Path) -> str:
    (folder / "luthier" / "calibration.json").write_text('{"temperature": -1}')
    return "temperature"


@pytest.mark.parametrize(
    "harm",
    [_only_a_pickle, _no_weights, _cut_weights, _no_config, _no_tokenizer, _own_code, _an_adapter, _bad_temperature],
)
def test_a_folder_that_cannot_be_used_is_refused_by_name(harm, trained: Path, tmp_path: Path) -> None:
    folder = copy(trained, tmp_path)
    words = harm(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers says some of it in warnings too
        with pytest.raises(ModelError) as caught:
            TASK.adapter(folder)
    assert str(folder) in str(caught.value)
    assert words in str(caught.value)


def test_a_path_that_is_not_there_is_never_looked_up_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        TASK.adapter(tmp_path / "gone")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file"):
        TASK.adapter(tmp_path / "file")
