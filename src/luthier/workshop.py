"""The verbs that make, prove and choose versions. `answering.py` adds those that serve, `loop.py` those that watch and repair."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from luthier.config import Config, read
from luthier.errors import ConfigError, DataError, NotMet, StoreError, UsageError
from luthier.names import every, get
from luthier.options import CHOSEN
from luthier.rows import at_random, plain
from luthier.stages import card, data, evaluate, examine, fit, gate, version
from luthier.stages.registry import Promotion, Registry, finding_of, plain_finding
from luthier.stores.base import Row
from luthier.stores.sqlite import SqliteStore
from luthier.tasks.base import answered
from luthier.types import Columns, Estimate, Record, Run, Split, Version

__all__ = ["Fitted", "Prepared", "Progress", "Workshop", "digest", "with_tags"]

Progress = Callable[[str, float, Mapping[str, float]], None]
"""progress(what, share done in [0, 1], latest numbers)"""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit or an update ended with: the registered version, its run and the gate's verdict."""

    version: Version
    run: Run
    verdict: Any


@dataclass(frozen=True, slots=True)
class Prepared:
    """Data that was read, examined, cleaned and split."""

    split: Split
    labels: tuple[str, ...]
    issues: Sequence[Any]
    fingerprints: Mapping[str, str]


class Workshop:
    """One project: a luthier.yaml, its data and its store."""

    def __init__(self, path: str | Path = "luthier.yaml") -> None:
        self.path = Path(path)
        self.config: Config = read(self.path)
        self.home = self.path.resolve().parent
        _check_names(self.path, self.config)

    @cached_property
    def store(self) -> SqliteStore:
        return SqliteStore(self.home / self.config.store)

    @cached_property
    def registry(self) -> Registry:
        return Registry(self.store)

    def close(self) -> None:
        """Close the store; the object may be used again."""
        if "store" in self.__dict__:
            self.store.close()
            del self.__dict__["store"]
            self.__dict__.pop("registry", None)

    # data -----------------------------------------------------------------------------------------------------------

    def check(self, progress: Progress | None = None) -> list[Any]:
        """Look at the data and the configuration before any training; the issues found, errors first."""
        train, test, rules = self._loaded(progress)
        self._check_require(_labels_of(self.config, train.records))
        return list(examine.examine(train, test, rules, progress=_two(progress)))

    def _loaded(self, progress: Progress | None) -> tuple[Any, Any, Any]:
        options = self.config.data
        if not options.train:
            raise ConfigError(f"{self.path}: data.train names no file. Add one: `data: {{train: [data.csv]}}`")
        train = data.read(options.train, options.columns, base=self.home, progress=_two(progress))
        test = data.read(options.test, options.columns, base=self.home) if options.test else None
        rules = examine.Rules(
            self.config.labels, options.unknown_labels, options.split, self.config.require, self.config.fit.max_length
        )
        return train, test, rules

    def _prepared(self, progress: Progress | None = None, *, examined: bool = False) -> Prepared:
        """Data ready for training. `examined`: look for errors first, and stop at them."""
        train, test, rules = self._loaded(progress)
        issues = examine.examine(train, test, rules, progress=_two(progress)) if examined else []
        errors = [issue for issue in issues if issue.severity == "error"]
        if errors:
            listed = "\n".join(f"  {issue}" for issue in errors)
            raise DataError(
                f"the data cannot be trained on:\n{listed}\nNothing was changed. See all with: luthier check"
            )
        kept = examine.clean(train, test, rules).records
        held = examine.clean(test, None, rules).records if test is not None else None
        split = data.split(kept, self.config.data.split, test=held)
        labels = _labels_of(self.config, kept)
        self._check_require(labels)
        prints = {side: data.fingerprint(getattr(split, side)) for side in ("train", "validation", "test")}
        return Prepared(split, labels, issues, prints)

    def _check_require(self, labels: Sequence[str]) -> None:
        known = sorted({*self._task(labels).metrics, "latency_ms"})
        if unknown := [name for name in self.config.require if name not in known]:
            raise ConfigError(
                f"{self.path}: require.{unknown[0]}: {self.config.task} has no such metric; known are {', '.join(known)}"
            )

    def _task(self, labels: Sequence[str]) -> Any:
        return get("task", self.config.task)(labels=tuple(labels))

    def task(self) -> Any:
        """The task with the labels of the champion, else of luthier.yaml."""
        champion = self.registry.champion()
        return self._task_of(champion) if champion else self._task(self.config.labels)

    def _task_of(self, made: Version) -> Any:
        return self._task(made.about["labels"])

    # making versions ------------------------------------------------------------------------------------------------

    def fit(self, progress: Progress | None = None) -> Fitted:
        """Fine-tune the base model until `require:` is met, prove it on the test split, register the version.

        Called again after a kill it resumes; called again when nothing changed it gives the same version.
        """
        prepared = self._prepared(progress, examined=True)
        task = self._task(prepared.labels)
        source = self._source()
        run_id = digest(
            self.config.task, source, dict(prepared.fingerprints), asdict(self.config.fit), _plain(self.config.require)
        )
        run = fit.fit(
            task, source, prepared.split, require=self.config.require, options=self.config.fit,
            work=self._work(run_id), progress=progress,
        )  # fmt: skip
        if finished := self._made_by(run):
            return finished
        adapter = task.adapter(run.folder)
        held = evaluate.evaluate(task, adapter, prepared.split.test, confidence=self._confidence())
        champion = self.registry.champion()
        verdict = gate.gate(
            held.columns, self._columns(champion, task, prepared.split.test) if champion else None, require=self.config.require,
            options=self.config.gate, estimates=held.estimates, labels=prepared.labels,
        )  # fmt: skip
        reference = with_tags(held.columns, prepared.split.test, self.config.monitor.slices)
        made = self._register(run, prepared, held.estimates, verdict, reference, parent=None)
        self._columns(made, task, prepared.split.test, held.columns)
        return Fitted(made, run, verdict)

    def _made_by(self, run: Run) -> Fitted | None:
        """What a run that was finished before had made: latencies differ from look to look, the version must not."""
        made = next((one for one in self.versions() if one.about["run"] == run.id), None)
        if made is None:
            return None
        return Fitted(made, run, self._verdict_of(made))

    @staticmethod
    def _verdict_of(made: Version) -> gate.Verdict:
        """What the gate said when the version was registered."""
        said = made.about["gate"]
        findings = tuple(finding_of(found) for found in said["findings"])
        return gate.Verdict(said["outcome"], findings, said["more_labels"], said["why"])

    def _register(
        self, run: Run, prepared: Prepared, estimates: Mapping[str, Estimate], verdict: Any, reference: Columns,
        *, parent: Version | None, extra: Mapping[str, Any] | None = None,
    ) -> Version:  # fmt: skip
        about: dict[str, Any] = {
            "task": self.config.task,
            "labels": list(prepared.labels),
            "parent": parent.name if parent else None,
            "base_model": self.config.model,
            "base_digest": _folder_digest(self._source()),
            "data": dict(prepared.fingerprints)
            | {f"{side}_records": len(getattr(prepared.split, side)) for side in ("train", "validation", "test")},
            "split": asdict(self.config.data.split),
            "options": asdict(self.config.fit),
            "packages": version.packages(),
            "recipe": run.recipe,
            "run": run.id,
            "met": run.met,
            "why": run.why,
            "metrics": {name: asdict(estimate) for name, estimate in estimates.items()},
            "require": _plain(self.config.require),
            "gate": {
                "outcome": verdict.outcome,
                "why": verdict.why,
                "more_labels": verdict.more_labels,
                "findings": [plain_finding(finding) for finding in verdict.findings],
            },
            **(extra or {}),
        }
        about = plain(about)  # what was not measured is None, as JSON has no NaN
        text = card.card(about, estimates, name=self.config.name)
        folder = version.assemble(
            Path(run.folder), self._work(run.id) / "version", about=about, reference=reference, card=text
        )
        made = self.registry.register(folder, parent=parent.number if parent else None, about=about)
        shutil.rmtree(folder)  # the store has its own copy
        self._note_run(run, made)
        return made

    def _note_run(self, run: Run, made: Version) -> None:
        """The run's curves and rungs, for the report; outside the version so that its digest is that of the model."""
        row = {"version": made.name, "recipe": run.recipe, "met": run.met, "why": run.why, "seconds": run.seconds}
        row |= {"rungs": [dict(rung) for rung in run.rungs], "findings": [plain_finding(f) for f in run.findings]}
        row["curves"] = next((rung["curves"] for rung in run.rungs if rung["recipe"] == run.recipe), {})
        self.store.append("run", [Row(f"{run.id}/{made.name}", made.created, plain(row))])

    # proving --------------------------------------------------------------------------------------------------------

    def evaluate(self, number: int | None = None, file: str | Path | None = None) -> Any:
        """The metrics of a version (default: the champion) on a labelled file (default: the test split)."""
        made = self._chosen(number)
        task = self._task_of(made)
        return evaluate.evaluate(
            task, task.adapter(self.registry.folder(made)), self._labelled(file), confidence=self._confidence()
        )

    def gate(self, number: int, file: str | Path | None = None) -> Any:
        """The verdict on a version against `require:` and, paired on the same records, against the champion."""
        made = self.registry.version(number)
        task = self._task_of(made)
        records = self._labelled(file)
        held = evaluate.evaluate(task, task.adapter(self.registry.folder(made)), records, confidence=self._confidence())
        champion = self.registry.champion()
        rival = None if champion is None or champion.number == number else champion
        return gate.gate(
            held.columns, self._columns(rival, task, records) if rival else None, require=self.config.require,
            options=self.config.gate, estimates=held.estimates, labels=task.labels,
        )  # fmt: skip

    def _labelled(self, file: str | Path | None) -> Sequence[Record]:
        if file is None:
            return self._prepared().split.test
        loaded = data.read(Path(file).resolve(), self.config.data.columns)
        return examine.clean(loaded, None, examine.Rules(self.config.labels, self.config.data.unknown_labels)).records

    def test_records(self) -> Sequence[Record]:
        """The test split: records that no version was trained on."""
        return self._prepared().split.test

    def columns(self, number: int, records: Sequence[Record]) -> Columns:
        """What a version says about records, as columns (`loss` where they have a target)."""
        made = self.registry.version(number)
        return self._columns(made, self._task_of(made), records)

    def _columns(self, made: Version, task: Any, records: Sequence[Record], known: Columns | None = None) -> Columns:
        """What a version says about records: `known`, or from the last time, or asked now."""
        name = digest(made.digest, [[one.id, one.input, one.target] for one in records])
        return evaluate.remembered(
            self.home / self.config.store / "columns" / f"{name}.columns",
            lambda: known or task.columns(answered(task.adapter(self.registry.folder(made)), records)),
        )

    # versions -------------------------------------------------------------------------------------------------------

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        return self.registry.versions()

    def champion(self) -> Version | None:
        """The version that answers now."""
        return self.registry.champion()

    def promote(self, number: int | None = None, *, anyway: str = "") -> Promotion:
        """Make a version (default: the newest) the champion; one whose gate did not pass needs a reason in `anyway`."""
        versions = self.versions()
        made = self.registry.version(number if number is not None else versions[-1].number if versions else 0)
        said = made.about["gate"]
        if not (made.about["met"] and said["outcome"] == "pass") and not anyway:
            reason = f"its gate said {said['outcome']}: {said['why']}" if made.about["met"] else made.about["why"]
            raise NotMet(
                f"{made.name} was not promoted: {reason}. Promote it all the same with "
                f'--anyway "your reason", which is kept in the history'
            )
        return self.registry.promote(made.number, why=anyway or made.about["gate"]["why"])

    def rollback(self, why: str = "asked for") -> Promotion:
        """Make the champion before the present one champion again."""
        return self.registry.rollback(why=why)

    def history(self) -> list[Promotion]:
        """Who was champion when, and why."""
        return self.registry.history()

    # shared -----------------------------------------------------------------------------------------------------------

    def _chosen(self, number: int | None) -> Version:
        made = self.registry.version(number) if number is not None else self.registry.champion()
        if made is None:
            raise UsageError("there is no champion yet: run `luthier fit` and `luthier promote`, or name a version")
        return made

    def _source(self) -> str:
        """The base model: a folder beside luthier.yaml, any folder, or a name on the hub."""
        beside = (self.home / self.config.model).expanduser()
        return str(beside) if beside.is_dir() else self.config.model

    def _work(self, run_id: str) -> Path:
        folder = self.home / self.config.store / "runs" / run_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shared = self.home / self.config.store / "features"  # what a frozen backbone computed serves every run
            shared.mkdir(exist_ok=True)
            if not (folder / "features").is_symlink():
                (folder / "features").symlink_to(Path("..", "..", "features"), target_is_directory=True)
        except OSError as error:
            raise StoreError(
                f"{folder}: cannot be made: {error.strerror}. Name a folder you may write to under `store:`"
            ) from error
        return folder

    def _confidence(self) -> float:
        return max((rule.confidence for rule in self.config.require.values()), default=0.95)


def _labels_of(config: Config, records: Sequence[Record]) -> tuple[str, ...]:
    """The labels that luthier.yaml lists, else those of the data, sorted."""
    return config.labels or tuple(sorted({one.target for one in records if one.target is not None}))


def with_tags(columns: Columns, records: Sequence[Record], tags: Sequence[str]) -> dict[str, Any]:
    """`columns` with a text column `tag:<name>` for every tag that is watched as a slice, and `at_random` (n,) where
    some labels were asked for because of what the answers are."""
    import numpy as np

    fair = np.array([at_random(one) for one in records], bool)
    return (
        dict(columns)
        | ({} if fair.all() else {"at_random": fair})
        | {f"tag:{tag}": np.array([str(r.tags.get(tag, ""))[:64] for r in records], "U64") for tag in tags_of(tags)}
    )


def tags_of(slices: Sequence[str]) -> list[str]:
    """The tags of slices by one or two of them: `lang&plan` is of `lang` and `plan`."""
    return sorted({tag for one in slices for tag in one.split("&")})


def _two(progress: Progress | None) -> Callable[[str, float], None] | None:
    """Data stages report no numbers."""
    return None if progress is None else lambda what, done: progress(what, done, {})


def _check_names(path: Path, config: Config) -> None:
    checks = [name for name in config.monitor.checks if name not in CHOSEN]
    asked = [("task", "task", [config.task]), ("check", "monitor.checks", checks)]
    asked.append(
        ("recipe", "fit.recipe", [config.fit.recipe] if config.fit.recipe != "auto" else list(config.fit.rungs))
    )
    wrong = [
        f"{path}: {place}: there is no {kind} {name!r} (known: {', '.join(every(kind))})"
        for kind, place, names in asked
        for name in names
        if name not in every(kind)
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))


def _plain(require: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asdict(rule) for name, rule in require.items()}


def digest(*parts: Any) -> str:
    """A short name for a piece of work: the same parts give the same name."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _folder_digest(source: str) -> str:
    """SHA-256 of the base model's weights file, empty for a name on the hub."""
    weights = sorted(Path(source).glob("*.safetensors")) if Path(source).is_dir() else []
    total = hashlib.sha256()
    for path in weights:
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{total.hexdigest()}" if weights else ""
