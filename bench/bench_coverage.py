"""How often the intervals that statistics print hold the truth: 1,000 samples each, against two million rows.

Run it: `python bench/bench_coverage.py [repetitions] [rows]`; prints JSON, statistic → estimate → coverage, where 0.95
is promised. By chance alone, 1,000 repetitions of a right interval give 0.936 to 0.964.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from luthier.names import get

Draw = Callable[[np.random.Generator, int], Mapping[str, np.ndarray]]
TRUTH = 2_000_000


def binary(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """A calibrated score of a rarer class."""
    score = rng.beta(1, 3, n)
    return {"score": score, "target": (rng.random(n) < score).astype(np.int64)}


def classes(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Five classes, the rarest of 5 %, predicted by the most probable of them."""
    target = rng.choice(5, n, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    other = rng.choice(5, n)
    return {"target": target, "predicted": np.where(rng.random(n) < 0.8, target, other)}


def labels(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Six labels that depend on each other through how rich and how hard a row is."""
    rich, hard = rng.normal(size=(2, n, 1))
    target = rng.normal(size=(n, 6)) + rich > np.linspace(0.2, 1.2, 6)
    return {"target": target, "predicted": target ^ (rng.normal(size=(n, 6)) + hard > 1.8)}


def numbers(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Errors that grow away from the middle, and weights."""
    target = rng.normal(50, 2, n)
    error = 0.3 + rng.normal(size=n) * (1 + 0.3 * np.abs(target - 50))
    return {"target": target, "predicted": target + error, "cost": rng.gamma(2, size=n)}


def probabilities(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    p = rng.dirichlet([0.7] * 4, n)
    return {"p": p, "target": (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)}


def lists(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    gains = (rng.random((n, 20)) < rng.beta(1, 6, (n, 1))) * rng.integers(1, 4, (n, 20)).astype(float)
    gains[:, 0] = np.maximum(gains[:, 0], 1)
    return {"gains": gains, "scores": gains + 2 * rng.normal(size=(n, 20))}


CASES: Mapping[str, tuple[str, dict[str, object], Draw]] = {
    "confusion": ("confusion.v1", {}, classes),
    "multilabel": ("multilabel.v1", {}, labels),
    "curves": ("curves.v1", {}, binary),
    "auroc": ("auroc.v1", {}, binary),
    "calibration": ("calibration.v1", {"probability": "score", "outcome": "positive"}, binary),
    "log_loss": ("log_loss.v1", {"probability": "p", "of": "classes"}, probabilities),
    "regression": ("regression.v1", {}, numbers),
    "regression, weighted": ("regression.v1", {"weight": "cost"}, numbers),
    "mean": ("mean.v1", {"column": "predicted"}, numbers),
    "ranking": ("ranking.v1", {"scores": "scores", "k": 5}, lists),
}
SKIPPED = {"min", "max", "missing", "ece"}  # exact, or above zero even of a calibrated model


def covered(name: str, options: dict[str, object], draw: Draw, repetitions: int, rows: int) -> dict[str, float]:
    """Estimate → the share of `repetitions` samples of `rows` whose interval holds the truth."""
    rng = np.random.default_rng(1)
    statistic = get("statistic", name)(**options)
    truth = statistic.observe({})
    for _ in range(20):
        truth = statistic.merge(truth, statistic.observe(draw(rng, TRUTH // 20)))
    true = {key: found.value for key, found in statistic.read(truth).items() if key not in SKIPPED}
    held = dict.fromkeys(true, 0)
    for _ in range(repetitions):
        found = statistic.read(statistic.observe(draw(rng, rows)))
        for key, value in true.items():
            held[key] += key in found and found[key].low <= value <= found[key].high
    return {key: round(times / repetitions, 3) for key, times in held.items()}


def main(repetitions: int = 1000, rows: int = 1000) -> dict[str, object]:
    found: dict[str, object] = {"repetitions": repetitions, "rows": rows}
    found |= {title: covered(*case, repetitions, rows) for title, case in CASES.items()}
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
