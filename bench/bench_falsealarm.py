"""How often risk alarms lie on independent, seasonal and bursty errors, and how soon they speak.

    python bench/bench_falsealarm.py [--runs 200]

References of 20,000 labels at an error rate of .10, limit .12 where it is given, else the reference's own bound + .02;
streams of 100,000 labels at .10 for false alarms, and .15 or .20 after 10,000 good labels for delays (cut at 40,000).
Independent errors; seasonal ones (.05 up and down in 2,000 labels); spells (mean length 50, rate 0 or twice the mean);
bursts (mean length 50, all wrong). Beside ours a one-sided z test (.001) of every window of 1,000 in plain numpy.
Delays are of the runs without an alarm before the change (null: there were none); it falls on the end of a season.
Prints JSON: one row a detector and stream.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from luthier.checks.risk import Risk, RiskLifetime
from luthier.checks.risk_block import RiskBlock

LIMIT, GOOD, CHANGED, LONG, REFERENCE = 0.12, 10_000, 40_000, 100_000, 20_000


def independent(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    return (rng.random(n) < rate).astype(float)


def seasonal(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    return (rng.random(n) < rate + 0.05 * np.sin(np.arange(n) * (2 * np.pi / 2000))).astype(float)


def bursts(rng: np.random.Generator, n: int, rate: float, bad: float = 1.0) -> np.ndarray:
    """Wrong with probability `bad` for spells of mean length 50, and right between them."""
    share = rate / bad
    count = 2 + 4 * int(n * share / 50)
    lengths = np.stack([rng.geometric(share / (50 * (1 - share)), count), rng.geometric(1 / 50, count)], axis=1)
    within = np.repeat(np.tile([0.0, bad], count), lengths.ravel())[rng.integers(500) :][:n]
    return (rng.random(n) < np.pad(within, (0, n - len(within)))).astype(float)


def spells(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    return bursts(rng, n, rate, 2 * rate)


STREAMS = (independent, seasonal, spells, bursts)
Detector = Callable[[np.ndarray, np.ndarray], float]


def ours(check: Any, limit: float | None) -> Detector:
    def first(reference: np.ndarray, losses: np.ndarray) -> float:
        memory = check.start({"loss": reference})
        if limit:
            memory = {**memory, "reference": {**memory["reference"], "limit": limit}}
        after, finding = check.step(memory, {"loss": losses})
        return after["alarm_n"] if finding.alarm else np.inf

    return first


def windows(reference: np.ndarray, losses: np.ndarray) -> float:
    share = losses[: len(losses) // 1000 * 1000].reshape(-1, 1000).mean(axis=1)
    found = np.flatnonzero((share - LIMIT) / np.sqrt(LIMIT * (1 - LIMIT) / 1000) > 3.09)
    return float(1000 * (found[0] + 1)) if found.size else np.inf


DETECTORS: dict[str, Detector] = {
    "risk_block.v1, limit .12": ours(RiskBlock(), LIMIT),
    "risk_block.v1, its own limit": ours(RiskBlock(), None),
    "risk.v1, limit .12": ours(Risk(), LIMIT),
    "risk_lifetime.v1, alpha .05, limit .12": ours(RiskLifetime(alpha=0.05), LIMIT),
    "z test, windows of 1,000": windows,
}


def row(name: str, stream: Callable[..., np.ndarray], runs: int) -> dict[str, Any]:
    first, alarms = DETECTORS[name], 0
    delays: dict[float, list[float]] = {0.15: [], 0.20: []}
    for run in range(runs):
        rng = np.random.default_rng(1000 + run)
        reference = stream(rng, REFERENCE, 0.10)
        alarms += np.isfinite(first(reference, stream(rng, LONG, 0.10)))
        for rate, found in delays.items():
            at = first(reference, np.concatenate([stream(rng, GOOD, 0.10), stream(rng, CHANGED, rate)])) - GOOD
            if at > 0:
                found.append(at)
    medians = {f"delay_{rate:.2f}": float(np.median(found)) if found else None for rate, found in delays.items()}
    medians = {key: value if value is None or np.isfinite(value) else "never" for key, value in medians.items()}
    return {"detector": name, "stream": stream.__name__, "false_alarm_100k": alarms / runs, **medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    for stream in STREAMS:
        for name in DETECTORS:
            begun = time.process_time()
            found = row(name, stream, runs)
            print(json.dumps({**found, "runs": runs, "cpu_s": round(time.process_time() - begun, 1)}), flush=True)


if __name__ == "__main__":
    main()
