"""What an estimate without labels costs, and how far it is off: 100 windows of 10,000 rows beside 1,000,000 reference rows.

    python bench/bench_label_free.py [--rows 1000000] [--columns 8]

CPU seconds of label_free.v2 (calibration, gate, weighting where the mix moved: accuracy with its interval every window),
of all its metrics (`estimates`: AUROC, F1, confusion), of label_free.v1 on a tenth of the windows, and of the plain way,
scikit-learn's isotonic regression of "right" on confidence and its mean over each window, without gate or interval.
A binary problem; from window 60 on the mix of inputs moves, so that accuracy moves without any concept shift; from
window 80 on it moves off the reference's support, where nothing may be stated. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from luthier.checks.label_free import LabelFree
from luthier.checks.label_free_weighted import LabelFreeWeighted

WINDOW, WINDOWS = 10_000, 100


def rows(rng: np.random.Generator, n: int, columns: int, moved: float = 0.0) -> dict[str, np.ndarray]:
    x = rng.standard_normal((n, columns), dtype=np.float32)
    x[:, 0] += moved
    score = 1.5 * x[:, 0] + 2 * np.sin(2 * x[:, 1])
    target = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(np.int64)
    said = 1 / (1 + np.exp(-(1.7 * score + 0.2)))  # overconfident, and a little towards 1
    predicted = (said > 0.5).astype(np.int64)
    inputs = {f"x{i}": x[:, i].copy() for i in range(columns)}
    return inputs | {
        "embedding": x, "confidence": np.maximum(said, 1 - said), "predicted": predicted, "target": target,
        "loss": (predicted != target).astype(np.float64),
    }  # fmt: skip


def seconds(begun: float) -> float:
    return round(time.process_time() - begun, 3)


def weighted(reference: Any, windows: list[Any], columns: tuple[str, ...]) -> dict[str, Any]:
    check = LabelFreeWeighted(window=WINDOW, block=WINDOW // 10, columns=columns)
    begun = time.process_time()
    start = memory = check.start(reference)
    fit, memories, read = seconds(begun), [], []
    begun = time.process_time()
    for window in windows:
        memory, _ = check.step(memory, window)
        memories.append(memory)
        read.append(check.read(memory))
    estimate, begun = seconds(begun), time.process_time()
    everything = [check.estimates(memory) for memory in memories]
    truth = np.array([1 - window["loss"].mean() for window in windows])
    off = np.array([abs(one.estimate.value - t) for one, t in zip(read, truth, strict=True)])
    held = [one.estimate.low <= t <= one.estimate.high for one, t in zip(read, truth, strict=True)]
    said = np.array([one.valid for one in read])
    return {
        "fit_cpu_s": fit, "estimate_cpu_s": estimate, "all_metrics_cpu_s": seconds(begun), "metrics": len(everything[0]),
        "rows_fitted": start["reference"]["n"], "stated_same_mix_moved_off": [int(said[a:b].sum()) for a, b in ((0, 60), (60, 80), (80, 100))],
        "weighted": sum(one.weighted for one in read), "mae_points": round(100 * float(off[said].mean()), 3),
        "mae_points_moved": round(100 * float(off[60:80][said[60:80]].mean()), 3) if said[60:80].any() else None,
        "interval_held": round(float(np.mean(held)), 3),
    }  # fmt: skip


def plain(reference: Any, windows: list[Any]) -> dict[str, Any]:
    from sklearn.isotonic import IsotonicRegression

    begun = time.process_time()
    curve = IsotonicRegression(out_of_bounds="clip").fit(reference["confidence"], 1 - reference["loss"])
    fit, begun = seconds(begun), time.process_time()
    off = [abs(curve.predict(window["confidence"]).mean() - 1 + window["loss"].mean()) for window in windows]
    estimate = seconds(begun)
    return {
        "fit_cpu_s": fit, "estimate_cpu_s": estimate, "mae_points": round(100 * float(np.mean(off[:80])), 3),
        "mae_points_moved": round(100 * float(np.mean(off[60:80])), 3),
    }  # fmt: skip


def before(reference: Any, windows: list[Any]) -> dict[str, Any]:
    check = LabelFree(window=WINDOW, block=WINDOW // 10)
    begun = time.process_time()
    memory = check.start(reference)
    fit, begun = seconds(begun), time.process_time()
    for window in windows[: WINDOWS // 10]:
        memory, _ = check.step(memory, window)
    return {"fit_cpu_s": fit, "estimate_cpu_s_of_10_windows": seconds(begun)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--skip-v1", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    reference = rows(rng, options.rows, options.columns)
    moved = [0.0] * 60 + [0.25] * 20 + [2.5] * 20
    windows = [rows(rng, WINDOW, options.columns, by) for by in moved]
    found: dict[str, Any] = {"sklearn isotonic": plain(reference, windows)}
    found["label_free.v2, embedding"] = weighted(reference, windows, ())
    found["label_free.v2, columns"] = weighted(reference, windows, tuple(f"x{i}" for i in range(options.columns)))
    if not options.skip_v1:
        found["label_free.v1"] = before(reference, windows)
    base = found["sklearn isotonic"]
    for name in ("label_free.v2, embedding", "label_free.v2, columns"):
        found[name]["fit_over_sklearn"] = round(found[name]["fit_cpu_s"] / base["fit_cpu_s"], 3)
        found[name]["estimate_over_sklearn"] = round(found[name]["estimate_cpu_s"] / base["estimate_cpu_s"], 3)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
