"""States of statistics by bucket of event time and slice: they add up over buckets, processes and machines."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError, among
from luthier.names import get
from luthier.scoring import Scoring
from luthier.statistics.base import State, Statistic, When
from luthier.types import Columns, Estimate

__all__ = [
    "Buckets", "Metric", "between", "fold", "merged", "metrics_of", "named", "read", "seen", "taken", "without",
]  # fmt: skip

Buckets: TypeAlias = dict[str, dict[str, dict[str, State]]]
"""Start of the bucket (ISO 8601, UTC) to slice ("": all rows) to metric to state."""
_KEPT = 10_000  # buckets of all rows, a year of hours; the oldest go first
_SLICED = 1_000  # buckets of slices
_METRICS_ONLY = {"probabilities", "score", "target_score", "gains", "ideal", "scores", "tokens", "tokens_loss"}
_CELLS = 4096  # of a bucket's confusion matrix that lie off its diagonal


@dataclass(frozen=True, slots=True)
class Metric:
    """A statistic of a bucket. `needs`: the columns without which there is nothing to observe."""

    name: str
    statistic: Statistic
    needs: tuple[str, ...]
    when: When = "label"
    flat: bool = False  # rows hold several values each, (n, m): all of them are observed

    def observe(self, columns: Columns, chosen: Any) -> State:
        picked = {name: np.asarray(columns[name])[chosen] for name in self.needs}
        return self.statistic.observe({name: array.ravel() for name, array in picked.items()} if self.flat else picked)


def seen(scored: Columns, moving: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """What checks read: not what only metrics do, nor what moves on its own, and predictions only where there is one a row."""
    return {
        name: values for name, values in scored.items()
        if name not in _METRICS_ONLY and name not in moving and not (name in ("predicted", "target") and values.ndim > 1)
    }  # fmt: skip


def metrics_of(scoring: Scoring, group: str = "") -> tuple[Metric, ...]:
    """What is kept of every bucket: loss and confidence, and the statistics of the task."""
    found = [_metric("loss", "mean.v1", ("loss",)), _metric("confidence", "mean.v1", ("confidence",), "answer")]
    pair = ("target", "predicted")
    if scoring.task in ("binary", "multiclass"):
        found.append(_metric("confusion", "confusion.v1", pair, cells=_CELLS))
        found.append(_metric("groups", "group_metrics.v1", (group, *pair), group=group)) if group else None
    if scoring.task == "binary":
        score = ("score", "target")
        found.append(_metric("curves", "curves.v1", score))
        found.append(_metric("calibration", "calibration.v1", score, probability="score", outcome="positive"))
        found.append(_metric("log_loss", "log_loss.v1", score, probability="score", of="positive"))
    if scoring.task == "multiclass":
        found.append(_metric("calibration", "calibration.v1", ("confidence", "loss")))
        found.append(_metric("log_loss", "log_loss.v1", ("target_score", "target")))
    if scoring.task == "multilabel":
        found.append(_metric("multilabel", "multilabel.v1", pair))
    if scoring.task == "regression":
        found.append(_metric("regression", "regression.v1", pair))
    if scoring.task == "ranking":
        found += [_metric("ranking", "ranking.v1", ("gains",), k=scoring.k)]
    if scoring.task == "tokens":
        found.append(_metric("confusion", "confusion.v1", pair, flat=True, cells=_CELLS))
    return tuple(found)


def _metric(
    name: str, statistic: str, needs: tuple[str, ...], when: When = "label", flat: bool = False, **options: Any
) -> Metric:
    if statistic == "mean.v1":
        options["column"] = name
    return Metric(name, get("statistic", statistic)(**options), needs, when, flat)


def fold(
    metrics: Iterable[Metric],
    columns: Columns,
    seconds: np.ndarray,
    width: float,
    slices: Sequence[tuple[str, np.ndarray | None]],
) -> Buckets:
    """The states of these rows alone; `seconds` (n,) Unix event times, `slices` their names and row numbers (None: all)."""
    able = [metric for metric in metrics if all(name in columns for name in metric.needs)]
    starts, place = np.unique(np.floor(seconds / width), return_inverse=True)
    found: Buckets = {}
    for index, start in enumerate(starts.tolist()):
        cells = found[datetime.fromtimestamp(start * width, UTC).isoformat()] = {}
        for name, chosen in slices:
            rows = np.flatnonzero(place == index) if chosen is None else chosen[place[chosen] == index]
            if len(rows):
                cells[name] = {metric.name: metric.observe(columns, rows) for metric in able}
    return found


def merged(metrics: Iterable[Metric], a: Buckets, b: Buckets) -> Buckets:
    """The buckets of `b` with what `a` has in them; neither is changed."""
    by_name = {metric.name: metric.statistic for metric in metrics}
    both: Buckets = {}
    for start, slices in b.items():
        both[start] = dict(a.get(start, {}))
        for name, states in slices.items():
            there = both[start].get(name, {})
            both[start][name] = {**there, **states} | {
                metric: by_name[metric].merge(there[metric], states[metric]) for metric in there.keys() & states.keys()
            }
    return both


def taken(buckets: Buckets, changed: Buckets, names: Container[str], *, dropped: bool) -> Buckets:
    """The buckets with those that changed: the newest, with slices in fewer of them, and of slices those in `names`.

    `dropped`: some slice is watched no longer. What is kept depends on the rows seen, not on their order.
    """
    late = len(buckets) >= _SLICED and any(len(slices) > 1 for slices in changed.values())
    grown = not changed.keys() <= buckets.keys()
    whole = buckets | changed if grown else buckets
    whole.update(changed)
    if not (grown or late or dropped):
        return whole
    starts = sorted(whole)[-_KEPT:]
    recent = set(starts[-_SLICED:])
    return {
        start: {
            name: states for name, states in whole[start].items() if not name or (start in recent and name in names)
        }
        for start in starts
    }


def without(buckets: Buckets, starts: Iterable[str], metrics: set[str]) -> Buckets:
    """Those of the buckets that start so, with these metrics forgotten."""
    return {
        start: {
            name: {metric: state for metric, state in states.items() if metric not in metrics}
            for name, states in buckets.get(start, {}).items()
        }
        for start in starts
    }


def between(buckets: Buckets, name: str, since: float | None, until: float | None) -> list[Mapping[str, State]]:
    """The states of a slice in the buckets that begin in [since, until), Unix seconds."""
    low, high = (None if end is None else datetime.fromtimestamp(end, UTC).isoformat() for end in (since, until))
    return [
        states[name]
        for start, states in sorted(buckets.items())
        if name in states and (low is None or start >= low) and (high is None or start < high)
    ]


def read(
    metrics: Iterable[Metric], states: Iterable[Mapping[str, State]], labels: Sequence[Any] | None
) -> dict[str, Estimate]:
    """All numbers of the merged states: `loss`, `confidence`, and what the task's statistics read."""
    rows, found = list(states), dict[str, Estimate]()
    for metric in metrics:
        mine = [parts[metric.name] for parts in rows if metric.name in parts] or [metric.statistic.observe({})]
        values = metric.statistic.read(reduce(metric.statistic.merge, mine))
        if metric.name in ("loss", "confidence"):
            found[metric.name], found[f"{metric.name}_missing"] = values["mean"], values["missing"]
        else:
            known = labels if metric.name in ("confusion", "multilabel") else None
            found = {_named(name, known): value for name, value in values.items() if name != "missing"} | found
    return found


def named(
    names: Iterable[str], metrics: Sequence[Metric], buckets: Buckets, reference: Columns, labels: Sequence[Any] | None
) -> None:
    """Raise StateError where a name is of no number that `read` gives, of the reference or of any bucket."""
    plain = read(metrics, [], labels)
    rest = [name for name in names if name not in plain and not _of_label(name, plain, labels)]
    if not rest:
        return
    able = [metric for metric in metrics if metric.needs and all(need in reference for need in metric.needs)]
    learned = {metric.name: metric.observe(reference, slice(None)) for metric in able}
    there = plain | read(metrics, [learned], labels) | read(metrics, between(buckets, "", None, None), labels)
    for name in rest:
        if name not in there:
            raise StateError(f"there is no metric {name!r}: {among(name, there, 60)}")


def _of_label(name: str, known: Mapping[str, Any], labels: Sequence[Any] | None) -> bool:
    """Whether it is the number of one label, `f1[spam]`, of which no row may have come yet."""
    stem, bracket, rest = name.partition("[")
    return bool(bracket) and f"{stem}_macro" in known and (labels is None or rest[:-1] in map(str, labels))


def _named(name: str, labels: Sequence[Any] | None) -> str:
    """`f1[2]` by its label, where labels are known."""
    stem, bracket, rest = name.partition("[")
    index = int(rest[:-1]) if bracket and labels is not None else -1
    return f"{stem}[{labels[index]}]" if labels is not None and 0 <= index < len(labels) else name
