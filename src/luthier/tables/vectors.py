"""A column of vectors, such as embeddings: what is kept of it, and exact evidence that two of them differ.

Kept are two samples of at most 4,096 rows, drawn by a hash of their places. One of the reference's fixes the whitening, the
other is what current is compared with. A classifier learns from one half of current and scores the other (and the other
way round); given what it learnt from, compared rows and scored rows are exchangeable when nothing changed, so the e-value of
their scores, binned by the pooled counts, is exact (`luthier.evidence.homogeneity`) for any distribution, width and number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.evidence.homogeneity import log_e_toward, log_e_values, ranks, runs
from luthier.statistics.base import State, hash64
from luthier.tables.discriminant import CUT, ROOT, Basis, direction, fitted
from luthier.tables.distances import jensen_shannon

__all__ = ["Vectors", "basis_of", "compared"]

KEPT = 4096  # rows of each sample
WIDEST = 1024  # wider vectors are projected at random
FEWEST = 40  # rows of the reference's sample that whitens
STEP = 256  # of a score, to one standard deviation: coarser than any rounding, so that equal rows score the same
PARTS = (2, 4, 8, 16)
TAILS = (32, 128)
VIEWS = (0.375, 0.375, 0.25)  # weights: two classifiers, and the distance from the middle
ROWS = 256  # turned into double precision at a time: they stay in the cache
LEVEL = 0.2  # chance of a classifier from rows in which nothing has moved: from less there is nothing to learn
_SALT = 0x5EED


@dataclass(frozen=True, slots=True)
class Vectors:
    """Sums up `values` (n, d) float32: counts, width, and the two samples, the same however the rows are cut into parts."""

    def observe(self, values: Any, start: int = 0) -> dict[str, Any]:
        """{n, missing, width, rows: two (≤ 4096, d), keys: two (≤ 4096,) uint64}; rows that hold NaN or infinity are missing.

        `start`: the place of the first row in its table, which decides whether a row is kept, together with nothing else.
        """
        x = np.asarray(values, dtype=np.float32) if len(values) else np.zeros((0, 0), np.float32)
        good = np.isfinite(x).all(axis=1) & (x.shape[1] > 0)  # a width of 0: every row is null
        keys, x = hash64(start + np.arange(len(x)), _SALT)[good], x if good.all() else x[good]
        samples = [_least(x, keys, keys & np.uint64(1) == half) for half in (0, 1)]
        return {
            "n": len(x), "missing": int((~good).sum()), "width": x.shape[1],
            "rows": [_narrowed(rows) for rows, _ in samples], "keys": [kept for _, kept in samples],
        }  # fmt: skip

    def merge(self, a: State, b: State) -> dict[str, Any]:
        """Raises StateError when the widths differ."""
        widths = {state["width"] for state in (a, b)} - {0}
        if len(widths) > 1:
            raise StateError(
                f"vectors of {a['width']} in one part and of {b['width']} in another; give every part the same width"
            )
        rows, keys = [], []
        for half in (0, 1):
            parts = [state for state in (a, b) if len(state["keys"][half])] or [a]
            both = np.concatenate([state["keys"][half] for state in parts])
            kept = _least(np.concatenate([state["rows"][half] for state in parts]), both, np.ones(len(both), bool))
            rows.append(kept[0])
            keys.append(kept[1])
        total = {key: a[key] + b[key] for key in ("n", "missing")}
        return total | {"width": max(a["width"], b["width"]), "rows": rows, "keys": keys}


def _least(x: Any, keys: Any, chosen: Any) -> tuple[Any, Any]:
    """The chosen rows with the 4,096 smallest keys, by rising key."""
    places = np.flatnonzero(chosen)
    if len(places) > KEPT:
        places = places[np.argpartition(keys[places], KEPT - 1)[:KEPT]]
    places = places[np.argsort(keys[places], kind="stable")]
    return x[places], keys[places]


def _narrowed(x: Any) -> Any:
    if x.shape[1] <= WIDEST:
        return x
    draws = np.random.default_rng(0).standard_normal((x.shape[1], WIDEST)) / math.sqrt(WIDEST)
    projected = (np.clip(x, -1e30, 1e30).astype(np.float64) @ draws).astype(np.float32)
    return projected


def basis_of(state: State) -> dict[str, Any]:
    """What `compared` needs of a reference: {basis of `luthier.tables.discriminant`, held: whitened rows, and their sizes}; without enough rows {}."""
    fit, held = state["rows"]
    if len(fit) < FEWEST or not len(held):
        return {}
    size = float(np.sqrt(((fit.astype(np.float64) - fit.mean(axis=0, dtype=np.float64)) ** 2).mean())) or 1.0
    cut = len(fit) * 2 // 3
    basis: dict[str, Any] = {"size": size} | fitted(fit[:cut] / size, fit[cut:] / size)
    z = _whitened(basis, held)
    return {"basis": basis, "held": z, "sizes": _sizes(z)}


def _whitened(basis: Basis, x: Any) -> Any:
    """`luthier.tables.discriminant.whitened` in double precision and then rounded, so that equal rows are equal in any company."""
    scaled = np.clip(x / basis["size"], -1e6, 1e6).astype(np.float64)
    scaled -= basis["middle"]
    z = scaled @ basis["whitening"].astype(np.float64)
    return np.clip(z, -CUT, CUT, out=z).astype(np.float32)


def compared(known: Mapping[str, Any], current: State) -> tuple[float, dict[str, float]]:
    """Log e-value that `current` differs from the reference, and {jensen_shannon, auc, spread}.

    auc: P(a current row scores above a reference row) on a classifier that has seen neither; .5 where there is none.
    spread: root mean square of whitened components, current over reference.
    """
    halves = [_whitened(known["basis"], rows) for rows in current["rows"] if len(rows)]
    held, sizes = known["held"], [known["sizes"], np.concatenate([_sizes(z) for z in halves])]
    views = [(0.0, math.nan, 0.5), (0.0, math.nan, 0.5), _seen(*sizes)]
    for view, (train, test) in enumerate([halves, halves[::-1]] if len(halves) == 2 else []):
        weights = direction(known["basis"], _mean_design(train), len(train), LEVEL)
        if weights is not None:
            views[view] = _seen(_scores(held, weights), _scores(test, weights))
    logs = [math.log(weight) + view[0] for weight, view in zip(VIEWS, views, strict=True)]
    apart = [view[1] for view in views if not math.isnan(view[1])]
    spread = float(np.sqrt((sizes[1] ** 2).mean() / max((sizes[0] ** 2).mean(), 1e-300)))
    found = {"jensen_shannon": max(apart), "auc": (views[0][2] + views[1][2]) / 2, "spread": spread}
    return float(np.logaddexp.reduce(logs)), found


def _sizes(z: Any) -> Any:
    """Root mean square of each row of z (n, p), (n,)."""
    x = z.astype(np.float64)
    return np.sqrt(np.einsum("ij,ij->i", x, x) / z.shape[1])


def _mean_design(z: Any) -> Any:
    """The mean of `luthier.tables.discriminant.design`, (2 p,)."""
    x = z.astype(np.float64)
    squares = np.einsum("ij,ij->j", x, x) / len(z)
    return np.concatenate([x.mean(axis=0), (squares - 1) / ROOT])


def _scores(z: Any, weights: Any) -> Any:
    """`design(z) @ weights`, (n,), in double precision, from the features that have a weight; some rows at a time."""
    p, total = z.shape[1], np.zeros(len(z))
    for part, power in ((weights[:p], 1), (weights[p:], 2)):
        used = np.flatnonzero(part)
        for start in range(0, len(z) if len(used) else 0, ROWS):
            rows = z[start : start + ROWS]
            x = (rows if len(used) == p else rows[:, used]).astype(np.float64)
            some = x @ part[used] if power == 1 else ((x * x) @ part[used] - part[used].sum()) / ROOT
            total[start : start + ROWS] += some
    return total


def _seen(reference: Any, current: Any) -> tuple[float, float, float]:
    """Log e-value of two samples of scores, the Jensen–Shannon distance of 16 runs of them, and P(current > reference)."""
    steps = np.rint(np.concatenate([reference, current]) * STEP).astype(np.int64)
    steps -= steps.min()  # few: components are cut and weights have norm 1
    p, q = (np.bincount(part, minlength=int(steps.max()) + 1) for part in np.split(steps, [len(reference)]))
    taken = (p + q) > 0
    p, q = p[taken], q[taken]
    pairs = [(np.add.reduceat(p, starts), np.add.reduceat(q, starts)) for starts in runs(p + q, PARTS)]
    if not pairs:
        return 0.0, 0.0, 0.5
    logs = log_e_values(pairs + _tails(p, q))
    logs.append(log_e_toward(*pairs[-1], ranks(sum(pairs[-1]))))
    below = np.cumsum(p) - p / 2
    auc = float(below @ q) / (len(reference) * len(current))
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs)), jensen_shannon(*pairs[-1]), auc


def _tails(p: Any, q: Any) -> list[tuple[Any, Any]]:
    """Counts below and within the last 1/32 and 1/128 of both samples together: a few rows far off are seen there alone."""
    reached = np.cumsum(p + q)
    cuts = {int(np.searchsorted(reached, reached[-1] * (1 - 1 / part))) + 1 for part in TAILS}
    return [(np.add.reduceat(p, [0, cut]), np.add.reduceat(q, [0, cut])) for cut in sorted(cuts) if cut < len(p)]
