"""How much likelier a row is in new traffic than in the reference: a small ridge logistic domain classifier."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Floats", "design", "differs", "effective", "logistic", "ratios"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
RIDGE = 1.0
STEPS = 25
TOLERANCE = 1e-6
LARGEST = 30.0  # times the mean that a weight may be
LEVEL = 0.01  # chance of weighting traffic that has not moved


def design(z: Any) -> Floats:
    """Whitened features z (n, p) with their squares, cut at 6 standard deviations: (n, 2 p)."""
    z = np.clip(np.asarray(z, np.float64), -6, 6)
    return np.concatenate([z, (z * z - 1) / np.sqrt(2)], axis=1)


def differs(source: Floats, target: Floats) -> bool:
    """Whether some mean of features (n, p) differs: two-sample z at level .01 over all of them (Bonferroni)."""
    if not len(target):
        return False
    error = np.sqrt(source.var(axis=0) / len(source) + target.var(axis=0) / len(target))
    gap = np.abs(target.mean(axis=0) - source.mean(axis=0))
    level = NormalDist().inv_cdf(1 - LEVEL / (2 * source.shape[1]))
    return bool((gap > level * np.maximum(error, 1e-9)).any())


def logistic(x: Floats, y: Floats, ridge: float = RIDGE) -> Floats:
    """Coefficients (p + 1,), the intercept last and unpenalised, of P(y = 1 | x), x (n, p), by Newton's method.

    Steps are halved where they would not lower the penalised loss, so that separable classes end as well.
    """
    x = np.column_stack([x, np.ones(len(x))])
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-6
    beta = np.zeros(x.shape[1])
    score = x @ beta
    loss = _loss(score, y, beta, penalty)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-score))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(hessian, x.T @ (y - p) - penalty * beta)
        for _ in range(20):
            score = x @ (beta + step)
            after = _loss(score, y, beta + step, penalty)
            if after <= loss:
                break
            step = step / 2
        beta, gain, loss = beta + step, loss - after, after
        if gain < TOLERANCE * len(y):
            break
    return beta


def ratios(source: Floats, target: Floats, rows: Floats) -> Floats:
    """w(x) = p_target(x) / p_source(x) at `rows` (m, p), with mean 1, from rows of both (n, p).

    w = P(target | x) / P(source | x) · n_source / n_target (Bickel, Brückner & Scheffer 2009), cut at 30 times the mean.
    """
    both = np.concatenate([source, target])
    beta = logistic(both, np.repeat([0.0, 1.0], [len(source), len(target)]))
    score = rows @ beta[:-1] + beta[-1]
    weights = np.exp(np.clip(score - score.max(), -50, 0))
    weights = np.minimum(weights, LARGEST * weights.mean())
    found: Floats = weights / weights.mean()
    return found


def effective(weights: Floats) -> float:
    """The number of rows that weights (n,) are worth (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights @ weights)) if len(weights) else 0.0


def _loss(score: Floats, y: Floats, beta: Floats, penalty: Floats) -> float:
    return float(np.logaddexp(0, score).sum() - score @ y + 0.5 * (penalty * beta) @ beta)
