"""Read this first: the one file that knows how the stages become a loop.

    watch    new answers and labels → monitor → findings → page → decision
    update   labels since the change + replay → candidate → gate, paired → promote or reject
    loop     watch, and update when the decision says so, for ever

Everything that happened is rows in the store; a kill between any two of them loses nothing.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from luthier import codec
from luthier.errors import StoreError, TrainingError, UsageError
from luthier.stages import chronicle, data, detect, evaluate, fit, gate, record, report, update, version
from luthier.stages.decide import Situation, decide
from luthier.stages.monitor import Monitor
from luthier.stages.registry import plain_finding
from luthier.stages.update import Mix
from luthier.stores.base import Row
from luthier.tasks.base import answered
from luthier.types import Decision, Finding, Record, Split, Version, utc_now
from luthier.workshop import Fitted, Prepared, Progress, Workshop, digest, with_tags

__all__ = ["Project", "Watched", "open"]

_CHUNK = 5_000  # rows folded in one transaction
_RECENT = 20_000  # labelled answers of the champion among which the change is looked for
_HOT = timedelta(hours=1)  # rows younger than this stay in the database, older ones are sealed into segments
_UNLABELLED = 2_000  # recent answers that show a new version what inputs look like now


@dataclass(frozen=True, slots=True)
class Watched:
    """One look: how much was new, every newest finding, which of them page, and what to do."""

    answers: int
    labels: int
    findings: Sequence[Finding]
    page: detect.Page
    decision: Decision


@dataclass(slots=True)
class _Watch:
    """The champion's monitor and how far it has read, saved together."""

    champion: Version
    monitor: Monitor
    answers: int = 0
    labels: int = 0
    ids: list[str] = field(default_factory=list)
    losses: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def save(self) -> bytes:
        state = {"answers": self.answers, "labels": self.labels, "ids": self.ids, "losses": self.losses}
        return codec.pack(state | {"monitor": np.frombuffer(self.monitor.save(), np.uint8)})

    def load(self, saved: bytes) -> None:
        state = codec.unpack(saved)
        self.monitor.restore(state["monitor"].tobytes())
        self.answers, self.labels, self.ids, self.losses = (
            state[key] for key in ("answers", "labels", "ids", "losses")
        )

    def since_change(self) -> list[str]:
        """Ids of the labelled answers after the most likely moment of the change, in label order."""
        return self.ids[detect.change_point(self.losses) :]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What one fold took: the champion's records, the findings after them, and records whose label was corrected."""

    records: Sequence[Record] = ()
    findings: Sequence[Finding] = ()
    corrected: Sequence[Record] = ()


class Project(Workshop):
    """A luthier.yaml with its data and its store; the methods are the verbs of the command line."""

    # watch ------------------------------------------------------------------------------------------------------------

    def watch(self, progress: Progress | None = None) -> Watched:
        """Fold everything new into the champion's monitor, write findings, and say what to do about them."""
        watch = self._watch(self._chosen(None))
        try:
            answers = self._take(watch, "answer", progress)
            labels = self._take(watch, "label", progress)
        except BaseException:
            self._kept = None  # what is in memory may be ahead of what was committed
            raise
        findings = watch.monitor.findings()
        paged = detect.page(findings)
        decision = decide(self._situation(watch, findings, paged), self.config.update)
        self._note(decision, watch.champion)
        return Watched(answers, labels, findings, paged, decision)

    _kept: _Watch | None = None

    def _watch(self, champion: Version) -> _Watch:
        """The champion's watch, from memory or from where it was saved."""
        if self._kept is None or self._kept.champion.number != champion.number:
            reference = version.read_reference(self.registry.folder(champion, verify=False))
            monitor = Monitor(reference, options=self.config.monitor, subject=f"{self.config.name} {champion.name}")
            self._kept = _Watch(champion, monitor)
            if saved := self.store.recall(f"watch/{champion.name}"):
                self._kept.load(saved)
        return self._kept

    def _take(self, watch: _Watch, when: str, progress: Progress | None) -> int:
        """Chunk by chunk; cursor, states and findings commit together, so a crash neither drops nor doubles a row."""
        newest, taken = max(self.store.last(when), self.store.last("join")), 0
        corrected: list[Record] = []
        while chunk := self._chunk(watch, when):
            with self.store.transaction():
                self._keep(watch, when, chunk)
            taken += len(chunk.records)
            corrected.extend(chunk.corrected)
            if progress:
                cursor = watch.answers if when == "answer" else watch.labels
                progress(f"reading {when}s", min(cursor / max(newest, 1), 1.0), {"rows": taken})
        if corrected:
            self._rebuild(watch, corrected)
        return taken

    def _chunk(self, watch: _Watch, when: str) -> _Chunk | None:
        """Fold the next rows into the monitor; None when there are none."""
        before = watch.answers, watch.labels
        records, corrected = self._next(watch, when)
        if (watch.answers, watch.labels) == before:
            return None
        mine = [one for one in records if one.model == watch.champion.name]
        if not mine:
            return _Chunk(corrected=corrected)
        columns = self._columns(watch, mine)
        findings = watch.monitor.observe(when, columns, at=[one.at for one in mine])
        if when == "label":
            watch.ids = [*watch.ids, *(one.id for one in mine)][-_RECENT:]
            watch.losses = np.concatenate([watch.losses, columns["loss"]])[-_RECENT:]
        return _Chunk(mine, findings, corrected)

    def _columns(self, watch: _Watch, records: Sequence[Record]) -> dict[str, Any]:
        return with_tags(self._task_of(watch.champion).columns(records), records, self.config.monitor.slices)

    def _next(self, watch: _Watch, when: str) -> tuple[list[Record], list[Record]]:
        """Newly answered or newly labelled records, and those whose label was corrected; moves the cursor."""
        if when == "answer":
            rows = list(self.store.scan("answer", since=watch.answers, limit=_CHUNK))
            watch.answers = rows[-1].seq if rows else watch.answers
            return [record.from_row(row) for row in rows], []
        joined = record.joined(self.store, watch.labels, limit=_CHUNK)
        watch.labels = joined.cursor
        return list(joined.records), [one for one in joined.corrected if one.model == watch.champion.name]

    def _keep(self, watch: _Watch, when: str, chunk: _Chunk) -> None:
        rows = [self._finding_row(watch, when, one) for one in chunk.findings]
        self.store.append("finding", rows)
        self.store.remember(f"watch/{watch.champion.name}", watch.save())

    def _rebuild(self, watch: _Watch, corrected: Sequence[Record]) -> None:
        """A corrected label rebuilds its bucket from the records. The evidence of the checks stays as it was: what was
        believed when they spoke is part of their promise. The write lock keeps new labels out meanwhile."""
        with self.store.transaction():
            while chunk := self._chunk(watch, "label"):
                self._keep(watch, "label", chunk)
            for start, end in watch.monitor.spans([one.at for one in corrected]):
                ids = [row.id for row in self.store.scan("answer", start=start, end=end)]
                final = [one for one in record.labelled(self.store, ids) if one.model == watch.champion.name]
                watch.monitor.rebuild("label", self._columns(watch, final), at=[one.at for one in final])
            losses = dict(zip(watch.ids, watch.losses, strict=True))
            fixed = self._columns(watch, corrected)["loss"]
            losses |= {one.id: loss for one, loss in zip(corrected, fixed, strict=True) if one.id in losses}
            watch.losses = np.array([losses[name] for name in watch.ids])
            self._keep(watch, "label", _Chunk())

    def _finding_row(self, watch: _Watch, when: str, finding: Finding) -> Row:
        cursor = watch.answers if when == "answer" else watch.labels
        name = f"{watch.champion.name}/{finding.check}/{finding.slice}/{cursor}"
        return Row(name, finding.at or utc_now(), plain_finding(finding))

    def _situation(self, watch: _Watch, findings: Sequence[Finding], paged: detect.Page) -> Situation:
        now = max((finding.at for finding in findings if finding.at), default=utc_now())
        updates = [row.at for row in self.store.scan("decision") if row.body["action"] in ("promote", "reject")]
        month = sum(moment > now - timedelta(days=30) for moment in updates)
        labels = len(watch.since_change()) if paged.loud else 0
        return Situation(findings, paged.loud, labels, now, updates[-1] if updates else None, month)

    def _note(self, decision: Decision, champion: Version) -> None:
        """A decision row whenever what to do, or because of which checks, changes; silence repeats nothing."""
        checks = sorted({finding.check for finding in decision.because})
        last = next(iter(self.store.scan("decision", newest_first=True, limit=1)), None)
        same = last and (last.body["action"], last.body["checks"], last.body["model"]) == (
            decision.action, checks, champion.name,
        )  # fmt: skip
        if same or (decision.action == "none" and (last is None or last.body["model"] != champion.name)):
            return
        body = {
            "action": decision.action, "why": decision.why, "checks": checks, "model": champion.name,
            "because": [plain_finding(finding) for finding in decision.because],
        }  # fmt: skip
        name = f"{champion.name}/{self.store.last('decision')}/{decision.action}"
        self.store.append("decision", [Row(name, decision.at or utc_now(), body)])
        if decision.action == "label":
            self._ask(champion, decision)

    def _ask(self, champion: Version, decision: Decision) -> None:
        """Which of the newest unlabelled answers to label first: those that cover them best."""
        newest = [record.from_row(row) for row in self.store.scan("answer", newest_first=True, limit=_UNLABELLED)]
        labelled = self.store.known("label", [one.id for one in newest])
        open_ = [
            one
            for one in newest
            if one.id not in labelled and one.model == champion.name and _has_embedding(one)
        ]
        if not open_:
            return
        chosen = update.by_coverage(np.stack([one.output["embedding"] for one in open_]), self.config.update.min_labels)
        moment = decision.at or utc_now()
        rows = [Row(open_[i].id, moment, {"input": open_[i].input, "model": champion.name}) for i in chosen]
        self.store.append("request", rows)

    # update -----------------------------------------------------------------------------------------------------------

    def update(self, progress: Progress | None = None, because: Sequence[Finding] = ()) -> Fitted:
        """Train a candidate on the labels since the change with replay, gate it against the champion, and promote it
        if the gate passes. Whatever fails, the champion goes on as it was.

        Raises UsageError when no labels have come for the champion.
        """
        champion = self._chosen(None)
        watch = self._watch(champion)
        prepared = self._prepared(progress)
        fresh = record.labelled(self.store, watch.since_change())
        if len(fresh) < 10:
            raise UsageError(
                f"an update needs labels of answers that {champion.name} gave; {len(fresh)} came. Send them with "
                f"`luthier feedback labels.csv` or POST /v1/feedback"
            )
        mixed = update.mix(fresh, self._old(prepared.split, champion), self.config.update)
        run = self._train(champion, mixed, progress)
        fitted = self._made_by(run) or self._judge(champion, run, mixed, prepared)
        self._conclude(fitted, champion, because, watch)
        return fitted

    def _old(self, split: Split, champion: Version) -> Split:
        """What was known before: the original data, and what earlier updates learned from and were judged by."""
        learned, held = self._earlier(champion, "fresh"), self._earlier(champion, "holdout")
        return replace(split, train=[*split.train, *learned], test=[*split.test, *held])

    def _earlier(self, champion: Version | None, part: str) -> list[Record]:
        ids: list[str] = []
        while champion is not None:
            ids += champion.about.get("update", {}).get(part, [])
            champion = self.registry.version(champion.parent) if champion.parent else None
        return [replace(one, output=None, model="") for one in record.labelled(self.store, ids)] if ids else []

    def _train(self, champion: Version, mixed: Mix, progress: Progress | None) -> Any:
        options = replace(
            self.config.fit, recipe=champion.about["recipe"], epochs=self.config.update.epochs or self.config.fit.epochs
        )
        prints = [data.fingerprint(part) for part in (mixed.split.train, mixed.split.validation, mixed.holdout)]
        work = self._work(digest("update", champion.digest, prints, asdict(options)))
        folder = self.registry.folder(champion)
        return fit.fit(
            self._task_of(champion), str(folder), mixed.split, require={}, options=options, work=work, progress=progress
        )

    def _judge(self, champion: Version, run: Any, mixed: Mix, prepared: Prepared) -> Fitted:
        """Paired on the same records: what the champion was good at, and the new answers nobody trained on."""
        task = self._task_of(champion)
        retained = self._old(prepared.split, champion).test
        new, old = task.adapter(run.folder), task.adapter(self.registry.folder(champion))
        ours = evaluate.evaluate(task, new, retained, confidence=self._confidence())
        theirs = task.columns(answered(old, retained))
        fresh = [task.columns(answered(adapter, mixed.holdout)) for adapter in (new, old)]
        verdict = gate.gate(
            ours.columns, theirs, require=self.config.require, options=self.config.gate, estimates=ours.estimates,
            labels=task.labels, fresh=(fresh[0], fresh[1]),
        )  # fmt: skip
        about = {
            "fresh": [one.id for one in mixed.fresh],
            "holdout": [one.id for one in mixed.holdout],
            "replayed": len(mixed.replayed),
            "retained": {name: asdict(value) for name, value in ours.estimates.items()},
            "before": {name: asdict(value) for name, value in task.estimates(fresh[1]).items()},
        }
        estimates = dict(task.estimates(fresh[0])) | {"latency_ms": ours.estimates["latency_ms"]}
        reference = self._reference(champion, new, mixed, fresh[0])
        made = self._register(run, prepared, estimates, verdict, reference, parent=champion, extra={"update": about})
        return Fitted(made, run, verdict)

    def _conclude(self, fitted: Fitted, champion: Version, because: Sequence[Finding], watch: _Watch) -> None:
        """The promotion and the decision that says why commit together."""
        passed = fitted.verdict.outcome == "pass"
        moment = max((finding.at for finding in watch.monitor.findings() if finding.at), default=utc_now())
        body = {
            "action": "promote" if passed else "reject", "why": fitted.verdict.why, "model": fitted.version.name,
            "checks": sorted({finding.check for finding in fitted.verdict.findings}),
            "because": [plain_finding(finding) for finding in (*because, *fitted.verdict.findings)],
        }  # fmt: skip
        self.registry.folder(fitted.version)
        name = f"{fitted.version.name}/gate/{self.store.last('decision')}"
        with self.store.transaction():
            self.store.append("decision", [Row(name, moment, body)])
            if passed:
                self.registry.promote(fitted.version.number, why=fitted.verdict.why, because=fitted.verdict.findings)

    def _reference(self, champion: Version, adapter: Any, mixed: Mix, held: Mapping[str, Any]) -> dict[str, Any]:
        """What the new version's good days look like: the held-out labels since the change, and recent unlabelled
        answers that nobody trained on, answered anew."""
        task = self._task_of(champion)
        tags = self.config.monitor.slices
        columns = with_tags(held, mixed.holdout, tags)
        trained = {one.id for one in (*mixed.fresh, *mixed.holdout)}
        recent = [record.from_row(row) for row in self.store.scan("answer", newest_first=True, limit=_UNLABELLED)]
        since = min((one.at for one in (*mixed.fresh, *mixed.holdout)), default=utc_now())
        plain = [
            replace(one, output=None, target=None)
            for one in recent
            if one.id not in trained and one.at >= since and one.input
        ]
        if not plain:
            return columns
        answered = [replace(one, output=said) for one, said in zip(plain, adapter.answer(plain), strict=True)]
        more = with_tags(task.columns(answered), answered, tags)
        return {name: np.concatenate([columns[name], more[name]]) for name in columns if name in more}

    # loop -------------------------------------------------------------------------------------------------------------

    def loop(
        self, *, interval: float = 10.0, stop: Callable[[], bool] = lambda: False,
        say: Callable[[Watched], None] = lambda _: None, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        """Watch every `interval` seconds and update when the decision says so, until `stop()`.

        One loop a project. A failed look or update is a row and a later try, never the end of the loop.

        Raises StoreError when another loop runs already.
        """
        with self._alone():
            failures = 0
            while not stop():
                try:
                    watched = self.watch()
                    say(watched)
                    if watched.decision.action == "retrain":
                        self._repair(watched, progress)
                    for kind in ("answer", "label"):
                        self.store.seal(kind, utc_now() - _HOT)
                    failures = 0
                except StoreError as error:
                    failures += 1
                    if failures >= 10:
                        raise
                    say(
                        Watched(
                            0,
                            0,
                            (),
                            detect.Page(),
                            Decision("none", (), f"the store did not answer: {error}", utc_now()),
                        )
                    )
                _pause(interval * 2 ** min(failures, 6), stop)

    def _repair(self, watched: Watched, progress: Progress | None) -> None:
        champion = self._chosen(None)
        try:
            self.update(progress, because=watched.decision.because)
        except (TrainingError, UsageError) as error:
            moment = watched.decision.at or utc_now()
            body = {
                "action": "reject", "why": f"the update failed and the champion stays: {error}", "checks": [],
                "model": champion.name, "because": [],
            }  # fmt: skip
            name = f"{champion.name}/failed/{self.store.last('decision')}"
            self.store.append("decision", [Row(name, moment, body)])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = self._work("loop").parent.parent / "loop.lock"
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreError(f"another loop holds {path}: stop it first, or let it go on") from None
            yield

    # seeing -----------------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Where things stand, as plain data."""
        champion = self.champion()
        self._kept = None  # the loop, in another process, may have read on
        counts = {kind: self.store.count(kind) for kind in ("answer", "label", "rejection", "request")}
        status: dict[str, Any] = {
            "project": self.config.name, "champion": champion.name if champion else None,
            "versions": len(self.versions()), "rows": counts, "findings": [], "decision": None,
            "broken": self.store.audit(),
        }  # fmt: skip
        if champion:
            watch = self._watch(champion)
            status["findings"] = [plain_finding(finding) for finding in watch.monitor.findings()]
            status["unread"] = self.unread()
            last = next(iter(self.store.scan("decision", newest_first=True, limit=1)), None)
            status["decision"] = None if last is None else {"at": last.at.isoformat(), **last.body}
        return status

    def unread(self) -> dict[str, bool]:
        """Whether there are answers and labels that the champion's watch has not read yet."""
        champion = self.champion()
        if champion is None:
            return {"answer": False, "label": False}
        saved = self.store.recall(f"watch/{champion.name}")
        state = codec.unpack(saved) if saved else {"answers": 0, "labels": 0}
        newest = max(self.store.last("label"), self.store.last("join"))
        return {"answer": self.store.last("answer") > state["answers"], "label": newest > state["labels"]}

    def story(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Everything that happened, as the report, the figures and the terminal draw it."""
        told = chronicle.tell(
            self.store, project=self.config.name, width_minutes=self.config.monitor.window_minutes,
            targets=lambda ids: {one.id: one.target for one in record.labelled(self.store, ids)}, estimator=self._estimator,
        )  # fmt: skip
        return told | dict(extra or {})

    def _estimator(self, name: str) -> chronicle.Estimator | None:
        """Label-free accuracy of a window of one version's answers."""
        number = int(name[1:]) if name[1:].isdigit() else 0
        known = {made.number: made for made in self.versions()}
        if number not in known:
            return None
        return chronicle.estimator(
            self._task_of(known[number]), version.read_reference(self.registry.folder(known[number], verify=False)),
            self.config.monitor,
        )  # fmt: skip

    def report(self, folder: str | Path | None = None, extra: Mapping[str, Any] | None = None) -> Any:
        """One HTML file that works offline, with Markdown and JSON beside it."""
        return report.write(self.story(extra), Path(folder) if folder else self.home / "report")


def open(path: str | Path = "luthier.yaml") -> Project:
    """The project of a luthier.yaml, or of the folder that holds one."""
    path = Path(path)
    return Project(path / "luthier.yaml" if path.is_dir() else path)


def _has_embedding(one: Record) -> bool:
    return isinstance(one.output, Mapping) and one.output.get("embedding") is not None


def _pause(seconds: float, stop: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not stop() and time.monotonic() < until:
        time.sleep(min(0.1, max(until - time.monotonic(), 0)))
