from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2

from luthier.errors import StateError
from luthier.evidence import wilson
from luthier.names import every, get
from luthier.statistics.base import add, exact_squares, exact_sum, hash64, log_buckets, quotient, wilson_bounds

FINITE = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=60)


def fraction(exact) -> Fraction:
    return exact[0] * Fraction(2) ** exact[1]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(values=FINITE)
def test_sums_and_squares_are_exact(values: list[float]) -> None:
    array = np.array(values, float)
    assert fraction(exact_sum(array)) == sum(map(Fraction, values), Fraction(0))
    assert fraction(exact_squares(array)) == sum((Fraction(value) ** 2 for value in values), Fraction(0))


def test_sums_of_many_values_over_the_whole_range_are_exact() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=20_000) * 10.0 ** rng.integers(-320, 300, 20_000)
    assert fraction(exact_sum(values)) == sum(map(Fraction, values.tolist()), Fraction(0))
    assert quotient(exact_sum(values), 1) == math.fsum(values)
    values[:] = np.finfo(float).max
    assert fraction(exact_sum(values)) == 20_000 * Fraction(np.finfo(float).max)
    assert fraction(exact_squares(values)) == 20_000 * Fraction(np.finfo(float).max) ** 2


def test_equal_sums_are_equal_data() -> None:
    assert tuple(exact_sum(np.array([0.25, 0.25]))) == (1, -1)
    assert tuple(add(exact_sum(np.array([0.1, 0.2])), exact_sum(np.array([-0.2])))) == tuple(exact_sum(np.array([0.1])))
    assert tuple(add(exact_sum(np.array([0.1])), exact_sum(np.array([-0.1])))) == (0, 0)


def test_the_array_form_of_wilson_is_the_evidence_one() -> None:
    for k, n in ((4, 10), (812, 1000), (10, 10**7)):
        for confidence in (0.8, 0.95, 0.999):
            assert wilson_bounds(k, n, confidence) == pytest.approx(wilson(k, n, confidence), abs=1e-9)
    for k in (0, 1, 2, 3):  # where few were hit or missed, Poisson's lower bound stands in for Wilson's
        mean = chi2.ppf(0.05, 2 * k) / 2 if k else 0.0
        (low, high), (below, above) = wilson_bounds(k, 200, 0.95), wilson_bounds(200 - k, 200, 0.95)
        assert (low, high) == pytest.approx((mean / 200, wilson(k, 200)[1]), abs=1e-9)
        assert (below, above) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_an_interval_of_a_rate_covers_at_least_93_of_100_at_every_rate() -> None:
    for n in (20, 50, 200, 2000):
        low, high = wilson_bounds(np.arange(n + 1), n, 0.95)
        rates = np.concatenate([np.linspace(0.1, 20, 200) / n, np.linspace(0.02, 0.5, 200)])
        covered = [binom.pmf(np.arange(n + 1), n, rate)[(low <= rate) & (rate <= high)].sum() for rate in rates]
        assert min(covered) > 0.92
        assert 0.945 < np.mean(covered[200:]) < 0.962
    assert all(np.isnan(end) for end in wilson_bounds(0, 0, 0.95))


def test_log_buckets_rise_with_the_value() -> None:
    values = np.sort(np.abs(np.random.default_rng(2).normal(size=5000)) * 10.0 ** np.arange(-20, 30).repeat(100))
    assert (np.diff(log_buckets(values, 6)) >= 0).all()


def test_hashes_do_not_depend_on_the_width_of_the_array_and_spread_evenly() -> None:
    short, wide = np.array(["a", "bb"]), np.array(["a", "bb", "a much longer one"])
    assert (hash64(short) == hash64(wide)[:2]).all()
    assert hash64(np.array(["luthier"])).tolist() == [14799488979654300920]  # the same on every machine, for ever
    assert (hash64(short) != hash64(short, salt=1)).all()
    leading = hash64(np.arange(64_000)) >> np.uint64(58)
    assert abs(np.bincount(leading.astype(int), minlength=64) - 1000).max() < 200


def test_an_absent_column_is_named_with_those_there_are() -> None:
    for name in every("statistic"):
        with pytest.raises(StateError, match=r"there is no column '\w+'; there are weight\. Name one"):
            get("statistic", name)().observe({"weight": np.ones(3)})


def test_states_of_different_options_do_not_merge() -> None:
    made = get("statistic", "histogram.v1")
    coarse, fine = made(accuracy=0.1), made(accuracy=0.01)
    with pytest.raises(StateError, match="bits 3 and 6 cannot be merged"):
        coarse.merge(coarse.observe({}), fine.observe({}))


def test_importing_every_statistic_is_quick_and_light() -> None:
    code = (
        "import numpy, sys, time; start = time.process_time(); from luthier.names import every; import luthier.statistics.laws;"
        "names = every('statistic'); spent = time.process_time() - start;"
        "heavy = {'torch', 'scipy', 'pyarrow', 'pydantic', 'pandas'} & set(sys.modules);"
        "assert len(names) >= 10 and not heavy, (names, heavy); print(spent)"
    )
    spent = min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
                for _ in range(3))  # fmt: skip
    assert spent < 0.3
