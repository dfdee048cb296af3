"""luthier.yaml: what it reads, and that every mistake is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier import config
from luthier.errors import ConfigError
from luthier.options import FitOptions, Requirement


def read(folder: Path, text: str | bytes) -> config.Config:
    path = folder / "luthier.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return config.read(path)


def mistakes(folder: Path, text: str | bytes) -> list[str]:
    """What is said, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    prefix = f"{folder / 'luthier.yaml'}:"
    lines = str(caught.value).split("\n")
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


def test_an_empty_section_list_is_all_defaults(tmp_path: Path) -> None:
    made = read(tmp_path, "name: reviews\n")
    assert made == config.Config(name="reviews")
    assert made.fit == FitOptions()


def test_labels_are_taken_as_they_are_written(tmp_path: Path) -> None:
    made = read(tmp_path, "labels: [yes, no, on, 0, 007, 1.50, true, null, 2026-01-01, 'a b', ~]\n")
    assert made.labels == ("yes", "no", "on", "0", "007", "1.50", "true", "null", "2026-01-01", "a b", "~")


def test_numbers_and_words_as_in_yaml_1_2(tmp_path: Path) -> None:
    made = read(tmp_path, "fit: {bf16: on, learning_rate: 2e-5, seed: 1_000}\nmonitor: {arl: 1e6}\nname: 'off'\n")
    assert (made.fit.bf16, made.fit.learning_rate, made.fit.seed, made.monitor.arl) == ("on", 2e-5, 1000, 1e6)
    assert made.name == "off"


def test_short_forms(tmp_path: Path) -> None:
    made = read(tmp_path, "data: {train: a.csv}\nrequire:\n  accuracy: 0.9\n  latency_ms: {at_most: 20}\n")
    assert made.data.train == ("a.csv",)
    assert made.require == {"accuracy": Requirement(at_least=0.9), "latency_ms": Requirement(at_most=20)}


def test_a_byte_order_mark_is_no_setting(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffname: a\n").name == "a"


def test_all_mistakes_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """name: Big
labels: [a, a]
epochs: 4
data:
  columns:
    imput: x
require:
  accuracy: {at_leest: 0.9, at_most: 4}
  f1: {at_least: 0.5, at_most: 0.6}
fit:
  epochs: true
  batch_size: 0
  dropout: 3
  rungs: head
gate: 5
monitor: {tolerance: .nan}
"""
    assert mistakes(tmp_path, text) == [
        "1: name: a name starts with a lower-case letter or digit; then a-z 0-9 . _ -, 64 at most (got 'Big')",
        "2: labels: these labels stand twice: 'a' (got ['a', 'a'])",
        "3: epochs: there is no such setting. Did you mean `fit.epochs`?",
        "6: data.columns.imput: there is no such setting. Did you mean `input`?",
        "8: require.accuracy.at_leest: there is no such setting. Did you mean `at_least`?",
        "9: require.f1: give exactly one of at_least and at_most",
        "11: fit.epochs: true and false do not belong here (got True)",
        "12: fit: batch_size is 0; it must lie in [1, 65536]",
        "13: fit: dropout is 3.0; it must lie in [0, 0.95]",
        "14: fit.rungs: Input should be a list, [a, b] (got 'head')",
        "15: gate: this is a section; write `gate:` and its settings indented below (got 5)",
        "16: monitor: tolerance is nan; it must lie in [0, 1]",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lables: [a]", "1: lables: there is no such setting. Did you mean `labels`?"),
        ("fit:\n  epoch: 3", "2: fit.epoch: there is no such setting. Did you mean `epochs`?"),
        ("split: {train: 0.5}", "1: split: there is no such setting. Did you mean `data.split`?"),
        ("fit:\n  lernrate: 1", "2: fit.lernrate: there is no such setting. Did you mean `learning_rate`?"),
        ("fit:\n  zzz: 1", "2: fit.zzz: there is no such setting. Known: recipe, rungs,"),
        ("serve: {port: 99999}", "1: serve: port is 99999; it must lie in [0, 65535]"),
        ("serve: {port: 1.5}", "1: serve.port: Input should be a valid integer"),
        ("serve: {host: true}", "1: serve.host: true and false do not belong here"),
        ("model: ''", "1: model: String should have at least 1 character"),
        ("labels: [a, ' ']", "1: labels: a label is blank"),
        ("fit: {optimizer: adam}", "1: fit.optimizer: Input should be 'adamw' or 'sgd' (got 'adam')"),
        ("fit: {seed: 1e400}", "1: fit.seed: "),
        ("data:\n  split:\n    train: 0.9", "3: data.split: train 0.9 + validation 0.15 + test 0.15 must be 1"),
        ("update: {min_labels: 50, max_labels: 10}", "1: update: max_labels 10 is below min_labels 50"),
        ("require:\n  accuracy: {confidence: 2, at_least: .9}", "2: require.accuracy: confidence is 2"),
        ("require:\n  accuracy:\n", "2: require.accuracy: this is a section"),
        ("name: a\nfit: {}\nname: b", "3: name: stands twice, first in line 1; keep one"),
        ("fit:\n  epochs: 1\n  epochs: 2", "3: fit.epochs: stands twice, first in line 2; keep one"),
        ("name: a\n\tfit: {}", "2: not valid YAML: found character '\\t'"),
        ("a: &x [1]\nb: *x", "1: anchors and aliases (& and *) are not read; write the value out"),
        ("name: [a", "1: not valid YAML"),
        ("name: a\n---\nname: b", "2: not valid YAML: but found another document."),
        ("[1, 2]", " the file must hold settings as `key: value`, not a list"),
        ("", " the file must hold settings as `key: value`, not nothing"),
        ("? [a]\n: b", "1: the file: a key is one word"),
        ("[" * 3000 + "]" * 3000, "1: nested more than 20 levels deep"),
        ("fit: " + "{fit: " * 300 + "1" + "}" * 300, "1: nested more than 20 levels deep"),
        ("fit: !!python/object/apply:os.system [x]", "1: fit: this is a section"),
        ("name: \0", " not valid YAML: unacceptable character"),
        (b"name: \xff", " cannot be read as UTF-8 text"),
        ("# " + "x" * 2**20, " 1,048,578 bytes; a configuration has 1,048,576 at most"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_mistake_is_named_with_its_line(text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert f"luthier.yaml:{said}" in str(caught.value)


def test_a_billion_laughs_are_refused_at_once(tmp_path: Path) -> None:
    laughs = ["a0: &a0 [ha]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert mistakes(tmp_path, "\n".join(laughs)) == [
        "1: anchors and aliases (& and *) are not read; write the value out"
    ]


def test_no_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="luthier init"):
        config.read(tmp_path / "luthier.yaml")
    with pytest.raises(ConfigError):
        config.read(tmp_path)


def test_settings_are_named_by_their_path() -> None:
    found = config.settings()
    assert found["fit.epochs"] == 3
    assert found["data.split.train"] == 0.7
    assert found["require.<metric>.confidence"] == 0.95
    assert found["labels"] == ()
