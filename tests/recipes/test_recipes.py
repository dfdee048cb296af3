"""Every recipe: what it promises of its folder, that it can be called again, and that it stops where it must."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luthier.errors import ModelError, TrainingError
from luthier.models import training
from luthier.models.checkpoints import newest
from luthier.models.textmodel import TextClassifier
from luthier.names import get
from luthier.options import FitOptions
from luthier.types import Record, Split

LABELS = ("negative", "positive")
TASK = get("task", "text_classification")(labels=LABELS)
OPTIONS = FitOptions(epochs=2, threads=1, batch_size=32, learning_rate=1e-3)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def split(tweets: list[Record]) -> Split:
    return Split(tweets[:160], tweets[200:260], ())


@pytest.mark.parametrize("name", ["head", "lora", "full"])
def test_a_candidate_is_a_plain_folder_made_once(name: str, tiny_model: Path, split: Split, tmp_path: Path) -> None:
    import transformers

    said: list[tuple[str, float]] = []
    work = tmp_path / name
    recipe = get("recipe", name)()
    first = recipe.run(
        TASK, tiny_model, split, OPTIONS, work, progress=lambda what, share, _: said.append((what, share))
    )
    assert not ({path.suffix for path in first.folder.rglob("*")} & {".bin", ".pt", ".pth"})
    assert not list(first.folder.glob("adapter*"))
    assert not (work / "checkpoints").exists()
    assert said
    assert all(0 <= share <= 1 for _, share in said)
    assert first.about["threads"] == 1
    before = weights(first.folder)
    again = recipe.run(TASK, tiny_model, split, OPTIONS, work)
    assert again == first
    assert recipe.run(TASK, tiny_model, split, OPTIONS, tmp_path / "other").folder.parent == tmp_path / "other"
    assert weights(tmp_path / "other" / "model") == before  # the same seed gives the same bytes
    pipeline = transformers.pipeline("text-classification", str(first.folder))
    mine = TextClassifier.load(first.folder)
    mine.bf16 = False
    texts = [record.input for record in split.validation[:20]]
    assert [out["label"] for out in pipeline(texts)] == [out["label"] for out in mine.answer(split.validation[:20])]


@pytest.mark.parametrize("name", ["head", "lora", "full"])
def test_other_options_or_data_never_take_over_a_finished_run(
    name: str, tiny_model: Path, split: Split, tmp_path: Path
) -> None:
    recipe = get("recipe", name)()
    first = weights(recipe.run(TASK, tiny_model, split, OPTIONS, tmp_path / name).folder)
    second = weights(recipe.run(TASK, tiny_model, split, replace(OPTIONS, learning_rate=2e-3), tmp_path / name).folder)
    assert first != second


@pytest.mark.parametrize(
    "change",
    [
        {"dropout": 0.3}, {"label_smoothing": 0.2}, {"class_weights": "balanced"}, {"weight_decay": 1.0}, {"l1": 0.01},
        {"optimizer": "sgd"}, {"bf16": "off"}, {"batch_size": 7}, {"seed": 5}, {"max_length": 8},
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["head", "full"])
def test_every_option_matters(name: str, change: dict, tiny_model: Path, split: Split, tmp_path: Path) -> None:
    from luthier.models.hardware import has_bf16

    if change == {"bf16": "off"} and not has_bf16():
        pytest.skip("this processor has no bfloat16")
    small = Split(split.train[:48], split.validation[:16], ())
    options = replace(OPTIONS, epochs=1)
    recipe = get("recipe", name)()
    plain = weights(recipe.run(TASK, tiny_model, small, options, tmp_path / "a" / name).folder)
    other = weights(recipe.run(TASK, tiny_model, small, replace(options, **change), tmp_path / "b" / name).folder)
    assert plain != other


def test_a_learning_rate_beyond_reason_stops_at_once_and_names_the_records(
    tiny_model: Path, split: Split, tmp_path: Path
) -> None:
    wild = replace(OPTIONS, epochs=50)
    object.__setattr__(wild, "learning_rate", 1e3)  # options refuse it; a recipe may be handed it all the same
    with pytest.raises(TrainingError) as caught:
        get("recipe", "full")().run(TASK, tiny_model, split, wild, tmp_path)
    text = str(caught.value)
    assert "training stopped at step" in text
    assert "tweets-" in text
    assert "Lower fit.learning_rate (now 1000)" in text


@pytest.mark.parametrize("name", ["head", "lora", "full"])
def test_nan_weights_stop_at_the_first_step(name: str, tiny_model: Path, split: Split, tmp_path: Path) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    tensors = load_file(broken / "model.safetensors")
    tensors["encoder.layer.0.output.dense.weight"][0, 0] = np.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match="not finite"):
        get("recipe", name)().run(TASK, broken, split, OPTIONS, tmp_path / name)
    assert not (tmp_path / name / "model").exists()


def test_training_stops_early_and_keeps_the_best_epoch(tiny_model: Path, split: Split, tmp_path: Path) -> None:
    wrong = [
        replace(r, target=LABELS[r.target == "negative"]) for r in split.validation
    ]  # the better it learns, the worse
    options = FitOptions(epochs=30, threads=1, learning_rate=3e-3, patience=2)
    done = get("recipe", "full")().run(TASK, tiny_model, Split(split.train, wrong, ()), options, tmp_path)
    losses = dict(done.curves["validation_loss"])
    assert "did not fall for 2 epochs" in done.stopped
    assert losses[done.about["best_step"]] == min(losses.values())
    adapter = TextClassifier.load(done.folder)
    adapter.bf16 = done.about["bf16"]
    logits = adapter.logits(wrong).astype(float)
    right = logits[np.arange(len(wrong)), [LABELS.index(r.target) for r in wrong]]
    loss = float((np.log(np.exp(logits).sum(1)) - right).mean())
    assert loss == pytest.approx(min(losses.values()), abs=0.01)  # the weights in the folder are those of that epoch


@pytest.mark.parametrize("name", ["head", "full"])
def test_a_spent_budget_ends_with_a_candidate(name: str, tiny_model: Path, split: Split, tmp_path: Path) -> None:
    done = get("recipe", name)().run(TASK, tiny_model, split, OPTIONS, tmp_path, deadline=-math.inf)
    assert done.stopped == "the time budget was spent"
    assert len(done.curves["train_loss"]) == 1
    TextClassifier.load(done.folder)


def test_curves_go_to_tensorboard(tiny_model: Path, split: Split, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    done = get("recipe", "full")().run(TASK, tiny_model, split, OPTIONS, tmp_path)
    (file,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    seen: dict[str, list[int]] = {}
    for event in EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            seen.setdefault(value.tag, []).append(event.step)
    assert seen == {name: [step for step, _ in points] for name, points in done.curves.items()}
    assert set(seen) == {"train_loss", "validation_loss", "learning_rate", "gradient_norm"}


def stopped_after(epochs: int, tiny_model: Path, split: Split, work: Path, options: FitOptions) -> None:
    """A run that dies at the end of its so-manieth epoch, after its checkpoint."""
    save = training._Loop._save

    def die(loop: training._Loop) -> None:
        save(loop)
        if loop.now.epoch == epochs:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Loop, "_save", die)
        with pytest.raises(KeyboardInterrupt):
            get("recipe", "full")().run(TASK, tiny_model, split, options, work)


@pytest.fixture(scope="module")
def uninterrupted(tiny_model: Path, split: Split, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    work = tmp_path_factory.mktemp("whole")
    return weights(
        get("recipe", "full")().run(TASK, tiny_model, split, replace(OPTIONS, epochs=4, patience=9), work).folder
    )


@pytest.mark.parametrize("harm", ["none", "truncated", "no marker", "garbage", "no optimizer", "all gone"])
def test_the_newest_complete_checkpoint_is_taken_and_ends_with_the_same_weights(
    harm: str, uninterrupted: bytes, tiny_model: Path, split: Split, tmp_path: Path
) -> None:
    options = replace(OPTIONS, epochs=4, patience=9)
    stopped_after(3, tiny_model, split, tmp_path / "work", options)
    steps = sorted((tmp_path / "work" / "checkpoints").glob("step-*"))
    assert len(steps) >= 2
    files = {
        "none": [], "truncated": ["model.safetensors"], "no marker": ["complete.json"], "garbage": ["state.json"],
        "no optimizer": ["optimizer.safetensors"], "all gone": [],
    }[harm]  # fmt: skip
    for name in files:
        path = steps[-1] / name
        if harm in ("no marker", "no optimizer"):
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1])
    if harm == "all gone":
        for step in steps:
            (step / "complete.json").write_text("{}[")
    said: list[float] = []
    done = get("recipe", "full")().run(
        TASK, tiny_model, split, options, tmp_path / "work", progress=lambda _, share, __: said.append(share)
    )
    resumed_from = {"none": 0.75, "all gone": 0.0}.get(harm, 0.5)
    assert said[0] == pytest.approx(resumed_from + 0.05)  # 5 batches an epoch, 20 in all
    assert weights(done.folder) == uninterrupted


def test_a_checkpoint_of_another_run_is_not_taken(tiny_model: Path, split: Split, tmp_path: Path) -> None:
    stopped_after(1, tiny_model, split, tmp_path, OPTIONS)
    step = next((tmp_path / "checkpoints").glob("step-*"))
    assert {path.name for path in step.iterdir()} == {
        "state.json",
        "model.safetensors",
        "optimizer.safetensors",
        "complete.json",
    }
    key = json.loads((step / "state.json").read_text())["key"]
    assert newest(tmp_path / "checkpoints", key) is not None
    assert newest(tmp_path / "checkpoints", "another") is None
    assert not step.exists()


def test_features_are_computed_once_for_each_text(tiny_model: Path, split: Split, tmp_path: Path, monkeypatch) -> None:
    texts = 0
    features = TextClassifier.features

    def counted(adapter: TextClassifier, records: list[Record]) -> np.ndarray:
        nonlocal texts
        texts += len(records)
        return features(adapter, records)

    monkeypatch.setattr(TextClassifier, "features", counted)
    head = get("recipe", "head")()
    first = head.run(TASK, tiny_model, split, OPTIONS, tmp_path / "head")
    assert texts == 220
    (tmp_path / "head" / "done.json").unlink()
    assert weights(head.run(TASK, tiny_model, split, OPTIONS, tmp_path / "head").folder) == weights(first.folder)
    assert texts == 220  # all from the cache
    more = Split([*split.train, replace(split.train[0], id="new", input="a text never seen")], split.validation, ())
    head.run(TASK, tiny_model, more, OPTIONS, tmp_path / "head")
    assert texts == 221
    head.run(TASK, tiny_model, split, replace(OPTIONS, max_length=16), tmp_path / "head")
    assert texts == 441  # another reading length, other features
    file = max((tmp_path / "features").rglob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    file.write_bytes(file.read_bytes()[:100])
    (tmp_path / "head" / "done.json").unlink()
    head.run(TASK, tiny_model, split, replace(OPTIONS, max_length=16), tmp_path / "head")
    assert 441 < texts <= 661  # what was cut short is computed again


def test_the_head_of_a_trained_model_keeps_its_own_pooling(tiny_model: Path, split: Split, tmp_path: Path) -> None:
    full = get("recipe", "full")().run(TASK, tiny_model, split, OPTIONS, tmp_path / "full")
    first = get("recipe", "head")().run(TASK, tiny_model, split, OPTIONS, tmp_path / "head")
    assert first.about["pooling"] == "mean"
    assert get("recipe", "head")().run(TASK, full.folder, split, OPTIONS, tmp_path / "b").about["pooling"] == "own"
    layers = [json.loads((c / "config.json").read_text())["num_hidden_layers"] for c in (full.folder, first.folder)]
    assert layers == [2, 3]
    other = get("task", "text_classification")(labels=("positive", "negative", "mixed"))
    again = get("recipe", "head")().run(other, first.folder, split, OPTIONS, tmp_path / "c")
    assert json.loads((again.folder / "config.json").read_text())["num_hidden_layers"] == 3  # not averaged twice


def test_mean_pooling_in_stock_weights_is_mean_pooling(tiny_model: Path, tweets: list[Record]) -> None:
    from luthier.recipes.head import add_mean_pooling

    adapter = TASK.adapter(tiny_model)
    adapter.bf16, adapter.fresh = False, False
    mean = np.stack([output["embedding"] for output in adapter.answer(tweets[:30])]).astype(np.float64)
    assert add_mean_pooling(adapter) == "mean"
    pooled = np.arctanh(adapter.features(tweets[:30]).astype(np.float64)) * 10
    expected = (mean - mean.mean(1, keepdims=True)) / mean.std(1, keepdims=True)
    for row in range(30):  # the 1/32 of the first token's state is what is left
        assert np.corrcoef(pooled[row], expected[row])[0, 1] > 0.99


def test_a_decoder_gets_no_head(tmp_path: Path, tiny_model: Path, split: Split) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2Model

    GPT2Model(GPT2Config(vocab_size=30522, n_positions=64, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        tmp_path / "gpt"
    )
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "gpt")
    with pytest.raises(ModelError, match="use the recipe full or lora"):
        get("recipe", "head")().run(TASK, tmp_path / "gpt", split, OPTIONS, tmp_path / "head")


def test_the_real_model_learns_from_two_hundred_tweets(minilm: Path, tweets: list[Record], tmp_path: Path) -> None:
    positive = [r for r in tweets if r.target == "positive"]
    negative = [r for r in tweets if r.target == "negative"]
    mixed = [row for pair in zip(positive[:200], negative[:200], strict=True) for row in pair]
    done = get("recipe", "head")().run(
        TASK, minilm, Split(mixed[:200], mixed[200:300], ()), FitOptions(threads=1), tmp_path / "head"
    )
    answers = TextClassifier.load(done.folder).answer(mixed[300:])
    right = sum(output["label"] == record.target for output, record in zip(answers, mixed[300:], strict=True))
    assert right >= 70  # of 100; about 80 are
