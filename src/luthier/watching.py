"""One champion's watch: its monitor and how far it has read the store, saved together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from luthier import codec
from luthier.config import Config
from luthier.reading.near import text_vectors
from luthier.rootcause import RootCause, explain
from luthier.rows import plain
from luthier.series.arrivals import Arrivals
from luthier.stages import detect, record, version
from luthier.stages.monitor import Monitor
from luthier.stages.registry import plain_finding
from luthier.stores.base import Row, Store
from luthier.tables.tabular import rows_of
from luthier.types import Decision, Finding, Record, Version, utc_now
from luthier.workshop import Progress, tags_of, with_tags

__all__ = ["UNLABELLED", "Watch", "event_time"]

UNLABELLED = 500
"""Recent unlabelled answers that are looked at: to be labelled, or to show a new version what inputs look like now."""

_CHUNK = 5_000  # rows folded in one transaction
_RECENT = 20_000  # labelled answers among which the change is looked for
_COMPARED = 5_000  # labelled answers on either side of the change among which its cause is looked for
_BEFORE = 200  # labelled answers before the change; with fewer the reference stands for them
_SHOWN = 200  # characters of an input that a decision shows
_ARRIVALS = "arrivals"  # when answers came, whichever version gave them


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What one fold took: the champion's records, the findings after them, and records whose label was corrected."""

    records: Sequence[Record] = ()
    findings: Sequence[Finding] = ()
    corrected: Sequence[Record] = ()


class Watch:
    """Reads answers and labels of one version, each exactly once, into its monitor.

    `since`: the store's seq before which the version cannot have answered (its first promotion). `ids` and `losses`: the
    newest labelled answers, in the order in which the labels came.
    """

    def __init__(
        self, store: Store, champion: Version, folder: Path, task: Any, config: Config, *, since: int = 0
    ) -> None:
        self.champion = champion
        self._reference = version.read_reference(folder)
        subject = f"{config.name} {champion.name}"
        later = {f"tag:{tag}": np.full(rows_of(self._reference), "") for tag in tags_of(config.monitor.slices)}
        self.monitor = Monitor(later | self._reference, options=config.monitor, subject=subject, task="loss")
        self.ids: list[str] = []
        self.losses = np.zeros(0)
        self._times = np.zeros(0)  # Unix seconds of these answers
        self._alarmed: dict[str, float] = {}  # when each check first alarmed, in the same time
        self._store, self._task, self._tags = store, task, config.monitor.slices
        self._answers = self._labels = since  # cursors: the seq of the last row that was read
        if saved := store.recall(self._name):
            self._load(saved)
        came = store.recall(_ARRIVALS)
        self.arrivals = Arrivals.read(codec.unpack(came)) if came else Arrivals()

    @property
    def _name(self) -> str:
        return f"watch/{self.champion.name}"

    def read(self, when: str, progress: Progress | None = None) -> int:
        """Read what is new: `when` "answer" or "label"; how many rows of the champion there were.

        Chunk by chunk; cursor, states and findings commit together, so a crash neither drops nor doubles a row.
        """
        newest, taken = max(self._store.last(when), self._store.last("join")), 0
        corrected: list[Record] = []
        while chunk := self._chunk(when):
            with self._store.transaction():
                self._keep(when, chunk)
            taken += len(chunk.records)
            corrected.extend(chunk.corrected)
            if progress:
                progress(f"reading {when}s", min(self._cursor(when) / max(newest, 1), 1.0), {"rows": taken})
        if corrected:
            self._rebuild(corrected)
        return taken

    def unread(self) -> dict[str, bool]:
        """Whether there are rows that were not read yet."""
        labels = max(self._store.last("label"), self._store.last("join"))
        return {"answer": self._store.last("answer") > self._answers, "label": labels > self._labels}

    def silence(self) -> Finding | None:
        """Whether answers have stopped coming; None where event times do not follow the clock. Call it after `read`."""
        now = utc_now()
        found = self.arrivals.silence(now.timestamp())
        self.arrivals = replace(self.arrivals, seen=now.timestamp())
        if found is None:
            return None
        if found.alarm:  # so that a wait that ends is known for as long as it was
            self._store.remember(_ARRIVALS, codec.pack(self.arrivals.plain()))
        return replace(found, subject=self.monitor.subject, slice="silence", at=now)

    def labels_since(self, loud: Sequence[Finding]) -> int:
        """Labels since the change: since losses rose, where labels say that they did; else since the inputs' alarm."""
        if any(one.check.startswith("risk") for one in loud):
            return len(self.since_change())
        since = min((self._alarmed.get(one.check, np.inf) for one in loud), default=np.inf)
        return int((self._times >= since).sum())

    def since_change(self) -> list[str]:
        """Ids of the labelled answers after the most likely moment of the change, in label order."""
        return self.ids[detect.change_point(self.losses) :]

    def explained(self, decision: Decision) -> tuple[Decision, dict[str, Any]]:
        """The decision with the cause of the loss in its risk findings' `why`, and that cause as plain data."""
        if not any(one.check.startswith("risk") for one in decision.because):
            return decision, {}
        at = detect.change_point(self.losses)
        after = record.labelled(self._store, self.ids[at:][:_COMPARED])
        before = record.labelled(self._store, self.ids[:at][-_COMPARED:]) if at >= _BEFORE else []
        old = self._features(before) if before else self._reference
        cause = explain(self._named(old), self._named(self._features(after)))
        told = [
            replace(one, why=f"{one.why}. {cause.why}") if one.check.startswith("risk") else one
            for one in decision.because
        ]
        return replace(decision, because=tuple(told)), _plain_cause(cause, before, after)

    def _features(self, records: Sequence[Record]) -> dict[str, Any]:
        """Columns in which a cause is looked for: the task's, every tag there is, and vectors of texts without any."""
        own = {tag for one in records for tag in one.tags if not tag.startswith("luthier.")}
        tags = sorted(own | set(self._tags))
        columns = with_tags(self._task.columns(records), records, tags)
        if "embedding" not in columns and all(isinstance(one.input, str) for one in records):
            columns["embedding"] = text_vectors([one.input for one in records])
        return columns

    def _named(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """`target` by the labels' names, without what answer and target say together: an error does not explain itself."""
        kept = {name: array for name, array in columns.items() if name not in ("predicted", "target_score")}
        if "target" in kept:
            names = np.array(["", *map(str, self.champion.about["labels"])])
            kept["target"] = names[np.asarray(kept["target"]).astype(np.int64) + 1]
        return kept

    def _cursor(self, when: str) -> int:
        return self._answers if when == "answer" else self._labels

    def _chunk(self, when: str) -> _Chunk | None:
        """Fold the next rows into the monitor; None when there are none."""
        before = self._cursor(when)
        records, corrected = self._next(when)
        if self._cursor(when) == before:
            return None
        mine = [one for one in records if one.model == self.champion.name]
        if not mine:
            return _Chunk(corrected=corrected)
        columns = self._columns(mine)
        findings = self.monitor.observe(when, columns, at=[one.at for one in mine])
        for finding in findings:
            if finding.alarm and finding.at:
                self._alarmed.setdefault(finding.check, finding.at.timestamp())
        if when == "label":
            self._times = np.concatenate([self._times, [one.at.timestamp() for one in mine]])[-_RECENT:]
            self.ids = [*self.ids, *(one.id for one in mine)][-_RECENT:]
            self.losses = np.concatenate([self.losses, columns["loss"]])[-_RECENT:]
        return _Chunk(mine, findings, corrected)

    def _columns(self, records: Sequence[Record]) -> dict[str, Any]:
        return with_tags(self._task.columns(records), records, self._tags)

    def _next(self, when: str) -> tuple[list[Record], list[Record]]:
        """Newly answered or newly labelled records, and those whose label was corrected; moves the cursor."""
        if when == "answer":
            rows = list(self._store.scan("answer", since=self._answers, limit=_CHUNK))
            self._answers = rows[-1].seq if rows else self._answers
            self.arrivals = self.arrivals.after([row.at.timestamp() for row in rows], utc_now().timestamp())
            return [record.from_row(row) for row in rows], []
        joined = record.joined(self._store, self._labels, limit=_CHUNK)
        self._labels = joined.cursor
        return list(joined.records), [one for one in joined.corrected if one.model == self.champion.name]

    def _keep(self, when: str, chunk: _Chunk) -> None:
        cursor = self._cursor(when)
        rows = [
            Row(f"{self.champion.name}/{one.check}/{one.slice}/{cursor}", one.at or utc_now(), plain_finding(one))
            for one in chunk.findings
        ]
        self._store.append("finding", rows)
        self._store.remember(self._name, self._save())
        if when == "answer":
            self._store.remember(_ARRIVALS, codec.pack(self.arrivals.plain()))

    def _rebuild(self, corrected: Sequence[Record]) -> None:
        """A corrected label rebuilds its bucket from the records. The evidence of the checks stays as it was: what was
        believed when they spoke is part of their promise. The write lock keeps new labels out meanwhile."""
        with self._store.transaction():
            while chunk := self._chunk("label"):
                self._keep("label", chunk)
            for start, end in self.monitor.spans([one.at for one in corrected]):
                ids = [row.id for row in self._store.scan("answer", start=start, end=end)]
                final = [one for one in record.labelled(self._store, ids) if one.model == self.champion.name]
                self.monitor.rebuild("label", self._columns(final), at=[one.at for one in final])
            losses = dict(zip(self.ids, self.losses, strict=True))
            fixed = self._columns(corrected)["loss"]
            losses |= {one.id: loss for one, loss in zip(corrected, fixed, strict=True) if one.id in losses}
            self.losses = np.array([losses[name] for name in self.ids])
            self._keep("label", _Chunk())

    def _save(self) -> bytes:
        state = {"answers": self._answers, "labels": self._labels, "ids": self.ids, "losses": self.losses}
        state |= {"times": self._times, "alarmed": self._alarmed}
        return codec.pack(state | {"monitor": np.frombuffer(self.monitor.save(), np.uint8)})

    def _load(self, saved: bytes) -> None:
        state = codec.unpack(saved)
        self.monitor.restore(state["monitor"].tobytes())
        self._answers, self._labels, self.ids, self.losses = (state[k] for k in ("answers", "labels", "ids", "losses"))
        self._times, self._alarmed = state["times"], dict(state["alarmed"])


def event_time(store: Store, findings: Sequence[Finding]) -> datetime:
    """The event time that findings, or without any the answers, have come to."""
    newest = store.scan("answer", newest_first=True, limit=1)
    return max((one.at for one in findings if one.at), default=None) or next((row.at for row in newest), utc_now())


def _plain_cause(cause: RootCause, before: Sequence[Record], after: Sequence[Record]) -> dict[str, Any]:
    """A cause as a decision row keeps it; its examples with ids, and with inputs where those are recorded."""

    def shown(records: Sequence[Record], row: int) -> Mapping[str, Any]:
        if not records:
            return {"id": f"reference row {row}", "input": None}
        text = records[row].input
        return {"id": records[row].id, "input": text[:_SHOWN] if isinstance(text, str) else None}

    examples = [
        {"after": shown(after, one.after), "before": shown(before, one.before), "loss": one.loss,
         "before_loss": one.before_loss, "distance": one.distance, "usual": one.usual}
        for one in cause.examples
    ]  # fmt: skip
    found: dict[str, Any] = plain(
        asdict(cause) | {"features": [asdict(one) for one in cause.features[:5]], "examples": examples}
    )
    return found
