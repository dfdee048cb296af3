"""Does a metric reach its requirement, for sure?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent
from luthier.errors import UsageError
from luthier.evidence import LARGEST, labels_to_show, unit_interval
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["AtLeast"]

KINDS = ("accuracy", "precision", "recall", "f1")
FIRST = 100  # labels to ask for before any has come
BETS = np.array([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.6, 0.85])  # share of the purse lost on one adverse row


@register("check", "at_least.v1")
@dataclass(frozen=True, slots=True)
class AtLeast:
    """e-process for "metric >= limit", which may grow and be read after every label: P(wrongly shown, ever) <= alpha.

    `metric`: accuracy (1 - mean loss); precision, recall or f1 with `_smallest` (the class with the fewest targets,
    by the reference if there is one), `_macro` (mean over classes that have targets) or `_<label>` (one of `labels`).
    F1 >= t exactly if E[2 (1 - t) TP - t (FP + FN)] >= 0, a bounded mean, so it can be bet on like a rate. A macro
    mean is shown when lower bounds of its C classes, each at alpha / C, average to the limit.
    `evidence` >= 1/alpha: shown. `alarm`: shown to lie below.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["label"]] = "label"
    metric: str = "accuracy"
    limit: float = 0.9
    confidence: float = 0.95
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kind, _, which = self.metric.partition("_")
        known = kind in KINDS and (which in ("smallest", "macro", *self.labels) if kind != "accuracy" else not which)
        if not known:
            raise UsageError(
                f"at_least.v1 cannot measure {self.metric!r}: it knows accuracy, and precision, recall or f1 with "
                f"_smallest, _macro or _<label>; labels are {list(self.labels)[:20]}"
            )
        if not 0 < self.limit < 1:
            raise UsageError(f"at_least.v1: {self.metric} >= {self.limit:g} can never be shown; use 0 < limit < 1")

    @property
    def promise(self) -> Promise:
        return Promise("e-value", round(1 - self.confidence, 12))

    def start(self, reference: Columns) -> Memory:
        """Memory; the reference's `target` (n,), if any, says which class is the smallest."""
        targets = np.asarray(reference.get("target", ()), np.int64)
        return {
            "reference": {"smallest": _smallest(np.bincount(targets[targets >= 0]))},
            "n": 0, "loss": 0.0, "counts": np.zeros((3, 0), np.int64),
        }  # fmt: skip

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `loss` (n,), or `predicted` and `target` (n,), of labelled rows.

        Raises StateError when a loss lies outside [0, 1].
        """
        if self.metric == "accuracy":
            loss = unit_interval(window.get("loss", ()), "loss")
            total = np.add.accumulate(np.concatenate([[memory["loss"]], loss]))[-1]
            after = {**memory, "n": memory["n"] + len(loss), "loss": float(total)}
        else:
            predicted = np.asarray(window.get("predicted", ()), np.int64)
            target = np.asarray(window.get("target", ()), np.int64)
            counts = _confusion(memory["counts"], predicted[target >= 0], target[target >= 0])
            after = {**memory, "n": memory["n"] + int((target >= 0).sum()), "counts": counts}
        return after, self._finding(after)

    def bounds(self, memory: Memory) -> tuple[float, float, float]:
        """The metric and its anytime-valid lower and upper bound, each at alpha; nan before the first row."""
        weight, good, bad = self._rows(memory)
        if not len(good):
            return math.nan, math.nan, math.nan
        level = math.log(len(good) / self.promise.level)
        low = _reached(good, bad, weight, level)
        high = 1 - _reached(bad, good, 1 / weight, level)
        return float(_metric(good, bad, weight).mean()), low, high

    def more(self, memory: Memory) -> int:
        """Labels still needed to show it, if the metric is what it looks like; 0 where it looks too low."""
        weight, good, bad = self._rows(memory)
        if not len(good):
            return FIRST
        return labels_to_show(
            memory["n"], lambda times: _evidence(good * times, bad * times, weight, self.limit), self.promise.level
        )

    def _rows(self, memory: Memory) -> tuple[float, Any, Any]:
        """What one good row weighs against a bad one, and good and bad rows (C,) of each class that counts."""
        if self.metric == "accuracy":
            n = memory["n"]
            return 1.0, np.array([n - memory["loss"]] if n else []), np.array([memory["loss"]] if n else [])
        kind, _, which = self.metric.partition("_")
        right, over, missed = memory["counts"].astype(np.float64)
        bad = {"f1": over + missed, "precision": over, "recall": missed}[kind]
        support = right + missed
        if which == "macro":
            chosen = np.flatnonzero((support > 0) & (right + bad > 0))
        else:
            known = memory["reference"]["smallest"]
            smallest = known if known >= 0 else _smallest(support)
            index = smallest if which == "smallest" else self.labels.index(which)
            chosen = np.flatnonzero((np.arange(len(right)) == index) & (right + bad > 0))
        return (2.0 if kind == "f1" else 1.0), right[chosen], bad[chosen]

    def _finding(self, memory: Memory) -> Finding:
        weight, good, bad = self._rows(memory)
        if not len(good):
            why = f"{self.metric} not measured: no labelled rows that count"
            return silent(self.name, self.promise, why, limit=self.limit, n=memory["n"])
        shown = _evidence(good, bad, weight, self.limit)
        against = _evidence(bad, good, 1 / weight, 1 - self.limit)
        value, low, high = self.bounds(memory)
        below = shown * self.promise.level < 1 and against * self.promise.level >= 1
        verdict = "shown" if shown * self.promise.level >= 1 else "shown to lie below" if below else "not shown"
        why = f"{self.metric} {value:.4f}, at least {low:.4f} and at most {high:.4f}, over {memory['n']} labels: "
        why += f"{verdict} (required {self.limit:g})"
        return Finding(
            check=self.name, value=value, limit=self.limit, evidence=shown, promise=self.promise, alarm=below,
            n=memory["n"], why=why,
        )  # fmt: skip


def _smallest(support: Any) -> int:
    """The class with the fewest targets, but some; -1 without any."""
    present = np.flatnonzero(support)
    return int(present[np.argmin(support[present])]) if present.size else -1


def _confusion(counts: Any, predicted: Any, target: Any) -> Any:
    """Rows right, over (predicted, wrongly) and missed of each class, (3, C), with those of a window added."""
    classes = max(counts.shape[1], int(predicted.max(initial=-1)) + 1, int(target.max(initial=-1)) + 1)
    after = np.zeros((3, classes), np.int64)
    after[:, : counts.shape[1]] = counts
    hit = predicted == target
    for row, labels in enumerate((target[hit], predicted[~hit & (predicted >= 0)], target[~hit])):
        after[row] += np.bincount(labels, minlength=classes)
    return after


def _metric(good: Any, bad: Any, weight: float) -> Any:
    return weight * good / (weight * good + bad)


def _log_wealth(good: Any, bad: Any, weight: float, limit: float) -> Any:
    """Log wealth (C,) of betting on metrics above `limit`, falling in `limit`.

    Counts may be broken: by concavity of the log, a loss of 0.3 counted as 0.3 bad and 0.7 good rows gives less
    than its own factor would.
    """
    odds = weight * (1 - limit) / limit
    logs = good * np.log1p(BETS[:, None] * odds) + bad * np.log1p(-BETS[:, None])  # (bets, C)
    return np.logaddexp.reduce(logs, axis=0) - math.log(len(BETS))


def _one_reached(good: Any, bad: Any, weight: float, level: float) -> float:
    """The largest limit at which the log wealth of one class is at least `level`."""
    low, high = 0.0, 1.0
    for _ in range(45):
        middle = 0.5 * (low + high)
        rich = float(_log_wealth(good, bad, weight, middle)[0]) >= level
        low, high = (middle, high) if rich else (low, middle)
    return low


def _reached(good: Any, bad: Any, weight: float, level: float) -> float:
    """Mean over the C classes of the largest limits at which log wealth is at least `level`."""
    if len(good) == 1:
        return _one_reached(good, bad, weight, level)
    return float(_mean_reached(*_table(good, bad, weight), level))


def _table(good: Any, bad: Any, weight: float) -> tuple[Any, Any]:
    """Limits (G,) and the log wealth of each class at each, (C, G): many levels are asked of it."""
    size = max(101, min(2001, 1_000_000 // len(good)))
    limits = np.arange(1, size) / size
    odds = weight * (1 - limits) / limits
    total = np.full((len(good), len(limits)), -np.inf)
    for bet in BETS:
        logs = good[:, None] * np.log1p(bet * odds) + (bad * math.log1p(-bet))[:, None]
        np.logaddexp(total, logs, out=total)
    return limits, total - math.log(len(BETS))


def _mean_reached(limits: Any, table: Any, level: float) -> Any:
    return np.concatenate([[0.0], limits])[(table >= level).sum(axis=1)].mean()


def _evidence(good: Any, bad: Any, weight: float, limit: float) -> float:
    """e-value that the mean metric of the C classes is above `limit`: the largest 1/alpha whose bounds say so."""
    if len(good) == 1:
        log = float(_log_wealth(good, bad, weight, limit)[0])
        return LARGEST if log > math.log(LARGEST) else math.exp(log)
    limits, table = _table(good, bad, weight)
    low, high = 0.0, math.log(LARGEST)
    for _ in range(45):
        middle = 0.5 * (low + high)
        enough = _mean_reached(limits, table, middle) >= limit
        low, high = (middle, high) if enough else (low, middle)
    return math.exp(low) / len(good)
