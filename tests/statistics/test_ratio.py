from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.statistics.ratio import Ratio


def test_ratio_of_sums_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    statistic = Ratio("errors", "words")
    covered = 0
    for _ in range(1000):
        words = rng.integers(5, 50, 300)
        found = statistic.read(statistic.observe({"errors": rng.binomial(words, 0.1), "words": words}))["ratio"]
        covered += found.low <= 0.1 <= found.high
    assert found.value == pytest.approx(0.1, abs=0.02)
    assert 930 <= covered <= 970


def test_a_zero_denominator_reads_as_nothing() -> None:
    statistic = Ratio("a", "b")
    found = statistic.read(statistic.observe({"a": np.ones(3), "b": np.array([1.0, -1.0, math.nan])}))
    assert math.isnan(found["ratio"].value)
    assert found["missing"].value == pytest.approx(1 / 3)
