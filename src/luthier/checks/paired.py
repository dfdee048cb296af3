"""A candidate against its champion on the same records: not worse, better, few negative flips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent
from luthier.errors import StateError
from luthier.evidence import (
    LARGEST,
    binomial_tail,
    clopper_pearson_upper,
    labels_to_show,
    mixed,
    paired_bets,
    paired_factors,
    wealth,
)
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["Better", "Flips", "NotWorse"]

BETS = len(paired_bets(0.0))


@register("check", "not_worse.v1")
@dataclass(frozen=True, slots=True)
class NotWorse:
    """e-process for "the candidate's mean loss is less than `margin` above the champion's".

    With D = loss - champion_loss in [-1, 1], E = mean_k prod (1 + l_k (margin - D)) over 7 bets; it may be looked at
    after every record: P(E ever >= 1/alpha) <= alpha for a candidate that is worse by the margin. `alarm`: the
    reverse e-process shows that the candidate is worse at all, and "not worse" is not shown. With `agreements`,
    rows without a label on which both predict the same count as D = 0, and unlabelled rows on which they differ as
    D = 1, so that only disagreements need labels. Bets: Waudby-Smith & Ramdas 2024.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["pair"]] = "pair"
    margin: float = 0.02
    alpha: float = 0.05
    agreements: bool = False

    @property
    def promise(self) -> Promise:
        return Promise("e-value", self.alpha)

    def start(self, reference: Columns) -> Memory:
        """Memory; a gate hands in no reference."""
        return _start()

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `loss` and `champion_loss` (n,).

        Raises StateError when a loss lies outside [0, 1] or the columns differ in length.
        """
        after = _step(memory, _difference(window, self.agreements), self.margin)
        n, value = after["n"], after["total"] / max(after["n"], 1)
        if not n:
            return after, silent(self.name, self.promise, "no paired labels yet", limit=self.margin)
        evidence, harm = mixed(after["for"]), mixed(after["harm"])
        shown = evidence * self.alpha >= 1
        worse = not shown and harm * self.alpha >= 1
        why = f"mean loss {value:+.4f} against the champion on {n} records, margin {self.margin:+g}: "
        if shown:
            why += "proved not worse"
        elif worse:
            why += "harm shown, the candidate is worse"
        else:
            why += f"inconclusive, label {self.more(after)} more"
        return after, Finding(
            check=self.name, value=value, limit=self.margin, evidence=evidence, promise=self.promise, alarm=worse,
            n=n, why=why,
        )  # fmt: skip

    def more(self, memory: Memory) -> int:
        """Labels still needed to show it, if records to come are like those seen; with none seen, for a first look."""
        return _more(memory, self.alpha, max(self.margin - _mean(memory), self.margin / 2))


@register("check", "better.v1")
@dataclass(frozen=True, slots=True)
class Better:
    """e-process for "the candidate's mean loss is below the champion's": `NotWorse` with a margin of 0.

    `alarm`: the reverse e-process shows that the candidate is worse.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["pair"]] = "pair"
    alpha: float = 0.05

    @property
    def promise(self) -> Promise:
        return Promise("e-value", self.alpha)

    def start(self, reference: Columns) -> Memory:
        """Memory; a gate hands in no reference."""
        return _start()

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `loss` and `champion_loss` (n,); see `NotWorse.step`."""
        after = _step(memory, _difference(window, False), 0.0)
        n, value = after["n"], after["total"] / max(after["n"], 1)
        if not n:
            return after, silent(self.name, self.promise, "no paired labels yet", limit=0.0)
        evidence, harm = mixed(after["for"]), mixed(after["harm"])
        worse = harm * self.alpha >= 1
        why = f"mean loss {value:+.4f} against the champion on {n} records: "
        if evidence * self.alpha >= 1:
            why += "proved better"
        elif worse:
            why += "harm shown, the candidate is worse"
        else:
            why += f"inconclusive, label {self.more(after)} more"
        return after, Finding(
            check=self.name, value=value, limit=0.0, evidence=evidence, promise=self.promise, alarm=worse, n=n, why=why
        )

    def more(self, memory: Memory) -> int:
        """Labels still needed to show it, if records to come are like those seen; with none seen, for a first look."""
        return _more(memory, self.alpha, max(-_mean(memory), 0.02))


@register("check", "flips.v1")
@dataclass(frozen=True, slots=True)
class Flips:
    """Share of records that the champion has right and the candidate gets wrong, at most `limit`.

    Shown when the Clopper-Pearson upper bound (1 - alpha) is at most `limit`; `evidence` is one over the exact
    p-value, which reaches 1/alpha at the same moment. A promise for one look. `alarm`: the share is shown to be
    above. Right is a loss below one half. Yan et al., "Positive-congruent training", CVPR 2021.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["pair"]] = "pair"
    limit: float = 0.1
    alpha: float = 0.05

    @property
    def promise(self) -> Promise:
        return Promise("fixed", self.alpha)

    def start(self, reference: Columns) -> Memory:
        """Memory; a gate hands in no reference."""
        return {"reference": {}, "n": 0, "flips": 0}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `loss` and `champion_loss` (n,); see `NotWorse.step`."""
        ours, theirs = _pair(window)
        both = ~np.isnan(ours) & ~np.isnan(theirs)
        n = memory["n"] + int(both.sum())
        flips = memory["flips"] + int(((theirs < 0.5) & (ours >= 0.5) & both).sum())
        after = {**memory, "n": n, "flips": flips}
        if not n:
            return after, silent(self.name, self.promise, "no paired labels yet", limit=self.limit)
        p = binomial_tail(flips, n, self.limit)
        evidence = 1.0 if flips >= n else min(1 / max(p, 1e-300), LARGEST)
        if self.limit >= 1:
            evidence = LARGEST
        above = flips > 0 and 1 - binomial_tail(flips - 1, n, self.limit) <= self.alpha
        upper = clopper_pearson_upper(flips, n, self.alpha)
        why = f"{flips} of {n} records were right with the champion and are wrong now: at most {upper:.2%}, "
        why += f"allowed {self.limit:.2%}"
        return after, Finding(
            check=self.name, value=flips / n, limit=self.limit, evidence=evidence, promise=self.promise, alarm=above,
            n=n, why=why,
        )  # fmt: skip

    def more(self, memory: Memory) -> int:
        """Labels still needed to show it, if flips go on at this rate; 0 where they are too many already."""
        n, flips = int(memory["n"]), float(memory["flips"])
        if n and flips / n >= self.limit:
            return 0
        needed = max(n, 20)
        while binomial_tail(math.ceil(flips / max(n, 1) * needed), needed, self.limit) > self.alpha and needed < 10**7:
            needed = math.ceil(needed * 1.1)
        return max(1, needed - n)


def _mean(memory: Memory) -> float:
    return float(memory["total"]) / memory["n"] if memory["n"] else 0.0


def _more(memory: Memory, alpha: float, gap: float) -> int:
    """By growth of the evidence; where it does not grow yet, what a paired mean `gap` away from the limit costs."""
    n = int(memory["n"])
    more = labels_to_show(n, lambda times: mixed(memory["for"] * times), alpha)
    spread = max(float(memory["squares"]) / max(n, 1), 0.02)
    return more or math.ceil(4 * spread * math.log(BETS / alpha) / gap**2)


def _start() -> Memory:
    return {"reference": {}, "n": 0, "total": 0.0, "squares": 0.0, "for": np.zeros(BETS), "harm": np.zeros(BETS)}


def _step(memory: Memory, difference: Any, margin: float) -> dict[str, Any]:
    sums = np.add.accumulate(
        np.column_stack([[memory["total"], memory["squares"]], [difference, difference**2]]), axis=1
    )[:, -1]
    return {
        **memory, "n": memory["n"] + len(difference), "total": float(sums[0]), "squares": float(sums[1]),
        "for": wealth(memory["for"], paired_factors(difference, margin)),
        "harm": wealth(memory["harm"], paired_factors(-difference, 0.0)),
    }  # fmt: skip


def _pair(window: Columns) -> tuple[Any, Any]:
    ours = np.asarray(window.get("loss", ()), np.float64).ravel()
    theirs = np.asarray(window.get("champion_loss", ()), np.float64).ravel()
    if len(ours) != len(theirs):
        raise StateError(
            f"a paired window has {len(ours)} losses, {len(theirs)} champion losses: they must be of the same records"
        )
    for name, losses in (("loss", ours), ("champion_loss", theirs)):
        bad = losses[(losses < 0) | (losses > 1)]
        if bad.size:
            raise StateError(
                f"{name} holds {bad[0]:g}; a loss lies in [0, 1]. Divide by its largest possible value first"
            )
    return ours, theirs


def _difference(window: Columns, agreements: bool) -> Any:
    """loss - champion_loss (n,) of the rows that count."""
    ours, theirs = _pair(window)
    difference = ours - theirs
    if agreements and "predicted" in window and "champion_predicted" in window:
        differ = np.asarray(window["predicted"]) != np.asarray(window["champion_predicted"])
        difference = np.where(np.isnan(difference), differ.astype(np.float64), difference)
    return difference[~np.isnan(difference)]
