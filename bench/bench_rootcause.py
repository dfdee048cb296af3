"""What an exact scan for the cause of a rise costs, against the same tables by a loop of pandas groupbys.

    python bench/bench_rootcause.py [--rows 208892]

Sixteen columns with the numbers of values that the census columns of NannyML's quickstart have (synthetic rows, half of
them before the change), a slice of two predicates planted. CPU seconds of one process; prints JSON. The loop makes the
same counts and losses of all one- and two-predicate slices; without pandas it is left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from luthier.rootcause import ScanOptions, explain

VALUES = {
    "AGEP": 95, "SCHL": 24, "MAR": 5, "RELP": 18, "DIS": 2, "ESP": 9, "CIT": 5, "MIG": 4, "MIL": 5, "ANC": 4,
    "NATIVITY": 2, "DEAR": 2, "DEYE": 2, "DREM": 3, "SEX": 2, "RAC1P": 9,
}  # fmt: skip


def rows(n: int, seed: int, planted: float) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        name: np.minimum((rng.random(n) ** 2 * k).astype(np.int64), k - 1) for name, k in VALUES.items()
    }
    where = (columns["DIS"] == 1) & (columns["MAR"] == 2)
    return columns | {"loss": (rng.random(n) < np.where(where, planted, 0.17)).astype(float)}


def by_groupby(before: dict[str, Any], after: dict[str, Any]) -> int:
    """The counts and losses of every slice, as anybody would write it; how many have 1 % of the rows after."""
    import pandas as pd

    frame = pd.concat([pd.DataFrame(before).assign(after=0), pd.DataFrame(after).assign(after=1)])
    ages = np.quantile(before["AGEP"], np.arange(1, 10) / 10)
    frame["AGEP"] = np.searchsorted(np.unique(ages), frame["AGEP"])
    found = 0
    for names in [(name,) for name in VALUES] + list(itertools.combinations(VALUES, 2)):
        table = frame.groupby([*names, "after"])["loss"].agg(["size", "sum"])
        found += int((table.xs(1, level="after")["size"] >= 0.01 * len(after["loss"])).sum())
    return found


def cpu(work: Callable[[], Any], times: int) -> tuple[float, Any]:
    best, made = float("inf"), None
    for _ in range(times):
        start = time.process_time()
        made = work()
        best = min(best, time.process_time() - start)
    return best, made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=208_892)
    n = parser.parse_args().rows
    before, after = rows(n // 2, 1, 0.17), rows(n - n // 2, 2, 0.36)
    options = ScanOptions(values=25, least=n // 200)
    seconds, cause = cpu(lambda: explain(before, after, options), 3)
    result: dict[str, Any] = {
        "rows": n, "columns": len(VALUES), "slices": cause.looked, "seconds": round(seconds, 3),
        "found": cause.slices[0].name if cause.slices else None, "why": cause.why,
    }  # fmt: skip
    try:
        loop, slices = cpu(lambda: by_groupby(before, after), 1)
        result["pandas"] = {"seconds": round(loop, 3), "slices": slices, "ratio": round(loop / seconds, 1)}
    except ImportError:
        result["pandas"] = None
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
