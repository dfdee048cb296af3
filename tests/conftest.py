"""Shared, slow things, made once a session."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers with two threads each on two cores take five times as long

import pytest

import luthier
from luthier.demo import assets
from luthier.types import Record


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets; a test that wants one skips where they are absent."""
    folder = Path(os.environ.get("LUTHIER_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}: set LUTHIER_DATA")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real all-MiniLM-L6-v2."""
    return assets.minilm()


@pytest.fixture(scope="session")
def tweets() -> list[Record]:
    return assets.sentiment("tweets")


@pytest.fixture(scope="session")
def films() -> list[Record]:
    return assets.sentiment("films")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A two-layer BERT with random weights and MiniLM's real tokenizer: trains in seconds, and to the same weights."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    tokenizer = AutoTokenizer.from_pretrained(minilm, model_max_length=128)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


MOOD = """\
name: mood
model: {model}
labels: [negative, positive]
data: {{train: [tweets.jsonl], columns: {{input: text, target: label}}, split: {{train: 0.4, validation: 0.1, test: 0.5}}}}
require: {{accuracy: 0.5}}
fit: {{recipe: full, epochs: 4, learning_rate: 0.003, max_length: 48}}
gate: {{margin: 0.1, max_flips: 0.4}}
monitor: {{tolerance: 0.03}}
update: {{mode: auto, min_labels: 150, holdout: 0.4, epochs: 4, cooldown_hours: 1}}
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tweets: list[Record]) -> Path:
    """A project with a champion, trained once; tests work on copies."""
    folder = tmp_path_factory.mktemp("built")
    rows = [{"text": one.input, "label": one.target} for one in tweets[:1500]]
    (folder / "tweets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "luthier.yaml").write_text(MOOD.format(model=json.dumps(str(tiny_model))))
    project = luthier.open(folder)
    fitted = project.fit()
    assert fitted.run.met, fitted.run.why
    project.promote(fitted.version.number)
    project.close()
    return folder
