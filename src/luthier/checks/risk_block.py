"""Has the mean loss risen, where errors come in bursts or with the hour of the day?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent
from luthier.evidence import LARGEST, source_bound, unit_interval
from luthier.evidence.dependence import ENOUGH, Blocks, blocks
from luthier.evidence.thresholds import limit
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["RiskBlock"]

INFLATION = 1.5  # of the variance that bursts were seen to add, which is itself an estimate
LOWEST_LIMIT = 1e-4
RISES = (1.5, 2.0, 4.0)  # the bets' rises, in tolerances
SHIFTS = 4  # sequences of blocks over a season, so that a rise need not wait for the end of one
SHORTEST_STEP = 100  # labels between two looks of such sequences
LOG_LARGEST = math.log(LARGEST)


@register("check", "risk_block.v1")
@dataclass(frozen=True, slots=True)
class RiskBlock:
    """e-SR detector on block means, for losses in bursts or seasons: at most one false alarm in `arl` labels.

    Detectors of single losses need the mean given the past to stay within the limit, so they alarm in every burst. A
    block holds 20 bursts and whole seasons, as measured on the reference. Its mean is bet on as that of length / c
    independent rows, c (`clumping`) the variance of long blocks' means over the binomial one, times 1.5, and at least
    1: the factor (q / limit)^(k/c) ((1 - q) / (1 - limit))^((length - k)/c) for a sum k of losses and rises q - limit
    of 1.5, 2 and 4 tolerances. Where rows are independent (c = 1) that is an exact supermartingale, and else it has
    the variance, and the skew, of bursts. Over a season, up to four detectors whose blocks begin a quarter of a block
    apart are averaged, which keeps the promise. The limit has the source's own error: the larger of `source_bound` and a
    normal bound widened by c. The promise rests on the reference's bursts and seasons carrying over.

    `tolerance` None: chosen by cross-validation; `relative_tolerance` replaces it by a share of the bound. `block` and
    `season` (in labels) 0: measured.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["label"]] = "label"
    tolerance: float | None = 0.02
    relative_tolerance: float | None = None
    arl: float = 100_000
    delta: float = 0.025
    block: int = 0
    season: int = 0

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `loss` (n,) in the order in which it came.

        Raises StateError when a loss lies outside [0, 1].
        """
        losses = unit_interval(reference.get("loss", ()), "reference loss")
        known = self._known(losses)
        return {"reference": known, "stream": _stream(known.get("shifts", 1)), "alarm_n": 0}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `loss` (n,), NaN ignored.

        Raises StateError when a loss lies outside [0, 1].
        """
        known, losses = memory["reference"], unit_interval(window.get("loss", ()), "loss")
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        stream, sums = _cut(memory["stream"], losses, known)
        after = {**memory, "stream": stream}
        gains = _gains(known) if sums else []
        for total in sums:
            _fold(stream, total, known, gains)
            if not after["alarm_n"] and _evidence(stream, known) >= self.arl:
                after["alarm_n"] = _begin(stream["steps"], known)
        return after, self._finding(known, after)

    def _known(self, losses: Any) -> dict[str, Any]:
        if not losses.size:
            return {"why": "not watched: the reference has no labelled rows, so there is no risk to compare with"}
        cut = blocks(losses, self.block, self.season)
        clumping = max(1.0, INFLATION * cut.clumping * _binomial_share(losses)) if cut.clumping > 1 else 1.0
        whole = losses[len(losses) % cut.season :] if 0 < cut.season <= len(losses) else losses  # every hour alike

        def bound(part: Any) -> float:
            mean = float(part.mean())
            error = math.sqrt(mean * (1 - mean) * clumping / len(part))
            return max(source_bound(part, self.delta), mean + NormalDist().inv_cdf(1 - self.delta) * error)

        found = limit(whole, self.tolerance, self.relative_tolerance, bound)
        if found.value >= 1:
            few = f"{len(losses)} labelled reference rows, with bursts of {cut.burst:.3g}, allow a risk of 1"
            return {"why": f"not watched: {few}; give a larger reference"}
        value = max(found.value, LOWEST_LIMIT)
        return {
            "why": "", "limit": value, "tolerance": found.tolerance or value / 4, "mean": float(whole.mean()),
            "n": len(losses), "block": cut.length, "clumping": clumping,
            "shifts": max(min(SHIFTS, cut.length // SHORTEST_STEP), 1) if cut.season else 1,
            "how": f"{found.how}; {_said(cut, len(losses), self.block)}",
        }  # fmt: skip

    def _finding(self, known: dict[str, Any], memory: Memory) -> Finding:
        stream, size = memory["stream"], known["block"]
        n = _begin(stream["steps"], known)
        if n < size:
            return silent(
                self.name, self.promise, f"{n + stream['part_n']} of the first block of {size} labels seen",
                limit=known["limit"],
            )  # fmt: skip
        allowed = f"the limit {known['limit']:.4g} (reference {known['mean']:.4g} of {known['n']}, its error and {known['how']})"
        value = stream["total"] / n
        why = f"mean loss {value:.4g} over {n} labels; not shown to be above {allowed}"
        if memory["alarm_n"]:
            recent = n - stream["low_n"]
            value = (stream["total"] - stream["low_total"]) / recent if recent else value
            why = (
                f"mean loss {value:.4g} over {recent} labels since about label {n - recent + 1} is above {allowed}; "
                f"shown at label {memory['alarm_n']}. Label the newest answers and update the model"
            )
        return Finding(
            check=self.name, value=value, limit=known["limit"], evidence=_evidence(stream, known),
            promise=self.promise, alarm=bool(memory["alarm_n"]), n=n, why=why,
        )  # fmt: skip


def _said(cut: Blocks, n: int, given: int) -> str:
    season = f"a season of {cut.season}" if cut.season else f"no season up to {n // 3}"
    how = "given" if given else f"for bursts of {cut.burst:.3g} and {season} in the reference"
    if cut.measured == cut.wide:
        return f"blocks of {cut.length}, {how}"
    return (
        f"blocks of {cut.length}, {how}; their variance should be measured on blocks of {cut.wide}, of which it holds "
        f"{n / cut.wide:.1f}, so blocks of {cut.measured} stand in: give {ENOUGH * cut.wide} reference rows"
    )


def _stream(shifts: int) -> dict[str, Any]:
    """Blocks begin every block / shifts labels, a step; detector i has the blocks that end with steps i, i + shifts …

    `logs`: log(1 + M) of each detector's bets; `values`: its mean M; `sums`: of the newest steps of a block; `part`: of
    the step that is not full; `low`: where a rise began.
    """
    return {
        "steps": 0, "sums": [0.0] * shifts, "part": 0.0, "part_n": 0, "total": 0.0,
        "logs": [[0.0] * len(RISES) for _ in range(shifts)], "values": [0.0] * shifts,
        "walk": 0.0, "low": 0.0, "low_n": 0, "low_total": 0.0,
    }  # fmt: skip


def _begin(step: int, known: Memory) -> int:
    """Labels before a step; steps differ by one label where a block cannot be cut evenly."""
    return int(step * known["block"] // known["shifts"])


def _cut(stream: Memory, x: Any, known: Memory) -> tuple[dict[str, Any], list[float]]:
    """Sums of the steps that x (n,) completes, added one after the other, and the stream with the rest of it."""
    after = {**stream, "logs": [*stream["logs"]], "values": [*stream["values"]]}
    sums, step, done = [], stream["steps"], 0
    part, carried = stream["part"], stream["part_n"]
    while len(x) - done >= (needed := _begin(step + 1, known) - _begin(step, known) - carried):
        sums.append(_added(part, x[done : done + needed]))
        done, step, part, carried = done + needed, step + 1, 0.0, 0
    after["part"], after["part_n"] = _added(part, x[done:]), carried + len(x) - done
    return after, sums


def _added(total: float, x: Any) -> float:
    """total + x[0] + x[1] …, in that order."""
    if not len(x):
        return total
    return float(np.add.accumulate(np.concatenate([[total], x]) if total else x)[-1])


def _gains(known: dict[str, Any]) -> list[tuple[float, float]]:
    """What a loss of 1 and one of 0 add to the log of each bet's factor."""
    limit, clumping = known["limit"], known["clumping"]
    rises = [min(limit + factor * known["tolerance"], (1 + limit) / 2) for factor in RISES]
    return [(math.log(q / limit) / clumping, math.log((1 - q) / (1 - limit)) / clumping) for q in rises]


def _fold(stream: dict[str, Any], total: float, known: Memory, gains: list[tuple[float, float]]) -> None:
    """A step, and the block that ends with it, into its detector: M <- (1 + M) e, as log(1 + M)."""
    size, shifts = known["block"], known["shifts"]
    shift = stream["steps"] % shifts
    stream["steps"] += 1
    stream["total"] += total
    stream["sums"] = [*stream["sums"][1:], total]
    if stream["steps"] < shifts:
        return
    whole = sum(stream["sums"])
    steps = [whole * bad + (size - whole) * good for bad, good in gains]
    grown = [min(log + step, LOG_LARGEST) for log, step in zip(stream["logs"][shift], steps, strict=True)]
    stream["logs"][shift] = [_softplus(log) for log in grown]
    stream["values"][shift] = sum(math.exp(log) for log in grown) / len(grown)
    if shift == shifts - 1:  # every label once
        stream["walk"] += steps[0]
        if stream["walk"] <= stream["low"]:
            stream.update(low=stream["walk"], low_n=_begin(stream["steps"], known), low_total=stream["total"])


def _softplus(log: float) -> float:
    return max(log, 0.0) + math.log1p(math.exp(-abs(log)))


def _binomial_share(losses: Any) -> float:
    """Variance of losses over the m (1 - m) of zeros and ones with their mean: at most 1."""
    mean = float(losses.mean())
    return float(losses.var()) / (mean * (1 - mean)) if 0 < mean < 1 else 1.0


def _evidence(stream: Memory, known: Memory) -> float:
    """A detector over blocks counts the labels of a block at each."""
    mean: float = sum(stream["values"]) / known["shifts"]
    return min(mean * float(known["block"]), LARGEST)
