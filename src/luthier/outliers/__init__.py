"""How strange is a row, as rows of the reference see it: outlier scores in numpy, of any number of columns.

Each detector is a frozen dataclass of options with `fit(x) -> state` (plain data) and `score(state, x) -> scores`, where a
larger score is stranger and x comes in blocks, so that a row gives the same bits whatever window it came in. Scores have
no meaning of their own; `luthier.evidence.conformal` ranks them. Detectors that need other packages: `luthier.outliers.detectors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

__all__ = [
    "Detector", "HalfSpaces", "Mahalanobis", "Nearest", "Reconstruction", "forest_scores", "path_length", "smallest",
]  # fmt: skip

State: TypeAlias = Mapping[str, Any]
_CELL = 16  # values of a row that `smallest` looks at together
_PICKED = 8  # so many smallest values are picked one by one
_TINY = 1e-9  # standard deviations


class Detector(Protocol):
    """`fit` learns from rows (n, d) float32; `score` answers for blocks of rows (blocks, size, d) with (blocks, size).

    A state is plain data, so `luthier.codec` can pack it. `fit` of the same rows gives the same state.
    """

    def fit(self, x: np.ndarray) -> State: ...
    def score(self, state: State, x: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Nearest:
    """Mean distance to the `neighbours` nearest of at most `kept` reference rows (Ramaswamy, Rastogi & Shim 2000)."""

    neighbours: int = 10
    kept: int = 2000

    def fit(self, x: np.ndarray) -> State:
        """{rows: (m, d), squares: (m,), turned: -2 rows as (d, m)}, a sample drawn with seed 0 of more than `kept`."""
        chosen = np.random.default_rng(0).permutation(len(x))[: self.kept]
        rows = np.ascontiguousarray(x[np.sort(chosen)], dtype=np.float32)
        return {"rows": rows, "squares": (rows * rows).sum(axis=1), "turned": np.ascontiguousarray(-2 * rows.T)}

    def score(self, state: State, x: np.ndarray) -> np.ndarray:
        k = min(self.neighbours, len(state["rows"]))
        scores = np.empty(x.shape[:2])
        for block, out in zip(x, scores, strict=True):  # (size, d): the table of distances stays small
            table = (block * block).sum(axis=1)[:, None] + state["squares"]
            table += block @ state["turned"]
            nearest = np.sort(smallest(table, k), axis=1)
            out[:] = np.sqrt(np.maximum(nearest, 0.0)).mean(axis=1)
        return scores


@dataclass(frozen=True, slots=True)
class Mahalanobis:
    """Distance from the mean in units of the covariance, shrunk towards a sphere (Ledoit & Wolf 2004)."""

    def fit(self, x: np.ndarray) -> State:
        """{middle: (d,), whitening: (d, d)}."""
        middle = x.mean(axis=0)
        centred = (x - middle).astype(np.float64)
        n, d = x.shape
        covariance = centred.T @ centred / n
        size = float(np.trace(covariance)) / d or 1.0
        spread = float(((covariance - size * np.eye(d)) ** 2).sum())
        noise = float((np.einsum("ij,ij->i", centred, centred) ** 2).sum() / n - (covariance**2).sum()) / n
        shrink = min(max(noise / spread, 1e-6), 1.0) if spread > 0 else 1.0
        values, vectors = np.linalg.eigh((1 - shrink) * covariance + shrink * size * np.eye(d))
        return {"middle": middle, "whitening": (vectors / np.sqrt(np.maximum(values, 1e-9 * size))).astype(np.float32)}

    def score(self, state: State, x: np.ndarray) -> np.ndarray:
        white = (x - state["middle"]) @ state["whitening"]
        distance: np.ndarray = np.sqrt((white * white).sum(axis=2)).astype(np.float64)
        return distance


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Distance from the subspace of the first principal components that hold `share` of the variance (Jackson & Mudholkar 1979).

    The error of putting a row together again from those components: it sees rows that break the correlations of the reference,
    whatever their size. `inward`: an error that is unusually small is as strange as a large one (the score is how far its
    logarithm lies from the reference's median), for rows that have become alike, copied or made up.
    """

    share: float = 0.95
    inward: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share!r}; the share of the variance that is kept lies in (0, 1)")

    def fit(self, x: np.ndarray) -> State:
        """{middle: (d,), components: (d, r) with r < d, usual: the median of the logarithm of the error}."""
        middle = x.mean(axis=0)
        centred = (x - middle).astype(np.float64)
        values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
        reached = np.cumsum(np.maximum(values[::-1], 0))
        r = min(int(np.searchsorted(reached, self.share * reached[-1])) + 1, len(values) - 1)
        state = {"middle": middle, "components": np.ascontiguousarray(vectors[:, ::-1][:, :r]).astype(np.float32)}
        return {**state, "usual": float(np.median(np.log(self._errors(state, x[None])[0] + _TINY)))}

    def score(self, state: State, x: np.ndarray) -> np.ndarray:
        errors = self._errors(state, x)
        return np.abs(np.log(errors + _TINY) - state["usual"]) if self.inward else errors

    def _errors(self, state: State, x: np.ndarray) -> np.ndarray:
        rest = x - state["middle"]
        rest = rest - (rest @ state["components"]) @ state["components"].T
        error: np.ndarray = np.sqrt((rest * rest).sum(axis=2)).astype(np.float64)
        return error


@dataclass(frozen=True, slots=True)
class HalfSpaces:
    """How few random half-spaces part a row from the others: isolation trees in numpy (Liu, Ting & Zhou 2008).

    `trees` trees of `sample` rows each, cut at a random place of a random column until a row is alone.
    """

    trees: int = 100
    sample: int = 256

    def fit(self, x: np.ndarray) -> State:
        """The forest as `forest_scores` reads it, grown with seed 0."""
        rng = np.random.default_rng(0)
        sample = min(self.sample, len(x))
        grown = [_grow(x[rng.permutation(len(x))[:sample]], rng) for _ in range(self.trees)]
        width = max(len(tree) for tree in grown)
        nodes = np.zeros((self.trees, width, 4))
        for tree, table in zip(nodes, grown, strict=True):
            tree[: len(table)] = table
        return {
            "feature": nodes[:, :, 0].astype(np.int32), "cut": nodes[:, :, 1], "left": nodes[:, :, 2].astype(np.int32),
            "length": nodes[:, :, 3], "depth": _height(sample), "usual": path_length(sample),
        }  # fmt: skip

    def score(self, state: State, x: np.ndarray) -> np.ndarray:
        return forest_scores(state, x)


def smallest(table: np.ndarray, k: int) -> np.ndarray:
    """The k smallest values of each row of (n, m), (n, k) in any order; several times as fast as a partition of long rows.

    They lie in the k of m / 16 cells whose own smallest values are smallest, for any other cell has k values below its.
    """
    n, m = table.shape
    groups = m // _CELL
    if groups < 12 * k:
        return _picked(table, k) if k <= _PICKED else np.partition(table, k - 1, axis=1)[:, :k]
    cells = table[:, : groups * _CELL].reshape(n, _CELL, groups)
    best = np.argpartition(cells.min(axis=1), k - 1, axis=1)[:, None, :k]
    kept = np.take_along_axis(cells, best, axis=2).reshape(n, -1)
    kept = np.concatenate([kept, table[:, groups * _CELL :]], axis=1)
    found: np.ndarray = np.partition(kept, k - 1, axis=1)[:, :k]
    return found


def _picked(table: np.ndarray, k: int) -> np.ndarray:
    """The same of short rows and few values: the smallest, then the smallest of the rest … twice as fast as a partition."""
    left, rows = table.copy(), np.arange(len(table))
    found = np.empty((len(table), k), table.dtype)
    for i in range(k):
        place = left.argmin(axis=1)
        found[:, i] = left[rows, place]
        left[rows, place] = np.inf
    return np.partition(table, k - 1, axis=1)[:, :k] if np.isnan(found).any() else found  # NaN comes last there


def _height(sample: int) -> int:
    return max(math.ceil(math.log2(max(sample, 2))), 1)


def _grow(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One tree (nodes, 4): column, cut, left child (the right one follows it; a leaf is its own), path length."""
    table: list[list[float]] = [[0, np.inf, 0, 0.0]]
    waiting, height = [(0, 0, x)], _height(len(x))
    while waiting:
        node, depth, rows = waiting.pop()
        low, high = rows.min(axis=0), rows.max(axis=0)
        varying = np.flatnonzero(high > low)
        if depth == height or len(rows) < 2 or not len(varying):
            table[node] = [0, np.inf, node, depth + path_length(len(rows))]
            continue
        column = int(rng.choice(varying))
        cut = float(rng.uniform(low[column], high[column]))
        below = rows[:, column] <= cut
        table[node] = [column, cut, len(table), 0.0]
        waiting += [(len(table), depth + 1, rows[below]), (len(table) + 1, depth + 1, rows[~below])]
        table += [[0, np.inf, 0, 0.0], [0, np.inf, 0, 0.0]]
    return np.array(table)


def path_length(n: int) -> float:
    """Mean length of an unsuccessful search in a binary tree of n rows."""
    if n <= 2:
        return float(n == 2)
    return 2 * (math.log(n - 1) + 0.5772156649015329) - 2 * (n - 1) / n


def forest_scores(state: State, x: np.ndarray) -> np.ndarray:
    """2^(-mean path length / usual) of blocks (blocks, size, d), in (0, 1); near 1 is alone early.

    The forest: feature, cut, left and length (trees, nodes); right is left + 1; leaves lead to themselves, with cut inf.
    """
    rows = x.reshape(-1, x.shape[2])
    tree, row = np.arange(len(state["cut"]))[None, :], np.arange(len(rows))[:, None]
    node = np.zeros((len(rows), tree.shape[1]), np.int64)
    for _ in range(state["depth"]):
        node = state["left"][tree, node] + (rows[row, state["feature"][tree, node]] > state["cut"][tree, node])
    lengths = np.add.reduce(state["length"][tree, node], axis=1) / tree.shape[1]
    scores: np.ndarray = 2.0 ** (-lengths / state["usual"])
    return scores.reshape(x.shape[:2])
