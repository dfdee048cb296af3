"""False pages of a fleet of monitors, and which shifts are found, against the usual rules on the same readings.

    python bench/bench_pages.py [--runs 3] [--monitors 1000] [--days 100]

Daily readings, standard normal, correlation .3 in groups of 20; at 40 % of the days 20 monitors move by 1, 2 or 4 standard
deviations (a run each). `luthier` is luthier.Fleet with 0.6 false pages a month (0.02 a day) and a luthier.Monitor each, whose
check is an e-SR detector with bets on .5, 1 and 2: readings go in by `observe`, pages come out of `page`, once a day. The
other rules page a monitor on every day they flag. Prints JSON: false pages a day, share of moved monitors found, median
delay in days, CPU milliseconds of a fleet-day, and of the day's `page` alone.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import NormalDist
from typing import Any

import numpy as np

import luthier
from luthier.evidence import advance, detector
from luthier.types import Finding, Promise

MOVED, SHIFTS = 20, np.array([0.5, 1.0, 2.0])[:, None]
START = datetime(2026, 1, 1, tzinfo=UTC)
Days = dict[int, list[int]]  # monitor to the days on which it paged


def readings(seed: int, monitors: int, days: int, size: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.standard_normal((monitors // 20, days)), 20, axis=0)
    found: np.ndarray = math.sqrt(0.3) * common + math.sqrt(0.7) * rng.standard_normal((monitors, days))
    found[:MOVED, int(0.4 * days) :] += size
    return found


class Readings:
    """The e-SR detector as a check."""

    name = "readings.v0"
    when = "answer"
    promise = Promise("e-detector", 1000)

    def start(self, reference: Any) -> Any:
        return {"stream": detector(3)}

    def step(self, memory: Any, window: Any) -> Any:
        stream, _ = advance(memory["stream"], np.exp(SHIFTS * window["reading"] - SHIFTS**2 / 2))
        m = stream["value"]
        return {"stream": stream}, Finding(self.name, 0.0, 0.0, m, self.promise, m >= 1000, stream["n"], "it moved")


PAGING = [0.0]  # CPU seconds of `page`


def ours(x: np.ndarray, pages_per_month: float) -> Days:
    fleet = luthier.Fleet(
        {str(i): luthier.Monitor({}, checks=(Readings(),)) for i in range(len(x))},
        false_pages_per_month=pages_per_month,
    )
    for day in range(x.shape[1]):
        moment = START + timedelta(days=day)
        for i, monitor in enumerate(fleet.values()):
            monitor.observe("answer", {"reading": x[i, day : day + 1]}, at=moment)
        start = time.process_time()
        fleet.page()
        PAGING[0] += time.process_time() - start
    called: Days = {}
    for one in fleet.pages():
        called.setdefault(int(one.model), []).append((one.opened - START).days)
    return called


def threshold(z: float) -> Callable[[np.ndarray], Days]:
    def rule(x: np.ndarray) -> Days:
        return {i: np.flatnonzero(row > z).tolist() for i, row in enumerate(x) if (row > z).any()}

    return rule


def benjamini_hochberg(x: np.ndarray) -> Days:
    called: Days = {}
    for day in range(x.shape[1]):
        p = np.array([0.5 * math.erfc(z / math.sqrt(2)) for z in x[:, day]])
        order = np.argsort(p)
        passing = np.flatnonzero(p[order] <= 0.05 * np.arange(1, len(p) + 1) / len(p))
        for i in order[: passing[-1] + 1] if passing.size else ():
            called.setdefault(int(i), []).append(day)
    return called


def measured(rule: Callable[[np.ndarray], Days], runs: int, monitors: int, days: int) -> dict[str, object]:
    change, false, total, found, delays = int(0.4 * days), 0, 0, {}, {}
    start, PAGING[0] = time.process_time(), 0.0
    for size in (1.0, 2.0, 4.0):
        hit: list[int] = []
        for seed in range(runs):
            called = rule(readings(seed, monitors, days, size))
            false += sum(len(when) for i, when in called.items() if i >= MOVED)
            false += sum(day < change for i, when in called.items() if i < MOVED for day in when)
            total += days
            hit += [
                min(after) - change + 1
                for i in range(MOVED)
                if (after := [d for d in called.get(i, []) if d >= change])
            ]
        found[f"{size:g}"], delays[f"{size:g}"] = len(hit) / (MOVED * runs), float(np.median(hit)) if hit else None
    return {
        "false_pages_a_day": round(false / total, 4), "found": found, "median_delay_days": delays,
        "cpu_ms_a_fleet_day": round((time.process_time() - start) / total * 1e3, 2),
        "cpu_ms_a_page": round(PAGING[0] / total * 1e3, 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--monitors", type=int, default=1000)
    parser.add_argument("--days", type=int, default=100)
    given = parser.parse_args()
    bonferroni = NormalDist().inv_cdf(1 - 0.05 / given.monitors)
    rules: dict[str, Callable[[np.ndarray], Days]] = {
        "luthier, 0.6 a month": lambda x: ours(x, 0.6),
        "p < .05": threshold(1.6449),
        "3 sigma": threshold(3.0),
        "Bonferroni a day": threshold(bonferroni),
        "Benjamini-Hochberg a day": benjamini_hochberg,
    }
    print(
        json.dumps(
            {name: measured(rule, given.runs, given.monitors, given.days) for name, rule in rules.items()}, indent=2
        )
    )


if __name__ == "__main__":
    main()
