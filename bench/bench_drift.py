"""Drift of a whole table: processor seconds, memory, what is found, and how often an unchanged column is called changed.

Run it alone: `python bench/bench_drift.py [thousands of rows = 1000] [repetitions of the small tables = 100]`. Prints
JSON. The data are those of the peers' scripts: 20 normal and 20 lognormal float32 columns and 10 of 20 text categories, two
means shifted by .3, two scales by 1.2 and one category column, in the second table. The ratio is to scipy's two-sample
Kolmogorov–Smirnov and chi-square tests of the same columns in the same run, the least that any tool has to do.
"wide": 10,000 columns of 1,000 rows.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa

from luthier.stages.drift import Drift, drift, summarise

LEVELS = np.array([f"L{i:02d}" for i in range(20)])
SHARES = np.arange(20, 0, -1, dtype=float) / 210
SHIFTED = {"n00", "n01", "n20", "n21", "c00"}


def table(seed: int, shift: bool, n: int) -> pa.Table:
    """40 float32 and 10 text columns of n rows."""
    rng, columns = np.random.default_rng(seed), {}
    for i in range(40):
        x = rng.standard_normal(n, dtype=np.float32)
        x = x if i < 20 else np.exp(np.float32(0.5) * x)
        x = x + np.float32(0.3) if shift and i in (0, 1) else x * np.float32(1.2) if shift and i in (20, 21) else x
        columns[f"n{i:02d}"] = pa.array(x)
    words = pa.array(LEVELS)
    for i in range(10):
        p = SHARES[::-1] * 0.3 + SHARES * 0.7 if shift and i == 0 else SHARES
        columns[f"c{i:02d}"] = words.take(pa.array(rng.choice(20, size=n, p=p)))
    return pa.table(columns)


def status(key: str) -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key + ":"))


def cost(work: Any) -> tuple[Any, dict[str, float]]:
    """What `work()` returns, its processor seconds, and MB at its peak above those before."""
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)  # or memory freed before would hide what is used now
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, start = status("VmRSS"), time.process_time()
    done = work()
    return done, {"cpu_s": round(time.process_time() - start, 3), "extra_mb": round(status("VmHWM") - before)}


def found(result: Drift) -> dict[str, int]:
    named = set(result.drifted)
    return {"found_of_5": len(named & SHIFTED), "false_of_45": len(named - SHIFTED)}


def large(kind: str, n: int) -> dict[str, Any]:
    """One case, in a process of its own."""
    reference, current = table(1, False, n), table(2, True, n)
    if kind == "pandas":
        reference, current = reference.to_pandas(), current.to_pandas()
    if kind == "scipy":
        return cost(lambda: scipy_tests(reference, current))[1]
    drift(reference[:1000], current[:1000])  # imports
    both, spent = cost(lambda: drift(reference, current))
    kept = summarise(reference)
    again, later = cost(lambda: drift(kept, current))
    assert again == both
    return {"both": spent | found(both), "kept_reference": later | found(again)}


def scipy_tests(reference: pa.Table, current: pa.Table) -> None:
    from scipy import stats

    for name in reference.column_names:
        pair = [frame[name].to_numpy() for frame in (reference, current)]
        if name[0] == "n":
            stats.ks_2samp(*pair, method="asymp")
        else:
            stats.chi2_contingency([np.unique(x.astype("U3"), return_counts=True)[1] for x in pair])


def small(reference: int, n: int, repetitions: int) -> dict[str, float]:
    """Unchanged tables of 50 columns: the share with any false finding, and of columns; and of 5 true ones found."""
    any_false = false = hits = 0
    for seed in range(repetitions):
        good = table(10_000 + seed, False, reference)
        quiet = drift(good, table(20_000 + seed, False, n)).drifted
        any_false, false = any_false + bool(quiet), false + len(quiet)
        hits += len(SHIFTED & set(drift(good, table(30_000 + seed, True, n)).drifted))
    return {
        "tables_with_a_false_finding": any_false / repetitions,
        "columns_falsely_found": false / repetitions / 50,
        "shifted_columns_found": hits / repetitions / 5,
    }


def wide(columns: int = 10_000, n: int = 1000) -> dict[str, Any]:
    """A very wide table of few rows, float32 and as short texts: milliseconds a column; every thousandth column is shifted."""
    found: dict[str, Any] = {"columns": columns, "rows": n}
    for kind in ("numbers", "texts"):
        good, now = (_wide(kind, seed, columns, n) for seed in (1, 2))
        begun = time.process_time()
        kept = summarise(good)
        between = time.process_time()
        shifted = drift(kept, now).drifted
        spent = (between - begun, time.process_time() - between)
        found[kind] = {
            "reference_ms_a_column": round(1000 * spent[0] / columns, 3), "drift_ms_a_column": round(1000 * spent[1] / columns, 3),
            "found": len(set(shifted) & set(list(now)[::1000])), "false": len(set(shifted) - set(list(now)[::1000])),
        }  # fmt: skip
    return found


def _wide(kind: str, seed: int, columns: int, n: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    if kind == "texts":
        words, shares = np.array(list("abcde")), (0.3, 0.3, 0.2, 0.1, 0.1)
        turned = shares[::-1] if seed == 2 else shares
        return {f"c{i}": words[rng.choice(5, n, p=shares if i % 1000 else turned)] for i in range(columns)}
    return {
        f"n{i}": rng.standard_normal(n, dtype=np.float32) + np.float32(0.5 if seed == 2 and not i % 1000 else 0)
        for i in range(columns)
    }


def main(thousands: int, repetitions: int) -> dict[str, Any]:
    report: dict[str, Any] = {"rows": thousands * 1000}
    for kind in ("arrow", "pandas", "scipy"):
        command = [sys.executable, __file__, "--case", kind, str(thousands * 1000)]
        report[kind] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    report["times_faster_than_scipy_tests"] = round(report["scipy"]["cpu_s"] / report["arrow"]["both"]["cpu_s"], 1)
    drift(_wide("numbers", 1, 2, 100), _wide("texts", 2, 2, 100))  # imports
    report["wide"] = wide()
    report["small"] = {
        f"{reference} against {n}": small(reference, n, repetitions)
        for reference, n in ((1000, 100), (1000, 1000), (10_000, 1000), (10_000, 10_000))
    }
    print(json.dumps(report, indent=1))
    return report


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        print(json.dumps(large(sys.argv[2], int(sys.argv[3]))))
    else:
        main(*(int(value) for value in sys.argv[1:3] + [1000, 100][len(sys.argv) - 1 :]))
