"""Has the model become surer or less sure than it was on the reference?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from luthier.checks.base import Memory, ended, silent
from luthier.evidence import betting_interval, level_ever, level_now, rise, unit_interval, watch_rise
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["ConfidenceShift"]

FEWEST = 30


@register("check", "confidence_shift.v1")
@dataclass(frozen=True, slots=True)
class ConfidenceShift:
    """Two e-SR detectors, averaged: mean confidence above, or below, the reference's interval by `tolerance`.

    Both sides matter: many failures show as rising confidence. At most one false alarm in `arl` answers on average,
    with probability 1 - delta over the draw of the reference. A shift is no proof of harm.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    tolerance: float = 0.02
    arl: float = 100_000
    delta: float = 0.025

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `confidence` (n,) in [0, 1]."""
        x = unit_interval(reference.get("confidence", ()), "reference confidence")
        known = {"low": math.nan, "high": math.nan, "mean": math.nan, "why": ""}
        if len(x) < FEWEST:
            known["why"] = f"not watched: the reference has {len(x)} confidences; {FEWEST} are needed"
        else:
            low, high = betting_interval(x, self.delta)
            known.update(low=low - self.tolerance, high=high + self.tolerance, mean=float(x.mean()))
        return {"reference": known, "above": rise(), "below": rise(), "alarm_n": 0}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `confidence` (n,), NaN ignored.

        Raises StateError when a confidence lies outside [0, 1].
        """
        x = unit_interval(window.get("confidence", ()), "confidence")
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        above, risen = _side(memory["above"], x, known["high"])
        below, fallen = _side(memory["below"], 1 - x, 1 - known["low"])
        path = (risen + fallen) / 2
        alarm_n = memory["alarm_n"]
        if not alarm_n and path.size and path.max() >= self.arl:
            alarm_n = memory["above"]["detector"]["n"] + int((path >= self.arl).argmax()) + 1
        after = {**memory, "above": above, "below": below, "alarm_n": alarm_n}
        return after, self._finding(after)

    def _finding(self, memory: Memory) -> Finding:
        known, above, below = memory["reference"], memory["above"], memory["below"]
        n = above["detector"]["n"]
        if not n:
            return silent(self.name, self.promise, "no answers yet")
        up, down = above["detector"]["value"], below["detector"]["value"]
        rising = up >= down
        value, limit = level_ever(above), known["high"] if rising else known["low"]
        why = f"mean confidence {value:.4g} over {n} answers; reference {known['mean']:.4g}, allowed "
        why += f"{known['low']:.4g} to {known['high']:.4g}"
        if memory["alarm_n"]:
            recent, count, begun = level_now(above if rising else below)
            count = count if begun < memory["alarm_n"] else 0  # a stretch of its own is not what was shown
            value = (recent if rising else 1 - recent) if count else value
            why = (
                f"mean confidence {value:.4g} over {count} answers since about answer {begun + 1} has "
                f"{'risen above' if rising else 'fallen below'} {limit:.4g} (reference {known['mean']:.4g}); shown at "
                f"answer {memory['alarm_n']}. Label some of the newest answers: a shift may or may not be harm"
            )
            if not count:
                why = ended(f"mean confidence {value:.4g}", n, "answer", memory["alarm_n"])
        return Finding(
            check=self.name, value=value, limit=limit, evidence=(up + down) / 2, promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why,
        )  # fmt: skip


def _side(state: Memory, x: Any, limit: float) -> tuple[Memory, Any]:
    """One side. A limit beyond 1 cannot be passed: just below 1 it collects next to no evidence."""
    return watch_rise(state, x, min(max(limit, 1e-4), 1 - 1e-9))
