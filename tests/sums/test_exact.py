from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from luthier.statistics.base import mean_of, moments
from luthier.sums.exact import exact_sum, fraction, natural_log, product_parts

RNG = np.random.default_rng(0)


def test_the_logarithm_is_right_to_the_last_digits() -> None:
    x = np.concatenate((np.exp(RNG.uniform(-700, 700, 40_000)), 1 + RNG.normal(size=9000) * 1e-6, [1.0, 5e-324, 1e308]))
    exact = np.log(x.astype(np.longdouble))
    assert (np.abs(natural_log(x) - exact) <= 4e-16 * np.abs(exact)).all()
    assert natural_log(np.array([1.0]))[0] == 0
    assert len(natural_log(np.zeros(0))) == 0


def test_products_and_sums_lose_nothing() -> None:
    x, y = (RNG.normal(size=500) * 10.0 ** RNG.integers(-60, 60, 500) for _ in range(2))
    product, error = product_parts(x, y)
    for a, b, p, e in zip(x.tolist(), y.tolist(), product.tolist(), error.tolist(), strict=True):
        assert Fraction(a) * Fraction(b) == Fraction(p) + Fraction(e)
    assert fraction(exact_sum(x)) == sum(map(Fraction, x.tolist()))


def test_a_weighted_mean_is_that_of_rows_repeated() -> None:
    x, times = RNG.normal(size=300), RNG.integers(0, 5, 300)
    weighted = mean_of(moments(x, times.astype(float)), 300, 0.95)
    plain = mean_of(moments(np.repeat(x, times)), int(times.sum()), 0.95)
    assert weighted.value == pytest.approx(plain.value, abs=1e-12)
    assert weighted.high - weighted.low > plain.high - plain.low  # a row of weight 4 is still one row
    ones = mean_of(moments(x, np.full(300, 7.0)), 300, 0.95)
    same = mean_of(moments(x), 300, 0.95)
    assert (ones.low, ones.value, ones.high) == pytest.approx((same.low, same.value, same.high), abs=1e-12)
