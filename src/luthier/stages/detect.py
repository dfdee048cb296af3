"""From many findings to the few that page somebody, and from losses to the moment at which they changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.evidence import e_bh
from luthier.types import Finding

__all__ = ["Page", "budget", "change_point", "page"]

_MONTH = 30.0  # days


@dataclass(frozen=True, slots=True)
class Page:
    """`loud` findings page somebody; `quiet` ones alarm on their own but not among so many looks at once."""

    loud: tuple[Finding, ...] = ()
    quiet: tuple[Finding, ...] = ()


def budget(findings: Sequence[Finding], days: float, pages_per_month: float) -> list[float]:
    """The evidence at which each e-detector may page, so that all of them together page falsely `pages_per_month` at most.

    Each has an equal share of the budget. An e-detector that reads r observations a day and pages at M >= A is wrong at
    most r / A times a day on average, so A = monitors * r * 30 / pages, with r measured: n over the `days` (one at least)
    that the findings span. Never below the check's own ARL. Other promises are left as they are: 0.
    """
    kinds = [finding.promise.kind == "e-detector" for finding in findings]
    share = _MONTH * max(sum(kinds), 1) / (pages_per_month * max(days, 1.0))
    return [
        max(finding.n * share, finding.promise.level) if is_detector else 0.0
        for finding, is_detector in zip(findings, kinds, strict=True)
    ]


def page(findings: Sequence[Finding], alpha: float = 0.05, needed: Sequence[float] | None = None) -> Page:
    """The alarms that survive e-BH over all findings at false discovery rate `alpha` (Wang & Ramdas, JRSS-B 2022), and
    whose evidence is at least what `needed` (of `budget`) says. Findings may be of any number of models, slices and checks.

    The dependence between the checks may be anything. An e-detector's statistic M after n observations counts as
    the e-value M/n (valid at a fixed n; EVIDENCE: "e-BH on M_t/t").
    """
    least = [0.0] * len(findings) if needed is None else needed
    chosen = {
        index for index in e_bh([_e_value(finding) for finding in findings], alpha)
        if findings[index].evidence >= least[index]
    }  # fmt: skip
    alarms = [(index in chosen, finding) for index, finding in enumerate(findings) if finding.alarm]
    return Page(
        tuple(finding for loud, finding in alarms if loud), tuple(finding for loud, finding in alarms if not loud)
    )


def _e_value(finding: Finding) -> float:
    if finding.promise.kind == "e-value":
        return finding.evidence
    if finding.promise.kind == "e-detector":
        return finding.evidence / max(finding.n, 1)
    return 0.0


def change_point(losses: np.ndarray) -> int:
    """Index at which the mean of `losses` (n,) most likely rose: the best split in two Bernoulli means.

    0 when no split explains a rise: the best of n splits of equal losses gains more than ln n + 2 in log-likelihood in
    one stream of a hundred. Losses between 0 and 1 count by their value (quasi-likelihood).
    """
    n = len(losses)
    if n < 2:
        return 0
    total = np.cumsum(losses)
    left_n = np.arange(1, n)  # (n-1,) observations before the split
    left, right = total[:-1] / left_n, (total[-1] - total[:-1]) / (n - left_n)
    gain = left_n * _log_likelihood(left) + (n - left_n) * _log_likelihood(right)
    gain = np.where(right > left, gain, -np.inf)
    best = int(np.argmax(gain))
    return best + 1 if gain[best] - n * float(_log_likelihood(total[-1:] / n)[0]) > math.log(n) + 2 else 0


def _log_likelihood(mean: np.ndarray) -> np.ndarray:
    """Bernoulli log-likelihood an observation at its own mean."""
    p = np.clip(mean, 1e-12, 1 - 1e-12)
    likelihood: np.ndarray = p * np.log(p) + (1 - p) * np.log1p(-p)
    return likelihood
