"""Do two models disagree more often than on the reference?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from luthier.checks.base import Memory, ended, silent
from luthier.evidence import level_ever, level_now, rise, source_bound, unit_interval
from luthier.evidence.running import Online, watched
from luthier.evidence.thresholds import limit
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["Disagreement"]

FEWEST = 50
LOWEST_LIMIT = 1e-4  # keeps products of 64 factors inside float64


@register("check", "disagreement.v1")
@dataclass(frozen=True, slots=True)
class Disagreement:
    """e-SR detector of disagreement with a second model: at most one false alarm in `arl` answers.

    `agrees` is 1 where both say the same. Two models trained apart agree where the data taught them and part where it
    did not, so more disagreement than the reference's upper bound + `tolerance` says that answers leave what the
    model knows; of the label-free signals it is the one that works there (Jiang, Nagarajan, Baek & Kolter, ICLR 2022).
    It is an alarm and no estimate of the accuracy. `tolerance` None: chosen by cross-validation on the reference.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    tolerance: float | None = 0.02
    arl: float = 100_000
    delta: float = 0.025

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `agrees` (n,), in [0, 1].

        Raises StateError when one lies outside.
        """
        parts = 1 - unit_interval(reference.get("agrees", ()), "reference agrees")
        known: dict[str, Any] = {"why": "", "n": len(parts)}
        if len(parts) < FEWEST:
            known["why"] = (
                f"not watched: the reference has {len(parts)} rows answered by both models; {FEWEST} are needed"
            )
            return {"reference": known, "stream": rise(), "alarm_n": 0}
        found = limit(parts, self.tolerance, None, lambda part: source_bound(part, self.delta))
        known |= {"limit": max(found.value, LOWEST_LIMIT), "mean": float(parts.mean()), "how": found.how}
        if found.value >= 1:
            known["why"] = "not watched: the models disagree so often on the reference that more cannot be told"
        return {"reference": known, "stream": rise(), "alarm_n": 0}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `agrees` (n,), NaN ignored, or `agrees_sum` and `agrees_n` (m,) of batches of rows.

        Raises StateError when one lies outside [0, 1].
        """
        known = memory["reference"]
        if known["why"]:
            unit_interval(window.get("agrees", ()), "agrees")
            return memory, silent(self.name, self.promise, known["why"])
        after = watched(memory, window, "agrees", known["limit"], self.arl, good=1)
        return after, self._finding(known, after)

    def online(self, memory: Memory) -> Online | None:
        """The same a row a call; see `luthier.evidence.running.Online`. None where nothing is watched."""
        known = memory["reference"]
        return None if known["why"] else Online(memory, "agrees", known["limit"], self.arl, good=1)

    def _finding(self, known: dict[str, Any], memory: Memory) -> Finding:
        stream = memory["stream"]
        n = stream["detector"]["n"]
        if not n:
            return silent(self.name, self.promise, "no answers of both models yet", limit=known["limit"])
        value = level_ever(stream)
        allowed = f"{known['limit']:.2%} (reference {known['mean']:.2%} of {known['n']}, its error and {known['how']})"
        why = f"the models disagree on {value:.2%} of {n} answers; not shown to be above {allowed}"
        if memory["alarm_n"]:
            recent, count, begun = level_now(stream)
            count = count if begun < memory["alarm_n"] else 0  # a stretch of its own is not what was shown
            value = recent if count else value
            why = (
                f"the models disagree on {value:.2%} of {count} answers since about answer {begun + 1}, above "
                f"{allowed}; shown at answer {memory['alarm_n']}. Answers leave what the model knows: estimates "
                f"without labels do not hold there. Label some of those on which the two disagree"
            )
            if not count:
                why = ended(f"disagreement of the models {value:.2%}", n, "answer", memory["alarm_n"])
        return Finding(
            check=self.name, value=value, limit=known["limit"], evidence=stream["detector"]["value"],
            promise=self.promise, alarm=bool(memory["alarm_n"]), n=n, why=why,
        )  # fmt: skip
