"""What examine finds in data with known faults, and that it finds nothing in data without."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from luthier.errors import MissingPackage
from luthier.options import Requirement, SplitOptions
from luthier.reading import suspicion
from luthier.stages.base import Issue, Loaded
from luthier.stages.data import read
from luthier.stages.examine import Rules, clean, examine, rows_needed
from luthier.types import Record

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = [
    a + b for a in ("ba", "ke", "li", "mo", "nu", "pra", "sti") for b in ("dor", "fen", "gal", "hum", "jik", "tos")
]


def records(n: int = 120, labels: tuple[str, ...] = ("bad", "good"), seed: int = 0) -> list[Record]:
    """Texts of twelve random words, two of which belong to the label; no two alike."""
    rng = random.Random(seed)
    made = []
    for i in range(n):
        label = labels[i % len(labels)]
        text = " ".join([label, *rng.choices(WORDS, k=10), label])
        made.append(Record(f"{seed}-{i}", NOW, text, target=label))
    return made


def found(*sets: object, **rules: object) -> dict[str, Issue]:
    issues = examine(*sets, rules=Rules(**rules))
    assert len({issue.rule for issue in issues}) == len(issues), "each is told once"
    return {issue.rule: issue for issue in issues}


def change(some: list[Record], index: int, **new: object) -> list[Record]:
    return [replace(r, **new) if i == index else r for i, r in enumerate(some)]


def test_nothing_is_wrong_with_good_data() -> None:
    assert found(records(), records(60, seed=1), labels=("bad", "good")) == {}


def test_rows_without_text_or_label() -> None:
    some = change(change(change(records(), 3, input="  "), 5, input=7), 7, target=None)
    issues = found(some)
    assert (issues["not_text"].severity, issues["not_text"].rows) == ("error", ("0-3", "0-5"))
    assert (issues["no_label"].severity, issues["no_label"].rows) == ("error", ("0-7",))


def test_unknown_labels_stop_or_are_dropped() -> None:
    some = change(records(), 4, target="godo")
    issue = found(some, labels=("bad", "good"))["unknown_label"]
    assert issue.severity == "error"
    assert "'godo'; add them to `labels:`" in issue.message
    rules = Rules(labels=("bad", "good"), unknown_labels="drop")
    assert [i.severity for i in examine(some, rules=rules) if i.rule == "unknown_label"] == ["warning"]
    assert len(clean(Loaded.of(some), rules=rules).records) == 119


def test_labels_without_examples_and_test_labels_never_trained_on() -> None:
    assert found(records(), labels=("bad", "good", "odd"))["label_without_examples"].count == 1
    assert found(records(), change(records(60, seed=1), 2, target="odd"))["test_label_unseen"].rows == ("1-2",)


def test_labels_that_differ_in_case_or_space() -> None:
    some = change(change(records(), 0, target="Bad"), 3, target="good ")
    issue = found(some)["label_spelling"]
    assert (issue.severity, issue.rows) == ("error", ("0-0", "0-3"))
    assert "'Bad' = 'bad'; 'good ' = 'good'" in issue.message or "'good' = 'good '" in issue.message
    assert "label_spelling" not in found(some, labels=("bad", "Bad", "good", "good "))


def test_one_class() -> None:
    issue = found([replace(r, target="good") for r in records()])["single_class"]
    assert issue.severity == "error"
    assert "only the label 'good'" in issue.message


def test_rare_and_unequal_classes() -> None:
    some = records() + records(6, labels=("odd",), seed=2)
    issues = found(some)
    assert issues["rare_class"].count == 6
    assert "'odd' (6)" in issues["rare_class"].message
    assert "always answering 'bad' is right in 48%" in issues["imbalance"].message


def test_duplicates_are_counted_once() -> None:
    some = records()
    some += [replace(some[0], id="again", input=some[0].input.upper() + " "), replace(some[0], id="third")]
    assert found(some)["duplicate"].rows == ("again", "third")
    assert [r.id for r in clean(Loaded.of(some)).records] == [r.id for r in some[:-2]]


def test_one_text_under_two_labels() -> None:
    some = records()
    some.append(replace(some[0], id="torn", target="good"))
    assert found(some)["conflicting_labels"].rows == ("0-0", "torn")


def test_near_duplicates_within_and_across() -> None:
    some = records()
    near = replace(some[0], id="near", input=some[0].input + "!")
    assert found([*some, near])["near_duplicate"].rows == ("near",)
    assert found(some, [*records(60, seed=1), near])["train_test_near_overlap"].rows == ("near",)


def test_overlap_of_train_and_test() -> None:
    some, held = records(), records(60, seed=1)
    issue = found(some, [*held, some[5]])["train_test_overlap"]
    assert (issue.severity, issue.rows) == ("warning", ("0-5",))
    assert "1 of 61 test texts" in issue.message
    assert "0-5" not in {r.id for r in clean(Loaded.of(some), Loaded.of([*held, some[5]])).records}
    assert found(some, some)["train_test_overlap"].severity == "error"


def test_suspicious_labels_come_with_a_better_one() -> None:
    some = records(1_000)
    for i in (10, 11, 53):
        some = change(some, i, target="good" if some[i].target == "bad" else "bad")
    issue = found(some)["suspicious_label"]
    assert set(issue.rows) == {"0-10", "0-11", "0-53"}
    assert "0-10 'good' → 'bad'?" in issue.message


def test_labels_at_random_are_not_doubted_one_by_one() -> None:
    rng = random.Random(3)
    assert "suspicious_label" not in found([replace(r, target=rng.choice("xyz")) for r in records(400, ("a",))])


def test_without_scikit_learn_it_says_what_was_not_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str, *, extra: str) -> None:
        raise MissingPackage(package)

    monkeypatch.setattr(suspicion, "need", absent)
    assert "luthier[fit]" in found(records())["not_examined"].message


def test_long_and_odd_texts() -> None:
    some = change(change(records(), 3, input="word " * 300), 8, input="x")
    issues = found(some)
    assert issues["long_text"].rows == ("0-3",)
    assert issues["length_outlier"].rows == ("0-3", "0-8")
    assert "long_text" not in found(some, max_length=512)


@pytest.mark.parametrize(
    ("level", "rule"), [(0.5, None), (0.75, "hardly_provable"), (0.9, "not_provable"), (1.0, "not_provable")]
)
def test_requirements_that_so_few_rows_cannot_prove(level: float, rule: str | None) -> None:
    issues = found(records(), require={"accuracy": Requirement(at_least=level)}, split=SplitOptions(0.6, 0.2, 0.2))
    assert {name for name in issues if name.endswith("provable")} == ({rule} if rule else set())


@pytest.mark.parametrize("level", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_rows_needed_is_where_wilson_of_a_perfect_score_reaches_it(level: float, confidence: float) -> None:
    from luthier.evidence import wilson

    n = rows_needed(level, confidence)
    assert wilson(n, n, confidence)[0] >= level > wilson(n - 1, n - 1, confidence)[0]


def test_what_reading_rejected_is_told_with_the_rest(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        rows = [f"{r.input},{r.target}" for r in records(60, seed=ord(name[0]))]
        (tmp_path / name).write_text("\n".join(["text,label", *rows, ",bad"]) + "\n")
    issues = found(read("a.csv", base=tmp_path), read("b.csv", base=tmp_path))
    assert (issues["empty_input"].count, issues["empty_input"].rows) == (2, ("a.csv:62", "b.csv:62"))


def test_errors_come_first_and_progress_is_told() -> None:
    told: list[tuple[str, float]] = []
    issues = examine(change(records(), 3, target="BAD"), progress=lambda what, share: told.append((what, share)))
    assert [issue.severity for issue in issues] == sorted(issue.severity for issue in issues)
    assert issues[0].rule == "label_spelling"
    assert told[-1] == ("looked at the data", 1.0)


def test_a_hundred_thousand_rows_and_classes_in_seconds() -> None:
    rng = random.Random(0)
    words = [a + b for a in WORDS for b in WORDS]
    many = [Record(str(i), NOW, " ".join(rng.choices(words, k=7)), target=str(i)) for i in range(100_000)]
    many[60_000:60_100] = [replace(r, input=r.input + "!", target=f"near {r.id}") for r in many[:100]]
    start = time.process_time()
    issues = found(many)
    assert time.process_time() - start < 30
    assert (issues["too_many_classes"].severity, issues["too_many_classes"].count) == ("error", 100_000)
    assert issues["near_duplicate"].count >= 98


def test_real_intents(data_folder: Path) -> None:
    """The published split of clinc150 holds two texts on both sides, under different labels."""
    train, test = (read(data_folder / "clinc150" / f"{name}.jsonl") for name in ("train", "test"))
    last = Loaded(train.records[-3_000:], (), train.rows[-3_000:])  # a fifth, to save time
    issues = found(last, test)
    assert {issue.severity for issue in issues.values()} == {"warning"}
    assert issues["train_test_overlap"].rows == ("train.jsonl:12067", "train.jsonl:14019")
    assert issues["near_duplicate"].count > 50
    assert len(clean(train, test).records) == 14_998


@pytest.mark.timeout(60)
def test_a_hundred_thousand_classes_take_seconds() -> None:
    rows = [Record(f"r{i}", NOW, f"t{i:x}", target=f"c{i % 100_000}") for i in range(250_000)]
    found = {issue.rule: issue for issue in examine(rows)}
    assert found["many_classes"].count == 100_000
    assert found["rare_class"].count == 250_000
