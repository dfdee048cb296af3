"""Outlier detectors of other packages: scikit-learn's isolation forest, a torch autoencoder, whatever PyOD or River have.

The first two become plain numpy arrays once they are fitted, so watching needs neither package. A detector of PyOD or
River stays the object it is and is fitted again from the reference after a restart, never pickled.
"""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from luthier.errors import StateError, need
from luthier.outliers import State, forest_scores, path_length

__all__ = ["Autoencoder", "IsolationForest", "PyOD", "River"]


@dataclass(frozen=True, slots=True)
class IsolationForest:
    """scikit-learn's IsolationForest, read out into arrays; scores are minus its `score_samples`."""

    trees: int = 100
    sample: int = 256
    seed: int = 0

    def fit(self, x: np.ndarray) -> State:
        """The forest as `forest_scores` reads it. Raises MissingPackage without scikit-learn."""
        need("sklearn", extra="fit")
        from sklearn.ensemble import IsolationForest as Forest

        sample = min(self.sample, len(x))
        forest = Forest(n_estimators=self.trees, max_samples=sample, random_state=self.seed).fit(x)
        grown = [(one.tree_, names) for one, names in zip(forest.estimators_, forest.estimators_features_, strict=True)]
        shape = (len(grown), max(tree.node_count for tree, _ in grown))
        state = {"feature": np.zeros(shape, np.int32), "left": np.zeros(shape, np.int32)}
        state |= {"cut": np.full(shape, np.inf), "length": np.zeros(shape)}  # type: ignore[dict-item]
        for place, (tree, names) in enumerate(grown):
            _read_out(state, place, tree, names)
        return {**state, "depth": max(tree.max_depth for tree, _ in grown), "usual": path_length(sample)}

    def score(self, state: State, x: np.ndarray) -> np.ndarray:
        return forest_scores(state, x)


def _read_out(state: dict[str, Any], place: int, tree: Any, names: np.ndarray) -> None:
    """Number the nodes anew, so that the right child follows the left one and a leaf leads to itself."""
    number, waiting, used = {0: 0}, [(0, 0)], 1
    while waiting:
        node, depth = waiting.pop()
        here, left = number[node], int(tree.children_left[node])
        if left < 0:
            state["left"][place, here] = here
            state["length"][place, here] = depth + path_length(int(tree.n_node_samples[node]))
            continue
        right = int(tree.children_right[node])
        number[left], number[right] = used, used + 1
        state["left"][place, here], state["cut"][place, here] = used, tree.threshold[node]
        state["feature"][place, here] = names[tree.feature[node]]
        waiting += [(left, depth + 1), (right, depth + 1)]
        used += 2


@dataclass(frozen=True, slots=True)
class Autoencoder:
    """Squared error of a small network that must pass a row through `narrow` numbers (Sakurada & Yairi 2014).

    d -> wide -> narrow -> wide -> d with ReLU, trained by Adam on the reference; `narrow` None: d / 4, from 2 to 32.
    """

    wide: int = 64
    narrow: int | None = None
    epochs: int = 60
    learning_rate: float = 3e-3
    seed: int = 0

    def fit(self, x: np.ndarray) -> State:
        """{w0 … w3: (in, out), b0 … b3: (out,)} float32. Raises MissingPackage without torch."""
        torch = need("torch", extra="fit")
        rng = np.random.default_rng(self.seed)
        d = x.shape[1]
        widths = [d, self.wide, self.narrow or min(max(d // 4, 2), 32), self.wide, d]
        weights, shifts = [], []
        for before, after in pairwise(widths):
            w = rng.standard_normal((before, after)).astype(np.float32) * math.sqrt(2 / before)
            weights.append(torch.tensor(w, requires_grad=True))
            shifts.append(torch.zeros(after, requires_grad=True))
        optimizer = torch.optim.Adam([*weights, *shifts], lr=self.learning_rate)
        rows = torch.tensor(np.ascontiguousarray(np.clip(x, -_FAR, _FAR), dtype=np.float32))
        for _ in range(self.epochs):
            for batch in np.array_split(rng.permutation(len(x)), max(len(x) // 128, 1)):
                value = rows[torch.tensor(batch)]
                out = value
                for layer, (w, b) in enumerate(zip(weights, shifts, strict=True)):
                    out = out @ w + b
                    out = torch.relu(out) if layer < 3 else out
                optimizer.zero_grad()
                ((out - value) ** 2).mean().backward()
                optimizer.step()
        arrays = {f"w{i}": w.detach().numpy().copy() for i, w in enumerate(weights)}
        return arrays | {f"b{i}": b.detach().numpy().copy() for i, b in enumerate(shifts)}

    def score(self, state: State, x: np.ndarray) -> np.ndarray:
        out = x = np.clip(x, -_FAR, _FAR)
        for layer in range(4):
            out = out @ state[f"w{layer}"] + state[f"b{layer}"]
            out = np.maximum(out, 0.0) if layer < 3 else out
        error: np.ndarray = ((out - x) ** 2).mean(axis=2, dtype=np.float64)
        return error


_FAR = 1e4  # robust standard deviations: beyond, all is equally strange, and squares stay inside float32


@dataclass(frozen=True, slots=True)
class PyOD:
    """Any object with `fit(x)` and `decision_function(x)`, larger is stranger (PyOD), or `score_samples(x)`, larger is
    usual (scikit-learn). Give it a random state of its own: it is fitted again from the reference after a restart."""

    detector: Any
    _fitted: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _has(self.detector, "fit", ("decision_function", "score_samples"))

    def fit(self, x: np.ndarray) -> State:
        """{fitted: digest of x}; the fitted copy stays in this object."""
        key = _digest(x)
        if key not in self._fitted:
            fresh = copy.deepcopy(self.detector)
            fresh.fit(x.astype(np.float64))
            self._fitted[key] = fresh
        return {"fitted": key}

    def score(self, state: State, x: np.ndarray) -> np.ndarray:
        fitted = _of(self._fitted, state)
        usual = hasattr(fitted, "score_samples")
        call = fitted.score_samples if usual else fitted.decision_function
        scores = [np.asarray(call(block.astype(np.float64)), dtype=np.float64).reshape(len(block)) for block in x]
        return np.reshape(scores, x.shape[:2]) * (-1.0 if usual else 1.0)


@dataclass(frozen=True, slots=True)
class River:
    """Any object with `learn_one({column: number})` and `score_one`, larger is stranger (River).

    It learns from the reference only, so that what it calls strange does not drift with the stream it watches.
    """

    detector: Any
    _fitted: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _has(self.detector, "learn_one", ("score_one",))

    def fit(self, x: np.ndarray) -> State:
        """{fitted: digest of x}; the copy that has learnt stays in this object."""
        key = _digest(x)
        if key not in self._fitted:
            fresh = copy.deepcopy(self.detector)
            for row in x.tolist():
                fresh.learn_one(dict(enumerate(row)))
            self._fitted[key] = fresh
        return {"fitted": key}

    def score(self, state: State, x: np.ndarray) -> np.ndarray:
        fitted = _of(self._fitted, state)
        scores = [fitted.score_one(dict(enumerate(row))) for block in x for row in block.tolist()]
        return np.reshape(np.asarray(scores, dtype=np.float64), x.shape[:2])


def _has(detector: Any, learns: str, answers: tuple[str, ...]) -> None:
    if not (hasattr(detector, learns) and any(hasattr(detector, name) for name in answers)):
        raise StateError(
            f"a {type(detector).__name__} cannot be watched with: it needs {learns} and {' or '.join(answers)}. "
            f"Wrap it in an object that has both"
        )


def _digest(x: np.ndarray) -> str:
    return hashlib.sha256(repr(x.shape).encode() + np.ascontiguousarray(x).tobytes()).hexdigest()[:16]


def _of(fitted: dict[str, Any], state: State) -> Any:
    if state["fitted"] not in fitted:
        raise StateError("this detector was not fitted here: call `start` of its check with the reference first")
    return fitted[state["fitted"]]
