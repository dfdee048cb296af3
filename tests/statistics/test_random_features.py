from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.statistics.random_features import RandomFeatures, mean, mmd2

RNG = np.random.default_rng(9)


def exact_mmd2(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=-1) / (2 * bandwidth**2))

    xx, yy = kernel(x, x), kernel(y, y)
    inner = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy)]
    return float(sum(inner) - 2 * kernel(x, y).mean())


def test_mmd_is_that_of_the_gaussian_kernel() -> None:
    x, y = RNG.normal(size=(500, 6)), RNG.normal(0.5, 1, size=(500, 6))
    statistic = RandomFeatures(features=16_384, bandwidth=3.0)
    a, b = (statistic.observe({"embedding": values}) for values in (x, y))
    assert mmd2(a, b) == pytest.approx(exact_mmd2(x, y, 3.0), rel=0.1)
    assert mmd2(a, b) > 0.02


def test_mmd_of_equal_distributions_is_zero_on_average() -> None:
    statistic = RandomFeatures(bandwidth=3.0)
    found = [mmd2(*(statistic.observe({"embedding": RNG.normal(size=(100, 6))}) for _ in range(2))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(200)


def test_a_row_has_length_one_and_equal_rows_read_one() -> None:
    statistic = RandomFeatures()
    state = statistic.observe({"embedding": np.ones((50, 4))})
    assert np.linalg.norm(mean(state)) == pytest.approx(1, abs=1e-5)
    assert statistic.read(state)["norm"].value == pytest.approx(1, abs=1e-5)
    assert math.isnan(mmd2(state, statistic.observe({})))


def test_seeds_mean_the_same_projections_for_ever() -> None:
    state = RandomFeatures(features=4, seed=7).observe({"embedding": np.array([[0.5, -1.25, 2.0]])})
    assert state["sum"].tolist() == [749936, 775321, -732876, -705966]


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="features is 3; it must be an even number"):
        RandomFeatures(features=3)
    with pytest.raises(ValueError, match=r"bandwidth is 0\.001; it must lie in"):
        RandomFeatures(bandwidth=0.001)
    with pytest.raises(StateError, match="seed 1 and 0"):
        RandomFeatures().merge(RandomFeatures(seed=1).observe({}), RandomFeatures().observe({}))
    with pytest.raises(StateError, match="d 2 and 3"):
        RandomFeatures().merge(*(RandomFeatures().observe({"embedding": np.ones((1, d))}) for d in (2, 3)))
