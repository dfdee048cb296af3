"""What sequential evidence costs: ns an observation of risk.v1 fed one by one, in batches and as counts.

    python bench/bench_sequential.py [--seconds 2]

Beside it, in the same run, a plain-Python update of one e-detector, and River's ADWIN where `pip install river` was
done. Ratios carry over to other machines; the nanoseconds do not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from luthier.checks.risk import Risk
from luthier.checks.risk_block import RiskBlock
from luthier.evidence import RISE_SHARES, sr_counts


def per_observation(step: Callable[[], int], seconds: float) -> float:
    """ns of process time an observation; `step` returns how many it took."""
    step()
    seen, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        seen += step()
    return (time.process_time() - start) / seen * 1e9


def through_check(size: int, check: Risk | RiskBlock | None = None) -> Callable[[], int]:
    rng, check = np.random.default_rng(0), check or Risk()
    losses = (rng.random(max(size, 1000)) < 0.1).astype(float)
    parts = [{"loss": losses[i : i + size]} for i in range(0, len(losses), size)]
    state = {"memory": check.start({"loss": losses})}

    def step() -> int:
        for part in parts:
            state["memory"], _ = check.step(state["memory"], part)
        return len(losses)

    return step


def through_counts(size: int, monitors: int = 1) -> Callable[[], int]:
    wrong = np.random.default_rng(0).binomial(size, 0.1, (100, monitors))
    state = {"log": np.full((monitors, len(RISE_SHARES)), -np.inf)}

    def step() -> int:
        for k in wrong:
            state["log"] = sr_counts(state["log"], size, k, 0.12)
        return size * monitors * len(wrong)

    return step


def plain_python() -> Callable[[], int]:
    losses = [float(x) for x in np.random.default_rng(0).random(1000) < 0.1]
    bets = [float(share) / 0.12 for share in RISE_SHARES]
    state = [0.0] * len(bets)

    def step() -> int:
        for x in losses:
            for k, bet in enumerate(bets):
                state[k] = min((state[k] + 1) * (1 + bet * (x - 0.12)), 1e300)
        return len(losses)

    return step


def adwin() -> Callable[[], int] | None:
    try:
        from river.drift import ADWIN
    except ImportError:
        return None
    detector, losses = ADWIN(), [float(x) for x in np.random.default_rng(0).random(1000) < 0.1]

    def step() -> int:
        for x in losses:
            detector.update(x)
        return len(losses)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="process time for each row")
    seconds = parser.parse_args().seconds
    rows: list[tuple[str, Callable[[], int] | None]] = [
        ("risk.v1, batches of 1,000", through_check(1000)),
        ("risk.v1, batches of 100", through_check(100)),
        ("risk.v1, one by one", through_check(1)),
        ("risk.v1, batches of 100,000", through_check(100_000)),
        ("risk_block.v1, batches of 1,000", through_check(1000, RiskBlock())),
        ("risk_block.v1, one by one", through_check(1, RiskBlock())),
        ("counts of 100, one monitor", through_counts(100)),
        ("counts of 100, 1,000 monitors", through_counts(100, 1000)),
        ("plain Python, 7 bets", plain_python()),
        ("River ADWIN", adwin()),
    ]
    base = None
    print(f"{'':32}{'ns/observation':>16}{'ratio':>10}")
    for name, step in rows:
        if step is None:
            print(f"{name:32}{'not installed':>16}")
            continue
        cost = per_observation(step, seconds)
        base = base or cost
        print(f"{name:32}{cost:>16,.1f}{cost / base:>10.3g}")


if __name__ == "__main__":
    main()
