"""Where a reference lies, and whether answers come from there: the gate before every estimate without labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from luthier.outliers import smallest
from luthier.types import Columns, Estimate

__all__ = [
    "elsewhere",
    "enough",
    "features",
    "fit",
    "gap_limit",
    "labels_for",
    "measure",
    "names_of",
    "newest_far",
    "scale",
    "whiten",
    "z_score",
]

NEIGHBOURS = 5
ROWS, CACHED = 512, 128  # multiplied at a time; held at a time where fewer are multiplied
AXES = 16  # principal axes on which the whitened mean is watched
PLANNED_RISK = 0.2
QUIET_Z = 3.29  # two-sided .001
DRIFT = 0.25  # reference standard deviations by which the mean may move before it counts as elsewhere
MISSED = 0.1  # chance that a mean moved by twice that is not seen
FARTHEST = 20.0  # standard deviations at which a numeric column is cut
NOT_FEATURES = {
    "loss", "champion_loss", "target", "predicted", "champion_predicted", "agrees", "confidence", "margin", "entropy",
    "estimated_loss", "id", "at",
}  # fmt: skip


class Reading(NamedTuple):
    """What the newest answers say: an estimate with its interval, whether it applies here, and why.

    `labels`: how many would give a useful interval where it does not apply.
    """

    estimate: Estimate
    valid: bool
    why: str
    labels: int


def names_of(reference: Columns, chosen: Sequence[str]) -> list[str]:
    """The columns that say where a row lies: those chosen, or `embedding`, or else every numeric column of inputs."""
    if chosen or "embedding" in reference:
        return list(chosen or ("embedding",))
    arrays = {name: np.asarray(values) for name, values in reference.items() if name not in NOT_FEATURES}
    return sorted(name for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "biuf")


def features(columns: Columns, names: Sequence[str], known: Mapping[str, Any] | None = None) -> Any:
    """The rows as float32 (n, d); (0, d) where a column is absent or of another width.

    Numeric columns are standardised by `known` (`middle`, `scale`, `typical`), with what is missing at its typical
    value and counted in a last column; an embedding is taken as it is, and a row with NaN stays NaN.
    """
    width = len(known["middle"]) if known else 0
    if not names or any(name not in columns for name in names):
        return np.zeros((0, width), np.float32)
    if names[0] == "embedding" and len(names) == 1:
        given = np.asarray(columns["embedding"])
        if given.dtype.kind not in "biuf":
            return np.zeros((0, width), np.float32)
        with np.errstate(over="ignore"):
            x = given.astype(np.float32, copy=False)
        return x if x.ndim == 2 and width in (0, x.shape[1]) else np.zeros((0, width), np.float32)
    x = np.column_stack([_numbers(np.asarray(columns[name])) for name in names])
    missing = ~np.isfinite(x)
    if known is None:
        return np.column_stack([np.where(missing, np.nan, x), missing.sum(axis=1)])
    if missing.any():
        x = np.where(missing, known["typical"], x)
    x = np.column_stack([x, missing.sum(axis=1)])
    x -= known["middle"]
    x /= known["scale"]
    return np.clip(x, -FARTHEST, FARTHEST, out=x).astype(np.float32)


def _numbers(values: np.ndarray) -> np.ndarray:
    """(n,) float64, NaN where a row holds no number: a column that turns to text is missing, as `features` counts it."""
    if values.ndim == 1 and values.dtype.kind in "biuf":
        return values.astype(np.float64, copy=False)
    rows = values.tolist() if values.ndim == 1 and values.dtype.kind == "O" else [None] * len(values)
    return np.array([one if isinstance(one, int | float) else np.nan for one in rows], np.float64)


def scale(raw: Any, names: Sequence[str]) -> dict[str, Any]:
    """`middle`, `scale` (d,) and `typical` value of raw reference features; an embedding keeps its own."""
    if names == ["embedding"]:
        d = raw.shape[1]
        return {"middle": np.zeros(d), "scale": np.ones(d), "typical": np.zeros(0)}
    known = np.isfinite(raw)
    typical = np.array(
        [np.median(column[kept]) if kept.any() else 0.0 for column, kept in zip(raw.T, known.T, strict=True)]
    )
    filled = np.where(known, raw, typical)
    spread = filled.std(axis=0)
    return {"middle": filled.mean(axis=0), "scale": np.where(spread > 0, spread, 1.0), "typical": typical[:-1]}


def fit(x: Any, kept: int, more: int = 0) -> dict[str, Any]:
    """Where the reference x (n, d) lies: `kept` rows `near`, the 95 % distance `edge`, whitened axes (r, d).

    The edge is that of the distances of these rows, and of up to `more` others, to their neighbours among the kept.
    """
    order = np.random.default_rng(0).permutation(len(x))
    near, others = x[order[:kept]], x[order[kept : kept + more]]
    distance = _neighbour(near, near, NEIGHBOURS + 1)  # the nearest of a row is the row itself
    if len(others):
        distance = np.concatenate([distance, _neighbour(others, near, NEIGHBOURS)])
    centre = x.mean(axis=0)
    centred = (x - centre).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    values, vectors = values[::-1][:AXES], vectors[:, ::-1][:, :AXES]
    axes = (vectors / np.sqrt(np.maximum(values, 1e-12 + 1e-9 * values[0]))).T.astype(np.float32)
    return {
        "near": near, "edge": float(np.quantile(distance, 0.95)), "centre": centre, "axes": axes,
        "distance": [float(distance.mean()), float(distance.std()) or 1.0],
    }  # fmt: skip


def whiten(known: Mapping[str, Any], x: Any, height: int = 0) -> Any:
    """x (n, d) on the whitened axes (n, r), `height` rows at a time, or all at once."""
    x, turned, height = x - known["centre"], known["axes"].T, height or max(len(x), 1)
    return np.concatenate([x[start : start + height] @ turned for start in range(0, len(x), height)] or [x @ turned])


def measure(known: Mapping[str, Any], x: Any, height: int = ROWS) -> tuple[Any, Any]:
    """Distance (n,) of each row of x (n, d) to its 5th neighbour of the reference, and whether that is far (n,).

    `height` rows are multiplied at a time: a matrix product of another height may differ in its last bit.
    """
    distance = _neighbour(x, known["near"], NEIGHBOURS, height)
    return distance, distance > known["edge"]


def elsewhere(known: Mapping[str, Any], share: float, distance: float, n: int, far: float) -> str:
    """Why n answers do not come from where the reference came from, by their share of far rows and mean distance."""
    if share > far:
        return f"{share:.0%} of the newest {n} answers lie beyond the reference's 95 % distance (allowed {far:.0%})"
    mean, spread = known["distance"]
    error = math.sqrt(1 / n + 1 / known["n"])
    z = (distance - mean) / (spread * error)
    if abs(z) > QUIET_Z and abs(z) * error > DRIFT:
        way = "farther from" if z > 0 else "closer to"
        return f"answers lie {way} the reference than its own rows ({abs(z):.1f} sd)"
    return ""


def gap_limit(freedom: int, error: float) -> float:
    """Squared length that a gap of whitened means may have, each with variance `error`; .001 beyond the drift allowed.

    Chi-square quantile by Wilson & Hilferty (1931).
    """
    return freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3 * error + DRIFT**2


def enough(freedom: int, reference: int) -> float:
    """Answers that show a mean moved by twice the drift allowed with probability .9, against `reference` rows.

    The squared gap has a noncentral chi-square law, taken as normal here (`gap_limit`). Infinite where the reference is
    too small for any number of answers.
    """
    shift, normal = (2 * DRIFT) ** 2, NormalDist().inv_cdf(1 - MISSED)
    low, high = 0.0, shift
    for _ in range(50):
        error = (low + high) / 2
        least = error * freedom + shift - normal * error * math.sqrt(2 * (freedom + 2 * shift / error))
        low, high = (error, high) if least >= gap_limit(freedom, error) else (low, error)
    return 1 / (low - 1 / reference) if low > 1 / reference else math.inf


def newest_far(far: float, n: int) -> float:
    """Share of far rows that only the newest n answers may have: what is allowed, and what chance adds to their 5 %."""
    return far + QUIET_Z * math.sqrt(0.05 * 0.95 / n)


def z_score(confidence: float) -> float:
    """The two-sided normal quantile: 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def labels_for(half_width: float, confidence: float) -> int:
    """Labels for an interval of ± half_width around a risk of up to 20 %."""
    return math.ceil((z_score(confidence) / half_width) ** 2 * PLANNED_RISK * (1 - PLANNED_RISK))


def _neighbour(x: Any, near: Any, k: int, height: int = ROWS) -> Any:
    """Distance (n,) of each row of x (n, d) to the k-th nearest of `near` (m, d), some rows at a time."""
    k, squares = min(k, len(near)), np.einsum("ij,ij->i", near, near)
    turned, rows = (-2 * near).T, max(CACHED // height, 1) * height
    found = np.empty(len(x))
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        table = np.empty((len(part), len(near)), np.result_type(part, near))
        for at in range(0, len(part), height):
            np.matmul(part[at : at + height], turned, out=table[at : at + height])
        table += squares  # a row's own square is the same for all of its neighbours
        found[start : start + rows] = smallest(table, k).max(axis=1) + np.einsum("ij,ij->i", part, part)
    return np.sqrt(np.maximum(found, 0))
