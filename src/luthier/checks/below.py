"""Has a metric fallen below a fixed threshold?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, ended, silent
from luthier.errors import UsageError
from luthier.evidence import level_ever, level_now, rise, unit_interval
from luthier.evidence.running import Online, watched
from luthier.evidence.thresholds import held_out_floor
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["Below"]

METRICS = ("accuracy", "precision", "recall", "f1")
LOWEST_RATE = 1e-4  # of bad rows that a threshold allows; keeps products of 64 factors inside float64


@register("check", "below.v1")
@dataclass(frozen=True, slots=True)
class Below:
    """e-SR detector of "metric < threshold": at most one false alarm in `arl` labelled rows that count.

    The classical absolute threshold, but read after every row. `metric`: accuracy (1 - mean loss), or precision,
    recall or f1 of the class `label`. Each is a bound on the rate of bad rows among those that count: a precision (a
    recall) of t allows 1 - t of the rows predicted to be (that are) of the class to be wrong, and F1 >= t allows
    2 (1 - t) / (2 - t) of the rows that are either. The reference's own error plays no part, as nothing is compared
    with it. `threshold` None: what every held-out tenth of the reference keeps.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["label"]] = "label"
    metric: str = "accuracy"
    threshold: float | None = None
    label: int = 1
    arl: float = 100_000

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UsageError(f"below.v1 cannot measure {self.metric!r}; it knows {', '.join(METRICS)}")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise UsageError(f"below.v1: {self.metric} below {self.threshold!r} says nothing; use 0 < threshold < 1")

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory; the reference's `loss`, or `predicted` and `target`, (n,) are read where no threshold is given.

        Raises StateError when a loss lies outside [0, 1].
        """
        threshold, how = self.threshold, "given"
        if threshold is None:
            threshold, how = held_out_floor(self._bad(reference), lambda fold: self._value(float(np.mean(fold))))
            threshold = min(threshold, self._value(LOWEST_RATE))
        known: dict[str, Any] = {"threshold": threshold, "how": how, "why": "", "rate": math.nan}
        if math.isnan(threshold):
            known["why"] = f"not watched: {how}. Give a threshold"
        elif threshold <= 0:
            known["why"] = f"not watched: a tenth of the reference has {self.metric} 0, and nothing lies below that"
        else:
            known["rate"] = max(self._rate(threshold), LOWEST_RATE)
        return {"reference": known, "stream": rise(), "alarm_n": 0}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `loss` (NaN ignored), or `predicted` and `target` (-1: none), (n,).

        Accuracy may come as `loss_sum` and `loss_n` (m,) of batches of rows. Raises StateError when a loss lies
        outside [0, 1].
        """
        known = memory["reference"]
        rows = window if self.metric == "accuracy" else {"loss": self._bad(window)}
        if known["why"]:
            self._bad(window)
            return memory, silent(self.name, self.promise, known["why"])
        after = watched(memory, rows, "loss", known["rate"], self.arl)
        return after, self._finding(known, after)

    def online(self, memory: Memory) -> Online | None:
        """Accuracy a row a call; see `luthier.evidence.running.Online`. None for other metrics, and where nothing is watched."""
        known = memory["reference"]
        if known["why"] or self.metric != "accuracy":
            return None
        return Online(memory, "loss", known["rate"], self.arl)

    def _bad(self, columns: Columns) -> Any:
        """1 for a bad row (its loss, for accuracy) and 0 for a good one, of the rows that count."""
        if self.metric == "accuracy":
            return unit_interval(columns.get("loss", ()), "loss")
        if not ("predicted" in columns and "target" in columns):
            return np.zeros(0)
        predicted, target = np.asarray(columns["predicted"]), np.asarray(columns["target"])
        said, true = predicted == self.label, target == self.label
        counts = {"precision": said, "recall": true, "f1": said | true}[self.metric] & (target >= 0)
        return (~(said & true))[counts].astype(np.float64)

    def _value(self, rate: float) -> float:
        """The metric at a rate of bad rows."""
        return (2 - 2 * rate) / (2 - rate) if self.metric == "f1" else 1 - rate

    def _rate(self, value: float) -> float:
        return 2 * (1 - value) / (2 - value) if self.metric == "f1" else 1 - value

    def _finding(self, known: dict[str, Any], memory: Memory) -> Finding:
        stream, threshold = memory["stream"], known["threshold"]
        n = stream["detector"]["n"]
        if not n:
            return silent(self.name, self.promise, "no labelled rows that count yet", limit=threshold)
        held, value = f"the threshold {threshold:.4g} ({known['how']})", self._value(level_ever(stream))
        why = f"{self.metric} {value:.4g} over {n} labels; not shown to be below {held}"
        if memory["alarm_n"]:
            recent, count, begun = level_now(stream)
            count = count if begun < memory["alarm_n"] else 0  # a stretch of its own is not what was shown
            value = self._value(recent) if count else value
            why = (
                f"{self.metric} {value:.4g} over {count} labels since about label {begun + 1} is below {held}; shown "
                f"at label {memory['alarm_n']}. Label the newest answers and update the model"
            )
            if not count:
                why = ended(f"{self.metric} {value:.4g}", n, "label", memory["alarm_n"])
        return Finding(
            check=self.name, value=value, limit=threshold, evidence=stream["detector"]["value"], promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why,
        )  # fmt: skip
