"""What few labels say: width and coverage of every interval, and what a plan and an estimate cost.

    python bench/bench_few_labels.py [--runs 1000] [--rows 1000000]

200 labels of 20,000 answers, the four productions of EVIDENCE.md 2(b) rebuilt from their error rate and correlation;
`worth` is the number of labels that would vary as little alone. `gaussian` is T9: width of PPI++ over labels alone. The
textbook interval (Wald) and numpy's mean stand beside ours in the same run.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from luthier.fewlabels import Pool, active, chances, combined, labels_only, ppi
from luthier.fewlabels.labelplan import asked, design

LABELS, ANSWERS = 200, 20_000
PRODUCTIONS = {  # error rate that confidence knows of, its correlation with errors, share of coin tosses it knows nothing of
    "no shift, 8.8 %": (0.088, 0.40, 0.0),
    "covariate shift, 15.8 %": (0.158, 0.40, 0.0),
    "concept shift, 19.5 %": (0.10, 0.40, 0.238),
    "low error, 3.5 %": (0.035, 0.29, 0.0),
}
THEORY = {0.3: 0.954, 0.6: 0.802, 0.8: 0.605, 0.9: 0.445, 0.95: 0.326}
Interval = tuple[float, float, float]  # value, low, high


def wald(losses: np.ndarray) -> Interval:
    mean, half = float(losses.mean()), 1.96 * float(losses.std()) / math.sqrt(len(losses))
    return mean, mean - half, mean + half


def drawn(rng: np.random.Generator, chance: np.ndarray) -> np.ndarray:
    """As many rows as the chances add up to, each with its chance (systematic sampling in random order)."""
    order = rng.permutation(len(chance))
    ladder = np.cumsum(chance[order])
    steps = (rng.random() + np.arange(LABELS)) * ladder[-1] / LABELS
    return order[np.minimum(np.searchsorted(ladder, steps, side="right"), len(order) - 1)]


def intervals(rng: np.random.Generator, known: float, correlation: float, unknown: float) -> dict[str, Interval]:
    size = 1 / correlation**2 - 1
    guess = rng.beta(known * size, (1 - known) * size, ANSWERS)
    tossed = rng.random(ANSWERS) < unknown
    loss = (rng.random(ANSWERS) < np.where(tossed, 0.5, guess)).astype(float)
    pool, some = Pool.of(guess), rng.choice(ANSWERS, LABELS, replace=False)
    chance = chances(guess, LABELS)
    picked = drawn(rng, chance)
    estimates = {
        "labels": labels_only(loss[some]),
        "ppi++": ppi(loss[some], guess[some], pool),
        "active": active(loss[picked], guess[picked], chance[picked], pool),
        "combined": combined(loss[some], guess[some], pool).estimate,
        "combined, active": combined(loss[picked], guess[picked], pool, chance[picked]).estimate,
    }
    return {"wald": wald(loss[some])} | {name: (one.value, one.low, one.high) for name, one in estimates.items()}


def production(known: float, correlation: float, unknown: float, runs: int) -> dict[str, Any]:
    rng, truth = np.random.default_rng(1), known * (1 - unknown) + 0.5 * unknown
    found: dict[str, list[Interval]] = {}
    for _ in range(runs):
        for name, said in intervals(rng, known, correlation, unknown).items():
            found.setdefault(name, []).append(said)
    table = {name: np.array(said) for name, said in found.items()}
    alone = table["labels"]
    return {
        name: {
            "coverage": round(float(((said[:, 1] <= truth) & (truth <= said[:, 2])).mean()), 3),
            "width": round(float((said[:, 2] - said[:, 1]).mean()), 4),
            "width_ratio": round(float((said[:, 2] - said[:, 1]).mean() / (alone[:, 2] - alone[:, 1]).mean()), 3),
            "worth": round(LABELS * float(alone[:, 0].var() / said[:, 0].var())),
        }
        for name, said in table.items()
    }


def gaussian(runs: int) -> dict[str, Any]:
    rng, rows = np.random.default_rng(2), {}
    for rho, theory in THEORY.items():
        ratios, held = [], []
        for _ in range(runs):
            guess = rng.standard_normal(ANSWERS + LABELS)
            some = rho * guess[:LABELS] + math.sqrt(1 - rho**2) * rng.standard_normal(LABELS)
            guess, some = np.clip(0.5 + guess / 20, 0, 1), np.clip(0.5 + some / 20, 0, 1)
            alone, both = labels_only(some), ppi(some, guess[:LABELS], Pool.of(guess))
            ratios.append((both.high - both.low) / (alone.high - alone.low))
            held.append(both.low <= 0.5 <= both.high)
        rows[rho] = {"ratio": round(float(np.mean(ratios)), 3), "theory": theory, "coverage": round(np.mean(held), 3)}
    return rows


def seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def cost(rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    guess = rng.beta(1, 8, ANSWERS)
    loss = (rng.random(LABELS) < guess[:LABELS]).astype(float)
    estimate = seconds(lambda: combined(loss, guess[:LABELS], guess), 300)
    plain = seconds(lambda: (wald(loss), guess.mean(), guess.var()), 300)
    embedding = np.empty((rows, 64), np.float16)
    for start in range(0, rows, 50_000):
        embedding[start : start + 50_000] = rng.standard_normal((min(50_000, rows - start), 64), dtype=np.float32)
    columns = {"embedding": embedding, "confidence": rng.beta(8, 1, rows)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = {d: round(seconds(lambda d=d: design(columns, 500, d), 1), 2) for d in ("worse", "accuracy", "repair")}
    above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    one_pass = seconds(lambda: [embedding[i : i + 16_384].astype(np.float32).sum() for i in range(0, rows, 16_384)], 1)
    return {
        "estimate_us": round(estimate * 1e6), "estimate_over_plain_numpy": round(estimate / plain, 2),
        "plan_s": spent, "plan_over_one_pass": round(spent["accuracy"] / one_pass, 1), "plan_mb_above_data": round(above),
    }  # fmt: skip


def planned(runs: int) -> dict[str, Any]:
    """Whole plans on answers of five regions: what was promised, what came."""
    rng, rows = np.random.default_rng(4), {}
    centres = rng.standard_normal((5, 16)) * 8
    for decision in ("worse", "accuracy", "repair"):
        said, truth = [], []
        for seed in range(runs):
            region = rng.integers(0, 5, 2000)
            right = np.clip(1 - 0.08 * region + 0.1 * rng.standard_normal(2000), 0.05, 0.99)
            loss = (rng.random(2000) >= right).astype(float)
            columns = {"embedding": centres[region] + rng.standard_normal((2000, 16)), "confidence": right}
            plan = design(columns, LABELS, decision, seed=seed)
            made = asked(plan, [str(i) for i in range(2000)], [None] * 2000, columns)
            one = made.estimate({str(i): float(loss[i]) for i in plan.rows}).estimate
            said.append((one.low, one.high, plan.buys.half_width))
            truth.append(float(1 - right.mean()))
        low, high, half = np.array(said).T
        mean = float(np.mean(truth))
        rows[decision] = {
            "coverage": round(float(((low <= mean) & (mean <= high)).mean()), 3),
            "half_width": round(float((high - low).mean() / 2), 4), "promised": round(float(half.mean()), 4),
        }  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the plan that is timed, 64 numbers each")
    given = parser.parse_args()
    found = {
        "productions": {name: production(*kind, given.runs) for name, kind in PRODUCTIONS.items()},
        "gaussian": gaussian(max(given.runs // 4, 1)),
        "plans": planned(max(given.runs // 4, 1)),
        "cost": cost(given.rows),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
