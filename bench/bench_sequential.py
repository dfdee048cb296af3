"""What sequential evidence costs: ns an observation of the risk checks in batches, from counts, and a row a call.

    python bench/bench_sequential.py [--seconds 1]

Prints JSON: ns of processor time an observation, and its ratio to the same run's plain-Python update of one e-detector of
4 bets. Beside it River's ADWIN where `pip install river` was done. Ratios carry over to other machines; the nanoseconds do not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import luthier
from luthier.evidence import RISE_SHARES, sr_counts
from luthier.names import get
from luthier.stages.stream import Running


def per_observation(step: Callable[[], int], seconds: float) -> float:
    """ns of process time an observation; `step` returns how many it took."""
    step()
    seen, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        seen += step()
    return (time.process_time() - start) / seen * 1e9


def losses(n: int) -> np.ndarray:
    return (np.random.default_rng(0).random(n) < 0.1).astype(float)


def columns(name: str, bad: np.ndarray) -> dict[str, np.ndarray]:
    return {"agrees": 1 - bad} if name == "disagreement.v1" else {"loss": bad}


def made(name: str) -> Any:
    return get("check", name)(**({"threshold": 0.85} if name == "below.v1" else {}))


def through_check(name: str, size: int) -> Callable[[], int]:
    """Windows of `size` rows, one after the other."""
    check, bad = made(name), losses(max(size, 1000))
    parts = [columns(name, bad[i : i + size]) for i in range(0, len(bad), size)]
    state = {"memory": check.start(columns(name, bad))}

    def step() -> int:
        for part in parts:
            state["memory"], _ = check.step(state["memory"], part)
        return len(bad)

    return step


def through_counted(name: str, size: int, batches: int) -> Callable[[], int]:
    """Windows of so many batches of `size` rows, as counts."""
    check, column = made(name), "agrees" if name == "disagreement.v1" else "loss"
    total = np.random.default_rng(0).binomial(size, 0.9 if column == "agrees" else 0.1, batches)
    window = {f"{column}_sum": total.astype(float), f"{column}_n": np.full(batches, float(size))}
    state = {"memory": check.start(columns(name, losses(2000)))}

    def step() -> int:
        state["memory"], _ = check.step(state["memory"], window)
        return size * batches

    return step


def row_a_call(*names: str) -> Callable[[], int]:
    bad = losses(5000).tolist()
    when = "answer" if names == ("disagreement.v1",) else "label"
    key = "agrees" if when == "answer" else "loss"
    reference = columns(names[0], losses(2000))
    monitor = luthier.Monitor(reference, checks=[made(name) for name in names])
    stream = luthier.Stream(monitor, when)
    values = [1 - x for x in bad] if key == "agrees" else bad

    def step() -> int:
        for x in values:
            stream.add(**{key: x})
        return len(values)

    return step


def statistic_a_call(name: str, **options: Any) -> Callable[[], int]:
    running, values = Running(get("statistic", name)(**options)), losses(5000).tolist()

    def step() -> int:
        for x in values:
            running.add(loss=x, length=3.0)
        return len(values)

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
    kinds = ("risk.v1", "risk_lifetime.v1", "below.v1", "disagreement.v1")
    cases: dict[str, Callable[[], int] | None] = {"plain Python, 4 bets": plain_python(), "River ADWIN": adwin()}
    for name in (*kinds, "risk_block.v1"):
        cases |= {f"{name}, batches of {size:,}": through_check(name, size) for size in (1, 1000, 10_000)}
    for name in kinds:
        cases[f"{name}, counts of 100, 1,000 a window"] = through_counted(name, 100, 1000)
    cases["risk.v1, counts of 100, one a window"] = through_counted("risk.v1", 100, 1)
    cases["risk.v1, counts of 1,000, one a window"] = through_counted("risk.v1", 1000, 1)
    cases["sr_counts, counts of 100, 1,000 monitors"] = through_counts(100, 1000)
    cases |= {f"Stream, a row a call, {name}": row_a_call(name) for name in (*kinds, "risk_block.v1")}
    cases["Stream, a row a call, risk.v1 and risk_lifetime.v1"] = row_a_call("risk.v1", "risk_lifetime.v1")
    cases["Running, a row a call, mean.v1"] = statistic_a_call("mean.v1", column="loss")
    cases["Running, a row a call, histogram.v1"] = statistic_a_call("histogram.v1", column="loss")
    cases["Running, a row a call, ratio.v1"] = statistic_a_call("ratio.v1", over="loss", under="length")
    spent = {name: per_observation(step, seconds) for name, step in cases.items() if step is not None}
    base = spent["plain Python, 4 bets"]
    found = {name: {"ns": round(ns, 1), "ratio": round(ns / base, 4)} for name, ns in spent.items()}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
