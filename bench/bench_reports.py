"""Reports on tables: processor seconds of a drift report beside `luthier.drift` on the same tables, and of the other kinds.

Run it alone: `python bench/bench_reports.py [thousands of rows = 200]`. Prints JSON. 40 float32 and 10 text columns, in both
tables; performance: 100 windows of scores and labels. The ratios are to the work that each report cannot do without, in the same run:
`luthier.drift`, and scikit-learn's accuracy, F1, ROC AUC and log loss (without intervals) of the same windows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa

import luthier


def table(seed: int, n: int) -> pa.Table:
    """40 float32 and 10 text columns of n rows, over 14 days."""
    rng = np.random.default_rng(seed)
    numbers = {f"n{i:02d}": rng.standard_normal(n, dtype=np.float32) for i in range(40)}
    words = {f"c{i}": pa.array(["a", "b", "c", "d"]).take(pa.array(rng.integers(0, 4, n))) for i in range(10)}
    at = np.datetime64("2026-03-01T00:00:00") + (np.arange(n) * 14 * 86_400 // n)
    return pa.table(numbers | words | {"at": at})


def scores(seed: int, n: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    return {"score": score, "target": (rng.random(n) < score).astype(int)}


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of the second call, and what it gave."""
    work()
    begun = time.process_time()
    found = work()
    return time.process_time() - begun, found


def sklearn_windows(data: dict[str, Any], size: int) -> None:
    from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

    for start in range(0, len(data["score"]), size):
        y, p = (data[name][start : start + size] for name in ("target", "score"))
        accuracy_score(y, p >= 0.5), f1_score(y, p >= 0.5), roc_auc_score(y, p), log_loss(y, p)


def main(n: int) -> dict[str, Any]:
    a, b = table(0, n), table(1, n)
    data, good = scores(1, 5 * n), scores(0, n)
    size = len(data["score"]) // 100
    alone, _ = seconds(lambda: luthier.drift(a, b))
    one, report = seconds(lambda: luthier.report("drift", a, b))
    series, cut = seconds(lambda: luthier.report("drift", a, b, at="at", every="day"))
    page, text = seconds(report.html)
    quality, _ = seconds(lambda: luthier.report("quality", a, b))
    performance, _ = seconds(lambda: luthier.report("performance", good, data, chunk=size))
    peer, _ = seconds(lambda: sklearn_windows(data, size))
    found = {
        "drift": alone, "drift report": one, "its page": page, "drift report, 14 days": series, "quality report": quality,
        "performance report, 100 windows": performance, "scikit-learn, 100 windows": peer,
    }  # fmt: skip
    return {
        "rows": n, "columns": a.num_columns, "windows": len(cut.windows), "page_bytes": len(text),
        "cpu_seconds": {name: round(value, 3) for name, value in found.items()},
        "ratios": {"report / drift": round(one / alone, 2), "performance / scikit-learn": round(performance / peer, 2)},
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) * 1000 if len(sys.argv) > 1 else 200_000), indent=1))
