from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.codec import pack
from luthier.errors import StateError
from luthier.statistics.distinct import Distinct
from luthier.statistics.laws import check_statistic

STATISTIC = Distinct("x")


def read(values):
    return STATISTIC.read(STATISTIC.observe({"x": np.asarray(values)}))


@pytest.mark.parametrize("many", [1, 10, 300, 5000, 40_000, 300_000])
def test_the_error_is_the_promised_one_and_intervals_cover(many: int) -> None:
    rng = np.random.default_rng(many)
    runs, errors, covered = 40 if many < 50_000 else 10, [], 0
    for _ in range(runs):
        values = rng.integers(0, 2**62, many)
        found = read(np.concatenate((values, values[: many // 2])))["distinct"]
        errors.append(found.value / many - 1)
        covered += found.low <= many <= found.high
    assert np.sqrt(np.mean(np.square(errors))) < 1.04 / 128 * 1.6
    assert abs(np.mean(errors)) < 0.005
    assert covered >= 0.85 * runs


def test_a_value_is_the_same_in_every_type() -> None:
    whole = np.arange(1000)
    states = [STATISTIC.observe({"x": values}) for values in (
        whole, whole.astype(float), whole.astype(np.int32), whole.astype(object), np.append(whole[1:], -0.0),
    )]  # fmt: skip
    assert len({pack(state) for state in states}) == 1
    assert read(["1", "2", "2"])["distinct"].value == pytest.approx(2, abs=0.01)
    mixed = np.array([1, 1.0, True, "1", None, math.nan, 0.5, [3], 10**400], dtype=object)
    found = read(mixed)
    assert found["distinct"].value == pytest.approx(5, abs=0.01)  # 1, "1", 0.5, [3] and 10**400
    assert found["missing"].value == pytest.approx(2 / 9)


def test_the_law_and_the_bound() -> None:
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=100_000), [math.nan, math.inf, -math.inf])
    check_statistic(STATISTIC, {"x": values}, 1)
    check_statistic(STATISTIC, {"x": rng.integers(0, 50, 300).astype(str)}, 2)
    assert len(pack(STATISTIC.observe({"x": values}))) < 17_000


def test_bytes_are_those_of_every_machine() -> None:
    state = STATISTIC.observe({"x": np.array(["luthier", "violin", "é", ""])})
    assert [(int(place), int(state["registers"][place])) for place in np.flatnonzero(state["registers"])] == [
        (2562, 1),
        (11738, 1),
        (12512, 2),
        (13144, 1),
    ]


def test_nothing_is_absent() -> None:
    found = read([math.nan, math.nan])
    assert (found["distinct"].n, found["missing"].value) == (0, 1.0)


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="precision is 4"):
        Distinct(precision=4)
    with pytest.raises(StateError, match=r"shape \(2, 2\)"):
        read(np.ones((2, 2)))
    with pytest.raises(StateError, match="precision 14 and 12 cannot be merged"):
        STATISTIC.merge(STATISTIC.observe({}), Distinct("x", 12).observe({}))
