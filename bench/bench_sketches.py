"""Nanoseconds of processor time a value: our log-bucket sketch and exact sums against numpy's histogram and quantiles.

Run it alone: `python bench/bench_sketches.py [millions of values]`. All figures come from one run, so read the ratios.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from luthier.statistics.histogram import Histogram
from luthier.statistics.mean import Mean
from luthier.tables.distances import numeric_distances

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def cost(work: Callable[[], object], values: int, repeats: int = 3) -> float:
    """The smallest of three processor times, in ns a value."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent) / values * 1e9


def shapes(n: int) -> dict[str, np.ndarray]:
    """Positive, signed, share and 0/1 columns, (n,) float64 each."""
    rng = np.random.default_rng(0)
    return {
        "lognormal": rng.lognormal(size=n),
        "normal": rng.normal(size=n),
        "confidence": rng.beta(5, 1, size=n),
        "loss": (rng.random(n) < 0.1).astype(np.float64),
    }


def main(millions: float = 4) -> dict[str, dict[str, float]]:
    """Prints a table and returns it: column → what → ns a value."""
    n = int(millions * 1e6)
    table: dict[str, dict[str, float]] = {}
    for name, values in shapes(n).items():
        columns = {"x": values}
        sketch, mean = Histogram("x"), Mean("x")
        table[name] = {
            "histogram.v1": cost(lambda sketch=sketch, columns=columns: sketch.observe(columns), n),
            "mean.v1": cost(lambda mean=mean, columns=columns: mean.observe(columns), n),
            "np.histogram": cost(lambda values=values: np.histogram(values, bins=100), n),
            "np.quantile": cost(lambda values=values: np.quantile(values, QUANTILES), n),
        }
    print(f"{n:,} values; ns of processor time a value; × is histogram.v1 / the other")
    print(f"{'column':12}{'histogram.v1':>14}{'mean.v1':>10}{'np.histogram':>14}{'×':>7}{'np.quantile':>13}{'×':>7}")
    for name, row in table.items():
        ours, plain, exact = row["histogram.v1"], row["np.histogram"], row["np.quantile"]
        print(
            f"{name:12}{ours:14.2f}{row['mean.v1']:10.2f}{plain:14.2f}{ours / plain:7.2f}{exact:13.2f}{ours / exact:7.2f}"
        )
    sketch = Histogram("x")
    a, b = (sketch.observe({"x": np.random.default_rng(seed).lognormal(size=n)}) for seed in (1, 2))
    print(f"merge {cost(lambda: [sketch.merge(a, b) for _ in range(100)], 100) / 1e3:.1f} µs")
    print(f"all distances {cost(lambda: [numeric_distances(a, b) for _ in range(20)], 20) / 1e3:.0f} µs")
    one = {"x": np.array([0.5])}
    print(f"one row {cost(lambda: [sketch.observe(one) for _ in range(100)], 100) / 1e3:.1f} µs")
    return table


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 4)
