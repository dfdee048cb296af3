"""The model card: what the Hugging Face Hub's own reader makes of it, and what a person reads."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import yaml

from luthier.stages import card
from luthier.types import Estimate

ABOUT: dict[str, Any] = {
    "task": "text_classification",
    "labels": ["negative", "positive"],
    "parent": "v1",
    "base_model": "sentence-transformers/all-MiniLM-L6-v2",
    "base_digest": "3f9a" * 16,
    "data": {"train": 1800, "validation": 400, "test": "b07cb07c", "test_records": 400},
    "options": {"epochs": 3, "max_length": 128},
    "packages": {"torch": "2.13.0"},
    "recipe": "full",
    "met": True,
    "require": {
        "accuracy": {"at_least": 0.92, "at_most": None, "confidence": 0.95},
        "latency_ms": {"at_least": None, "at_most": 9.0, "confidence": 0.95},
        "f1_minority": {"at_least": 0.8, "at_most": None, "confidence": 0.95},
    },
    "gate": {
        "outcome": "pass",
        "why": "not worse on tweets",
        "findings": [
            {"check": "not_worse.v1", "value": -0.002, "limit": 0.02, "evidence": 310.0, "slice": "tweets",
             "promise": {"kind": "e-value", "level": 0.05}, "why": "v2 is not worse"},
        ],
    },
}  # fmt: skip
ESTIMATES = {
    "accuracy": Estimate(0.967, 400, 0.945, 0.981),
    "latency_ms": Estimate(9.4, 200, 8.6, 10.5),
    "f1_minority": Estimate(),
}


def front(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    return yaml.safe_load(head)


def test_hub_reader_gets_the_results_back() -> None:
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

    text = card.card(ABOUT, ESTIMATES, name="sentiment")
    data = hub.ModelCard(text, ignore_metadata_errors=False).data
    assert data.model_name == "sentiment"
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.pipeline_tag == "text-classification"
    found = {result.metric_type: result for result in data.eval_results}
    assert set(found) == {"accuracy", "latency_ms"}
    assert found["accuracy"].metric_value == 0.967
    assert found["accuracy"].metric_args == {"low": 0.945, "high": 0.981, "n": 400}
    assert found["accuracy"].dataset_split == "test"
    assert found["accuracy"].dataset_revision == "b07cb07c"
    index = eval_results_to_model_index(data.model_name, data.eval_results)
    assert model_index_to_eval_results(index) == ("sentiment", data.eval_results)
    assert index == front(text)["model-index"]


def test_requirements_are_judged_by_the_interval() -> None:
    text = card.card(ABOUT, ESTIMATES)
    assert "| accuracy | 0.967 (0.945–0.981, n 400) | at least 0.920 | yes |" in text
    assert "| latency\\_ms | 9.400 (8.600–10.5, n 200) | at most 9.000 | no |" in text
    assert "| f1\\_minority | – | at least 0.800 | – |" in text


def test_card_says_where_the_version_comes_from_and_how_to_use_it() -> None:
    text = card.card(ABOUT, ESTIMATES, name="sentiment")
    for words in (
        'pipeline("text-classification"', "`negative`, `positive`", "| parent | `v1` |", "`b07cb07c`", "1,800",
        "Outcome: **pass**", "false alarm ever at most 0.05", "longer than 128 tokens", "Its license is not known",
    ):  # fmt: skip
        assert words in text


def test_what_is_unknown_is_left_out_of_the_metadata() -> None:
    data = front(card.card({}, {}))
    assert "license" not in data
    assert "base_model" not in data
    assert "model-index" not in data
    assert "language" not in data
    assert front(card.card({"license": "apache-2.0"}, {}))["license"] == "apache-2.0"


@pytest.mark.parametrize("base", ["/models/minilm", "./minilm", "a/b/c", "name with space", "..", ""])
def test_a_path_is_never_called_a_base_model_of_the_hub(base: str) -> None:
    assert "base_model" not in card.metadata({"base_model": base}, {})


def test_not_met_is_said_first() -> None:
    text = card.card(ABOUT | {"met": False, "why": "accuracy 0.84 is below 0.92"}, ESTIMATES)
    assert "does not meet its written requirements**: accuracy 0.84 is below 0.92" in text


def test_same_version_same_card_and_no_dates() -> None:
    assert card.card(ABOUT, ESTIMATES) == card.card(dict(reversed(ABOUT.items())), dict(reversed(ESTIMATES.items())))


def test_hostile_names_break_neither_yaml_nor_page() -> None:
    bad = "x: [y\n---\n<script>alert(1)</script> `|` "
    about = ABOUT | {"labels": [bad], "recipe": bad, "license": bad, "why": bad, "met": False}
    about["gate"] = {"outcome": bad, "why": bad, "findings": [{"check": bad, "why": bad}]}
    text = card.card(about, {bad: Estimate(0.5, 3, 0.1, 0.9), "inf": Estimate(math.inf, 1)}, name=bad)
    data = front(text)
    assert len(data["model-index"][0]["results"][0]["metrics"]) == 1
    body = text.split("---\n", 2)[2]
    outside_code = re.sub(r"`[^`\n]*`", "", body.replace("\\`", ""))
    assert "<script" not in outside_code
    assert "\n---\n" not in body
