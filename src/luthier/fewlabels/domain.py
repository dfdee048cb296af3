"""How much likelier a row is in new traffic than in the reference: a small ridge logistic domain classifier."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Floats", "design", "differs", "effective", "logistic", "moments", "ratios"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
RIDGE = 1.0
STEPS = 25
TOLERANCE = 1e-6
LARGEST = 30.0  # times the mean that a weight may be
LEVEL = 0.05  # chance, of each of two tests, of weighting traffic that has not moved


def design(z: Any) -> Floats:
    """Whitened features z (n, p) with their squares, cut at 6 standard deviations: (n, 2 p)."""
    z = np.clip(np.asarray(z, np.float64), -6, 6)
    return np.concatenate([z, (z * z - 1) / np.sqrt(2)], axis=1)


def moments(x: Floats) -> Floats:
    """Mean and squared standard error of it, (2, p), of features x (n, p)."""
    found: Floats = np.stack([x.mean(axis=0), x.var(axis=0) / max(len(x), 1)])
    return found


def differs(source: Floats, target: Floats) -> bool:
    """Whether means of features differ, by `moments` (2, p): one of them, or all of them together; each at level .1.

    The largest two-sample z (Bonferroni) sees a move along one axis, the sum of their squares (chi-square, Wilson &
    Hilferty 1931) one along many. Weights that were not needed cost a little precision, and missing ones a bias.
    """
    z = (target[0] - source[0]) / np.maximum(np.sqrt(source[1] + target[1]), 1e-9)
    p, normal = len(z), NormalDist()
    together = p * (1 - 2 / (9 * p) + normal.inv_cdf(1 - LEVEL) * math.sqrt(2 / (9 * p))) ** 3
    return bool(np.abs(z).max() > normal.inv_cdf(1 - LEVEL / (2 * p)) or float(z @ z) > together)


def logistic(x: Floats, y: Floats, ridge: float = RIDGE) -> tuple[Floats, Floats]:
    """Coefficients (p + 1,) of P(y = 1 | x), x (n, p), the intercept last and unpenalised, and their covariance.

    Newton's method; steps are halved where they would not lower the penalised loss, so that separable classes end as well.
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
    return beta, np.linalg.inv(hessian)


def ratios(source: Floats, target: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """w(x) = p_target(x) / p_source(x) at `rows` (m, p), with mean 1, from rows of both (n, p).

    w = P(target | x) / P(source | x) · n_source / n_target (Bickel, Brückner & Scheffer 2009), cut at 30 times the
    mean. Beside it (p, p) the covariance of the classifier's coefficients: log w errs by a row times such an error.
    """
    both = np.concatenate([source, target])
    beta, covariance = logistic(both, np.repeat([0.0, 1.0], [len(source), len(target)]))
    score = rows @ beta[:-1] + beta[-1]
    weights = np.exp(np.clip(score - score.max(), -50, 0))
    weights = np.minimum(weights, LARGEST * weights.mean())
    return weights / weights.mean(), covariance[:-1, :-1]


def effective(weights: Floats) -> float:
    """The number of rows that weights (n,) are worth (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights @ weights)) if len(weights) else 0.0


def _loss(score: Floats, y: Floats, beta: Floats, penalty: Floats) -> float:
    both = np.maximum(score, 0) + np.log1p(np.exp(-np.abs(score)))  # log(1 + exp(score)), in half the time of logaddexp
    return float(both.sum() - score @ y + 0.5 * (penalty * beta) @ beta)
