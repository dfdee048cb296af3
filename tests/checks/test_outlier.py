"""Any outlier score, ranked: quiet within the promise for small references, quick on a few strange rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from luthier import codec
from luthier.checks.laws import check_check
from luthier.checks.outlier import Outlier
from luthier.errors import StateError
from luthier.outliers import HalfSpaces, Reconstruction, smallest
from luthier.outliers.detectors import Autoencoder, IsolationForest, PyOD, River


class Radius:
    """A detector as PyOD has them: the distance from the mean."""

    def fit(self, x: np.ndarray) -> Radius:
        self.middle = x.mean(axis=0)
        return self

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x - self.middle, axis=1)


class OneByOne:
    """A detector as River has them: the squared distance from the running mean."""

    def __init__(self) -> None:
        self.n, self.total = 0, {}

    def learn_one(self, x: dict[int, float]) -> None:
        self.n += 1
        self.total = {name: self.total.get(name, 0.0) + value for name, value in x.items()}

    def score_one(self, x: dict[int, float]) -> float:
        return sum((value - self.total[name] / self.n) ** 2 for name, value in x.items())


METHODS: dict[str, Any] = {
    "nearest": "nearest",
    "mahalanobis": "mahalanobis",
    "half_spaces": HalfSpaces(trees=30),
    "reconstruction": Reconstruction(share=0.9),
    "reconstruction, both ways": Reconstruction(share=0.9, inward=True),
    "isolation forest": IsolationForest(trees=30),
    "autoencoder": Autoencoder(epochs=15),
    "pyod": PyOD(Radius()),
    "river": River(OneByOne()),
}


def rows(rng: np.random.Generator, n: int, strange: float = 0.0) -> np.ndarray:
    """Correlated, skewed, heavy-tailed rows (n, 6); a share of them far off and against the correlation."""
    x = rng.standard_t(5, (n, 2)) @ np.array([[1.0, 0.8, 0.3, 0, 0, 0], [0, 0, 0.5, 1, 0.9, 0.2]])
    x += 0.4 * rng.standard_normal((n, 6)) + np.exp(rng.standard_normal((n, 1)))
    hit = rng.random(n) < strange
    x[hit] += 6 * rng.choice([-1, 1], (int(hit.sum()), 6))
    return x.astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_false_alarms_stay_within_the_promise_for_small_references(method: str) -> None:
    check, n, runs = Outlier(METHODS[method], arl=2000), 640, 20
    wrong = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        wrong += check.step(check.start({"embedding": rows(rng, 120)}), {"embedding": rows(rng, n)})[1].alarm
    print(f"\noutlier.v1, {method}: {wrong} of {runs} streams of {n} alarm, promised one in {check.arl:,.0f}")
    assert wrong <= stats.binom.ppf(0.999, runs, 1 - np.exp(-n / check.arl))
    assert wrong <= 5


@pytest.mark.parametrize("method", METHODS)
def test_a_tenth_of_strange_rows_is_found_soon(method: str) -> None:
    check, delays = Outlier(METHODS[method]), []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        memory = check.start({"embedding": rows(rng, 600)})
        memory, quiet = check.step(memory, {"embedding": rows(rng, 800)})
        assert not quiet.alarm
        memory, finding = check.step(memory, {"embedding": rows(rng, 800, 0.15)})
        delays.append(memory["alarm_n"] - 800 if finding.alarm else np.inf)
    print(f"\noutlier.v1, {method}: 15 % strange rows found after a median of {np.median(delays):.0f}")
    assert np.median(delays) <= 150
    assert finding.value > 0.1
    assert "shown at row" in finding.why


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strange", [0.0, 0.3])
def test_laws(method: str, strange: float) -> None:
    rng = np.random.default_rng(1)
    check = Outlier(METHODS[method], columns=("embedding", "length"))
    reference = {"embedding": rows(rng, 300), "length": rng.poisson(20, 300)}
    window = {"embedding": rows(rng, 500, strange), "length": rng.poisson(20, 500)}
    window["id"] = np.array([f"r{i}" for i in range(500)])
    window["embedding"][::50, 2] = np.nan
    finding = check_check(check, reference, window)
    assert finding.alarm is (strange > 0)
    assert "10 rows left out: not 7 finite numbers in embedding, length" in finding.why


def test_the_isolation_forest_scores_as_scikit_learn_does() -> None:
    from sklearn.ensemble import IsolationForest as Forest

    rng = np.random.default_rng(2)
    x, fresh = rows(rng, 400), rows(rng, 64, 0.2)
    detector = IsolationForest(trees=50, sample=128, seed=3)
    theirs = -Forest(n_estimators=50, max_samples=128, random_state=3).fit(x).score_samples(fresh)
    ours = detector.score(detector.fit(x), fresh.reshape(4, 16, 6)).reshape(-1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_the_reconstruction_error_is_that_of_scikit_learns_pca() -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(8)
    x, fresh = rows(rng, 400), rows(rng, 64, 0.2)
    detector = Reconstruction(share=0.8)
    state = detector.fit(x)
    pca = PCA(n_components=0.8, svd_solver="full").fit(x)
    theirs = np.linalg.norm(fresh - pca.inverse_transform(pca.transform(fresh)), axis=1)
    assert state["components"].shape == (6, pca.n_components_)
    np.testing.assert_allclose(detector.score(state, fresh.reshape(4, 16, 6)).reshape(-1), theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"share is 1; the share of the variance that is kept lies in \(0, 1\)"):
        Reconstruction(share=1)


def test_copies_are_strange_only_where_both_ways_are_asked_for() -> None:
    """Rows put back onto the principal subspace, as made-up or denoised data are: the error becomes smaller."""
    rng = np.random.default_rng(9)
    mixing = rng.standard_normal((4, 60))

    def drawn(n: int, noise: float) -> np.ndarray:
        return (rng.standard_normal((n, 4)) @ mixing + noise * rng.standard_normal((n, 60))).astype(np.float32)

    good, copies = drawn(1000, 0.3), drawn(600, 0.15)
    for detector, alarm in ((Reconstruction(), False), (Reconstruction(inward=True), True)):
        check = Outlier(detector)
        assert check.step(check.start({"embedding": good}), {"embedding": copies})[1].alarm is alarm
    broken = np.where(rng.random((600, 1)) < 0.3, rng.permuted(good[:600], axis=1), good[:600])
    check = Outlier("reconstruction")
    assert check.step(check.start({"embedding": good}), {"embedding": broken})[1].alarm


@pytest.mark.parametrize(("size", "width"), [(120, 384), (120, 1), (300, 2)])
def test_a_subspace_of_few_rows_or_of_none_is_calibrated_all_the_same(size: int, width: int) -> None:
    wrong = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        check = Outlier("reconstruction", arl=5000)
        memory = check.start({"embedding": rng.standard_normal((size, width))})
        wrong += check.step(memory, {"embedding": rng.standard_normal((600, width))})[1].alarm
    assert wrong <= 1


def test_any_scikit_learn_detector_plugs_in() -> None:
    from sklearn.neighbors import LocalOutlierFactor

    rng = np.random.default_rng(3)
    check = Outlier(PyOD(LocalOutlierFactor(novelty=True)))
    memory = check.start({"embedding": rows(rng, 400)})
    assert check.step(memory, {"embedding": rows(rng, 800, 0.3)})[1].alarm
    assert not check.step(memory, {"embedding": rows(rng, 800)})[1].alarm


@pytest.mark.parametrize(
    "method", ["nearest", "mahalanobis", "half_spaces", "reconstruction", "isolation forest", "autoencoder"]
)
def test_a_restart_goes_on_and_needs_no_other_package(method: str) -> None:
    rng = np.random.default_rng(4)
    memory = Outlier(METHODS[method]).start({"embedding": rows(rng, 200)})
    window = {"embedding": rows(rng, 100)}
    again = codec.unpack(codec.pack(memory))
    assert Outlier(METHODS[method]).step(again, window)[1] == Outlier(METHODS[method]).step(memory, window)[1]


def test_a_plugged_detector_that_was_not_fitted_here_says_so() -> None:
    rng = np.random.default_rng(5)
    memory = Outlier(PyOD(Radius())).start({"embedding": rows(rng, 200)})
    with pytest.raises(StateError, match="was not fitted here: call `start`"):
        Outlier(PyOD(Radius())).step(memory, {"embedding": rows(rng, 32)})


def test_what_is_no_detector_is_refused() -> None:
    with pytest.raises(StateError, match="a dict cannot be watched with: it needs fit and decision_function"):
        PyOD({})
    with pytest.raises(StateError, match="needs learn_one and score_one"):
        River(Radius())
    with pytest.raises(ValueError, match="'forest'; it must be nearest, mahalanobis, half_spaces, reconstruction or"):
        Outlier("forest")
    with pytest.raises(ValueError, match="at least one each"):
        Outlier(columns=())


@pytest.mark.parametrize(
    ("reference", "n"),
    [
        ({}, 0),
        ({"embedding": np.ones((99, 3))}, 99),
        ({"embedding": np.full((500, 3), np.nan)}, 0),
        ({"embedding": np.full((500, 3), np.inf)}, 0),
        ({"embedding": np.array(["a"] * 500)}, 0),
        ({"embedding": np.ones((500, 0))}, 500),
    ],
)
def test_a_reference_that_cannot_be_learnt_from_says_so(reference: dict[str, np.ndarray], n: int) -> None:
    finding = check_check(Outlier(), reference, {"embedding": np.ones((20, 3))})
    assert finding.why.startswith(f"not watched: the reference has {n} whole rows of embedding; 100 are needed")


@pytest.mark.parametrize("method", METHODS)
def test_constant_columns_and_huge_numbers_do_no_harm(method: str) -> None:
    rng = np.random.default_rng(6)
    check = Outlier(METHODS[method])
    good = np.hstack([rows(rng, 300), np.full((300, 1), 5.0, np.float32)])
    memory = check.start({"embedding": good})
    memory, finding = check.step(memory, {"embedding": good[:64]})
    assert not finding.alarm
    wild = good[:64] * np.float32(1e30)
    assert np.isfinite(check.step(memory, {"embedding": wild})[1].evidence)
    constant = {"embedding": np.ones((300, 3), np.float32)}
    assert not check.step(check.start(constant), constant)[1].alarm


def test_rows_of_another_width_are_counted_and_left_out() -> None:
    rng = np.random.default_rng(7)
    check = Outlier()
    memory = check.start({"embedding": rows(rng, 200)})
    _, finding = check.step(memory, {"embedding": np.zeros((40, 9))})
    assert (finding.n, finding.alarm) == (0, False)
    assert "40 rows left out: not 6 finite numbers in embedding" in finding.why


@pytest.mark.parametrize(("m", "k"), [(5, 5), (1000, 5), (2007, 10), (4099, 1)])
def test_the_smallest_of_each_row_are_found_among_ties_and_negatives(m: int, k: int) -> None:
    rng = np.random.default_rng(m)
    for table in (rng.normal(size=(40, m)), rng.integers(-3, 3, (40, m)).astype(np.float32), np.zeros((2, m))):
        np.testing.assert_array_equal(np.sort(smallest(table, k), axis=1), np.sort(table, axis=1)[:, :k])


@pytest.mark.parametrize("k", [3, 8, 9])
def test_the_smallest_of_short_rows_pass_over_nan_and_count_infinities(k: int) -> None:
    table = np.random.default_rng(k).integers(0, 9, (40, 100)).astype(np.float32)
    table[3, 4:] = np.inf
    table[5, 10:20] = -np.inf
    given = table.copy()
    np.testing.assert_array_equal(np.sort(smallest(table, k), axis=1), np.sort(table, axis=1)[:, :k])
    np.testing.assert_array_equal(table, given)
    table[7, 2:50] = np.nan
    np.testing.assert_array_equal(np.sort(smallest(table, k), axis=1), np.sort(table, axis=1)[:, :k])
