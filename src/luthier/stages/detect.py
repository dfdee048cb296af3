"""From many findings to the few that page somebody, and from losses to the moment at which they changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.evidence import e_bh
from luthier.types import Finding

__all__ = ["Page", "change_point", "page"]


@dataclass(frozen=True, slots=True)
class Page:
    """`loud` findings page somebody; `quiet` ones alarm on their own but not among so many looks at once."""

    loud: tuple[Finding, ...] = ()
    quiet: tuple[Finding, ...] = ()


def page(findings: Sequence[Finding], alpha: float = 0.05) -> Page:
    """The alarms that survive e-BH over all findings at false discovery rate `alpha` (Wang & Ramdas, JRSS-B 2022).

    The dependence between the checks may be anything. An e-detector's statistic M after n observations counts as
    the e-value M/n (valid at a fixed n; EVIDENCE: "e-BH on M_t/t").
    """
    evidence = [_e_value(finding) for finding in findings]
    chosen = set(e_bh(evidence, alpha))
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
