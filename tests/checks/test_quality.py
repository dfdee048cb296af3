"""Missing numbers, empty inputs and unseen lengths."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier.checks.quality import Quality


def answers(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {"confidence": rng.random(n), "length": rng.poisson(20, n).astype(float) + 1}


def test_stable_traffic_is_quiet_for_fresh_references() -> None:
    rng = np.random.default_rng(1)
    check = Quality(arl=50_000)
    alarms = sum(check.step(check.start(answers(rng, 200)), answers(rng, 3000))[1].alarm for _ in range(60))
    assert alarms <= 9  # (delta + 3,000 / ARL) of 60, with binomial room


@pytest.mark.parametrize("what", ["missing", "empty", "longer", "no column"])
def test_each_fault_is_seen_and_named(what: str) -> None:
    rng = np.random.default_rng(2)
    check, window = Quality(), answers(rng, 1000)
    memory, finding = check.step(check.start(answers(rng, 500)), answers(rng, 1000))
    assert not finding.alarm
    hit = rng.random(1000) < 0.15
    if what == "missing":
        window["confidence"][hit] = np.nan
    elif what == "empty":
        window["length"][hit] = 0
    elif what == "longer":
        window["length"][hit] = 512
    else:
        del window["confidence"]
    _, finding = check.step(memory, window)
    assert finding.alarm
    named = {
        "missing": "missing number",
        "no column": "missing number",
        "empty": "empty inputs|shorter",
        "longer": "longer",
    }
    assert any(part in finding.why for part in named[what].split("|"))
    assert finding.value == pytest.approx(1.0 if what == "no column" else 0.15, abs=0.05)


def test_a_length_just_beyond_a_small_reference_is_expected_now_and_then() -> None:
    """No reference row lies beyond its own range; a new one does with probability Beta(2, n - 1), bounded as 1 of n."""
    check = Quality(slack=0.0)
    limits = check.start({"length": np.arange(1.0, 41)})["reference"]["limits"]
    assert limits["range"] == pytest.approx(stats.beta.ppf(1 - check.delta / 3, 2, 39))
    assert limits["empty"] == pytest.approx(stats.beta.ppf(1 - check.delta / 3, 1, 40))
