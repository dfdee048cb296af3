"""River's detectors at their defaults on the streams of bench/streams.py; run by bench_falsealarm.py in River's venv.

    python falsealarm_river.py RUNS KIND DETECTOR

A detector goes on after an alarm (River's reset themselves); its delay is that of the first alarm from the change on.
KSWIN takes some 100 µs an observation and remembers the last 100 only, so it starts 2,000 labels before the change, is
given 10,000 after it, and a twentieth of the runs. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys

from river import drift
from river.drift import binary
from streams import CHANGES, RATES, stream

DETECTORS = {
    "ADWIN": drift.ADWIN, "DDM": binary.DDM, "EDDM": binary.EDDM, "PageHinkley": drift.PageHinkley,
    "HDDM_A": binary.HDDMA, "HDDM_W": binary.HDDMW, "FHDDM": binary.FHDDM, "KSWIN": lambda: drift.KSWIN(seed=0),
}  # fmt: skip


def first(detector, errors: list[int], change: int) -> int:
    """Labels from `change` to the first alarm after it; 0 where there is none."""
    for i, x in enumerate(errors):
        detector.update(x)
        if detector.drift_detected and i >= change:
            return i - change + 1
    return 0


def measured(name: str, kind: str, runs: int) -> dict:
    slow = name == "KSWIN"
    runs = max(runs // 20, 1) if slow else runs
    make = DETECTORS[name]
    alarms = sum(first(make(), stream(kind, seed).astype(int).tolist(), 0) > 0 for seed in range(runs))
    found: dict = {"detector": f"River {name}", "stream": kind, "runs": runs, "alarms": alarms, "delays": {}}
    for change in CHANGES if kind == "independent" else ():
        for rate in RATES:
            start, stop = (max(change - 2000, 0), change + 10_000) if slow else (0, None)
            found["delays"][f"{change} {rate:.2f}"] = [
                first(make(), stream(kind, seed, change, rate)[start:stop].astype(int).tolist(), change - start)
                for seed in range(runs)
            ]
    return found


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[3], sys.argv[2], int(sys.argv[1]))))
