"""Answers and late labels in; states of every time bucket and findings of every check out.

Needs neither torch nor our server: whoever has predictions as numpy arrays can watch them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np

from luthier import choice, codec
from luthier.errors import StateError
from luthier.labelplan import LabelPlan, asked, design
from luthier.names import get
from luthier.options import MonitorOptions
from luthier.types import Columns, Estimate, Finding, Promise, utc_now

__all__ = ["Monitor", "as_columns"]

_WAITING = 1_000_000  # answers whose label may still come, kept for `label`
_BUCKETS = 10_000  # buckets of event time kept, a year of hours; the oldest go first
_SLICES = 100  # values of one tag that are watched on their own
_PLANNED = {"embedding", "confidence", "guess", "predicted", "champion_predicted"}  # what a label plan looks at
_SUMMARIES = {"answer": ("confidence",), "label": ("loss",)}


class Monitor:
    """Watches one model against the reference of its good days.

    `reference`: columns (see `luthier.types.Columns`) of held-out records that the model was accepted on: at least
    `loss` for the risk checks, `confidence` and `embedding` for the label-free ones. A check whose columns are
    missing says so in its finding and never alarms.

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
        reference: Mapping[str, Any],
        *,
        options: MonitorOptions | None = None,
        checks: Sequence[Any] = (),
        subject: str = "model",
    ) -> None:
        self.options = options or MonitorOptions()
        self.subject = subject
        self._reference = as_columns(**reference)
        wanted = choice.chosen(checks or self.options.checks, self._reference)
        self._checks = [_made(check, self.options) for check in wanted]
        self._started: dict[tuple[str, str], Any] = {}
        self._memory: dict[tuple[str, str], dict[str, Any]] = {}
        self._latest: dict[tuple[str, str], Finding] = {}
        self._buckets: dict[str, dict[str, Any]] = {}
        self._waiting: OrderedDict[str, Any] = OrderedDict()
        self.unknown_labels = 0

    def answer(self, ids: Sequence[str], *, at: Any = None, **arrays: Any) -> list[Finding]:
        """Answers as they are given; see `as_columns` for `arrays`. Their labels may come later by id."""
        columns = as_columns(**arrays)
        if len(ids) != _rows(columns):
            raise StateError(f"{len(ids)} ids for {_rows(columns)} answers: give one id an answer")
        moments = _moments(at, len(ids))
        for index, identifier in enumerate(ids):
            self._waiting[identifier] = ({name: array[index] for name, array in columns.items()}, moments[index])
        while len(self._waiting) > _WAITING:
            self._waiting.popitem(last=False)
        return self.observe("answer", columns, at=moments)

    def label(
        self, ids: Sequence[str], target: Any = None, *, loss: Any = None, at_random: Any = None
    ) -> list[Finding]:  # fmt: skip
        """Late labels for answers given before; `loss` (n,) in [0, 1], else 1 where `predicted` is not `target`.

        `at_random` (n,): False keeps a label out of the checks, because its answer was picked for labelling for what it
        is (`Request.at_random` of a label plan). Ids that were never answered, or are labelled already, are passed over
        and counted in `unknown_labels`.
        """
        values = [loss, target][loss is None]
        if values is None or len(values) != len(ids):
            raise StateError(
                f"{len(ids)} ids need as many targets (or losses), not {0 if values is None else len(values)}"
            )
        self.unknown_labels += sum(name not in self._waiting for name in ids)
        known = [(i, self._waiting.pop(name)) for i, name in enumerate(ids) if name in self._waiting]
        if not known:
            return self.findings()
        columns = {name: np.array([row[name] for _, (row, _) in known]) for name in known[0][1][0]}
        given = np.asarray(values)[[i for i, _ in known]]
        if loss is None:
            if "predicted" not in columns:
                raise StateError("labels by target need the answers' `predicted`; or give `loss`")
            columns["target"] = given
            columns["loss"] = (columns["predicted"] != given).astype(np.float64)
        else:
            columns["loss"] = np.asarray(given, dtype=np.float64)
        if at_random is not None:
            columns["at_random"] = np.asarray(at_random, bool)[[i for i, _ in known]]
        return self.observe("label", columns, at=np.array([moment for _, (_, moment) in known]))

    def observe(self, when: str, columns: Columns, *, at: Any = None) -> list[Finding]:
        """Fold one window: `when` "answer" as answers arrive, "label" as targets become known.

        `at`: event times, one a row (datetime, ISO text, numpy datetime64 or Unix seconds); now where None.
        Labels whose `at_random` (n,) is False are left out: they do not stand for the traffic.
        Returns the newest finding of every check and slice that reads such windows.
        """
        if when not in _SUMMARIES:
            raise StateError(f"when is {when!r}; it must be 'answer' or 'label'")
        n = _rows(columns)
        if n == 0:
            return self.findings(when)
        columns, moments = _fair(columns, _moments(at, n)) if when == "label" else (columns, _moments(at, n))
        if not moments:
            return self.findings(when)
        newest = max(moments)
        self._fold(when, columns, moments)
        if "at" not in columns:
            columns = {**columns, "at": np.array([moment.timestamp() for moment in moments])}
        for name, chosen in self._slices(columns):
            window = columns if chosen is None else {key: np.asarray(value)[chosen] for key, value in columns.items()}
            for check in self._checks:
                if check.when == when:
                    self._step(check, name, window, newest)
        return self.findings(when)

    def label_plan(
        self, budget: int, decision: str = "worse", *, pool: int = 100_000, seed: int = 0
    ) -> LabelPlan:  # fmt: skip
        """Which of the newest `pool` answers without a label to label next; see `luthier.labelplan.design`.

        For "better" the answers must have come with `champion_predicted`. Raises StateError without answers.
        """
        newest = [(name, row) for name, (row, _) in islice(reversed(self._waiting.items()), pool)]
        shared = set.intersection(*(set(row) for _, row in newest)) & _PLANNED if newest else set()
        columns = {name: np.array([row[name] for _, row in newest]) for name in sorted(shared)}
        columns["at"] = np.arange(len(newest))  # so that there is a column even where answers had nothing but an id
        plan = design(
            columns, budget, decision, reference=self._reference, limit=self.limit("risk"), arl=self.options.arl,
            seed=seed,
        )  # fmt: skip
        ids = [name for name, _ in newest]
        return asked(plan, ids, [None] * len(ids), columns, model=self.subject)

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
        """The newest finding of every check and slice."""
        reads = {check.name: check.when for check in self._checks}
        return [finding for finding in self._latest.values() if when is None or reads.get(finding.check) == when]

    @property
    def began(self) -> datetime | None:
        """Start of the oldest bucket of event time; None before anything was seen."""
        return datetime.fromisoformat(min(self._buckets)) if self._buckets else None

    def timeline(self) -> list[dict[str, Any]]:
        """One row a bucket of event time: `at` (start, UTC), `loss` and `confidence` as Estimates, oldest first."""
        summary = get("statistic", "mean.v1")
        rows = []
        for start, states in sorted(self._buckets.items()):
            read = {name: summary(column=name).read(state) for name, state in states.items()}
            rows.append(
                {"at": datetime.fromisoformat(start)}
                | {name: read[name]["mean"] if name in read else Estimate() for name in ("loss", "confidence")}
            )
        return rows

    def spans(self, at: Any) -> list[tuple[datetime, datetime]]:
        """The buckets [start, end) that hold these event times, in order."""
        width = self.options.window_minutes * 60
        starts = sorted({moment.timestamp() // width * width for moment in _moments(at, len(at))})
        return [(datetime.fromtimestamp(s, UTC), datetime.fromtimestamp(s + width, UTC)) for s in starts]

    def rebuild(self, when: str, columns: Columns, *, at: Any) -> None:
        """Replace the states of the buckets that hold `at` by these columns: all rows of those buckets, corrected."""
        moments = _moments(at, _rows(columns))
        for start, _ in self.spans(moments):
            states = self._buckets.get(start.isoformat(), {})
            for name in _SUMMARIES[when]:
                states.pop(name, None)
        self._fold(when, *(_fair(columns, moments) if when == "label" else (columns, moments)))

    def save(self) -> bytes:
        """Everything learned since the start, as bytes for `restore`; the reference is not in it."""
        return codec.pack(
            {
                "version": 1,
                "memory": [
                    [check, name, {key: value for key, value in memory.items() if key != "reference"}]
                    for (check, name), memory in self._memory.items()
                ],
                "latest": [[check, name, _plain(finding)] for (check, name), finding in self._latest.items()],
                "buckets": self._buckets,
            }
        )

    def restore(self, saved: bytes) -> None:
        """Go on where `save` was called; the reference and options must be the same.

        Raises StateError when the bytes are not from `save`.
        """
        state = codec.unpack(saved)
        if not isinstance(state, dict) or state.get("version") != 1:
            raise StateError(
                "the saved monitor is not of version 1: it was written by something else or a newer Luthier"
            )
        known = {check.name: check for check in self._checks}
        for check, name, memory in state["memory"]:
            if check in known:
                start = self._start(known[check], name)
                static = {"reference": start["reference"]} if "reference" in start else {}
                self._memory[check, name] = {**memory, **static}
        self._latest = {(check, name): _finding(plain) for check, name, plain in state["latest"] if check in known}
        self._buckets = state["buckets"]

    def _fold(self, when: str, columns: Columns, moments: list[datetime]) -> None:
        names = [name for name in _SUMMARIES[when] if name in columns]
        width = self.options.window_minutes * 60
        seconds = np.array([moment.timestamp() for moment in moments])
        starts = np.floor(seconds / width) * width
        for start in np.unique(starts):
            chosen = starts == start
            key = datetime.fromtimestamp(float(start), UTC).isoformat()
            states = self._buckets.setdefault(key, {})
            for name in names:
                summary = get("statistic", "mean.v1")(column=name)
                fresh = summary.observe({name: np.asarray(columns[name])[chosen]})
                states[name] = summary.merge(states[name], fresh) if name in states else fresh
        for old in sorted(self._buckets)[: max(len(self._buckets) - _BUCKETS, 0)]:
            del self._buckets[old]

    def _slices(self, columns: Columns) -> list[tuple[str, np.ndarray | None]]:
        found: list[tuple[str, np.ndarray | None]] = [("", None)]
        for tag in self.options.slices:
            values = columns.get(f"tag:{tag}")
            if values is not None:
                array = np.asarray(values).astype(str)
                found += [(f"{tag}={value}", array == value) for value in np.unique(array)[:_SLICES] if value]
        return found

    def _step(self, check: Any, name: str, window: Columns, newest: datetime) -> None:
        key = (check.name, name)
        memory = self._memory.get(key) or self._start(check, name)
        fresh, finding = check.step(memory, window)
        self._memory[key] = fresh
        before = self._latest.get(key)
        at = max(newest, before.at) if before and before.at else newest  # a clock that runs backwards changes nothing
        self._latest[key] = replace(finding, subject=self.subject, slice=name, at=at)

    def _start(self, check: Any, name: str) -> dict[str, Any]:
        key = (check.name, name)
        if key not in self._started:
            self._started[key] = check.start(self._reference_of(name))
        started: dict[str, Any] = self._started[key]
        return started

    def _reference_of(self, name: str) -> Columns:
        """The reference rows of a slice, or all of them where the reference knows fewer than 50."""
        tag, _, value = name.partition("=")
        values = self._reference.get(f"tag:{tag}")
        if not name or values is None:
            return self._reference
        chosen = np.asarray(values).astype(str) == value
        return {k: np.asarray(v)[chosen] for k, v in self._reference.items()} if chosen.sum() >= 50 else self._reference


def as_columns(**arrays: Any) -> dict[str, np.ndarray]:
    """Arrays as people have them to columns, all of one length n.

    `probabilities` (n, k) gives confidence, margin, entropy and predicted; `predicted` and `target` together give
    `loss` (0 right, 1 wrong); whatever else is one-dimensional, or `embedding` (n, d), is taken as it is. None is
    absent.

    Raises StateError when lengths differ or `loss` leaves [0, 1].
    """
    columns = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    if "probabilities" in columns:
        columns = _from_probabilities(columns.pop("probabilities").astype(np.float64)) | columns
    lengths = {name: len(array) if array.ndim else -1 for name, array in columns.items()}
    if len(set(lengths.values())) > 1 or -1 in lengths.values():
        raise StateError(f"columns must be arrays of one length, one row a record; lengths are {lengths}")
    if "loss" not in columns and {"predicted", "target"} <= columns.keys():
        columns["loss"] = (columns["predicted"] != columns["target"]).astype(np.float64)
    if "loss" in columns:
        columns["loss"] = columns["loss"].astype(np.float64)
        if ((columns["loss"] < 0) | (columns["loss"] > 1)).any():
            raise StateError("loss must lie in [0, 1], 0 right; scale it by its largest possible value")
    return columns


def _from_probabilities(p: np.ndarray) -> dict[str, np.ndarray]:
    if p.ndim == 1:
        p = np.stack([1 - p, p], axis=1)
    if p.ndim != 2 or p.shape[1] < 2:
        raise StateError(f"probabilities must be (n, k) with k ≥ 2, or (n,) of the second class; not {p.shape}")
    best = np.sort(p, axis=1)[:, -2:]  # (n, 2), ascending
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=1)
    return {
        "predicted": p.argmax(axis=1),
        "confidence": best[:, 1],
        "margin": best[:, 1] - best[:, 0],
        "entropy": entropy,
    }


def _made(check: Any, options: MonitorOptions) -> Any:
    """A check by name takes from the options whatever it has a field for; None only where the field allows it."""
    if not isinstance(check, str):
        return check
    kind = get("check", check)
    types = {field.name: str(field.type) for field in fields(kind)} if is_dataclass(kind) else {}
    given = {name: getattr(options, name) for name in types if hasattr(options, name)}
    return kind(**{name: value for name, value in given.items() if value is not None or "None" in types[name]})


def _rows(columns: Columns) -> int:
    return max((len(array) for array in columns.values()), default=0)


def _fair(columns: Columns, moments: list[datetime]) -> tuple[Columns, list[datetime]]:
    """The rows that stand for the traffic."""
    if "at_random" not in columns:
        return columns, moments
    chosen = np.asarray(columns["at_random"], bool)
    kept = {name: np.asarray(array)[chosen] for name, array in columns.items() if name != "at_random"}
    return kept, [moment for moment, fair in zip(moments, chosen, strict=True) if fair]


def _moments(at: Any, n: int) -> list[datetime]:
    if at is None:
        return [utc_now()] * n
    if isinstance(at, datetime | str):
        return [_moment(at)] * n
    if len(at) != n:
        raise StateError(f"{len(at)} event times for {n} rows: give one a row")
    return [_moment(value) for value in at]


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    elif isinstance(value, np.datetime64):
        value = float(value.astype("datetime64[us]").astype(np.int64)) / 1e6
    if not isinstance(value, datetime):
        value = datetime.fromtimestamp(float(value), UTC)
    moment: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return moment


def _plain(finding: Finding) -> dict[str, Any]:
    plain: dict[str, Any] = {field.name: getattr(finding, field.name) for field in fields(finding)}
    return plain | {
        "promise": [finding.promise.kind, finding.promise.level],
        "at": finding.at.isoformat() if finding.at else None,
    }


def _finding(plain: dict[str, Any]) -> Finding:
    at = datetime.fromisoformat(plain["at"]) if plain["at"] else None
    return Finding(**{**plain, "promise": Promise(*plain["promise"]), "at": at})
