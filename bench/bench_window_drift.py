"""How often drift checks call an unchanged column changed, at every size of reference and window, and what they find.

    python bench/bench_window_drift.py [--repetitions 20]

Columns: normal, lognormal, and 2 to 50 categories, all equally frequent. `drift` is luthier.drift at alpha .05 on one column:
one look, promise .05. Beside it what other tools do at their defaults: KS of two samples at p < .05, chi-square of the window
against the reference's shares taken for true at p < .05 (Evidently up to 1,000 reference rows), PSI >= 0.1 and Jensen–Shannon
distance >= 0.1 (10 bins of the reference's quantiles, or its categories), Wasserstein distance over the reference's standard
deviation >= 0.1. `moved`: the share found when the mean moves by .3 standard deviations, or .3 of the rows move to
the first half of the categories. `streams`: column_shift.v1 and quality.v2 over 20,000 unchanged rows, looked at all the
time, whatever the windows; promise delta + rows / arl = .225. Prints JSON, then the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from luthier.evidence.intervals import clopper_pearson
from luthier.names import get
from luthier.stages.drift import drift

SIZES = (100, 300, 1000, 3000, 10_000)
KINDS = ("normal", "lognormal", "2 categories", "5 categories", "10 categories", "20 categories", "50 categories")
ROWS = 20_000  # of a stream
Draw = Callable[[np.random.Generator, int], np.ndarray]


def draw(kind: str, rng: np.random.Generator, n: int, moved: bool = False) -> np.ndarray:
    if "categories" not in kind:
        x = rng.normal(0.3 * moved, 1, n)
        return np.exp(x) if kind == "lognormal" else x
    k = int(kind.split()[0])
    codes = rng.integers(0, k, n)
    if moved:
        codes = np.where(rng.random(n) < 0.3, rng.integers(0, (k + 1) // 2, n), codes)
    return codes.astype("U2")


def rules(good: np.ndarray, now: np.ndarray) -> dict[str, bool]:
    """Plain rules on one pair of columns."""
    numbers, found = good.dtype.kind == "f", {}
    if numbers:
        found["KS p < .05"] = bool(stats.ks_2samp(good, now, method="asymp").pvalue < 0.05)
        found["Wasserstein >= 0.1"] = bool(stats.wasserstein_distance(good, now) / good.std() >= 0.1)
        edges = np.quantile(good, np.linspace(0, 1, 11)[1:-1])
        p, q = (np.bincount(np.searchsorted(edges, x), minlength=10) for x in (good, now))
    else:
        names, codes = np.unique(np.concatenate([good, now]), return_inverse=True)
        p, q = (np.bincount(part, minlength=len(names)) for part in (codes[: len(good)], codes[len(good) :]))
        expected = np.maximum(p, 0.5) / np.maximum(p, 0.5).sum() * len(now)
        statistic = float(((q - expected) ** 2 / expected).sum())
        found["chi-square p < .05"] = bool(stats.chi2.sf(statistic, len(names) - 1) < 0.05)
    p, q = p / p.sum(), q / q.sum()
    low = 1e-4
    found["PSI >= 0.1"] = bool(((p - q) * np.log(np.maximum(p, low) / np.maximum(q, low))).sum() >= 0.1)
    middle = (p + q) / 2
    distance = [
        np.where(x > 0, x * np.log2(np.where(x > 0, x, 1) / np.where(x > 0, middle, 1)), 0).sum() for x in (p, q)
    ]
    found["JS >= 0.1"] = bool(np.sqrt(max(sum(distance) / 2, 0.0)) >= 0.1)
    return found


def one_look(kind: str, reference: int, window: int, repetitions: int, moved: bool) -> dict[str, float]:
    """Rule → share of windows flagged."""
    rng = np.random.default_rng([KINDS.index(kind), reference, window, moved])
    good = {str(i): draw(kind, rng, reference) for i in range(repetitions)}
    now = {name: draw(kind, rng, window, moved) for name in good}
    counts: dict[str, int] = {"drift": sum(bool(drift({"x": good[name]}, {"x": now[name]}).drifted) for name in good)}
    for name in good:
        for rule, flagged in rules(good[name], now[name]).items():
            counts[rule] = counts.get(rule, 0) + flagged
    return {rule: hits / repetitions for rule, hits in counts.items()}


def whole_stream(name: str, kind: str, reference: int, repetitions: int) -> float:
    check, alarms = get("check", name)(), 0
    for seed in range(repetitions):
        rng = np.random.default_rng([1, KINDS.index(kind), reference, seed])
        memory = check.start({"x": draw(kind, rng, reference)})
        for window in (100, 300, 1000, 3000, 5600, 10_000):
            memory, finding = check.step(memory, {"x": draw(kind, rng, window)})
        alarms += finding.alarm
    return alarms / repetitions


def measure(repetitions: int) -> dict[str, Any]:
    found: dict[str, Any] = {"repetitions": repetitions, "unchanged": {}, "moved": {}, "streams": {}}
    for kind in KINDS:
        for name in ("unchanged", "moved"):
            found[name][kind] = {
                f"{reference} against {window}": one_look(kind, reference, window, repetitions, name == "moved")
                for reference in SIZES
                for window in SIZES
            }
        found["streams"][kind] = {
            name: {str(size): whole_stream(name, kind, size, repetitions) for size in SIZES}
            for name in ("column_shift.v1", "quality.v2")
        }
        print(kind, file=sys.stderr, flush=True)
    return found


def table(found: dict[str, Any]) -> str:
    """The least and the most over all windows, a line a kind, reference and rule."""
    lines = ["| column | rule | " + " | ".join(f"reference {size:,}" for size in SIZES), "|---" * (2 + len(SIZES))]
    for name in ("unchanged", "moved"):
        for kind in KINDS:
            cells = found[name][kind]
            for rule in next(iter(cells.values())):
                shares = [[cells[f"{size} against {window}"][rule] for window in SIZES] for size in SIZES]
                spans = [f"{min(row):.2f} to {max(row):.2f}" for row in shares]
                lines.append(f"| {kind}, {name} | {rule} | " + " | ".join(spans))
    for kind in KINDS:
        for rule, shares in found["streams"][kind].items():
            lines.append(f"| {kind}, stream | {rule} | " + " | ".join(f"{share:.2f}" for share in shares.values()))
    return "\n".join(line + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    repetitions = parser.parse_args().repetitions
    found = measure(repetitions)
    flagged = [round(cell["drift"] * repetitions) for kind in found["unchanged"].values() for cell in kind.values()]
    looks, wrong = repetitions * len(flagged), sum(flagged)
    found["drift_false"] = {"looks": looks, "wrong": wrong, "worst_cell": max(flagged) / repetitions}
    found["drift_false"]["interval"] = [round(one, 5) for one in clopper_pearson(wrong, looks)]
    print(json.dumps(found))
    print(table(found), file=sys.stderr)


if __name__ == "__main__":
    main()
