"""How a champion is repaired: labels since the change + replay → candidate → gate, paired → promote, reject or wait for labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from luthier.errors import UsageError
from luthier.rows import at_random
from luthier.stages import data, evaluate, fit, gate, record, update
from luthier.stages.registry import plain_finding
from luthier.stages.update import Mix
from luthier.stores.base import Row
from luthier.tasks.base import answered
from luthier.types import Finding, Record, Run, Split, Version, utc_now
from luthier.watching import UNLABELLED, Watch, event_time
from luthier.workshop import Fitted, Prepared, Progress, Workshop, digest, with_tags

__all__ = ["Repair"]

_MORE = 25  # labels after which a waiting candidate is judged again


class Repair:
    """Trains, judges and promotes candidates of one project, and remembers what a waiting one was last judged by."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._judged: dict[int, int] = {}  # labels that each waiting candidate was last judged by

    def update(self, watch: Watch, progress: Progress | None, because: Sequence[Finding]) -> Fitted:
        """Train a candidate on the labels since the change with replay, gate it against the champion, and promote it
        if the gate passes. Whatever fails, the champion goes on as it was.

        Raises UsageError when no labels have come for the champion.
        """
        champion = watch.champion
        prepared = self._shop._prepared(progress)
        fresh = record.labelled(self._shop.store, watch.since_change())
        if len(fresh) < 10:
            raise UsageError(
                f"an update needs labels of answers that {champion.name} gave; {len(fresh)} came. Send them with "
                f"`luthier feedback labels.csv` or POST /v1/feedback"
            )
        mixed = update.mix(fresh, self._old(prepared.split, champion), self._shop.config.update)
        run = self._train(champion, mixed, progress)
        fitted = self._shop._made_by(run) or self._judge(watch, run, mixed, prepared)
        self._conclude(fitted.version, fitted.verdict, because, watch)
        return fitted

    def _old(self, split: Split, champion: Version) -> Split:
        """What was known before: the original data, and what earlier updates learned from and were judged by."""
        learned, held = self._earlier(champion, "fresh"), self._earlier(champion, "holdout")
        return replace(split, train=[*split.train, *learned], test=[*split.test, *held])

    def _earlier(self, champion: Version | None, part: str) -> list[Record]:
        ids: list[str] = []
        while champion is not None:
            ids += champion.about.get("update", {}).get(part, [])
            champion = self._shop.registry.version(champion.parent) if champion.parent else None
        return [replace(one, output=None, model="") for one in record.labelled(self._shop.store, ids)] if ids else []

    def _train(self, champion: Version, mixed: Mix, progress: Progress | None) -> Any:
        options = replace(
            self._shop.config.fit,
            recipe=champion.about["recipe"],
            epochs=self._shop.config.update.epochs or self._shop.config.fit.epochs,
        )
        prints = [data.fingerprint(part) for part in (mixed.split.train, mixed.split.validation, mixed.holdout)]
        work = self._shop._work(digest("update", champion.digest, prints, asdict(options)))
        folder = self._shop.registry.folder(champion)
        return fit.fit(
            self._shop._task_of(champion),
            str(folder),
            mixed.split,
            require={},
            options=options,
            work=work,
            progress=progress,
        )

    def _judge(self, watch: Watch, run: Run, mixed: Mix, prepared: Prepared) -> Fitted:
        """Paired on the same records: what the champion was good at, and the new answers nobody trained on, those
        labelled during the training included."""
        champion, task = watch.champion, self._shop._task_of(watch.champion)
        retained = self._old(prepared.split, champion).test
        new = task.adapter(run.folder)
        ours = evaluate.evaluate(task, new, retained, confidence=self._shop._confidence())
        theirs = self._shop._columns(champion, task, retained)
        watch.read("label")
        learned = [one.id for one in mixed.fresh]
        chosen = {*learned, *(one.id for one in mixed.holdout)}
        since = next((name for name in watch.ids if name in chosen), "")
        held = self._unseen(watch, learned, since)
        fresh = task.columns(answered(new, held)), task.columns(held)
        verdict = gate.gate(
            ours.columns, theirs, require=self._shop.config.require, options=self._shop.config.gate, estimates=ours.estimates,
            labels=task.labels, fresh=fresh,
        )  # fmt: skip
        about: dict[str, Any] = {
            "fresh": learned,
            "holdout": [one.id for one in held],
            "since": since,
            "replayed": len(mixed.replayed),
            "retained": {name: asdict(value) for name, value in ours.estimates.items()},
            "before": {name: asdict(value) for name, value in task.estimates(fresh[1]).items()},
        }
        estimates = dict(task.estimates(fresh[0])) | {"latency_ms": ours.estimates["latency_ms"]}
        reference = self._reference(champion, new, {*learned, *about["holdout"]}, held, fresh[0])
        made = self._shop._register(
            run, prepared, estimates, verdict, reference, parent=champion, extra={"update": about}
        )
        self._shop._columns(made, task, retained, ours.columns)
        return Fitted(made, run, verdict)

    def _unseen(self, watch: Watch, learned: Sequence[str], since: str) -> list[Record]:
        """The champion's labelled answers since the change that the candidate did not learn from, in label order, without
        those that were picked for what they are."""
        ids = watch.ids[watch.ids.index(since) :] if since in watch.ids else watch.ids
        trained = set(learned)
        return [
            one for one in record.labelled(self._shop.store, [i for i in ids if i not in trained]) if at_random(one)
        ]

    def _conclude(self, made: Version, verdict: gate.Verdict, because: Sequence[Finding], watch: Watch) -> None:
        """The promotion and the decision that says why commit together. A candidate that only lacks labels waits."""
        now = self._shop.registry.champion()
        if now is None or now.number != watch.champion.number:  # a person was quicker: their choice stands
            why = f"the champion changed to {now.name if now else 'none'} while {made.name} was made"
            verdict = replace(verdict, outcome="fail", why=why)
        passed = verdict.outcome == "pass"
        waits = verdict.outcome == "inconclusive" and _only_lacks_labels(verdict)
        action = "promote" if passed else "label" if waits else "reject"
        moment = event_time(self._shop.store, watch.monitor.findings())
        body = {
            "action": action, "why": verdict.why, "model": made.name,
            "checks": sorted({finding.check for finding in verdict.findings}),
            "because": [plain_finding(finding) for finding in (*because, *verdict.findings)],
        }  # fmt: skip
        self._shop.registry.folder(made)
        name = f"{made.name}/gate/{self._shop.store.last('decision')}"
        with self._shop.store.transaction():
            self._shop.store.append("decision", [Row(name, moment, body)])
            if passed:
                self._shop.registry.promote(made.number, why=verdict.why, because=verdict.findings)

    def waiting(self, champion: Version) -> Version | None:
        """The newest candidate of the champion whose gate lacks nothing but labels."""
        settled = {
            row.body["model"]
            for row in self._shop.store.scan("decision")
            if row.body["action"] in ("promote", "reject")
        }
        candidates = [
            made for made in self._shop.versions() if made.parent == champion.number and made.name not in settled
        ]
        return next((made for made in reversed(candidates) if _only_lacks_labels(self._shop._verdict_of(made))), None)

    def settle(self, candidate: Version, watch: Watch) -> None:
        """Judge a waiting candidate again once more labels came. The gate's evidence may be looked at after every label."""
        about = candidate.about["update"]
        held = self._unseen(watch, about["fresh"], about["since"])
        if len(held) < self._judged.get(candidate.number, len(about["holdout"])) + _MORE:
            return
        self._judged[candidate.number] = len(held)
        task = self._shop._task_of(candidate)
        new = task.adapter(self._shop.registry.folder(candidate))
        again = gate.gate(
            {},
            require={},
            options=self._shop.config.gate,
            fresh=(task.columns(answered(new, held)), task.columns(held)),
        )
        earlier = [finding for finding in self._shop._verdict_of(candidate).findings if finding.slice != "fresh"]
        verdict = replace(again, findings=(*earlier, *again.findings))
        if verdict.outcome != "inconclusive":
            self._conclude(candidate, verdict, (), watch)
        elif len(held) >= self._shop.config.update.max_labels:
            self._conclude(
                candidate,
                replace(verdict, outcome="fail", why=f"{len(held)} labels told nothing: {verdict.why}"),
                (),
                watch,
            )

    def _reference(
        self, champion: Version, adapter: Any, known: set[str], held: Sequence[Record], columns: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What the new version's good days look like: the held-out labels since the change, and recent unlabelled
        answers that nobody trained on, answered anew."""
        task = self._shop._task_of(champion)
        tags = self._shop.config.monitor.slices
        columns = with_tags(columns, held, tags)
        since = min((one.at for one in held), default=utc_now())
        recent = (record.from_row(row) for row in self._shop.store.scan("answer", newest_first=True, limit=UNLABELLED))
        plain = [
            replace(one, output=None, target=None)
            for one in recent
            if one.id not in known and one.at >= since and one.input
        ]
        if not plain:
            return columns
        more = with_tags(task.columns(answered(adapter, plain)), plain, tags)
        return {name: np.concatenate([columns[name], more[name]]) for name in columns if name in more}


def _only_lacks_labels(verdict: gate.Verdict) -> bool:
    """Whether everything was shown but that the candidate is better on the new answers, which more labels may show."""
    unmet = [(gate.outcome(finding), finding.slice) for finding in verdict.findings if gate.outcome(finding) != "pass"]
    return bool(unmet) and all(one == ("inconclusive", "fresh") for one in unmet)
