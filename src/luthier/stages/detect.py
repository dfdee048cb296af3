"""From many findings to the few that page somebody, and from losses to the moment at which they changed."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from luthier.evidence import e_bh
from luthier.types import Finding

__all__ = ["Look", "Page", "budget", "change_point", "page", "page_together"]

_MONTH = 30.0  # days


@dataclass(frozen=True, slots=True)
class Page:
    """`loud` findings page somebody; `quiet` ones alarm on their own but not among so many looks at once."""

    loud: tuple[Finding, ...] = ()
    quiet: tuple[Finding, ...] = ()

    def holding(self, open_: Collection[tuple[str, str]]) -> Page:
        """The same, with the alarms of these (check, slice) loud: what has paged goes on until its page closes, or a decision
        would come and go with every answer around the threshold."""
        held = tuple(one for one in self.quiet if (one.check, one.slice) in open_)
        return Page((*self.loud, *held), tuple(one for one in self.quiet if one not in held))


@dataclass(frozen=True, slots=True)
class Look:
    """The newest findings of one model's monitor, and the `days` of event time that it has watched."""

    findings: Sequence[Finding] = ()
    days: float = 1.0


def budget(findings: Sequence[Finding], days: float | Sequence[float], pages_per_month: float) -> list[float]:
    """The evidence at which each e-detector may page, so that all of them together page falsely `pages_per_month` at most.

    Each has an equal share of the budget. An e-detector that reads r observations a day and pages at M >= A is wrong at
    most r / A times a day on average, so A = monitors * r * 30 / pages, with r measured: n over the `days` (one at least,
    one number or one a finding) that it has watched. Never below the check's own ARL. Other promises are left as they
    are: 0.
    """
    watched = [float(days)] * len(findings) if isinstance(days, int | float) else days
    kinds = [finding.promise.kind == "e-detector" for finding in findings]
    share = _MONTH * max(sum(kinds), 1) / pages_per_month
    return [
        max(finding.n * share / max(span, 1.0), finding.promise.level) if is_detector else 0.0
        for finding, is_detector, span in zip(findings, kinds, watched, strict=True)
    ]


def page(findings: Sequence[Finding], alpha: float = 0.05, needed: Sequence[float] | None = None) -> Page:
    """The alarms that survive e-BH over all findings at false discovery rate `alpha` (Wang & Ramdas, JRSS-B 2022), and
    whose evidence is at least what `needed` (of `budget`) says. Findings may be of any number of models, slices and checks.

    The dependence between the checks may be anything. An e-detector's statistic M after n observations counts as
    the e-value M/n (valid at a fixed n; EVIDENCE: "e-BH on M_t/t").

    Every column of a check that watches many is a hypothesis beside the check itself: those of a loud finding that survive as
    well stay in its `parts` and are named in `why`. The columns of a check share one e-value (weighted e-BH), so that a table
    of 500 columns makes no other check deaf; and a column's share is at most its check's evidence, so that the check
    is loud where one of its columns is, and the budget of pages holds as it is.
    """
    chosen = _loud(findings, alpha, [0.0] * len(findings) if needed is None else needed)
    return _split(findings, chosen, 0)


def page_together(looks: Mapping[str, Look], pages_per_month: float | None, alpha: float = 0.05) -> dict[str, Page]:
    """What pages of each of many models, by name, under one budget (None: none) and one e-BH over all their findings."""
    findings = [finding for look in looks.values() for finding in look.findings]
    days = [look.days for look in looks.values() for _ in look.findings]
    needed = [0.0] * len(findings) if pages_per_month is None else budget(findings, days, pages_per_month)
    chosen, first, pages = _loud(findings, alpha, needed), 0, {}
    for name, look in looks.items():
        pages[name] = _split(look.findings, chosen, first)
        first += len(look.findings)
    return pages


def _loud(findings: Sequence[Finding], alpha: float, needed: Sequence[float]) -> dict[int, tuple[str, ...]]:
    """Indices of the findings whose evidence survives e-BH and reaches what is needed, with their parts that do."""
    evidence = [finding.evidence for finding in findings]
    parts = [(index, name, share) for index, finding in enumerate(findings) for name, share in finding.parts or ()]
    e_values = [_e_value(finding, finding.evidence) for finding in findings]
    e_values += [_e_value(findings[index], share) for index, _, share in parts]
    # the parts of a finding have one e-value's mean together, whether they are strong enough to be listed or not
    weights = len(findings) + sum(finding.parts is not None for finding in findings)
    passing = set(e_bh(e_values, alpha, weights))
    chosen: dict[int, tuple[str, ...]] = {
        index: () for index in range(len(findings)) if index in passing and evidence[index] >= needed[index]
    }
    for place, (index, name, share) in enumerate(parts, len(findings)):
        if place in passing and index in chosen and share >= needed[index]:
            chosen[index] += (name,)
    return chosen


def _split(findings: Sequence[Finding], chosen: Mapping[int, tuple[str, ...]], first: int) -> Page:
    """The alarms among `findings`, of which the first has index `first`, in loud and quiet ones."""
    alarms = [(chosen.get(index), finding) for index, finding in enumerate(findings, first) if finding.alarm]
    return Page(
        tuple(_named(finding, names) for names, finding in alarms if names is not None),
        tuple(finding for names, finding in alarms if names is None),
    )


def _named(finding: Finding, names: Sequence[str]) -> Finding:
    """The finding with only the parts that page."""
    if not finding.parts:
        return finding
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    said = f"columns that page: {', '.join(names[:10])}{more}" if names else "no column pages alone"
    return replace(finding, why=f"{finding.why}; {said}", parts=tuple(one for one in finding.parts if one[0] in names))


def _e_value(finding: Finding, evidence: float) -> float:
    if finding.promise.kind == "e-value":
        return evidence
    if finding.promise.kind == "e-detector":
        return evidence / max(finding.n, 1)
    return 0.0


def change_point(losses: np.ndarray) -> int:
    """Index at which the mean of `losses` (n,) most likely rose: the best split in two Bernoulli means.

    0 when no split explains a rise: the best of n splits of equal losses gains more than ln n + 2 in log-likelihood in
    one stream of a hundred. Losses between 0 and 1 count by their value, the gain by how much less than 0 and 1 they
    vary (quasi-likelihood with a dispersion, Wedderburn 1974).
    """
    n = len(losses)
    if n < 2 or not losses.var() > 0:
        return 0
    mean = float(losses.mean())
    dispersion = float(losses.var()) / (mean * (1 - mean))  # 1 of losses 0 and 1
    total = np.cumsum(losses)
    left_n = np.arange(1, n)  # (n-1,) observations before the split
    left, right = total[:-1] / left_n, (total[-1] - total[:-1]) / (n - left_n)
    gain = left_n * _log_likelihood(left) + (n - left_n) * _log_likelihood(right)
    gain = np.where(right > left, gain, -np.inf)
    best = int(np.argmax(gain))
    gained = gain[best] - n * float(_log_likelihood(total[-1:] / n)[0])
    return best + 1 if gained > dispersion * (math.log(n) + 2) else 0


def _log_likelihood(mean: np.ndarray) -> np.ndarray:
    """Bernoulli log-likelihood an observation at its own mean."""
    p = np.clip(mean, 1e-12, 1 - 1e-12)
    likelihood: np.ndarray = p * np.log(p) + (1 - p) * np.log1p(-p)
    return likelihood
