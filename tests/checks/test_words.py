"""What findings say once the rows that raised an alarm are over, and where the columns a check reads are not there."""

from __future__ import annotations

import numpy as np
import pytest

from luthier import Monitor

WATCHED = ("risk.v1", "risk_lifetime.v1", "below.v1", "embedding_shift.v1", "confidence_shift.v1", "outlier.v1")


def window(rng: np.random.Generator, n: int, bad: bool = False) -> dict[str, np.ndarray]:
    return {
        "confidence": rng.uniform(0.2, 0.3, n) if bad else rng.uniform(0.7, 0.9, n),
        "embedding": rng.standard_normal((n, 8)) + 2 * bad,
        "loss": (rng.random(n) < (0.6 if bad else 0.1)).astype(float),
    }


def test_an_alarm_whose_rows_are_over_does_not_speak_of_a_stretch() -> None:
    rng = np.random.default_rng(3)
    monitor = Monitor(window(rng, 2000), checks=WATCHED)
    for n, bad in ((400, True), (16_000, False)):
        rows = window(rng, n, bad)
        monitor.observe("answer", {name: rows[name] for name in ("confidence", "embedding")}, at="2026-01-01")
        monitor.observe("label", {"loss": rows["loss"]}, at="2026-01-01")
        if bad:
            assert all("since about" in finding.why for finding in monitor.findings())
    for finding in monitor.findings():
        assert finding.alarm
        assert "since about" not in finding.why, finding.why
        assert "an alarm was shown at" in finding.why
        assert "no longer stand out" in finding.why


@pytest.mark.parametrize("check", ["label_free.v1", "label_free.v2", "loss_free.v1", "embedding_shift.v1"])
def test_answers_without_what_a_check_reads_are_counted(check: str) -> None:
    rng = np.random.default_rng(4)
    monitor = Monitor(window(rng, 2000), checks=(check,))
    (finding,) = monitor.observe("answer", {"x": np.ones(70)}, at="2026-01-01")
    assert finding.n == 0
    assert "; 70 answers came without a" in finding.why
    assert "embedding" in finding.why
    rows = window(rng, 500)
    monitor.observe("answer", {name: rows[name] for name in ("confidence", "embedding")}, at="2026-01-01")
    for odd in (np.ones(20), np.ones((20, 8)) * 1j, np.full((20, 8), 1e300), np.ones((20, 7)), np.full((20, 8), "a")):
        monitor.observe("answer", {"confidence": np.full(20, 0.8), "embedding": odd}, at="2026-01-01")
    (finding,) = monitor.observe("answer", {"x": np.ones(30)}, at="2026-01-01")
    assert finding.n == 500
    assert "; 200 answers came without a" in finding.why
