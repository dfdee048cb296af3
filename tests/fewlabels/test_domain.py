"""Weights that turn one sample into another."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.fewlabels import domain


def test_the_classifier_is_scikit_learns_ridge_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x = rng.standard_normal((700, 5))
    y = (rng.random(700) < 1 / (1 + np.exp(-x @ [1, -2, 0.5, 0, 3] - 0.7))).astype(float)
    beta, covariance = domain.logistic(x, y)
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(x, y)
    assert beta[:-1] == pytest.approx(peer.coef_[0], abs=1e-4)
    assert beta[-1] == pytest.approx(peer.intercept_[0], abs=1e-3)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_weights_are_the_ratio_of_densities() -> None:
    rng = np.random.default_rng(2)
    source, target = rng.standard_normal((20_000, 1)), 0.5 + 0.8 * rng.standard_normal((20_000, 1))
    weights, _ = domain.ratios(domain.design(source), domain.design(target), domain.design(source))
    x = source[:, 0]
    exact = np.exp(-(((x - 0.5) / 0.8) ** 2) / 2 + x**2 / 2) / 0.8
    assert np.corrcoef(weights, exact)[0, 1] > 0.99
    assert weights.mean() == pytest.approx(1)
    assert np.average(x, weights=weights) == pytest.approx(0.5, abs=0.03)
    assert domain.effective(weights) < 20_000
    assert domain.effective(np.ones(7)) == 7


def test_separable_samples_end_and_weights_are_bounded() -> None:
    rng = np.random.default_rng(3)
    source, target = rng.standard_normal((500, 2)), 50 + rng.standard_normal((500, 2))
    weights, _ = domain.ratios(source, target, source)
    assert np.isfinite(weights).all()
    assert weights.min() >= 0


def test_how_often_an_unmoved_sample_seems_moved() -> None:
    rng = np.random.default_rng(4)
    source = domain.moments(domain.design(rng.standard_normal((5000, 8))))
    seen = [domain.differs(source, domain.moments(domain.design(rng.standard_normal((500, 8))))) for _ in range(200)]
    moved = [
        domain.differs(source, domain.moments(domain.design(rng.standard_normal((500, 8)) + 0.1))) for _ in range(50)
    ]
    assert np.mean(seen) <= 0.25
    assert np.mean(moved) >= 0.9
