"""Import times over bare Python: best of several fresh processes each, and ratios to what others make one wait for.

    python bench/bench_imports.py [--runs 5]

Prints JSON: milliseconds over `python -c pass`, and whether torch was loaded.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time

OURS = (
    "luthier", "luthier.stages.monitor", "luthier.stages.detect", "luthier.stages.record", "luthier.checks.risk",
    "luthier.statistics.mean", "luthier.stores.sqlite",
)  # fmt: skip
OTHERS = ("numpy", "transformers", "sklearn")
HEAVY = ("torch", "pyarrow", "pydantic", "scipy", "transformers")


def milliseconds(code: str, runs: int) -> float:
    best = float("inf")
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        best = min(best, time.perf_counter() - begin)
    return 1000 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    bare = milliseconds("pass", runs)
    there = [name for name in (*OURS, *OTHERS) if importlib.util.find_spec(name) is not None]
    took = {name: milliseconds(f"import {name}", runs) - bare for name in there}
    loaded = {}
    for name in (name for name in OURS if name in there):
        code = f"import sys, {name}; print(*[one for one in {HEAVY} if one in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        loaded[name] = done.stdout.split()
    slowest = max(took[name] for name in OURS if name in there)
    print(
        json.dumps(
            {
                "bare_python_ms": round(bare, 1),
                "over_bare_ms": {name: round(value, 1) for name, value in took.items()},
                "heavy_packages_loaded": loaded,
                "slowest_of_ours_over": {
                    name: round(slowest / took[name], 3) for name in ("transformers", "sklearn") if name in there
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
