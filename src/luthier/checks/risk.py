"""Has the mean loss of labelled answers risen beyond what the reference allows?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from luthier.checks.base import Memory, ended, silent
from luthier.evidence import level_ever, level_now, rise, source_bound, unit_interval
from luthier.evidence.running import Online, watched
from luthier.evidence.thresholds import limit
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["Risk", "RiskLifetime"]

LOWEST_LIMIT = 1e-4  # keeps products of 64 factors inside float64


@register("check", "risk.v1")
@dataclass(frozen=True, slots=True)
class Risk:
    """e-SR detector of a mean loss above U + tolerance, U the upper bound (1 - delta) of the reference's own risk.

    An alarm that is wrong comes at most once in `arl` labelled answers on average, with probability 1 - delta over
    the draw of the reference, however often one looks and however long things went well before. Shin, Ramdas &
    Rinaldo, "E-detectors" (arXiv 2203.03532); source uncertainty as in Podkopaev & Ramdas (ICLR 2022). The limit is U
    (1 + relative_tolerance) where that is given; `tolerance` None: chosen by cross-validation on the reference.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["label"]] = "label"
    tolerance: float | None = 0.02
    relative_tolerance: float | None = None
    arl: float = 100_000
    delta: float = 0.025

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `loss` (n,).

        Raises StateError when a loss lies outside [0, 1].
        """
        return _start(self, reference)

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `loss` (n,), NaN ignored, or with `loss_sum` and `loss_n` (m,) of batches of rows.

        Raises StateError when a loss lies outside [0, 1].
        """
        return _step(self, memory, window, threshold=self.arl, lifetime=False)

    def online(self, memory: Memory) -> Online | None:
        """The same a row a call, from this memory on; see `luthier.evidence.running.Online`. None where nothing is watched."""
        return _online(memory, self.arl, lifetime=False)


@register("check", "risk_lifetime.v1")
@dataclass(frozen=True, slots=True)
class RiskLifetime:
    """The same question with a promise for life: P(ever a false alarm) <= alpha. For what cannot be undone.

    A mixture of e-processes over all moments at which the rise may begin, with weights that sum to at most 1.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["label"]] = "label"
    tolerance: float | None = 0.02
    relative_tolerance: float | None = None
    alpha: float = 0.01
    delta: float = 0.025

    @property
    def promise(self) -> Promise:
        return Promise("e-value", self.alpha)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `loss` (n,); see `Risk.start`."""
        return _start(self, reference)

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `loss` (n,); see `Risk.step`."""
        return _step(self, memory, window, threshold=1 / self.alpha, lifetime=True)

    def online(self, memory: Memory) -> Online | None:
        """The same a row a call; see `Risk.online`."""
        return _online(memory, 1 / self.alpha, lifetime=True)


def _start(check: Risk | RiskLifetime, reference: Columns) -> Memory:
    losses = unit_interval(reference.get("loss", ()), "reference loss")
    known = {"limit": math.nan, "mean": math.nan, "n": len(losses), "why": "", "how": ""}
    if not losses.size:
        known["why"] = "not watched: the reference has no labelled rows, so there is no risk to compare with"
    else:
        found = limit(losses, check.tolerance, check.relative_tolerance, lambda part: source_bound(part, check.delta))
        known |= {"limit": max(found.value, LOWEST_LIMIT), "mean": float(losses.mean()), "how": found.how}
        if found.value >= 1:
            known["why"] = (
                f"not watched: {losses.size} labelled reference rows allow a risk of 1; give a larger reference"
            )
    return {"reference": known, "stream": rise(), "alarm_n": 0}


def _step(
    check: Risk | RiskLifetime, memory: Memory, window: Columns, *, threshold: float, lifetime: bool
) -> tuple[Memory, Finding]:
    known = memory["reference"]
    if known["why"]:
        unit_interval(window.get("loss", ()), "loss")
        return memory, silent(check.name, check.promise, known["why"])
    after = watched(memory, window, "loss", known["limit"], threshold, lifetime=lifetime)
    return after, _finding(check, known, after["stream"], after["alarm_n"])


def _online(memory: Memory, threshold: float, *, lifetime: bool) -> Online | None:
    known = memory["reference"]
    return None if known["why"] else Online(memory, "loss", known["limit"], threshold, lifetime=lifetime)


def _finding(check: Risk | RiskLifetime, known: dict[str, Any], stream: dict[str, Any], alarm_n: int) -> Finding:
    n = stream["detector"]["n"]
    bound = known["limit"]
    if not n:
        return silent(check.name, check.promise, "no labelled answers yet", limit=bound)
    allowed = f"the limit {bound:.4g} (reference {known['mean']:.4g} of {known['n']}, its error and {known['how']})"
    if alarm_n:
        value, recent, begun = level_now(stream)
        recent = recent if begun < alarm_n else 0  # a stretch of its own is not what was shown
        value = value if recent else level_ever(stream)
        why = f"mean loss {value:.4g} over {recent} labels since about label {begun + 1} is above {allowed}; " + (
            f"shown at label {alarm_n}. Label the newest answers and update the model"
        )
        if not recent:
            why = ended(f"mean loss {value:.4g}", n, "label", alarm_n)
    else:
        value = level_ever(stream)
        why = f"mean loss {value:.4g} over {n} labels; not shown to be above {allowed}"
    return Finding(
        check=check.name, value=value, limit=bound, evidence=stream["detector"]["value"], promise=check.promise,
        alarm=bool(alarm_n), n=n, why=why,
    )  # fmt: skip
