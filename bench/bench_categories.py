"""What columns without end cost: processor seconds and peak memory of everything that takes categories, over 10 million different ones.

    python bench/bench_categories.py [millions of rows = 1 10] [--doors counts.v1 … drift] [--kinds integers text]

Prints JSON. Every row has a category of its own (a whole number, or a text of 8 to 10 characters in a numpy array), but
one in twenty, which are all the same. Each case runs in a process of its own. `above_mb` is the peak over the data and the imports, `state_kb` what is kept.
`time_a_row` is against the smallest size of the same case, so 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

STATISTICS: dict[str, dict[str, Any]] = {
    "counts.v1": {"column": "tag"}, "counts.v2": {"column": "tag"}, "distinct.v1": {"column": "tag"},
    "sliced.v1": {"by": ("tag",)}, "sliced.v1 of pairs": {"by": ("tag", "plan")}, "sample.v1": {"columns": ("loss",), "id": "tag"},
    "group_metrics.v1": {"group": "tag", "target": "loss", "predicted": "said"}, "confusion.v1": {},
}  # fmt: skip
DOORS = (*STATISTICS, "drift", "monitor", "monitor by tag", "monitor of ids", "cause", "quality report")


def rows(door: str, kind: str, n: int) -> dict[str, np.ndarray]:
    """tag: n × 0.95 categories; loss, said: 0 or 1; plan: 1 of 8; target and predicted: a million classes."""
    rng = np.random.default_rng(0)
    tag = rng.permutation(n).astype(np.int64)
    ids = tag.copy()
    tag[rng.random(n) < 0.05] = 7
    table = {"loss": (rng.random(n) < 0.1).astype(float), "said": rng.integers(0, 2, n), "plan": rng.integers(0, 8, n)}
    if kind == "text":
        tag, ids = (np.char.add("id", one.astype(str)) for one in (tag, ids))
    return {"tag": tag, **table} if door != "monitor of ids" else {"ids": ids, "tag": tag, **table}


def cells(n: int) -> dict[str, np.ndarray]:
    """Nearly n different cells off the diagonal of a matrix of a million classes."""
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 1 << 20, n) for name in ("target", "predicted")}


def work(door: str, table: dict[str, np.ndarray]) -> Callable[[], Any]:
    """The case, with everything imported."""
    import luthier
    from luthier.codec import pack
    from luthier.names import get
    from luthier.rootcause import explain

    half = len(next(iter(table.values()))) // 2
    before, after = (
        {name: values[part] for name, values in table.items()} for part in (slice(half), slice(half, None))
    )
    few = {name: values[:20_000] for name, values in before.items() if name in ("loss", "tag", "plan")}
    if door in STATISTICS:
        statistic = get("statistic", door.split(" ")[0])(**STATISTICS[door])

        def observed() -> int:
            state = statistic.merge(statistic.observe(before), statistic.observe(after))
            statistic.read(state)
            return len(pack(state))

        return observed
    if door.startswith("monitor"):
        from luthier.options import MonitorOptions

        options = MonitorOptions(slices=("tag",)) if "by" in door else None
        watch = luthier.Monitor(few, options=options)

        def watched() -> int:
            for part in (before, after):
                if door == "monitor of ids":
                    watch.answer(part["ids"], confidence=part["loss"], at="2026-01-01")
                else:
                    watch.observe("answer", {name: part[name] for name in ("tag", "plan")}, at="2026-01-01")
                    watch.observe("label", {name: part[name] for name in few}, at="2026-01-01")
            return len(watch.save())

        return watched
    others: dict[str, Callable[[], Any]] = {
        "drift": lambda: luthier.drift({"tag": before["tag"]}, {"tag": after["tag"]}, categories=["tag"]),
        "quality report": lambda: luthier.report("quality", {"tag": before["tag"]}, {"tag": after["tag"]}),
        "cause": lambda: explain(*({name: part[name] for name in few} for part in (before, after))),
    }
    return others[door]


def run(door: str, kind: str, n: int) -> dict[str, Any]:
    """One case, in the process that is measured."""
    table = cells(n) if door == "confusion.v1" else rows(door, kind, n)
    work(door, {name: values[:40_000] for name, values in table.items()})()  # imports
    forget()
    case, before, start = work(door, table), memory("VmRSS"), time.process_time()
    kept = case()
    return {
        "cpu_s": round(time.process_time() - start, 2), "above_mb": round(memory("VmHWM") - before),
        "data_mb": round(sum(values.nbytes for values in table.values()) / 2**20),
    } | ({"state_kb": round(kept / 1024)} if isinstance(kept, int) else {})  # fmt: skip


def forget() -> None:
    """Sets the peak memory of this process back to what it has."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def memory(which: str) -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(which))


def measured(door: str, kind: str, n: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", door, kind, str(n)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("millions", nargs="*", type=float, default=[1, 10])
    parser.add_argument("--doors", nargs="+", choices=DOORS, default=DOORS)
    parser.add_argument("--kinds", nargs="+", choices=["integers", "text"], default=["integers", "text"])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run(options.one[0], options.one[1], int(options.one[2]))))
        return
    sizes = sorted(round(million * 1e6) for million in options.millions)
    found: dict[str, Any] = {"rows": sizes}
    for door in options.doors:
        for kind in options.kinds if door != "confusion.v1" else ["integers"]:
            cases = {f"{n:,}": measured(door, kind, n) for n in sizes}
            first = cases[f"{sizes[0]:,}"]["cpu_s"] / sizes[0]
            for n, one in zip(sizes, cases.values(), strict=True):
                one["time_a_row"] = round(one["cpu_s"] / n / first, 2) if first else None
            found[f"{door}, {kind}"] = cases
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
