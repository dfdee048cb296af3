"""Examine: what is wrong with labelled data, before anything is trained on it. Each thing is told once, counted."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist, median
from typing import Literal

from luthier.options import Requirement, SplitOptions
from luthier.reading.near import near_twins
from luthier.reading.suspicion import suspicious
from luthier.stages.base import Issue, Loaded, Progress, normalised
from luthier.types import Record

__all__ = ["Rules", "clean", "examine", "rows_needed"]

FEWEST = 8
"""Examples of a class below which it is likely to be absent from validation or test."""

_SHOWN = 5  # rows and labels named in one issue


@dataclass(frozen=True, slots=True)
class Rules:
    """What the data is held against. `labels` empty: those found in the training data.

    `max_length` is in tokens; words stand in for them here, so it is approximate.
    """

    labels: tuple[str, ...] = ()
    unknown_labels: Literal["error", "drop"] = "error"
    split: SplitOptions = field(default_factory=SplitOptions)
    require: Mapping[str, Requirement] = field(default_factory=dict)
    max_length: int = 128


@dataclass(frozen=True)
class _Sets:
    """Both sets with what several checks need, computed once. Index i counts the training rows, then the test's."""

    train: Loaded
    test: Loaded
    rules: Rules
    progress: Progress

    @cached_property
    def records(self) -> tuple[Record, ...]:
        return self.train.records + self.test.records

    @cached_property
    def rows(self) -> tuple[str, ...]:
        return self.train.rows + self.test.rows

    @cached_property
    def texts(self) -> list[str]:
        return [normalised(record.input) for record in self.records]

    @cached_property
    def counts(self) -> Counter[str]:
        """Training examples by label, without those that will be dropped as unknown."""
        found = Counter(record.target for record in self.train.records if isinstance(record.target, str))
        known = set(self.rules.labels)
        return found if not known else Counter({label: n for label, n in found.items() if label in known})

    @cached_property
    def groups(self) -> list[list[int]]:
        """Indices of equal normalised texts, groups of two or more."""
        found: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(self.texts):
            found[text].append(index)
        return [group for group in found.values() if len(group) > 1]

    def issue(self, severity: Literal["error", "warning"], rule: str, message: str, at: Sequence[int]) -> Issue:
        return Issue(severity, rule, message, len(at), tuple(self.rows[i] for i in at[:_SHOWN]))


def examine(
    train: Loaded | Sequence[Record], test: Loaded | Sequence[Record] | None = None, rules: Rules | None = None,
    *, progress: Progress | None = None,
) -> list[Issue]:  # fmt: skip
    """Every issue of a training set, and of a test set of its own if there is one; errors first.

    What reading already rejected (`Loaded.issues`) comes with them. An error means that training makes no sense or
    that its result would be dishonest; `clean` removes what a warning says is left out.
    """
    say = progress or (lambda what, share: None)
    held = Loaded() if test is None else _loaded(test)
    sets = _Sets(_loaded(train), held, rules or Rules(), say)
    issues = _merged([*sets.train.issues, *sets.test.issues])
    for number, (what, check) in enumerate(_CHECKS.items()):
        say(what, number / len(_CHECKS))
        issues += check(sets)
    say("looked at the data", 1.0)
    return sorted(issues, key=lambda issue: issue.severity)


def clean(train: Loaded, test: Loaded | None = None, rules: Rules | None = None) -> Loaded:
    """`train` without what must not be trained on; `test` stays as it is and is cleaned by a call of its own.

    Left out: exact duplicates (same normalised text and label; the first stays), rows whose text is also in `test`,
    rows without a text, and, with `unknown_labels: drop`, rows whose label is not in `labels`.
    """
    rules = rules or Rules()
    held = {normalised(record.input) for record in (test.records if test else ())}
    known = set(rules.labels) if rules.unknown_labels == "drop" else set()
    seen: set[tuple[str, str | None]] = set()
    kept: list[int] = []
    for index, record in enumerate(train.records):
        key = (normalised(record.input), record.target)
        unknown = bool(known) and record.target is not None and record.target not in known
        if unknown or key in seen or key[0] in held or not key[0]:
            continue
        seen.add(key)
        kept.append(index)
    return Loaded(tuple(train.records[i] for i in kept), train.issues, tuple(train.rows[i] for i in kept))


def rows_needed(level: float, confidence: float, truth: float = 1.0) -> int:
    """Test rows from which the lower bound of Wilson's interval reaches `level` when the accuracy seen is `truth`.

    Wilson (1927) inverts the score test: n >= z^2 level (1 - level) / (truth - level)^2, two-sided z.

    >>> rows_needed(0.9, 0.95), rows_needed(0.9, 0.95, 0.95)
    (35, 139)
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return math.ceil(z * z * level * (1 - level) / (truth - level) ** 2 - 1e-9)


def _loaded(records: Loaded | Sequence[Record]) -> Loaded:
    return records if isinstance(records, Loaded) else Loaded.of(records)


def _merged(issues: Iterable[Issue]) -> list[Issue]:
    """Training and test may report the same rule: told once, counts added."""
    found: dict[str, Issue] = {}
    for issue in issues:
        there = found.get(issue.rule)
        if there is None:
            found[issue.rule] = issue
            continue
        severity: Literal["error", "warning"] = "error" if "error" in (there.severity, issue.severity) else "warning"
        rows = (there.rows + issue.rows)[:_SHOWN]
        message = f"{there.message}; test: {issue.message}"
        found[issue.rule] = Issue(severity, issue.rule, message, there.count + issue.count, rows)
    return list(found.values())


def _few(labels: Iterable[str], counts: Mapping[str, int] | None = None) -> str:
    listed = list(labels)
    shown = [f"{label!r} ({counts[label]:,})" if counts else repr(label) for label in listed[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(listed) - _SHOWN:,} more" if len(listed) > _SHOWN else "")


def _inputs(sets: _Sets) -> Iterator[Issue]:
    bad = [i for i, r in enumerate(sets.records) if not isinstance(r.input, str) or not r.input.strip()]
    if bad:
        yield sets.issue("error", "not_text", "the input is blank or no text; give each row a text or delete it", bad)
    bare = [i for i, r in enumerate(sets.records) if r.target is None]
    if bare:
        yield sets.issue("error", "no_label", "there is no label; label these rows or delete them", bare)


def _labels(sets: _Sets) -> Iterator[Issue]:
    known = set(sets.rules.labels)
    bad = [i for i, r in enumerate(sets.records) if known and r.target is not None and r.target not in known]
    if bad:
        names = _few(dict.fromkeys(str(sets.records[i].target) for i in bad))
        drop = sets.rules.unknown_labels == "drop"
        way = "they are left out" if drop else "add them to `labels:` in luthier.yaml, or set `unknown_labels: drop`"
        severity: Literal["error", "warning"] = "warning" if drop else "error"
        yield sets.issue(severity, "unknown_label", f"labels that are not listed: {names}; {way}", bad)
    missing = [label for label in sets.rules.labels if not sets.counts[label]]
    if missing:
        yield Issue(
            "warning", "label_without_examples",
            f"listed but without a training example: {_few(missing)}; the model cannot learn them. Add examples, or "
            f"take them out of `labels:`", len(missing),
        )  # fmt: skip
    unseen = [i for i, r in enumerate(sets.test.records, len(sets.train.records)) if not sets.counts.get(str(r.target))]
    unseen = [i for i in unseen if not known]
    if unseen:
        names = _few(dict.fromkeys(str(sets.records[i].target) for i in unseen))
        yield sets.issue("warning", "test_label_unseen", f"test labels with no training example: {names}", unseen)


def _spelling(sets: _Sets) -> Iterator[Issue]:
    found: dict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys(r.target for r in sets.records if isinstance(r.target, str)):
        found[normalised(label)].append(label)
    twins = [group for group in found.values() if len(group) > 1 and not set(group) <= set(sets.rules.labels)]
    if twins:
        count = Counter(r.target for r in sets.records)
        minor = {label for group in twins for label in group if label != max(group, key=lambda name: count[name])}
        names = "; ".join(" = ".join(map(repr, group)) for group in twins[:_SHOWN])
        at = [i for i, r in enumerate(sets.records) if r.target in minor]
        way = "write them alike, or list each under `labels:` if they are different classes"
        yield sets.issue("error", "label_spelling", f"labels that differ only in case or space: {names}; {way}", at)


def _classes(sets: _Sets) -> Iterator[Issue]:
    counts, n = sets.counts, sum(sets.counts.values())
    if len(counts) < 2:
        only = f"only the label {next(iter(counts))!r}" if counts else "no known label"
        yield Issue("error", "single_class", f"{n:,} training rows have {only}; at least two classes are needed", n)
        return
    if len(counts) >= 20 and len(counts) > n / 2:
        yield Issue(
            "error", "too_many_classes",
            f"{len(counts):,} different labels in {n:,} rows: this looks like a column of ids or of free text; name "
            f"another under `data.columns.target`", len(counts),
        )  # fmt: skip
        return
    if len(counts) > 1000:
        message = f"{len(counts):,} classes: each needs its own examples; merge what you can"
        yield Issue("warning", "many_classes", message, len(counts))
    rare = {label for label, count in counts.items() if count < FEWEST}
    if rare:
        at = [i for i, r in enumerate(sets.train.records) if r.target in rare]
        sides = "train, validation and test" if not sets.test.records else "train and validation"
        names = _few(sorted(rare, key=lambda label: counts[label]), counts)
        message = f"{len(rare):,} classes with fewer than {FEWEST} examples, too few for each of {sides}: {names}; "
        yield sets.issue("warning", "rare_class", message + "add examples or merge classes", at)
    (top, most), (low, least) = counts.most_common()[0], counts.most_common()[-1]
    if most >= 10 * least:
        yield Issue(
            "warning", "imbalance",
            f"{top!r} has {most:,} examples, {low!r} {least:,}; always answering {top!r} is right in {most / n:.0%}. "
            f"Require f1_smallest or f1_macro too, and try `fit: class_weights: balanced`", most,
        )  # fmt: skip


def _duplicates(sets: _Sets) -> Iterator[Issue]:
    border = len(sets.train.records)
    copies: list[int] = []
    torn: list[int] = []
    leaks: list[int] = []
    for group in sets.groups:
        first: set[tuple[bool, str | None]] = set()
        for i in group:
            key = (i >= border, sets.records[i].target)
            copies += [i] if key in first else []
            first.add(key)
        torn += group if len({sets.records[i].target for i in group}) > 1 else []
        leaks += [i for i in group if i < border] if group[-1] >= border else []
    if copies:
        yield sets.issue("warning", "duplicate", "the same text and label again; counted once", sorted(copies))
    if torn:
        message = "the same text under different labels; decide which is right"
        yield sets.issue("warning", "conflicting_labels", message, sorted(torn))
    if leaks:
        in_train = {sets.texts[i] for i in leaks}
        shared, total = sum(text in in_train for text in sets.texts[border:]), len(sets.test.records)
        severity: Literal["error", "warning"] = "error" if shared > total / 2 else "warning"
        way = "name another test file" if severity == "error" else "these are left out of training"
        message = f"{shared:,} of {total:,} test texts are also training texts, learnt by heart there; {way}"
        yield sets.issue(severity, "train_test_overlap", message, sorted(leaks))


def _near(sets: _Sets) -> Iterator[Issue]:
    border = len(sets.train.records)
    first: dict[str, int] = {}
    for i, text in enumerate(sets.texts):
        first.setdefault(text, i)
    places = list(first.values())  # rising: training before test
    pairs = near_twins(list(first), progress=lambda share: sets.progress("near-duplicates", share))
    twins = [(places[a], places[b]) for a, b in pairs]
    within = [b for a, b in twins if (a < border) == (b < border)]
    across = [b for a, b in twins if a < border <= b]
    if within:
        example = next(f"{sets.rows[a]} and {sets.rows[b]}" for a, b in twins if (a < border) == (b < border))
        message = f"texts that are nearly one before them (such as {example}); they may fall on both sides of the split"
        yield sets.issue("warning", "near_duplicate", message, within)
    if across:
        example = next(f"{sets.rows[b]} and {sets.rows[a]}" for a, b in twins if a < border <= b)
        message = f"test texts that are nearly a training text (such as {example}); they make the test look better"
        yield sets.issue("warning", "train_test_near_overlap", message, across)


def _lengths(sets: _Sets) -> Iterator[Issue]:
    words = [len(text.split()) for text in sets.texts]
    limit = sets.rules.max_length * 0.75  # a token is about three quarters of an English word
    cut = [i for i, count in enumerate(words) if count > limit]
    if cut:
        share, tokens = len(cut) / len(words), sets.rules.max_length
        message = f"about {share:.1%} of the texts exceed {tokens} tokens and are cut there; raise `fit: max_length`"
        yield sets.issue("warning", "long_text", message, cut)
    logs = [math.log1p(len(text)) for text in sets.texts]
    middle = median(logs) if logs else 0.0
    spread = 1.4826 * median(abs(value - middle) for value in logs) if logs else 0.0  # robust standard deviation
    odd = [i for i, value in enumerate(logs) if spread > 0 and abs(value - middle) > max(6 * spread, math.log(10))]
    if odd:
        typical, here = math.expm1(middle), len(sets.texts[odd[0]])
        message = f"texts of an unusual length (typical: {typical:.0f} characters, here {here}); look at them"
        yield sets.issue("warning", "length_outlier", message, odd)


def _provable(sets: _Sets) -> Iterator[Issue]:
    """Whether the requirement on accuracy can be shown with so many test rows, by a perfect model or a likely one."""
    need = sets.rules.require.get("accuracy")
    if need is None or need.at_least is None or need.at_least <= 0:
        return
    level = need.at_least
    if level >= 1:
        yield Issue("error", "not_provable", f"accuracy ≥ {level:g} cannot be shown: a lower bound is below 1", 0)
        return
    total = len(sets.test.records) or round(len(sets.train.records) * sets.rules.split.test)
    least, likely = rows_needed(level, need.confidence), rows_needed(level, need.confidence, (1 + level) / 2)
    sure = f"{need.confidence:.0%} confidence"
    said = f"accuracy ≥ {level:g} with {sure} needs at least {least:,} test rows even without an error"
    here = f"there are {'' if sets.test.records else 'about '}{total:,}"
    if total < least:
        yield Issue("error", "not_provable", f"{said}; {here}. Add data, a bigger test share or a lower bound", total)
    elif total < likely:
        yield Issue(
            "warning", "hardly_provable", f"{said}, and {likely:,} at an accuracy of {(1 + level) / 2:g}; {here}", total
        )


def _suspicious(sets: _Sets) -> Iterator[Issue]:
    usable = [i for i, r in enumerate(sets.train.records) if isinstance(r.input, str) and r.target in sets.counts]
    if len(sets.counts) > 1000:
        return  # a linear model of so many classes says little about one row
    pairs = [(sets.texts[i], str(sets.records[i].target)) for i in usable]
    found = suspicious([text for text, _ in pairs], [label for _, label in pairs])
    if found is None:
        message = "suspicious labels were not looked for: that needs scikit-learn; pip install 'luthier[fit]'"
        yield Issue("warning", "not_examined", message, 0)
        return
    if found:
        clearest = "; ".join(
            f"{sets.rows[usable[i]]} {sets.records[usable[i]].target!r} → {label!r}?" for i, label in found[:_SHOWN]
        )
        message = f"labels that a plain model, trained on the other rows, is sure are others: {clearest}. Look at them"
        yield sets.issue("warning", "suspicious_label", message, [usable[i] for i, _ in found])


_CHECKS: dict[str, Callable[[_Sets], Iterator[Issue]]] = {
    "inputs": _inputs,
    "labels": _labels,
    "label spelling": _spelling,
    "classes": _classes,
    "duplicates": _duplicates,
    "near-duplicates": _near,
    "lengths": _lengths,
    "requirements": _provable,
    "suspicious labels": _suspicious,
}
