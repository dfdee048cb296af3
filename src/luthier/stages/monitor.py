"""Answers and late labels in; states of every time bucket and findings of every check out.

Needs neither torch nor our server: whoever has predictions as arrays or tables can watch them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from luthier import choice
from luthier.errors import StateError
from luthier.fewlabels.labelplan import LabelPlan, asked, design, shown
from luthier.options import MonitorOptions
from luthier.scoring import Scoring
from luthier.scoring.buckets import Buckets, between, fold, merged, metrics_of, named, read, seen, taken, without
from luthier.scoring.saved import WHEN, about, bytes_of, made, packed, unpacked
from luthier.tables import arrays, first_wrong, times, times_among
from luthier.tables.ordered import ids_of, in_order, repeated
from luthier.tables.predicates import Slices, group_of
from luthier.tables.tabular import is_stream, is_table, rows_of
from luthier.tables.waiting import Waiting
from luthier.types import Columns, Estimate, Finding, utc_now

__all__ = ["Monitor", "as_columns"]

_WAITING = 1_000_000  # answers whose label may still come, kept for `label`
_FEWEST = 50  # reference rows of a slice that stand for it; with fewer the whole reference does
_PLANNED = {"embedding", "confidence", "guess", "predicted", "champion_predicted"}  # what a label plan looks at
_LABELS = ("target", "loss", "gains", "ideal", "at_random")  # what a table of labels brings


class Monitor:
    """Watches one model against the reference of its good days.

    `reference`: a table (dictionary of arrays, Arrow, pandas, Polars) of held-out records that the model was accepted
    on: `predicted` or `probabilities` and `target`, or `loss`, for the risk checks; `confidence` and `embedding` for
    the label-free ones. `task`: its name or a `Scoring`, None: found from the columns; `said` says what was found.
    `columns`: our name to yours, such as {"predicted": "said"}; usual ones are known (`luthier.scoring.aliases`). A check whose
    columns are missing says so in its finding and never alarms. A window that is refused (StateError) changes nothing.

    >>> rng = np.random.default_rng(0)
    >>> good = {"loss": (rng.random(2000) < 0.1).astype(float)}
    >>> monitor = Monitor(good, checks=("risk.v1",))
    >>> monitor.observe("label", {"loss": (rng.random(500) < 0.1).astype(float)})[0].alarm
    False
    >>> monitor.observe("label", {"loss": (rng.random(500) < 0.3).astype(float)})[0].alarm
    True
    """

    def __init__(
        self,
        reference: Any,
        *,
        options: MonitorOptions | Mapping[str, Any] | None = None,
        checks: Sequence[Any] | None = None,
        subject: str = "model",
        task: str | Scoring | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        self.options = MonitorOptions.of(options)
        self.subject = subject
        scoring = Scoring.of(reference, task, columns)
        raw = scoring.read(reference)
        self.scoring = scoring.learn(raw)
        self._about = about(self.scoring, self.options.window_minutes)
        scored = self.scoring.score(raw)
        self._moving = times_among(reference) - {"at"}
        wanted = choice.chosen(self.options.checks if checks is None else checks, seen(scored, self._moving))
        self._checks = [made(check, self.options) for check in wanted]
        self._moving -= {name for check in self._checks for name in getattr(check, "columns", ())}
        self._reference = seen(scored, self._moving)
        self._metrics = metrics_of(self.scoring, group_of(self.options.group, scored))
        self._slices = Slices.of(self.options.slices, scored, self.scoring.names)
        self._pinned = self._slices.rows(self._reference)
        self._started: dict[tuple[str, str], dict[str, Any]] = {}
        self._memory: dict[tuple[str, str], dict[str, Any]] = {}
        self._latest: dict[tuple[str, str], Finding] = {}
        self._buckets: Buckets = {}
        self._waiting = Waiting(_WAITING)
        self.unknown_labels = 0

    @property
    def said(self) -> str:
        """The task, what the reference fixed for it, which columns no check reads because they hold times, and slices without rows."""
        moving = "".join(f"; {name} holds times: no check reads it" for name in sorted(self._moving))
        return self.scoring.said + moving + self._slices.said

    def answer(self, ids: Any, *, id: str = "id", at: Any = None, **columns: Any) -> list[Finding]:
        """Answers as they are given: a table with a column `id`, or ids and `columns`. Labels may come later by id.

        `at`: event times; the column `at` where None, and now without one. Raises StateError for an id that occurs
        twice or waits for its label already.
        """
        table = arrays({**self.scoring.read(ids if is_table(ids) else {}), **self.scoring.read(columns)})
        names = self._ids(table, id) if is_table(ids) else ids_of(ids)
        if table and len(names) != rows_of(table):
            raise StateError(f"{len(names)} ids for {rows_of(table)} answers: give one id an answer")
        again = repeated(names, self._waiting)
        first_wrong("id", again, names, "were answered before", "Give each answer once, under an id of its own")
        seconds = _times(table, at, len(names))
        self._fold("answer", table, seconds)
        self._waiting.add(names, {**table, "at": seconds})
        return self.findings("answer")

    def label(
        self, ids: Any, target: Any = None, *, loss: Any = None, at_random: Any = None, id: str = "id"
    ) -> list[Finding]:  # fmt: skip
        """Late labels for answers given before: a table with `id` and `target` (or `loss`), or these one by one.

        The event time is the answer's. `at_random` (n,): False keeps a label out of the checks, because its answer was
        picked for labelling for what it is (`Request.at_random` of a label plan). Ids that were never answered, or are
        labelled already, are passed over and counted in `unknown_labels`.
        """
        table = self.scoring.read(ids if is_table(ids) else {})
        names = self._ids(table, id) if is_table(ids) else ids_of(ids)
        given = table | self.scoring.read({"target": target, "loss": loss, "at_random": at_random})
        brought = {name: values for name, values in given.items() if name in _LABELS}
        rows = {name: len(values) for name, values in brought.items() if name != "at_random"}
        if not rows or set(rows.values()) != {len(names)}:
            raise StateError(f"{len(names)} ids need as many targets (or losses), not {[*rows.values()] or 0}")
        twice = repeated(names, ())
        known = [row for row, name in enumerate(names) if name in self._waiting and not twice[row]]
        if known:
            chosen = [names[row] for row in known]
            table = self._waiting.rows(chosen) | {name: values[known] for name, values in brought.items()}
            self._fold("label", *_fair("label", table, table.pop("at")))
            self._waiting.drop(chosen)
        self.unknown_labels += len(names) - len(known)
        return self.findings("label") if known else self.findings()

    def observe(self, when: str, columns: Any, *, at: Any = None) -> list[Finding]:
        """Fold one window: `when` "answer" as answers arrive, "label" as targets become known.

        `columns`: a table. `at`: event times, one for all or one a row (datetime, ISO text, numpy datetime64 or Unix
        seconds; UTC without a zone); the column `at` where None, and now without one. Labels whose `at_random` (n,) is
        False are left out: they do not stand for the traffic. Returns the newest finding of every check and slice that
        reads such windows. Raises StateError for a window that cannot be read, which then changes nothing.
        """
        table = self._window(when, columns)
        self._fold(when, *_fair(when, table, _times(table, at, rows_of(table))))
        return self.findings(when)

    def replay(self, when: str, shards: Sequence[Any], *, states: bool = True) -> list[Finding]:
        """Fold the rows of all shards in order of (event time, id): however they lie in shards, the same findings.

        A shard is a table, or an iterable of tables whose times rise (Parquet batches, say), with columns `at` and `id`;
        one part of each is in hand at a time. `states` False: only the checks read them, because the states of the
        buckets come from `merge`.
        """
        streams = [part if is_stream(part) else [part] for part in (shards if is_stream(shards) else [shards])]
        for table in in_order([(self._window(when, part) for part in stream) for stream in streams]):
            self._fold(when, *_fair(when, table, table["at"]), states=states)
        return self.findings(when)

    def merge(self, parts: Iterable[Monitor | bytes]) -> None:
        """Add what other monitors of the same reference and options saw, in any order: buckets, metrics, waiting answers.

        Bit for bit what one monitor that saw all their rows would hold. Raises StateError when more than one of them
        has run checks, whose evidence depends on the order of rows: make shards with checks=(), and let `replay` run them.
        """
        others = [unpacked(bytes_of(part), self._about) for part in (parts if is_stream(parts) else [parts])]
        memories = [memory for memory in (self._memory, *(other["memory"] for other in others)) if memory]
        if len(memories) > 1:
            raise StateError(
                f"{len(memories)} of the monitors have run {sorted({name for name, _ in memories[-1]})}: their evidence depends on "
                f"the order of rows and does not add up. Make shards with checks=(), and run the checks with replay"
            )
        ids = [name for other in others for name in other["waiting"]["ids"]]
        again = repeated(ids, self._waiting)
        first_wrong("id", again, ids, "wait in two of the monitors", "Give each row to one shard")
        for other in others:
            self._commit(merged(self._metrics, self._buckets, other["buckets"]), self._slices.beside(other["watched"]))
            self._remember(other)
            self._waiting.load(other["waiting"])
            self.unknown_labels += other["unknown_labels"]

    def label_plan(self, budget: int, decision: str = "worse", *, pool: int = 100_000, seed: int = 0) -> LabelPlan:
        """Which of the newest `pool` answers without a label to label next; see `luthier.fewlabels.labelplan.design`.

        For "better" the answers must have come with `champion_predicted`. People see the answers' column `input`, without
        one all they came with. Raises StateError without answers.
        """
        ids = self._waiting.newest(pool)
        given = self._waiting.rows(ids) if ids else {}
        scored = self.scoring.score(given)
        columns = {name: scored[name] for name in sorted(_PLANNED & scored.keys()) if scored[name].dtype.kind != "O"}
        columns["at"] = np.arange(len(ids))  # so that there is a column even where answers had nothing but an id
        plan = design(
            columns, budget, decision, reference=self._reference, limit=self.limit("risk"), arl=self.options.arl,
            seed=seed,
        )  # fmt: skip
        names = [str(one) for one in self.scoring.labels or ()]
        return asked(plan, ids, shown(given, plan.rows), columns, names=names, model=self.subject)

    def limit(self, name: str) -> float:
        """What the first check whose name begins so holds its value against, on the whole traffic; nan where none is watched."""
        check = next((one for one in self._checks if one.name.startswith(name)), None)
        return math.nan if check is None else float(self._start(check, "").get("reference", {}).get("limit", math.nan))

    def online(self, when: str) -> list[Any]:
        """Row-by-row detectors, from where they stand, of the checks of the whole traffic that have one; for `Stream`."""
        checks = [check for check in self._checks if check.when == when and hasattr(check, "online")]
        found = [check.online(self._memory.get((check.name, "")) or self._start(check, "")) for check in checks]
        return [one for one in found if one is not None]

    def findings(self, when: str | None = None) -> list[Finding]:
        """The newest finding of every check and slice: checks in their order, slices by name."""
        order = {check.name: place for place, check in enumerate(self._checks) if when in (None, check.when)}
        found = (finding for finding in self._latest.values() if finding.check in order)
        return sorted(found, key=lambda finding: (order[finding.check], finding.slice))

    @property
    def began(self) -> datetime | None:
        """Start of the oldest bucket of event time; None before anything was seen."""
        return datetime.fromisoformat(min(self._buckets)) if self._buckets else None

    def metrics(self, *, since: Any = None, until: Any = None, slice: str = "") -> dict[str, Estimate]:
        """Every number of the task with its interval, over the buckets that begin in [since, until); NaN without rows."""
        self._slices.known(slice, self._buckets.values())
        low, high = (None if end is None else float(times(end, 1)[0]) for end in (since, until))
        return read(self._metrics, between(self._buckets, slice, low, high), self.scoring.labels)

    def timeline(self, *names: str, slice: str = "") -> list[dict[str, Any]]:
        """One row a bucket of event time, oldest first: `at` (start, UTC) and Estimates; `loss` and `confidence` if none is named.
        Raises StateError for a metric or slice that there is not."""
        self._slices.known(slice, self._buckets.values())
        named(names, self._metrics, self._buckets, self._reference, self.scoring.labels)
        wanted = names or ("loss", "confidence")
        metrics = [one for one in self._metrics if names or one.name in wanted]
        rows = []
        for start, states in sorted(self._buckets.items()):
            numbers = read(metrics, [states[slice]] if slice in states else [], self.scoring.labels)
            rows.append(
                {"at": datetime.fromisoformat(start)} | {name: numbers.get(name, Estimate()) for name in wanted}
            )
        return rows

    @property
    def slices(self) -> list[str]:
        """The slices of which something was seen, by name."""
        return sorted({name for states in self._buckets.values() for name in states if name})

    def spans(self, at: Any) -> list[tuple[datetime, datetime]]:
        """The buckets [start, end) that hold these event times, in order."""
        width = self.options.window_minutes * 60
        starts = np.unique(np.floor(times(at, len(at)) / width)).tolist()
        return [tuple(datetime.fromtimestamp(edge * width, UTC) for edge in (one, one + 1)) for one in starts]  # type: ignore[misc]

    def rebuild(self, when: str, columns: Any, *, at: Any) -> None:
        """Replace the states of the buckets that hold `at` by these columns: all rows of those buckets, corrected."""
        table = self._window(when, columns)
        seconds = _times(table, at, rows_of(table))
        gone = [start.isoformat() for start, _ in self.spans(seconds)]
        left = without(self._buckets, gone, {metric.name for metric in self._metrics if metric.when == when})
        table, seconds = _fair(when, table, seconds)
        scored = self._scored(when, table)
        slices, rows = self._slices.seen(scored)
        self._commit(left | merged(self._metrics, left, self._states(when, scored, seconds, rows)), slices)

    def save(self) -> bytes:
        """Everything learned since the start, as bytes for `restore`; the reference is not in it."""
        return packed(
            {
                "memory": self._memory, "latest": self._latest, "buckets": self._buckets, "about": self._about,
                "waiting": self._waiting.plain(), "unknown_labels": self.unknown_labels,
                "watched": dict(self._slices.others),
            }
        )  # fmt: skip

    def restore(self, saved: bytes) -> None:
        """Go on where `save` was called; the reference and options must be the same.

        Raises StateError when the bytes are not from `save`, or of a monitor of another task or width of buckets.
        """
        state = unpacked(saved, self._about)
        self._memory, self._latest, self._buckets = {}, {}, state["buckets"]
        self._slices = Slices(self._slices.pinned, dict.fromkeys(self.options.slices, ())).beside(state["watched"])
        self._remember(state)
        self._waiting = Waiting(_WAITING)
        self._waiting.load(state["waiting"])
        self.unknown_labels = state["unknown_labels"]

    # -- reading ----

    def _ids(self, table: dict[str, np.ndarray], name: str) -> list[str]:
        if name not in table:
            raise StateError(f"the table has no column {name!r} of ids; there are {sorted(table)}. Name yours: id=…")
        return ids_of(table.pop(name))

    def _window(self, when: str, columns: Any) -> dict[str, np.ndarray]:
        if when not in WHEN:
            raise StateError(f"when is {when!r}; it must be 'answer' or 'label'")
        return self.scoring.read(columns)

    def _scored(self, when: str, table: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        scored = self.scoring.score(table)
        usual = self.scoring.task == "loss" and table.keys() & (self._reference.keys() | _PLANNED)
        if when == "label" and scored and "loss" not in scored and not usual:  # rows without their loss are missing
            raise StateError(
                f"labels of task {self.scoring.task} need `target` beside `predicted` (or `gains`, or `loss`); there are "
                f"{sorted(table)}. Name yours with columns={{'target': …}}"
            )
        return scored

    # -- folding: everything is worked out first, and kept only when nothing was refused ----

    def _fold(self, when: str, table: dict[str, np.ndarray], seconds: np.ndarray, *, states: bool = True) -> None:
        if not len(seconds):
            return
        scored = self._scored(when, table)
        slices, rows = self._slices.seen(scored)
        columns = {"at": seconds} | seen(scored, self._moving)
        checks = [check for check in self._checks if check.when == when]
        stepped = {
            (check.name, name): self._step(check, name, _rows(columns, chosen), _rows({"at": seconds}, chosen)["at"])
            for name, chosen in [("", None), *rows] for check in checks
        }  # fmt: skip
        fresh = self._states(when, scored, seconds, rows) if states else {}
        self._memory |= {key: memory for key, (memory, _) in stepped.items()}
        self._latest |= {key: finding for key, (_, finding) in stepped.items()}
        self._commit(merged(self._metrics, self._buckets, fresh), slices)

    def _states(self, when: str, scored: Columns, seconds: np.ndarray, rows: Any) -> Buckets:
        metrics = [metric for metric in self._metrics if metric.when == when]
        return fold(metrics, scored, seconds, self.options.window_minutes * 60, [("", None), *rows])

    def _step(self, check: Any, name: str, window: Columns, seconds: np.ndarray) -> tuple[dict[str, Any], Finding]:
        key = (check.name, name)
        try:
            memory, finding = check.step(self._memory.get(key) or self._start(check, name), window)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            held = ", ".join(f"{name} {values.dtype} {values.shape}" for name, values in sorted(window.items()))
            raise StateError(
                f"{check.name} cannot read this window ({type(error).__name__}: {error}), which holds {held}. Give its columns "
                f"the types of the reference's, or leave the check out; nothing was folded"
            ) from error
        at, before = datetime.fromtimestamp(float(seconds.max()), UTC), self._latest.get(key)
        at = max(at, before.at) if before and before.at else at  # a clock that runs backwards changes nothing
        return memory, replace(finding, subject=self.subject, slice=name, at=at)

    def _commit(self, buckets: Buckets, slices: Slices) -> None:
        """Take over the new states of some buckets; slices that are watched no longer go."""
        before, names = self._slices.names, slices.names
        self._slices, self._buckets = slices, taken(self._buckets, buckets, names, dropped=not before <= names)
        for key in [key for key in self._memory if key[1] and key[1] not in names]:
            for held in (self._memory, self._latest, self._started):
                held.pop(key, None)

    def _remember(self, state: Mapping[str, Any]) -> None:
        """Memories and findings of the checks there are; what `step` never changes is derived again."""
        known = {check.name: check for check in self._checks}
        for (check, name), memory in state["memory"].items():
            if check in known:
                start = self._start(known[check], name)
                static = {"reference": start["reference"]} if "reference" in start else {}
                self._memory[check, name] = {**memory, **static}
        self._latest |= {key: finding for key, finding in state["latest"].items() if key[0] in known}

    def _start(self, check: Any, name: str) -> dict[str, Any]:
        chosen = self._pinned.get(name, ())
        key = (check.name, name if len(chosen) >= _FEWEST else "")  # the whole reference is learned once
        if key not in self._started:
            self._started[key] = check.start(_rows(self._reference, chosen) if key[1] else self._reference)
        return self._started[key]


def as_columns(**columns: Any) -> dict[str, np.ndarray]:
    """Arrays as people have them to the columns that checks read, all of one length n.

    `probabilities` (n, k) gives confidence, margin, entropy and predicted; `predicted` and `target` together give
    `loss` of the task that they look like; see `luthier.scoring`. None is absent.

    Raises StateError when lengths differ or `loss` leaves [0, 1].
    """
    table = arrays(columns)
    return seen(Scoring().learn(table).score(table))


def _times(table: Mapping[str, np.ndarray], at: Any, n: int) -> np.ndarray:
    return times(table.get("at", utc_now()) if at is None else at, n)


def _fair(when: str, table: dict[str, np.ndarray], seconds: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The rows that stand for the traffic, and their event times."""
    if when == "answer" or "at_random" not in table:
        return table, seconds
    chosen = np.asarray(table["at_random"], bool)
    return {name: values[chosen] for name, values in table.items() if name != "at_random"}, seconds[chosen]


def _rows(columns: Columns, chosen: Any) -> dict[str, np.ndarray]:
    return dict(columns) if chosen is None else {name: values[chosen] for name, values in columns.items()}
