"""How frequent each class is in production, without labels, when only the mix of classes has changed.

Label shift: p(x | y) stays, p(y) moves, as when a disease becomes more common. Where p(x | y) moves too, neither answer
holds: look at embedding_shift.v1 or column_shift.v1 first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.evidence import floats
from luthier.types import Estimate

__all__ = ["LabelShift", "bbse", "em"]

REPLICATES = 1000
WEAKEST = 0.02  # smallest singular value of the confusion matrix; below it the classes cannot be told apart
PRECISE = 1e-9
MOST = 300  # classes whose confusion is drawn 1,000 times at 720 KB each


@dataclass(frozen=True, slots=True)
class LabelShift:
    """`priors`: the share of every class in production. `weights` (k,): that over its share in the reference.

    Where nothing can be said, every prior is Estimate(nan, 0), the weights are NaN, and `why` says what is missing.
    """

    priors: tuple[Estimate, ...]
    weights: np.ndarray
    why: str = ""


def bbse(
    target: Any, predicted: Any, current: Any, classes: int, *, confidence: float = 0.95, seed: int = 0
) -> LabelShift:
    """Black-box shift estimation: solve C w = q for the class weights w. Lipton, Wang & Smola 2018.

    `target` and `predicted` (n,) of the reference, `current` (m,) predicted in production: label indices, -1 for none.
    C[i, j] = P(predicted i and target j), q[i] = P(current is i). Needs only that C can be inverted, not calibrated
    probabilities. Shares below 0 are cut and the rest scaled. The interval is the percentile bootstrap of both samples.

    Raises StateError when an index is not a class.
    """
    target, predicted = _labels(target, classes, "target"), _labels(predicted, classes, "predicted")
    current = _labels(current, classes, "current")
    if len(target) != len(predicted):
        raise StateError(f"{len(target)} targets for {len(predicted)} predictions: give one a row")
    known, current = (target >= 0) & (predicted >= 0), current[current >= 0]
    table = np.bincount(predicted[known] * classes + target[known], minlength=classes**2)
    n, m = int(known.sum()), len(current)
    confusion = table.reshape(classes, classes) / max(n, 1)
    source = confusion.sum(axis=0)
    if not (n and m and source.all()):
        lacking = (
            f"the reference has no row of class {int(np.argmin(source))}" if n and m else "one of the samples is empty"
        )
        return _nothing(classes, f"unknown: {lacking}; label some and add them")
    weakest = float(np.linalg.svd(confusion, compute_uv=False)[-1])
    if weakest < WEAKEST / classes:
        return _nothing(
            classes, f"unknown: the model confuses its classes too much (smallest singular value {weakest:.2g})"
        )
    counts = np.bincount(current, minlength=classes)
    priors = _solved(confusion[None], counts[None] / m)[0]
    rng = np.random.default_rng(seed)
    again = rng.multinomial(n, table / n, REPLICATES).reshape(-1, classes, classes) / n
    drawn = _solved(again, rng.multinomial(m, counts / m, REPLICATES) / m)
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return _found(priors, low, high, m, source)


def em(probabilities: Any, source: Any, *, confidence: float = 0.95, steps: int = 10_000) -> LabelShift:
    """The most likely class shares by expectation–maximisation. Saerens, Latinne & Decaestecker 2002.

    `probabilities` (n, k) of production, calibrated on the reference (temperature or vector scaling), whose class
    shares were `source` (k,). The interval is normal, from the observed information on the simplex: it has the error
    of the n rows, not that of the calibration. Sharper than `bbse` when the probabilities are right, wrong when not.

    Raises StateError when rows are no probabilities or a class has no share in `source`.
    """
    p, source = _probabilities(probabilities), floats(source, "source")
    if p.ndim != 2 or source.shape != p.shape[1:] or not ((source > 0) & np.isfinite(source)).all():
        raise StateError(f"probabilities of shape {p.shape} need as many source shares above 0, not {source.tolist()}")
    if not len(p):
        return _nothing(len(source), "unknown: no rows with probabilities")
    source = source / source.sum()
    ratio = p / source  # (n, k), the likelihood of each class up to a factor a row
    priors = source
    for _ in range(steps):
        joint = ratio * priors
        after = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
        done = np.abs(after - priors).max() < PRECISE
        priors = after
        if done:
            break
    half = _z(confidence) * _errors(ratio, priors)
    return _found(priors, priors - half, priors + half, len(p), source)


def _errors(ratio: Any, priors: Any) -> Any:
    """Standard errors (k,) from the observed information, within the directions that keep the sum."""
    k = len(priors)
    scores = ratio / (ratio @ priors)[:, None]  # (n, k)
    basis = np.linalg.svd(np.ones((1, k)))[2][1:].T  # (k, k - 1), orthonormal, sums 0
    information = (scores @ basis).T @ (scores @ basis)
    covariance = basis @ np.linalg.pinv(information, hermitian=True) @ basis.T
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))


def _solved(confusion: Any, current: Any) -> Any:
    """Class shares (b, k) of every replicate: confusion (b, k, k), current (b, k); NaN where it cannot be solved."""
    source = confusion.sum(axis=1)  # (b, k)
    inverse = np.linalg.pinv(confusion)
    priors = np.maximum((inverse @ current[:, :, None])[:, :, 0] * source, 0.0)
    total = priors.sum(axis=1, keepdims=True)
    return np.where(total > 0, priors / np.where(total > 0, total, 1.0), math.nan)


def _found(priors: Any, low: Any, high: Any, n: int, source: Any) -> LabelShift:
    ends = zip(priors.tolist(), np.clip(low, 0, 1).tolist(), np.clip(high, 0, 1).tolist(), strict=True)
    return LabelShift(tuple(Estimate(value, n, least, most) for value, least, most in ends), priors / source)


def _nothing(classes: int, why: str) -> LabelShift:
    return LabelShift((Estimate(),) * classes, np.full(classes, math.nan), why)


def _labels(values: Any, classes: int, name: str) -> Any:
    labels = np.asarray(values)
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or not 2 <= classes <= MOST:
        raise StateError(f"classes is {classes!r}; a mix of classes needs a whole number from 2 to {MOST:,} of them")
    if labels.size and labels.dtype.kind not in "iu":
        raise StateError(f"{name} must hold label indices from 0 to {classes - 1}, -1 for none; it is {labels.dtype}")
    if labels.size and (labels.min() < -1 or labels.max() >= classes):
        raise StateError(f"{name} must hold label indices from 0 to {classes - 1}, -1 for none; it is {labels.dtype}, "
                         f"{labels.min()} to {labels.max()}")  # fmt: skip
    return labels.astype(np.int64).ravel()


def _probabilities(values: Any) -> Any:
    p = floats(values, "probabilities")
    p = p[~np.isnan(p).any(axis=-1)] if p.ndim == 2 else p
    if p.ndim == 2 and len(p) and (p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3):
        row = int(np.argmax(np.maximum(np.abs(p.sum(axis=1) - 1), -p.min(axis=1))))
        raise StateError(f"row {row} is {p[row].tolist()}; probabilities are at least 0 and add up to 1")
    return p


def _z(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + confidence / 2)
