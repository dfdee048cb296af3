"""How often detectors of metric time series are wrong and how soon they speak, and what series.v1 costs.

    python bench/bench_series.py [--series 20]

Hourly series with seasons of day and week, AR(1) 0.5 and Student tails; 8 weeks of history and 8 weeks watched. Beside
series.v1 and spike.v1 the textbook charts on the same model's residuals: Shewhart, EWMA and CUSUM, unwhitened and
whitened, and CUSUM with h from a bootstrap of the fitted part. An alarm starts a detector again. Prints JSON: false
alarms in 1,000 unchanged points, and for each change the share of series in which it is found within two weeks and
the median delay in hours; then ns of process time a row and a point.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from luthier.checks.series import Metric, Series, Spike
from luthier.evidence.charts import cusum, ewma
from luthier.series import seasonal

HOUR, HISTORY, GOOD, WATCHED = 3600.0, 1344, 336, 1344
METRIC = Metric("latency")
Alarms = Callable[[np.ndarray], np.ndarray]  # scores (n,) to alarms (n,), bool, from a fresh start
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shift 1 sd": lambda t: np.where(t >= 0, 1.0, 0.0),
    "shift 2 sd": lambda t: np.where(t >= 0, 2.0, 0.0),
    "shift 3 sd": lambda t: np.where(t >= 0, 3.0, 0.0),
    "spike 6 sd": lambda t: np.where(t == 0, 6.0, 0.0),
    "drift 3 sd a week": lambda t: np.maximum(t, 0) * 3 / 168,
}


def made(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Season and noise with sd 1, (HISTORY + WATCHED,) each."""
    rng, n = np.random.default_rng(seed), HISTORY + WATCHED
    noise = rng.standard_t(4, n) * np.sqrt((1 - 0.25) / 2)
    for t in range(1, n):
        noise[t] += 0.5 * noise[t - 1]
    t = np.arange(n)
    return 3 * np.sin(2 * np.pi * (t - 6) / 24) + np.sin(4 * np.pi * t / 24) - 2 * (t // 24 % 7 >= 5), noise


def changed(seed: int, change: str) -> np.ndarray:
    season, noise = made(seed)
    t = np.arange(HISTORY + WATCHED) - HISTORY - GOOD
    if change == "variance x2":
        return season + np.where(t >= 0, np.sqrt(2.0), 1.0) * noise
    return season + noise + (CHANGES[change](t) if change else 0.0)


def restarted(values: np.ndarray, first: Callable[[np.ndarray], int]) -> list[int]:
    """Places of the alarms in values (n,); `first` gives the place of the first one, -1 for none."""
    places, start = [], 0
    while start < len(values) and (place := first(values[start:])) >= 0:
        places.append(start + place)
        start += place + 1
    return places


def by_check(check: Series | Spike, y: np.ndarray) -> list[int]:
    at = 1.7e9 + np.arange(len(y)) * HOUR
    memory = check.start({"at": at[:HISTORY], "latency": y[:HISTORY]})
    if isinstance(check, Spike):
        known = memory["reference"][METRIC.label]
        z, _ = seasonal.innovations(known["model"], np.floor(at / HOUR).astype(int), y)
        return np.flatnonzero(np.abs(z[HISTORY:]) > check._limit(known)).tolist()

    def first(part: np.ndarray) -> int:
        begin = len(y) - len(part)
        after, _ = check.step(memory, {"at": at[begin:], "latency": part})
        return int(after["streams"][METRIC.label]["alarm_n"]) - 1

    return restarted(y[HISTORY:], first)


def by_chart(whitened: bool, alarms: Callable[[np.ndarray], Alarms], y: np.ndarray) -> list[int]:
    """`alarms`: from the history's scores to a chart."""
    buckets = np.arange(len(y))
    model = seasonal.fit(buckets[:HISTORY], y[:HISTORY], HOUR)
    z, _ = seasonal.innovations(model, buckets, y)
    if not whitened:
        z = (y - seasonal.expected(model, buckets)) / model["level"]
    chart = alarms(z[:HISTORY])

    def first(part: np.ndarray) -> int:
        hit = chart(part)
        return int(hit.argmax()) if hit.any() else -1

    return restarted(z[HISTORY:], first)


def two_sided(z: np.ndarray) -> np.ndarray:
    return np.maximum(cusum(z), cusum(-z))


def bootstrap_limit(history: np.ndarray, arl: int = 2000) -> float:
    """The h of a two-sided CUSUM with that ARL on resampled scores: passed within `arl` steps by 1 - 1/e of 400 chains."""
    steps = np.random.default_rng(0).choice(history, (arl, 400))
    up, down, highest = np.zeros(400), np.zeros(400), np.zeros(400)
    for step in steps:
        up, down = np.maximum(up + step - 0.5, 0), np.maximum(down - step - 0.5, 0)
        highest = np.maximum(highest, np.maximum(up, down))
    return float(np.quantile(highest, np.exp(-1)))


def bootstrapped(history: np.ndarray) -> Alarms:
    h = bootstrap_limit(history)
    return lambda z: two_sided(z) > h


def textbook_ewma(limit: float) -> Alarms:
    return lambda z: np.abs(ewma(z, 0.1)) > limit * np.sqrt(0.1 / 1.9)


DETECTORS: dict[str, Callable[[np.ndarray], list[int]]] = {
    "Shewhart 4.5, seasonal residual": lambda y: by_chart(False, lambda _: lambda z: np.abs(z) > 4.5, y),
    "EWMA .1/2.814, seasonal residual": lambda y: by_chart(False, lambda _: textbook_ewma(2.814), y),
    "CUSUM .5/5, seasonal residual": lambda y: by_chart(False, lambda _: lambda z: two_sided(z) > 5, y),
    "EWMA .1/3.5, whitened": lambda y: by_chart(True, lambda _: textbook_ewma(3.5), y),
    "CUSUM .5, whitened, bootstrap h (ARL 2,000)": lambda y: by_chart(True, bootstrapped, y),
    "series.v1 (ARL 2,000)": lambda y: by_check(Series((METRIC,), points=2000), y),
    "spike.v1 (one in 2,000)": lambda y: by_check(Spike((METRIC,), points=2000), y),
}


def row(detect: Callable[[np.ndarray], list[int]], series: int) -> dict[str, object]:
    wrong = sum(len(detect(changed(seed, ""))) for seed in range(series))
    found: dict[str, object] = {"false alarms in 1,000": round(1000 * wrong / series / WATCHED, 2)}
    for change in [*CHANGES, "variance x2"]:
        reach = 2 if change.startswith("spike") else 336
        delays = []
        for seed in range(series):
            after = [place - GOOD for place in detect(changed(seed, change)) if 0 <= place - GOOD < reach]
            delays += after[:1]
        found[change] = f"{len(delays) / series:.2f}@{np.median(delays) if delays else np.nan:.0f}"
    return found


def cost() -> dict[str, float]:
    """ns of process time: a row where 600 rows make a point, and a point of one row."""
    rng, found = np.random.default_rng(0), {}
    for name, n, gap in (("ns a row", 600_000, 6.0), ("ns a point", 20_000, HOUR)):
        columns = {"at": 1.7e9 + np.arange(n) * gap, "latency": rng.standard_normal(n)}
        check = Series((METRIC,))
        half = n // 2
        memory = check.start({key: values[:half] for key, values in columns.items()})
        window = {key: values[half:] for key, values in columns.items()}
        start = time.process_time()
        check.step(memory, window)
        found[name] = round((time.process_time() - start) / half * 1e9, 1)
        start = time.process_time()
        np.bincount(np.floor(window["at"] / HOUR).astype(np.int64) - int(window["at"][0] // HOUR), window["latency"])
        found[f"{name}: ratio to numpy's bincount by hour"] = round(
            found[name] / ((time.process_time() - start) / half * 1e9), 1
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=20)
    series = parser.parse_args().series
    for name, detect in DETECTORS.items():
        print(json.dumps({"detector": name} | row(detect, series)), flush=True)
    print(json.dumps({"detector": "series.v1"} | cost()))


if __name__ == "__main__":
    main()
