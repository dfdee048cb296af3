"""Which alarms page among many looks, and when the change was."""

from __future__ import annotations

import numpy as np

from luthier.stages.detect import change_point, page
from luthier.types import Finding, Promise


def finding(evidence: float, *, alarm: bool = True, kind: str = "e-value", n: int = 100) -> Finding:
    return Finding("risk.v1", 0.2, 0.1, evidence, Promise(kind, 0.05), alarm, n, "why")  # type: ignore[arg-type]


def test_one_strong_alarm_among_many_quiet_looks_pages() -> None:
    quiet = [finding(0.5, alarm=False) for _ in range(20)]
    paged = page([*quiet, finding(1e6)])
    assert [one.evidence for one in paged.loud] == [1e6]
    assert paged.quiet == ()


def test_a_weak_alarm_among_many_looks_stays_quiet_but_visible() -> None:
    paged = page([finding(21.0), *[finding(0.1, alarm=False) for _ in range(99)]], alpha=0.05)
    assert paged.loud == ()
    assert len(paged.quiet) == 1


def test_an_e_detector_counts_by_its_statistic_over_its_age() -> None:
    young, old = finding(1e5, kind="e-detector", n=500), finding(1e5, kind="e-detector", n=50_000)
    assert len(page([young]).loud) == 1
    assert page([old]).loud == ()


def test_e_bh_keeps_the_false_discovery_rate() -> None:
    rng = np.random.default_rng(0)
    lies = 0
    for _ in range(400):
        evidence = np.exp(rng.normal(size=50) * 3 - 4.5)  # e-values of expectation 1
        lies += bool(page([finding(float(one)) for one in evidence], alpha=0.05).loud)
    assert lies <= 32  # 400 at 5 %: binomial upper bound at 99 %


def test_the_change_is_found_where_it_was() -> None:
    rng = np.random.default_rng(1)
    losses = np.concatenate([rng.random(400) < 0.05, rng.random(200) < 0.3]).astype(float)
    assert abs(change_point(losses) - 400) < 25


def test_without_a_rise_there_is_no_change() -> None:
    assert change_point(np.zeros(50)) == 0
    assert change_point(np.array([1.0, 1.0, 0.0, 0.0])) == 0
    assert change_point(np.zeros(1)) == 0


def test_a_steady_error_rate_has_no_change() -> None:
    rng = np.random.default_rng(2)
    found = [change_point((rng.random(n) < 0.4).astype(float)) for n in (50, 300, 3000) for _ in range(100)]
    assert sum(cut > 0 for cut in found) <= 9  # of 300; without a rule every stream had one
