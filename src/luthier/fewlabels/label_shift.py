"""How frequent each class is in production, without labels, when only the mix of classes has changed.

Label shift: p(x | y) stays, p(y) moves, as when a disease becomes more common. Where p(x | y) moves too, neither answer
holds: look at embedding_shift.v1 or column_shift.v1 first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.evidence import floats
from luthier.evidence.estimates import z_score
from luthier.types import Estimate

__all__ = ["LabelShift", "bbse", "em"]

WEAKEST = 0.02  # smallest singular value of the confusion matrix; below it the classes cannot be told apart
PRECISE = 1e-9
MOST = 1000  # classes whose confusion is taken apart: 8 MB, about a second
PRIOR = 0.5  # a row of each class, spread over what may be predicted: never once wrong is not never wrong
FLATTEST = 1e-9  # share of the largest curvature of the likelihood below which a direction counts as flat


@dataclass(frozen=True, slots=True)
class LabelShift:
    """`priors`: the share of every class in production. `weights` (k,): that over its share in the reference.

    Where nothing can be said, every prior is Estimate(nan, 0), the weights are NaN, and `why` says what is missing.
    """

    priors: tuple[Estimate, ...]
    weights: np.ndarray
    why: str = ""


def bbse(target: Any, predicted: Any, current: Any, classes: int, *, confidence: float = 0.95) -> LabelShift:
    """Black-box shift estimation: solve C w = q for the class weights w. Lipton, Wang & Smola 2018.

    `target` and `predicted` (n,) of the reference, `current` (m,) predicted in production: label indices, -1 for none.
    C[i, j] = P(predicted i and target j), q[i] = P(current is i). Needs only that C can be inverted, not calibrated
    probabilities. Shares below 0 are cut and the rest scaled. The interval counts the errors of both samples: all shares
    from which the solution is less than z standard errors away, with the error that it would have there (Fieller 1954).

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
    of = table.reshape(classes, classes).sum(axis=0)  # (k,), reference rows of each class
    answers = table.reshape(classes, classes) / of  # (predicted, target), how a class is answered
    inverse = np.linalg.inv(answers)
    solved = inverse @ (np.bincount(current, minlength=classes) / m)
    priors = np.maximum(solved, 0.0)
    priors /= priors.sum()
    smooth = (answers * of + PRIOR / classes) / (of + PRIOR)
    error = _solving_error(inverse, smooth, of, m, priors)
    centre, z = np.clip(solved, 0.0, 1.0), z_score(confidence)
    low, high = _ends(lambda share: np.abs(share - centre) / np.maximum(z * error(share), 1e-300), centre)
    return _found(priors, low, high, m, source)


def em(probabilities: Any, source: Any, *, confidence: float = 0.95, steps: int = 10_000) -> LabelShift:
    """The most likely class shares by expectation–maximisation. Saerens, Latinne & Decaestecker 2002.

    `probabilities` (n, k) of production, calibrated on the reference (temperature or vector scaling), whose class
    shares were `source` (k,). The interval is that of the likelihood ratio: it has the error of the n rows, not that of
    the calibration. Sharper than `bbse` when the probabilities are right, wrong when not.

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
    low, high = _likely(ratio, priors, z_score(confidence))
    return _found(priors, low, high, len(p), source)


def _likely(ratio: Any, priors: Any, z: float) -> tuple[Any, Any]:
    """Where twice the log likelihood is less than z² below its maximum, class by class.

    The other classes keep their proportions, so what is seen is one class against a mixture; that ratio is then scaled
    by how much less is known as those proportions are estimated too, from the observed information on the simplex.
    """
    scores = ratio / (ratio @ priors)[:, None]  # (n, k)
    alone, k = priors > 1 - 1e-6, len(priors)  # no mixture of others to compare with: all alike
    even = (scores.sum(axis=1, keepdims=True) - scores) / (k - 1)
    others = np.where(alone, even, (1 - priors * scores) / np.where(alone, 1.0, 1 - priors))
    gap = scores - others  # (n, k), what a class adds to a row's likelihood, and the others lose
    known = np.einsum("nk,nk->k", gap, gap)
    scale = np.minimum(1 / np.maximum(_variances(scores) * known, 1.0), 1.0)

    def reach(share: Any) -> Any:
        with np.errstate(divide="ignore"):
            fall = -2 * scale * np.log1p(np.maximum((share - priors) * gap, -1.0)).sum(axis=0)
        return np.sqrt(np.maximum(fall, 0.0)) / z

    return _ends(reach, priors)


def _variances(scores: Any) -> Any:
    """Variance (k,) of each share by the observed information, within the directions that keep the sum."""
    basis = np.linalg.svd(np.ones((1, scores.shape[1])))[2][1:].T  # (k, k - 1), orthonormal, sums 0
    values, vectors = np.linalg.eigh((scores @ basis).T @ (scores @ basis))
    values = np.maximum(values, max(FLATTEST * float(values[-1]), 1e-300))
    return ((basis @ vectors) ** 2 / values).sum(axis=1)


def _solving_error(inverse: Any, answers: Any, of: Any, m: int, priors: Any) -> Callable[[Any], Any]:
    """Standard error (k,) of each class's solved share as a function of what its true share (k,) is.

    `inverse` of and `answers` (k, k) themselves, from `of` (k,) rows of each class; `m` rows of production. Delta method:
    the solution errs by the inverse times what the predictions err by, theirs and the reference's.
    """
    k = len(priors)
    own = inverse**2 @ answers - (inverse @ answers) ** 2  # (class, target), variance of one row of the target
    others = np.where(np.eye(k, dtype=bool), 0.0, np.tile(priors, (k, 1)) + 1e-12)
    others /= others.sum(axis=1, keepdims=True)

    def error(share: Any) -> Any:
        mixes = (1 - share)[:, None] * others + np.diag(share)  # (class, k), a mix for each class's share
        said = mixes @ answers.T
        spread = (inverse**2 * said).sum(axis=1) - (inverse * said).sum(axis=1) ** 2
        return np.sqrt(np.maximum(spread, 0.0) / m + (mixes**2 / of * own).sum(axis=1))

    return error


def _ends(reach: Callable[[Any], Any], centre: Any) -> tuple[Any, Any]:
    """The shares (k,) below and above `centre` (k,) where `reach`, 0 in the centre, comes to 1; else 0 and 1.

    As reach is nearly a multiple of the distance, dividing by it comes close at once; bisection where that leads astray.
    """
    found = []
    for end in (0.0, 1.0):
        inside, outside = centre.copy(), np.full(len(centre), end)
        share, done = outside.copy(), reach(outside) <= 1
        for _ in range(60):
            at = reach(share)
            inside, outside = np.where(at <= 1, share, inside), np.where(at > 1, share, outside)
            least, most = np.minimum(inside, outside), np.maximum(inside, outside)
            with np.errstate(divide="ignore", invalid="ignore"):
                after = centre + (share - centre) / at
            after = np.where((after > least) & (after < most), after, (inside + outside) / 2)
            still = np.abs(after - share).max(initial=0.0, where=~done) < PRECISE
            share = np.where(done, end, after)
            if still:
                break
        found.append(share)
    return found[0], found[1]


def _found(priors: Any, low: Any, high: Any, n: int, source: Any) -> LabelShift:
    ends = zip(priors.tolist(), np.minimum(low, priors).tolist(), np.maximum(high, priors).tolist(), strict=True)
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
