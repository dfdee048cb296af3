"""How often risk alarms lie on independent, seasonal and bursty errors, and how soon they speak; beside River's detectors.

    python bench/bench_falsealarm.py [--runs 30] [--kinds independent …] [--peers river] [--venvs FOLDER]

`false` is the share of streams of 100,000 labels at a rate of .10 with an alarm, and its 95 % interval
(Clopper-Pearson); delays are to .15 and .20 after 500, 10,000 and 50,000 good labels (River: independent errors only),
medians over all runs without an alarm before the change, "never" where more than half stay silent for 50,000 labels.
The streams are those of bench/streams.py, number by number the same for all; the limit is .12 where none is named, references
have 20,000 labels, 10,000 where that is said. River has no limit or tolerance: the row to hold beside it is "any rise".
The sub-Gaussian factor on block means is the textbook's way with bursts; the likelihood ratio of bursts knows their law and both rates.
The rules at the end are what dashboards do with windows of 1,000 labels. One line of JSON a row, then a table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peers import venvs
from streams import CHANGES, KINDS, RATES, reference, stream

from luthier.checks.below import Below
from luthier.checks.risk import Risk, RiskLifetime
from luthier.checks.risk_block import RiskBlock
from luthier.evidence.intervals import clopper_pearson

LIMIT, WINDOW = 0.12, 1000
RIVER = ("ADWIN", "DDM", "EDDM", "PageHinkley", "HDDM_A", "HDDM_W", "FHDDM", "KSWIN")
First = Callable[
    [np.ndarray, int], float
]  # (stream, change) → labels from it to the first alarm; inf: none, <= 0: before
Detector = tuple[int, Callable[[np.ndarray], First]]  # labels of reference, and what is made of them


def ours(check: Any, limit: float | None = None, n: int = 20_000) -> Detector:
    def made(losses: np.ndarray) -> First:
        memory = check.start({"loss": losses})
        if limit:
            memory = {**memory, "reference": {**memory["reference"], "limit": limit}}

        def first(errors: np.ndarray, change: int) -> float:
            after, finding = check.step(memory, {"loss": errors})
            return float(after["alarm_n"] - change) if finding.alarm else np.inf

        return first

    return n, made


def sub_gaussian(losses: np.ndarray, size: int = 2000) -> First:
    """e-SR of exp(l (mean - limit) - l² s² / 2), l = d / s², on block means; s² measured × 1.5, at least binomial."""
    p, means = losses.mean(), losses.reshape(-1, size).mean(axis=1)
    variance = max(1.5 * means.var(ddof=1), p * (1 - p) / size)
    stakes = np.array([[0.02], [0.04], [0.08]]) / variance

    def first(errors: np.ndarray, change: int) -> float:
        means = errors[: len(errors) // size * size].reshape(-1, size).mean(axis=1)
        walk = np.cumsum(stakes * (means - LIMIT) - stakes**2 * variance / 2, axis=1)
        logs = walk + np.logaddexp.accumulate(-np.column_stack([np.zeros(len(walk)), walk[:, :-1]]), axis=1)
        found = np.flatnonzero(np.exp(np.minimum(logs, 600)).mean(axis=0) >= 100_000 / size)
        return float(size * (found[0] + 1) - change) if found.size else np.inf

    return first


def likelihood_ratio(good: float, bad: float, arl: float) -> Detector:
    """e-SR of the exact likelihood ratio of bursts of mean length 50, all wrong: how often one begins."""

    def made(losses: np.ndarray) -> First:
        begin, none = (np.log(f(bad) / f(good)) for f in (_begins, lambda rate: 1 - _begins(rate)))

        def first(errors: np.ndarray, change: int) -> float:
            before = np.concatenate([[0.0], errors[:-1]])
            walk = np.cumsum(np.where(before == 0, np.where(errors == 1, begin, none), 0.0))
            found = np.flatnonzero(walk + np.logaddexp.accumulate(-np.append(0.0, walk[:-1])) >= np.log(arl))
            return float(found[0] + 1 - change) if found.size else np.inf

        return first

    return 20_000, made


def _begins(rate: float) -> float:
    return rate / (50 * (1 - rate))


def windows(n: int, rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Detector:
    """`rule(reference (n,), shares of errors (w,))` says which windows are flagged; one begins at the change."""

    def made(losses: np.ndarray) -> First:
        def first(errors: np.ndarray, change: int) -> float:
            flagged = np.flatnonzero(rule(losses, errors[change:].reshape(-1, WINDOW).mean(axis=1).clip(1e-4)))
            return float(WINDOW * (flagged[0] + 1)) if flagged.size else np.inf

        return first

    return n, made


def chi_square(losses: np.ndarray, share: np.ndarray) -> np.ndarray:
    """p < .05 of a 2 × 2 table."""
    n, p = len(losses), losses.mean()
    pooled = (n * p + WINDOW * share) / (n + WINDOW)
    return (share - p) ** 2 / (pooled * (1 - pooled) * (1 / n + 1 / WINDOW)) > 3.841


def jensen_shannon(losses: np.ndarray, share: np.ndarray) -> np.ndarray:
    def entropy(p: Any) -> Any:
        return -p * np.log2(p) - (1 - p) * np.log2(1 - p)

    p = losses.mean()
    return np.sqrt(entropy((p + share) / 2) - entropy(p) / 2 - entropy(share) / 2) >= 0.1


def psi(losses: np.ndarray, share: np.ndarray) -> np.ndarray:
    p = losses.mean()
    return (p - share) * np.log(p / share) + (share - p) * np.log((1 - p) / (1 - share)) >= 0.1


def chunks(losses: np.ndarray, share: np.ndarray) -> np.ndarray:
    parts = losses.reshape(-1, WINDOW).mean(axis=1)
    return np.abs(share - parts.mean()) > 3 * parts.std()


DETECTORS: dict[str, Detector] = {
    "risk.v1": ours(Risk(), LIMIT),
    "risk.v1, any rise, ARL 1e6, reference 10,000": ours(Risk(tolerance=0.0, arl=1_000_000), n=10_000),
    "risk.v1, any rise, ARL 1e5, reference 10,000": ours(Risk(tolerance=0.0), n=10_000),
    "risk.v1, any rise, ARL 1e6, reference 50,000": ours(Risk(tolerance=0.0, arl=1_000_000), n=50_000),
    "risk.v1, as it comes, reference 10,000": ours(Risk(), n=10_000),
    "risk_lifetime.v1, alpha .05": ours(RiskLifetime(alpha=0.05), LIMIT),
    "risk_block.v1": ours(RiskBlock(), LIMIT),
    "risk_block.v1, its own limit": ours(RiskBlock()),
    "sub-Gaussian, means of 2,000 labels": (20_000, sub_gaussian),
    "bursts' likelihood ratio, .10 to .15, ARL 2e6": likelihood_ratio(0.10, 0.15, 2e6),
    "bursts' likelihood ratio, .10 to .20, ARL 2e6": likelihood_ratio(0.10, 0.20, 2e6),
    "below.v1, accuracy .88": ours(Below(threshold=1 - LIMIT)),
    "chi-square p < .05, reference 1,000": windows(1000, chi_square),
    "chi-square p < .05, reference 10,000": windows(10_000, chi_square),
    "JS distance >= 0.1": windows(10_000, jensen_shannon),
    "PSI >= 0.1": windows(10_000, psi),
    "mean ± 3 sd of 100 chunks": windows(100_000, chunks),
}


def ours_measured(name: str, kind: str, runs: int) -> dict[str, Any]:
    """Alarms without a change, and delays; 0 is none, -1 one before the change."""
    n, made = DETECTORS[name]
    start = time.process_time()
    found: dict[str, Any] = {"detector": name, "stream": kind, "runs": runs, "alarms": 0, "delays": {}}
    for seed in range(runs):
        first = made(reference(kind, seed, n))
        found["alarms"] += bool(np.isfinite(first(stream(kind, seed), 0)))
        for change, rate in itertools.product(CHANGES, RATES):
            at = first(stream(kind, seed, change, rate), change)
            found["delays"].setdefault(f"{change} {rate:.2f}", []).append(
                0 if np.isinf(at) else -1 if at <= 0 else int(at)
            )
    return found | {"cpu_s": round(time.process_time() - start, 1)}


def river_measured(python: Path, name: str, kind: str, runs: int) -> dict[str, Any]:
    script = Path(__file__).parent / "peers" / "falsealarm_river.py"
    command = [str(python), str(script), str(runs), kind, name]
    done = subprocess.run(command, capture_output=True, text=True, env=venvs.environment(), check=True)
    return json.loads(done.stdout)


def row(found: dict[str, Any]) -> dict[str, Any]:
    """Shares, interval and medians in place of counts and lists."""
    low, high = clopper_pearson(found["alarms"], found["runs"])
    said: dict[str, Any] = {key: found[key] for key in ("detector", "stream", "runs")}
    said |= {"false": found["alarms"] / found["runs"], "from": round(low, 3), "to": round(high, 3)}
    for key, delays in found["delays"].items():
        fair = np.array([delay or np.inf for delay in delays if delay >= 0])
        middle = float(np.median(fair)) if fair.size else np.nan
        said[f"delay {key}"] = None if np.isnan(middle) else "never" if np.isinf(middle) else round(middle)
        said[f"within {key}"] = middle_between(np.sort(fair))
        said[f"missed {key}"] = round(float(np.isinf(fair).mean()), 3) if fair.size else None
    return said


def middle_between(delays: np.ndarray) -> list[int | None]:
    """95 % interval of the median of sorted delays, from their order (None: longer than was looked)."""
    spread = 0.98 * len(delays) ** 0.5
    places = (int(max(len(delays) / 2 - spread, 0)), int(min(np.ceil(len(delays) / 2 + spread), len(delays) - 1)))
    return [int(delays[i]) if np.isfinite(delays[i]) else None for i in places] if len(delays) else []


def table(rows: list[dict[str, Any]]) -> str:
    keys = [f"{change} {rate:.2f}" for change, rate in itertools.product(CHANGES, RATES)]
    lines = [
        "| detector | errors | runs | false alarm (95 %) | "
        + " | ".join(f"after {key.replace(' ', ' to ')}" for key in keys)
    ]
    lines.append("|---" * (4 + len(keys)))
    for one in rows:
        cells = [
            one["detector"],
            one["stream"],
            str(one["runs"]),
            f"{one['false']:.3g} ({one['from']:.3g} to {one['to']:.3g})",
        ]
        for key in keys:
            middle, missed = one.get(f"delay {key}"), one.get(f"missed {key}")
            cells.append("" if middle is None else f"{middle:,}" if middle != "never" else "never")
            cells[-1] += f" ({missed:.0%} missed)" if missed and cells[-1] else ""
        lines.append("| " + " | ".join(cells))
    return "\n".join(line + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--only", nargs="*", default=[""], help="words that a detector's name must have one of")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    venvs.arguments(parser, "river")
    given, rows = parser.parse_args(), []
    river = venvs.pythons([peer for peer in given.peers if peer == "river"], given.venvs).get("river")
    for kind in given.kinds:
        jobs = [
            (ours_measured, (name, kind, given.runs)) for name in DETECTORS if kind == "bursts" or "ratio" not in name
        ]
        jobs += [(river_measured, (river, name, kind, given.runs)) for name in RIVER] if river else []
        for work, parts in (job for job in jobs if any(word in str(job[1]) for word in given.only)):
            rows.append(row(work(*parts)))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows), file=sys.stderr)


if __name__ == "__main__":
    main()
