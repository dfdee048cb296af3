"""Drift of embeddings: how often it is found, how often it is called wrongly, and processor seconds, beside the usual tests.

Run it alone: `python bench/bench_embedding.py [repetitions = 40]`. Prints JSON.

"power": unit-norm 384-wide embeddings of ten topics (reference 4,000 rows, current 500) and the hidden layer of a small network
on scikit-learn's digits (reference 1,000 of the held-out images, current 200 of others), drawn anew in every repetition and
changed in the ways of the row names; the share of repetitions in which each method says so at 5 %. "none" is its false alarms.
`drift` is `luthier.drift` with its exact e-value at 1/20; "c2st" a cross-fitted logistic classifier of scikit-learn with a
binomial test of its accuracy; "ks" scipy's test of every component with Bonferroni's correction.

"streams": rows until the alarm, 9,999 where none comes within 4,000, for the checks that promise one false alarm in 100,000 rows, after
1,000 unchanged rows, and false alarms in 10,000 unchanged ones; a tenth as many repetitions.

"large": 20,000 × 384 reference, 2,000 current.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from luthier.checks.classifier_shift import ClassifierShift
from luthier.checks.embedding_shift import EmbeddingShift
from luthier.checks.outlier import Outlier
from luthier.outliers import Reconstruction
from luthier.stages.drift import drift, summarise

WIDTH, TOPICS = 384, 10


class Topics:
    """Unit-norm embeddings in lumps; topics 10 and 11 are new."""

    def __init__(self, width: int = WIDTH) -> None:
        rng = np.random.default_rng(7)
        self.width = width
        self.centres = rng.standard_normal((12, width))
        self.axes = 0.5 * rng.standard_normal((12, width, 20))
        self.toward = rng.standard_normal(width) / np.sqrt(width)

    def draw(
        self, rng: np.random.Generator, n: int, mix: Any = None, new: float = 0, mean: float = 0, scale: float = 1
    ) -> Any:
        topic = rng.choice(TOPICS, n, p=mix)
        fresh = rng.random(n) < new
        topic[fresh] = rng.integers(TOPICS, 12, int(fresh.sum()))
        inner = np.empty((n, self.width))
        for k in np.unique(topic):
            rows = topic == k
            inner[rows] = rng.standard_normal((int(rows.sum()), 20)) @ self.axes[k].T
        x = self.centres[topic] + scale * (inner + 0.7 * rng.standard_normal((n, self.width)))
        x /= np.linalg.norm(x, axis=1)[:, None]
        return (x + mean * self.toward).astype(np.float32)


TILTED = np.linspace(2, 0.2, TOPICS) / np.linspace(2, 0.2, TOPICS).sum()
CHANGES: dict[str, dict[str, Any]] = {
    "none": {}, "topic mix": {"mix": TILTED}, "mean .15": {"mean": 0.15}, "mean .02": {"mean": 0.02}, "5 % new topic": {"new": 0.05},
    "spread x1.1": {"scale": 1.1},
}  # fmt: skip


class Digits:
    """The 48 hidden units of a small network on held-out digits, whose images are changed."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits
        from sklearn.neural_network import MLPClassifier

        data = load_digits()
        order = np.random.default_rng(0).permutation(len(data.data))
        images, self.labels = data.data[order] / 16, data.target[order]
        self.network = MLPClassifier((48,), max_iter=600, random_state=0).fit(images[:500], self.labels[:500])
        self.images, self.labels = images[500:], self.labels[500:]

    def hidden(self, images: Any) -> Any:
        return np.maximum(images @ self.network.coefs_[0] + self.network.intercepts_[0], 0).astype(np.float32)

    def pair(self, rng: np.random.Generator, change: str) -> tuple[Any, Any]:
        order = rng.permutation(len(self.images))
        reference, rest = order[:1000], order[1000:]
        weights = np.where(self.labels[rest] < 3, 3.0, 1.0) if change == "label mix x3" else np.ones(len(rest))
        x = self.images[rng.choice(rest, 200, replace=False, p=weights / weights.sum())].copy()
        if change == "noise .06":
            x += 0.06 * rng.standard_normal(x.shape)
        if change == "contrast .9":
            x *= 0.9
        if change == "10 % shifted":
            x[:20] = np.roll(x[:20].reshape(-1, 8, 8), 1, axis=2).reshape(-1, 64)
        return self.hidden(self.images[reference]), self.hidden(x)


def by_drift(reference: Any, current: Any) -> bool:
    return drift({"x": reference}, {"x": current}).findings[0].evidence >= 20


def by_c2st(reference: Any, current: Any) -> bool:
    """Lopez-Paz & Oquab 2017: as many reference rows as current ones; accuracy of two folds against 1/2."""
    from scipy.stats import binom
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    rng = np.random.default_rng(0)
    x = np.concatenate([reference[rng.permutation(len(reference))[: len(current)]], current])
    y = np.repeat([0, 1], len(current))
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    right = int((cross_val_predict(LogisticRegression(C=0.01, max_iter=200), x, y, cv=2) == y).sum())
    return bool(binom.sf(right - 1, len(y), 0.5) <= 0.05)


def by_ks(reference: Any, current: Any) -> bool:
    from scipy.stats import ks_2samp

    p = ks_2samp(reference, current, axis=0, method="asymp").pvalue
    return bool(p.min() <= 0.05 / reference.shape[1])


METHODS = {"drift": by_drift, "c2st": by_c2st, "ks": by_ks}


def power(pairs: Any, changes: Any, repetitions: int) -> dict[str, Any]:
    table: dict[str, Any] = {method: {} for method in METHODS}
    spent = dict.fromkeys(METHODS, 0.0)
    for change in changes:
        hits = dict.fromkeys(METHODS, 0)
        for seed in range(repetitions):
            reference, current = pairs(np.random.default_rng([seed, 1]), change)
            for method, found in METHODS.items():
                start = time.process_time()
                hits[method] += found(reference, current)
                spent[method] += time.process_time() - start
        for method in METHODS:
            table[method][change] = round(hits[method] / repetitions, 3)
    for method in METHODS:
        table[method]["ms"] = round(1000 * spent[method] / repetitions / len(changes), 1)
    return table


def topic_pairs(world: Topics) -> Any:
    return lambda rng, change: (world.draw(rng, 4000), world.draw(rng, 500, **CHANGES[change]))


def streams(repetitions: int) -> dict[str, Any]:
    world = Topics()
    checks = {
        "classifier_shift.v1": ClassifierShift(), "embedding_shift.v1": EmbeddingShift(), "outlier.v1 nearest": Outlier(),
        "outlier.v1 reconstruction": Outlier("reconstruction"), "outlier.v1 reconstruction both ways": Outlier(Reconstruction(inward=True)),
    }  # fmt: skip
    return {
        f"{name}, reference {size}": stream(world, check, size, repetitions)
        for size in (500, 5000)
        for name, check in checks.items()
    }


def stream(world: Topics, check: Any, size: int, repetitions: int) -> dict[str, Any]:
    delays: dict[str, list[float]] = {change: [] for change in CHANGES if change != "none"}
    wrong, spent = 0, 0.0
    for seed in range(repetitions):
        rng = np.random.default_rng([seed, size])
        memory = check.start({"embedding": world.draw(rng, size)})
        calm = {"embedding": world.draw(rng, 10_000)}
        start = time.process_time()
        wrong += check.step(memory, calm)[1].alarm
        spent += time.process_time() - start
        memory = check.step(memory, {"embedding": calm["embedding"][:1000]})[0]
        for change in delays:
            after, finding = check.step(memory, {"embedding": world.draw(rng, 4000, **CHANGES[change])})
            delays[change].append(after["alarm_n"] - 1000 if finding.alarm else 9999)
    found = {change: float(np.median(times)) for change, times in delays.items()}
    return found | {
        "false_alarms": f"{wrong} of {repetitions}",
        "us_a_row": round(1e6 * spent / repetitions / 10_000, 1),
    }


def large() -> dict[str, Any]:
    """Processor seconds, the best of three."""
    world, rng = Topics(), np.random.default_rng(0)
    reference, current = {"x": world.draw(rng, 20_000)}, {"x": world.draw(rng, 2000)}
    drift({"x": reference["x"][:200]}, current)  # imports
    kept = summarise(reference)
    seconds = {
        "reference_s": lambda: summarise(reference), "current_s": lambda: drift(kept, current),
        "ks_s": lambda: by_ks(reference["x"], current["x"]), "c2st_s": lambda: by_c2st(reference["x"], current["x"]),
    }  # fmt: skip
    found = {name: round(min(cost(work) for _ in range(3)), 4) for name, work in seconds.items()}
    return found | {"times_faster_than_ks": round(found["ks_s"] / found["current_s"], 1)}


def cost(work: Any) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main(repetitions: int = 40) -> None:
    digits = Digits()
    print(json.dumps({
        "large": large(),
        "power, 384 wide": power(topic_pairs(Topics()), CHANGES, repetitions),
        "power, digits": power(digits.pair, ("none", "noise .06", "contrast .9", "10 % shifted", "label mix x3"), repetitions),
        "streams": streams(max(repetitions // 10, 1)),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:]))
