"""Populations that bench_coverage.py samples: rows as columns, drawn from a law whose truth many rows tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

Columns = Mapping[str, np.ndarray]
Draw = Callable[[np.random.Generator, int], Columns]
Population = Callable[[np.random.Generator], Draw]
"""A law of rows, drawn itself: so that what counts rows is not measured at one rate, where coverage jumps with n."""


def binary(least: float, most: float) -> Population:
    """A score whose logit is normal in either class, calibrated, and the target; a share of positives between these."""

    def population(rng: np.random.Generator) -> Draw:
        share, apart = math.exp(rng.uniform(math.log(least), math.log(most))), rng.uniform(1.0, 2.0)
        prior = math.log(share / (1 - share))

        def draw(rng: np.random.Generator, n: int) -> Columns:
            target = (rng.random(n) < share).astype(np.int64)
            logit = apart**2 * (target - 0.5) + apart * rng.normal(size=n) + prior
            return {"score": 1 / (1 + np.exp(-logit)), "target": target}

        return draw

    return population


def heaps(rng: np.random.Generator) -> Draw:
    """Scores that say only yes or no, and few positives."""
    share, hit, lie = rng.uniform(0.08, 0.12), rng.uniform(0.6, 0.95), rng.uniform(0.05, 0.3)

    def draw(rng: np.random.Generator, n: int) -> Columns:
        target = (rng.random(n) < share).astype(np.int64)
        return {"score": np.where(rng.random(n) < np.where(target, hit, lie), 0.9, 0.1), "target": target}

    return draw


def confident(power: float) -> Population:
    """A confidence that keeps what it promises, to a power: 1, all of it; 1.5, less; 4, nothing like it."""

    def draw(rng: np.random.Generator, n: int) -> Columns:
        confidence = rng.beta(6, 2, n)
        return {"confidence": confidence, "loss": (rng.random(n) > confidence**power).astype(float)}

    return lambda rng: draw


def classes(*shares: float) -> Population:
    """Classes of about these shares, predicted right by 60 to 95 % and a bit."""

    def population(rng: np.random.Generator) -> Draw:
        some, right = np.array(shares) * rng.uniform(0.7, 1.3, len(shares)), rng.uniform(0.6, 0.95)
        some /= some.sum()

        def draw(rng: np.random.Generator, n: int) -> Columns:
            target, other = (rng.choice(len(shares), n, p=p) for p in (some, None))
            return {"target": target, "predicted": np.where(rng.random(n) < right, target, other)}

        return draw

    return population


def labels(rng: np.random.Generator) -> Draw:
    """Six labels that depend on each other through how rich and how hard a row is."""
    shift, hardness = rng.uniform(-0.2, 0.2, 2)

    def draw(rng: np.random.Generator, n: int) -> Columns:
        rich, hard = rng.normal(size=(2, n, 1))
        target = rng.normal(size=(n, 6)) + rich > np.linspace(0.2, 1.2, 6) + shift
        return {"target": target, "predicted": target ^ (rng.normal(size=(n, 6)) + hard > 1.8 + hardness)}

    return draw


def numbers(rng: np.random.Generator, n: int) -> Columns:
    """Errors that grow away from the middle, weights, and a length that goes with the error."""
    target = rng.normal(50, 2, n)
    error = 0.3 + rng.normal(size=n) * (1 + 0.3 * np.abs(target - 50))
    length = rng.poisson(20, n) + 1.0 + np.abs(error)
    return {"target": target, "predicted": target + error, "cost": rng.gamma(2, size=n), "length": length,
            "loss": np.minimum(np.abs(error) / 10, 1)}  # fmt: skip


def of_rate(least: float, most: float) -> Population:
    """0 and 1, with a rate between these."""

    def population(rng: np.random.Generator) -> Draw:
        rate = rng.uniform(least, most)
        return lambda rng, n: {"loss": (rng.random(n) < rate).astype(float)}

    return population


def probabilities(rng: np.random.Generator, n: int) -> Columns:
    p = rng.dirichlet([0.7] * 4, n)
    return {"p": p, "target": (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)}


def lists(rng: np.random.Generator) -> Draw:
    noise = rng.uniform(1.5, 2.5)

    def draw(rng: np.random.Generator, n: int) -> Columns:
        gains = (rng.random((n, 20)) < rng.beta(1, 6, (n, 1))) * rng.integers(1, 4, (n, 20)).astype(float)
        gains[:, 0] = np.maximum(gains[:, 0], 1)
        return {"gains": gains, "scores": gains + noise * rng.normal(size=(n, 20))}

    return draw


def groups(count: int, apart: float) -> Population:
    """People in groups, the last of whom are answered worse, by `apart`, and the first better, by half of it."""

    def population(rng: np.random.Generator) -> Draw:
        right = np.full(count, rng.uniform(0.7, 0.8))
        right[[0, -1]] += apart / 2, -apart

        def draw(rng: np.random.Generator, n: int) -> Columns:
            group, target = rng.integers(0, count, n), rng.integers(0, 2, n)
            return {
                "group": group,
                "target": target,
                "predicted": np.where(rng.random(n) < right[group], target, 1 - target),
            }

        return draw

    return population


def vectors(rng: np.random.Generator, n: int) -> Columns:
    mix = 0.5 * rng.normal(size=(n, 1))
    return {
        "embedding": rng.normal(0.3, 1, (n, 8)) + mix,
        "id": rng.integers(0, 2**62, n),
        "confidence": rng.random(n),
    }


def always(draw: Draw) -> Population:
    """The same rows' law every time, for what does not jump with it."""
    return lambda rng: draw


def answers(rng: np.random.Generator, n: int, moved: float) -> Columns:
    """Answers of two classes whose confidence promises too much, and inputs (n, 4) that move by `moved` towards the hard."""
    x = rng.normal(size=(n, 4))
    x[:, 0] += moved
    logit = 1.5 * x[:, 1] + np.where(x[:, 0] > 1, 0.0, 1.2) * np.sign(x[:, 1])
    said = (logit > 0).astype(np.int64)
    right = rng.random(n) < 1 / (1 + np.exp(-np.abs(logit)))
    return {
        "embedding": x.astype(np.float32), "confidence": 1 / (1 + np.exp(-1.5 * np.abs(logit))), "predicted": said,
        "target": np.where(right, said, 1 - said), "loss": 1.0 - right,
    }  # fmt: skip


def regressions(rng: np.random.Generator, n: int, large: float) -> Columns:
    """Inputs whose first component moves by `large`, and a loss that grows with its square."""
    x = rng.normal(size=(n, 4))
    x[:, 0] += large
    loss = np.clip(np.abs(rng.normal(size=n)) * (0.1 + 0.05 * x[:, 0] ** 2), 0, 1)
    return {"embedding": x.astype(np.float32), "loss": loss}
