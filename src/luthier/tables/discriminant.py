"""A classifier of two samples in closed form: where one was summed up beforehand, and of the other only the mean is known.

In whitened features and their squares the best linear classifier of two samples that differ a little points along the gap
of their means (Fisher 1936; Bickel & Levina 2004). Where it is all noise but for a part, the part alone tells more: single
features (nearest shrunken centroids: Tibshirani, Hastie, Narasimhan & Chu 2002), the first principal components, the squares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

__all__ = ["CUT", "ROOT", "Basis", "design", "direction", "fitted", "scores", "whitened"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Basis: TypeAlias = Mapping[str, Any]

LEAST = 1e-4  # of a sphere in the covariance, so that rounding is never blown up
PRIOR = 20  # rows that the usual variance of a feature is worth
PLENTY = 20  # rows a feature, from which a row is whitened like one that the whitening has not seen
CUT = 6.0  # standard deviations
ROOT = math.sqrt(2.0)
COMPONENTS = (8, 32, 128)  # of the principal components, and all of them


def fitted(whitening: Any, centring: Any) -> dict[str, Any]:
    """The basis from two samples (n, p) of one source: one whitens, the other, which the first has not seen, centres.

    Squares of rows that the whitening was fitted to would be too small. {middle (p,), whitening and its inverse
    (p, p), symmetric, so that a whitened feature is still nearly its own; vectors: principal components (p, p), the
    largest first; centre, variance and rows (2 p,) of `design`; spread: variance (p,) of the whitened components}.
    """
    middle = whitening.mean(axis=0, dtype=np.float64)
    x = (whitening - middle).astype(np.float64)
    n, p = x.shape
    covariance = x.T @ x / n
    size = float(np.trace(covariance)) / p or 1.0
    shrink = _shrinkage(x, covariance, size) if n < 5 * p else LEAST
    values, vectors = np.linalg.eigh((1 - shrink) * covariance + shrink * size * np.eye(p))
    root = np.sqrt(np.maximum(values, LEAST * size))
    basis: dict[str, Any] = {
        "middle": middle.astype(np.float32), "whitening": ((vectors / root) @ vectors.T).astype(np.float32),
        "inverse": ((vectors * root) @ vectors.T).astype(np.float32), "vectors": vectors[:, ::-1].copy(),
    }  # fmt: skip
    features, m = design(whitened(basis, centring)), len(centring)
    centre, rows = features.mean(axis=0), np.repeat([n + m, m], p)
    centre[:p] *= m / (n + m)  # the rows that whiten have mean 0
    if n >= PLENTY * p:  # else those rows look less varied than others do
        features = np.concatenate([design(whitened(basis, whitening)), features])
    variance = np.concatenate([_variances(features[:, :p]), _variances(features[:, p:])])
    spread = _variances(features[:, :p] @ basis["vectors"])
    return basis | {"centre": centre, "variance": variance, "rows": rows, "spread": spread}


def _variances(x: Floats) -> Floats:
    """Of the columns of x (m, p), drawn a little towards their mean, for m may be small."""
    found = x.var(axis=0)
    drawn: Floats = (len(x) * found + PRIOR * max(float(found.mean()), 1e-6)) / (len(x) + PRIOR)
    return drawn


def _shrinkage(x: Floats, covariance: Floats, size: float) -> float:
    """Towards a sphere: Ledoit & Wolf 2004."""
    spread = float(((covariance - size * np.eye(len(covariance))) ** 2).sum())
    noise = float((np.einsum("ij,ij->i", x, x) ** 2).sum() / len(x) - (covariance**2).sum()) / len(x)
    return min(max(noise / spread, LEAST), 1.0) if spread > 0 else 1.0


def whitened(basis: Basis, x: Any) -> Any:
    """Rows (…, p) float32 in standard deviations, cut at ± 6."""
    return np.clip((x - basis["middle"]) @ basis["whitening"], -CUT, CUT)


def design(z: Any) -> Floats:
    """Whitened features (n, p) and their squares less 1 over √2, side by side: (n, 2 p)."""
    z = np.asarray(z, np.float64)
    return np.concatenate([z, (z * z - 1) / ROOT], axis=1)


def direction(basis: Basis, mean: Floats, n: int, level: float) -> Floats | None:
    """Weights (2 p,) that tell n rows whose `design` has this mean from the reference, or None while nothing does.

    Tests of the gap between the means, each at `level`: the largest feature (Bonferroni); the squares together, and the first 8,
    32, 128 and all principal components (chi-square). The strongest one says which part of the gap carries the weight.
    """
    gap, error = mean - basis["centre"], np.sqrt(basis["variance"] * (1 / n + 1 / basis["rows"]))
    z, p, normal = gap / error, len(gap) // 2, NormalDist()
    bar = normal.inv_cdf(1 - level / (4 * p))
    found = [(float(np.abs(z).max()) - bar, -1), (_excess(z[p:] ** 2, level), 0)]
    along = gap[:p] @ basis["vectors"]
    squares = along**2 / (basis["spread"] * (1 / n + 1 / basis["rows"][0]))
    found += [(_excess(squares[:r], level), r) for r in (*(r for r in COMPONENTS if r < p), p)]
    excess, part = max(found)
    if not excess > 0:
        return None
    weights = gap / basis["variance"]
    if part < 0:
        weights *= np.maximum(1 - bar / 2 / np.maximum(np.abs(z), 1e-12), 0)
    elif part == 0:
        weights[:p] = 0
    else:
        weights = np.concatenate([basis["vectors"][:, :part] @ (along / basis["spread"])[:part], np.zeros(p)])
    unit: Floats = weights / max(float(np.sqrt(weights @ weights)), 1e-300)
    return unit


def _excess(squares: Floats, level: float) -> float:
    """How far the sum of squares of standard normals (k,) lies beyond its limit, in sd (Wilson & Hilferty 1931)."""
    scale, mean = math.sqrt(2 / (9 * len(squares))), float(squares.mean())
    return (math.cbrt(mean) - 1) / scale + scale - NormalDist().inv_cdf(1 - level)


def scores(z: Any, weights: Floats) -> Floats:
    """`design(z) @ weights` for z (n, p) and weights (2 p, k), without the design, to some 1e-5 sd: (n, k)."""
    p = z.shape[1]
    linear, square = weights[:p].astype(np.float32), (weights[p:] / ROOT).astype(np.float32)
    found: Floats = (z @ linear + (z * z) @ square).astype(np.float64) - weights[p:].sum(axis=0) / ROOT
    return found
