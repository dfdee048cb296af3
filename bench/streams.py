"""Streams of errors on which detectors are compared: the same numbers for ours and for a peer's, in any process.

Rate .10 up to `change`, `rate` after it. Independent errors; seasonal ones (.05 up and down in 2,000 labels); spells (mean
length 50, rate 0 or twice the mean); surges (mean length 50, rate .35, .05 between them); bursts (mean length 50, all
wrong). Needs numpy only, so that a peer's venv has it.
"""

from __future__ import annotations

import numpy as np

GOOD, LONG, AFTER = 0.10, 100_000, 50_000  # rate, labels without any change, labels after a change
CHANGES, RATES = (500, 10_000, 50_000), (0.15, 0.20)
KINDS = ("independent", "seasonal", "spells", "surges", "bursts")


def stream(kind: str, seed: int, change: int = LONG, rate: float = GOOD) -> np.ndarray:
    """Errors 0/1 (change + 50,000,), or (100,000,) without a change."""
    n = LONG if change >= LONG else change + AFTER
    return _errors(np.random.default_rng(10_000 + seed), kind, n, change, rate)


def reference(kind: str, seed: int, n: int) -> np.ndarray:
    return _errors(np.random.default_rng(900_000 + seed), kind, n, n, GOOD)


def _errors(rng: np.random.Generator, kind: str, n: int, change: int, rate: float) -> np.ndarray:
    if kind in ("spells", "surges", "bursts"):
        parts = [(change, GOOD), (n - change, rate)] if change < n else [(n, GOOD)]
        return np.concatenate(
            [
                _surges(rng, size, p) if kind == "surges" else _bursts(rng, size, p, 2 * p if kind == "spells" else 1.0)
                for size, p in parts
            ]
        )
    chance = rng.random(LONG)[:n]  # 100,000 drawn whatever the length: every change is on the same stream
    level = np.where(np.arange(n) < change, GOOD, rate)
    season = 0.05 * np.sin(np.arange(n) * (2 * np.pi / 2000)) if kind == "seasonal" else 0.0
    return (chance < level + season).astype(float)


def _surges(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    """Wrong with probability .05, .35 in spells of mean length 50: the share of these makes the rate."""
    return np.maximum(_bursts(rng, n, (rate - 0.05) / 0.95, 0.30 / 0.95), rng.random(n) < 0.05)


def _bursts(rng: np.random.Generator, n: int, rate: float, bad: float) -> np.ndarray:
    """Wrong with probability `bad` for spells of mean length 50, and right between them."""
    share = rate / bad
    count = 2 + 4 * int(n * share / 50)
    lengths = np.stack([rng.geometric(share / (50 * (1 - share)), count), rng.geometric(1 / 50, count)], axis=1)
    within = np.repeat(np.tile([0.0, bad], count), lengths.ravel())[rng.integers(500) :][:n]
    return (rng.random(n) < np.pad(within, (0, n - len(within)))).astype(float)
