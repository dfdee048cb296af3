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
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from luthier.answering import Answering
from luthier.errors import StoreError, TrainingError, UsageError
from luthier.fewlabels.labelplan import LabelPlan
from luthier.repairing import Repair
from luthier.rows import at_random, plain
from luthier.stages import chronicle, detect, labelfiles, pages, plan, record, report, version
from luthier.stages.decide import Situation, decide
from luthier.stages.pages import Called
from luthier.stages.registry import plain_finding
from luthier.stores.base import Row
from luthier.types import Columns, Decision, Finding, Version, utc_now
from luthier.watching import UNLABELLED, Watch, event_time
from luthier.workshop import Fitted, Progress

__all__ = ["Project", "Taken", "Watched", "open"]

_HOT = timedelta(hours=1)  # rows younger than this stay in the database, older ones are sealed into segments
_JUDGED = 20  # newest pages that hindsight looks at
_SINCE = 2_000  # answers after a page by whose labels it is judged


@dataclass(frozen=True, slots=True)
class Watched:
    """One look: how much was new, every newest finding, which of them page, what to do, and the open pages that nobody has
    acknowledged or snoozed."""

    answers: int
    labels: int
    findings: Sequence[Finding]
    page: detect.Page
    decision: Decision
    calling: Sequence[Called] = ()


@dataclass(frozen=True, slots=True)
class Looked:
    """What was read, before anything is decided. `silence`: whether answers have stopped coming, None where nothing can be
    said; it pages once `settled`, when the waits of two weeks are known."""

    answers: int
    labels: int
    look: detect.Look
    silence: Finding | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file of labels: what the store took, and what the file held besides."""

    feedback: record.Feedback
    file: labelfiles.Returned


class Project(Answering):
    """A luthier.yaml with its data and its store; the methods are the verbs of the command line."""

    def __init__(self, path: str | Path = "luthier.yaml") -> None:
        super().__init__(path)
        self._kept: Watch | None = None
        self._repair = Repair(self)

    # watch ------------------------------------------------------------------------------------------------------------

    def watch(self, progress: Progress | None = None) -> Watched:
        """Fold everything new into the champion's monitor, write findings, and say what to do about them."""
        looked = self.look(progress)
        allowed = self.config.monitor.false_pages_per_month
        return self.conclude(looked, detect.page_together({"": looked.look}, allowed)[""])

    def look(self, progress: Progress | None = None) -> Looked:
        """Fold everything new into the champion's monitor and write findings: the first half of `watch`."""
        watch = self._watch(self._chosen(None))
        try:
            answers, labels = watch.read("answer", progress), watch.read("label", progress)
        except BaseException:
            self._kept = None  # what is in memory may be ahead of what was committed
            raise
        findings, began = watch.monitor.findings(), watch.monitor.began
        days = 0.0 if began is None else (event_time(self.store, findings) - began) / timedelta(days=1)
        settled = watch.arrivals.settled(utc_now().timestamp())
        return Looked(answers, labels, detect.Look(findings, days), watch.silence(), settled)

    def conclude(self, looked: Looked, paged: detect.Page) -> Watched:
        """Decide, write that down, open and close pages: the second half of `watch`. `paged`: which findings page."""
        watch, findings = self._watch(self._chosen(None)), looked.look.findings
        paged = paged.holding(pages.open_of(self.store, watch.champion.name))
        decision = decide(self._situation(watch, findings, paged), self.config.update)
        stopped = tuple(one for one in (looked.silence,) if one and one.alarm)
        if looked.settled:
            paged = replace(paged, loud=(*paged.loud, *stopped))
        else:
            paged = replace(paged, quiet=(*paged.quiet, *stopped))
        if looked.settled and stopped and not decision.because:
            decision = Decision("alert", stopped, stopped[0].why, stopped[0].at)
        if decision.action == "retrain" and (waiting := self._repair.waiting(watch.champion)):
            decision = replace(
                decision, action="label", why=f"candidate {waiting.name} waits for labels to be judged by"
            )
        elif self._is_news(decision, watch.champion):
            decision, cause = watch.explained(decision)
            self._note(decision, watch.champion, cause)
        name, now = watch.champion.name, event_time(self.store, findings)
        found = {name: [*findings, *([looked.silence] if looked.silence else [])]}
        opened = pages.follow(self.store, found, {name: paged.loud}, now, f"{name} answers now")
        calling = pages.calling(opened, utc_now())
        return Watched(looked.answers, looked.labels, [*findings, *stopped], paged, decision, calling)

    def _watch(self, champion: Version) -> Watch:
        """The champion's watch, from memory or from where it was saved."""
        if self._kept is None or self._kept.champion.number != champion.number:
            folder = self.registry.folder(champion, verify=False)
            first = min((one.seq for one in self.history() if one.number == champion.number), default=0)
            self._kept = Watch(self.store, champion, folder, self._task_of(champion), self.config, since=first)
        return self._kept

    def _situation(self, watch: Watch, findings: Sequence[Finding], paged: detect.Page) -> Situation:
        now = event_time(self.store, findings)
        updates = [row.at for row in self.store.scan("decision") if row.body["action"] in ("promote", "reject")]
        month = sum(moment > now - timedelta(days=30) for moment in updates)
        labels = watch.labels_since(paged.loud) if paged.loud else 0
        return Situation(findings, paged.loud, labels, now, updates[-1] if updates else None, month)

    def _is_news(self, decision: Decision, champion: Version) -> bool:
        """Whether what to do, or the kind of reason, changed; silence repeats nothing."""
        checks = [finding.check for finding in decision.because]
        last = next(iter(self.store.scan("decision", newest_first=True, limit=1)), None)
        if last is None or last.body["model"] != champion.name:
            return decision.action != "none"
        return _kind(last.body) != _kind({"action": decision.action, "checks": checks, "model": champion.name})

    def _note(self, decision: Decision, champion: Version, cause: Mapping[str, Any]) -> None:
        """A decision row; `cause`, if any, says where the loss comes from."""
        body = {
            "action": decision.action, "why": decision.why, "model": champion.name,
            "checks": sorted({finding.check for finding in decision.because}),
            "because": [plain_finding(finding) for finding in decision.because],
        } | ({"cause": dict(cause)} if cause else {})  # fmt: skip
        name = f"{champion.name}/{self.store.last('decision')}/{decision.action}"
        self.store.append("decision", [Row(name, decision.at or utc_now(), body)])
        if decision.action == "label":
            self._ask(champion, decision)

    def _ask(self, champion: Version, decision: Decision) -> None:
        """Which of the newest unlabelled answers to label first: to learn from once it is proven that the model got
        worse, else to find out whether it did."""
        proven = any(finding.check.startswith("risk") for finding in decision.because)
        with suppress(UsageError):  # nothing is unlabelled
            self.label_plan(self.config.update.min_labels, "repair" if proven else "worse", pool=UNLABELLED)

    # label ------------------------------------------------------------------------------------------------------------

    def label_plan(
        self, budget: int, decision: str = "worse", *, pool: int = 20_000, candidate: int | None = None, seed: int = 0
    ) -> LabelPlan:
        """Which of the champion's newest `pool` answers to label for a decision (worse, accuracy, better, repair), and
        what that would buy. The plan is kept, so that labels that come back are counted for what they are.

        `candidate`: the version that "better" compares, else the one that waits for labels.
        """
        champion = self._chosen(None)
        rival = self.registry.version(candidate) if candidate is not None else self._repair.waiting(champion)
        return plan.draw(
            self.store, self._task_of(champion), champion.name, budget, decision,
            reference=version.read_reference(self.registry.folder(champion, verify=False)),
            limit=self._watch(champion).monitor.limit("risk"), arl=self.config.monitor.arl, pool=pool, seed=seed,
            candidate=None if rival is None else lambda asked: self._columns(rival, self._task_of(rival), asked),
        )  # fmt: skip

    def take_labels(self, file: str | Path) -> Taken:
        """Labels from a filled-in plan (CSV, JSON Lines) or Label Studio's export, as `feedback` takes them."""
        found = labelfiles.read(file)
        picked = plan.picked(self.store)
        return Taken(self.feedback([{**one, "at_random": one["id"] not in picked} for one in found.labels]), found)

    def _standing(self, champion: Version) -> plan.Standing | None:
        """What the newest label plan says of the champion so far."""

        def losses(ids: Sequence[str]) -> dict[str, float]:
            came = record.labelled(self.store, ids)
            return dict(zip([one.id for one in came], self._task_of(champion).columns(came)["loss"], strict=True))

        return plan.standing(self.store, champion.name, losses)

    # update -----------------------------------------------------------------------------------------------------------

    def update(self, progress: Progress | None = None, because: Sequence[Finding] = ()) -> Fitted:
        """Train a candidate on the labels since the change with replay, gate it against the champion, and promote it
        if the gate passes. Whatever fails, the champion goes on as it was.

        Raises UsageError when no labels have come for the champion.
        """
        return self._repair.update(self._watch(self._chosen(None)), progress, because)

    # loop -------------------------------------------------------------------------------------------------------------

    def loop(
        self, *, interval: float = 10.0, stop: Callable[[], bool] = lambda: False,
        say: Callable[[Watched], None] = lambda _: None, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        """Watch every `interval` seconds and update when the decision says so, until `stop()`.

        One loop a project. A failed look or update is a row and a later try, never the end of the loop.

        Raises StoreError when another loop runs already.
        """
        with self.alone():
            failures = 0
            while not stop():
                try:
                    watched = self.watch()
                    say(watched)
                    self.tend(watched, progress)
                    failures = 0
                except StoreError as error:
                    failures += 1
                    if failures >= 10:
                        raise
                    said = Decision("none", (), f"the store did not answer: {error}", utc_now())
                    say(Watched(0, 0, (), detect.Page(), said))
                _pause(interval * 2 ** min(failures, 6), stop)

    def tend(self, watched: Watched, progress: Progress | None = None) -> None:
        """Do what was decided, and seal old rows."""
        champion = self._chosen(None)
        if waiting := self._repair.waiting(champion):
            self._repair.settle(waiting, self._watch(champion))
        elif watched.decision.action == "retrain":
            self._update(watched, progress)
        for kind in ("answer", "label"):
            self.store.seal(kind, utc_now() - _HOT)

    def _update(self, watched: Watched, progress: Progress | None) -> None:
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
    def alone(self) -> Iterator[None]:
        """Keep other loops away as long as this context lasts. Raises StoreError when another loop runs already."""
        _ = self.store  # opening it makes the folder
        path = self.home / self.config.store / "loop.lock"
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
        counts = {kind: self.store.count(kind) for kind in ("answer", "label", "rejection", "request")}
        status: dict[str, Any] = {
            "project": self.config.name, "champion": champion.name if champion else None,
            "versions": len(self.versions()), "rows": counts, "findings": [], "decision": None,
            "broken": self.store.audit(),
        }  # fmt: skip
        if champion:
            status["unread"] = self.unread()
            watch = self._watch(champion)
            silence = watch.silence()
            stopped = [silence] if silence and silence.alarm else []
            status["findings"] = [plain_finding(finding) for finding in [*watch.monitor.findings(), *stopped]]
            standing = self._standing(champion)
            status["few_labels"] = None if standing is None else asdict(standing)
            last = next(iter(self.store.scan("decision", newest_first=True, limit=1)), None)
            found = self.pages()
            status["pages"] = {
                "open": [plain(asdict(one) | _times(one)) for one in found if one.closed is None],
                "closed": sum(one.closed is not None for one in found),
                "precision": plain(asdict(pages.precision(found))),
            }
            status["decision"] = None if last is None else {"at": last.at.isoformat(), **last.body}
        return status

    def unread(self) -> dict[str, bool]:
        """Whether there are answers and labels that the champion's watch has not read yet."""
        champion = self.champion()
        if champion is None:
            return {"answer": False, "label": False}
        self._kept = None  # the loop, in another process, may have read on
        return self._watch(champion).unread()

    def pages(self) -> list[Called]:
        """All pages, oldest first; the newest with what labels that came later say about them."""
        found = pages.called(self.store)
        return [*found[:-_JUDGED], *pages.in_hindsight(found[-_JUDGED:], self._losses)]

    def acknowledge(self, page: str, why: str = "") -> Called:
        """Somebody has seen this page: it stays open but calls nobody any more."""
        return pages.acknowledge(self.store, page, why or "seen", utc_now())

    def snooze(self, page: str, hours: float = 24.0, why: str = "") -> Called:
        """This page calls nobody for `hours`."""
        return pages.snooze(self.store, page, hours, why, utc_now())

    def _losses(self, page: Called) -> np.ndarray:
        """Losses of the labelled answers that the page's model gave, in its slice, since the page opened."""
        made = next((one for one in self.versions() if one.name == page.model), None)
        rows = self.store.scan("answer", start=page.opened, limit=_SINCE)
        answers = record.labelled(self.store, [row.id for row in rows if row.body.get("model") == page.model])
        tag, _, value = page.slice.partition("=")
        inside = [one for one in answers if not page.slice or one.tags.get(tag) == value]
        if made is None or not inside:
            return np.zeros(0)
        return np.asarray(self._task_of(made).columns(inside)["loss"])

    def story(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Everything that happened, as the report, the figures and the terminal draw it."""
        told = chronicle.tell(
            self.store, project=self.config.name, width_minutes=self.config.monitor.window_minutes,
            targets=lambda ids: {one.id: one.target for one in record.labelled(self.store, ids)}, estimator=self._estimator,
        )  # fmt: skip
        found = self.pages()
        told["pages"] = [plain(asdict(one) | _times(one)) for one in found]
        told["page_precision"] = plain(asdict(pages.precision(found)))
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

    def traffic(self, since: datetime | None = None, until: datetime | None = None) -> tuple[Columns, Columns]:
        """The champion's reference and its answers from `since` to `until`, with the targets that came: two tables for
        `luthier.report`. `at`: event times. Labels picked for what the answers are do not stand for the traffic: left out."""
        champion = self._chosen(None)
        asked = [
            row for row in self.store.scan("answer", start=since, end=until) if row.body.get("model") == champion.name
        ]
        known = {one.id: one for one in record.labelled(self.store, [row.id for row in asked]) if at_random(one)}
        records = [known.get(row.id) or record.from_row(row) for row in asked]
        at = np.array([row.at.replace(tzinfo=None) for row in asked], "datetime64[us]")
        columns = {**self._task_of(champion).columns(records), "at": at}
        return version.read_reference(self.registry.folder(champion, verify=False)), columns

    def report(self, folder: str | Path | None = None, extra: Mapping[str, Any] | None = None) -> Any:
        """One HTML file that works offline, with Markdown and JSON beside it."""
        return report.write(self.story(extra), Path(folder) if folder else self.home / "report")


def open(path: str | Path = "luthier.yaml") -> Project:
    """The project of a luthier.yaml, or of the folder that holds one."""
    path = Path(path)
    return Project(path / "luthier.yaml" if path.is_dir() else path)


def _kind(decision: Mapping[str, Any]) -> tuple[str, bool, str]:
    """Two decisions of one kind say the same: the action, whether labels are the reason, and for which version."""
    return decision["action"], any(check.startswith("risk") for check in decision["checks"]), decision["model"]


def _times(page: Called) -> dict[str, str | None]:
    """The times of a page as text."""
    moments = {"opened": page.opened, "closed": page.closed, "snoozed_until": page.snoozed_until}
    return {name: moment.isoformat() if moment else None for name, moment in moments.items()}


def _pause(seconds: float, stop: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not stop() and time.monotonic() < until:
        time.sleep(min(0.1, max(until - time.monotonic(), 0)))
