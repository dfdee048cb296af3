"""Nanoseconds of processor time a row of the statistics of answers, against scikit-learn on the same arrays.

Run it alone: `python bench/bench_statistics.py [millions of rows]`; prints JSON. All figures come from one run, so read
the ratios. "windows" are 100 windows of equal size: what a monitor does, observe and read, or scikit-learn's own calls.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn import metrics

from luthier.names import get
from luthier.properties.text import text_columns

WINDOWS = 100


def cost(work: Callable[[], object], rows: int, repeats: int = 3) -> float:
    """The smallest of the processor times, in ns a row."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return round(min(spent) / rows * 1e9, 1)


def table(n: int) -> dict[str, np.ndarray]:
    """A binary classifier's answers, a regressor's, ten labels a row and lists of twenty."""
    rng = np.random.default_rng(0)
    target = (rng.random(n) < 0.2).astype(np.int64)
    score = 1 / (1 + np.exp(1.5 - rng.normal(size=n) - 1.5 * target))
    price = rng.normal(size=n)
    return {
        "target": target, "score": score, "predicted": (score > 0.5).astype(np.int64), "price": price,
        "answer": price + 0.3 * rng.normal(size=n), "labels": rng.random((n // 10, 10)) < 0.3,
        "said": rng.random((n // 10, 10)) < 0.3, "gains": (rng.random((n // 10, 20)) < 0.1).astype(float),
        "scores": rng.random((n // 10, 20)), "id": rng.integers(0, 2**60, n),
    }  # fmt: skip


CASES: Mapping[str, tuple[dict[str, object], Callable[[Mapping[str, np.ndarray]], object]]] = {
    "confusion.v1": ({}, lambda c: metrics.precision_recall_fscore_support(c["target"], c["predicted"], zero_division=0)),
    "curves.v1": ({}, lambda c: (metrics.roc_auc_score(c["target"], c["score"]),
                                 metrics.average_precision_score(c["target"], c["score"]))),
    "auroc.v1": ({}, lambda c: metrics.roc_auc_score(c["target"], c["score"])),
    "log_loss.v1": ({"probability": "score", "of": "positive"}, lambda c: metrics.log_loss(c["target"], y_proba=c["score"])),
    "calibration.v1": ({"probability": "score", "outcome": "positive"},
                       lambda c: metrics.brier_score_loss(c["target"], c["score"])),
    "regression.v1": ({"target": "price", "predicted": "answer"},
                      lambda c: [metric(c["price"], c["answer"]) for metric in (
                          metrics.mean_absolute_error, metrics.mean_squared_error, metrics.r2_score)]),
    "multilabel.v1": ({"target": "labels", "predicted": "said"},
                      lambda c: metrics.precision_recall_fscore_support(c["labels"], c["said"], average="macro")),
    "ranking.v1": ({"gains": "gains", "scores": "scores"}, lambda c: metrics.ndcg_score(c["gains"], c["scores"], k=10)),
    "distinct.v1": ({}, lambda c: len(np.unique(c["id"]))),
}  # fmt: skip


def windows(columns: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    cut = {name: np.array_split(values, WINDOWS) for name, values in columns.items()}
    return [{name: parts[i] for name, parts in cut.items()} for i in range(WINDOWS)]


def main(millions: float = 1) -> dict[str, object]:
    """Prints and returns: statistic → ns a row whole and in windows, ours and scikit-learn's, and their ratios."""
    columns = table(int(millions * 1e6))
    parts = windows(columns)
    found: dict[str, object] = {"rows": int(millions * 1e6)}
    for name, (options, theirs) in CASES.items():
        statistic = get("statistic", name)(**options)
        rows = len(columns[str(options.get("predicted", options.get("gains", "target")))])
        ours = cost(lambda s=statistic: s.read(s.observe(columns)), rows)
        other = cost(lambda f=theirs: f(columns), rows, 1)
        each = cost(lambda s=statistic: [s.read(s.observe(part)) for part in parts], rows)
        other_each = cost(lambda f=theirs: [f(part) for part in parts], rows, 1)
        found[name] = {
            "ns": ours, "peer_ns": other, "ratio": round(other / ours, 2), "windows_ns": each,
            "windows_peer_ns": other_each, "windows_ratio": round(other_each / each, 2),
        }  # fmt: skip
    watched = [get("statistic", name)(**CASES[name][0]) for name in ("confusion.v1", "curves.v1", "calibration.v1")]
    start = time.process_time()
    for part in parts:
        for statistic in watched:
            statistic.read(statistic.observe(part))
    found["classification_100_windows_seconds"] = round(time.process_time() - start, 3)
    texts = ["The quick brown fox, jumps over the lazy dog. " * 3] * 20_000
    found["text_columns_ns_a_character"] = cost(lambda: text_columns(texts, frozenset({"fox"})), sum(map(len, texts)))
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1)
