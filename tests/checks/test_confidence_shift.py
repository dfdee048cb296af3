"""Confidence up or down: seen either way, quiet within tolerance and the reference's own error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier.checks.confidence_shift import ConfidenceShift
from luthier.errors import StateError


def test_it_lies_no_more_often_than_promised_when_references_are_small() -> None:
    """Mean .8 and production at .82, the tolerance; references of 300 drawn anew."""
    rng = np.random.default_rng(1)
    check, wrong, runs, n = ConfidenceShift(arl=20_000), 0, 120, 2000
    for _ in range(runs):
        memory = check.start({"confidence": rng.beta(8, 2, 300)})
        wrong += check.step(memory, {"confidence": rng.beta(8.2, 1.8, n)})[1].alarm
    assert wrong <= stats.binom.ppf(0.999, runs, check.delta + n / check.arl)


@pytest.mark.parametrize(("a", "b", "way"), [(7, 3, "fallen below"), (9.4, 0.6, "risen above")])
def test_it_sees_both_directions(a: float, b: float, way: str) -> None:
    rng = np.random.default_rng(2)
    check, delays = ConfidenceShift(), []
    for _ in range(10):
        memory = check.start({"confidence": rng.beta(8, 2, 1000)})
        memory, quiet = check.step(memory, {"confidence": rng.beta(8, 2, 2000)})
        memory, finding = check.step(memory, {"confidence": rng.beta(a, b, 2000)})
        assert (quiet.alarm, finding.alarm) == (False, True)
        assert way in finding.why
        assert finding.value == pytest.approx(a / 10, abs=0.03)
        delays.append(memory["alarm_n"] - 2000)
    print(f"\nconfidence_shift.v1 .80 -> {a / 10}: median delay {np.median(delays):,.0f} answers")
    assert np.median(delays) < 700


def test_out_of_range_is_named_and_small_references_are_not_watched() -> None:
    check = ConfidenceShift()
    with pytest.raises(StateError, match=r"reference confidence holds 97"):
        check.start({"confidence": [97.0]})
    finding = check.step(check.start({"confidence": np.full(9, 0.5)}), {"confidence": np.ones(5)})[1]
    assert finding.why == "not watched: the reference has 9 confidences; 30 are needed"
