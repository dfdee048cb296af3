"""What a stream of Parquet costs as it grows: processor seconds, rows a second, peak memory, time a row against the smallest.

    python bench/bench_streaming.py [millions of rows = 10 30 100] [--folder <where>]

Prints JSON. The rows are made first, a million a file: x (float32, normal), plan (one of 8 texts), loss (0 or 1, float32) and
at (time); about 8 bytes a row on disk, in a temporary folder that is removed. Each size runs in a process of its own and
reads as many files as it needs: `drift` summarises x and plan, `statistics` are the mean loss and a histogram of x, `checks` are
risk.v1 and risk_lifetime.v1, `monitor` is a `luthier.Monitor` with these and the time of every row, and `read` is Arrow decoding the columns and nothing else. `time_a_row` is against the smallest size of the same kind, so 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

FILE, GROUP = 1_000_000, 250_000
PLANS = np.array(["free", "basic", "plus", "pro", "team", "school", "state", "trial"])


def make(folder: Path, rows: int) -> None:
    """Files that follow each other in time, one row group in memory at a time."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([
        ("x", pa.float32()), ("plan", pa.dictionary(pa.int8(), pa.string())), ("loss", pa.float32()), ("at", pa.timestamp("ms")),
    ])  # fmt: skip
    for first in range(0, rows, FILE):
        with parquet.ParquetWriter(folder / f"rows-{first:012d}.parquet", schema, compression="zstd") as writer:
            for start in range(first, min(first + FILE, rows), GROUP):
                rng, n = np.random.default_rng(start), min(GROUP, rows - start)
                plan = pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 8, n, np.int8)), pa.array(PLANS))
                at = np.datetime64("2026-01-01", "ms") + (start + np.arange(n))
                loss = (rng.random(n, np.float32) < 0.1).astype(np.float32)
                writer.write_table(pa.table([rng.standard_normal(n, np.float32), plan, loss, at], schema=schema))


def read(source: Any) -> Any:
    return sum(batch.num_rows for batch in source)


def drift(source: Any) -> Any:
    from luthier.stages.drift import summarise

    return summarise(source).rows


def statistics(source: Any) -> Any:
    from luthier.names import get
    from luthier.stages.stream import observe

    chosen = {"loss": get("statistic", "mean.v1")(column="loss"), "x": get("statistic", "histogram.v1")(column="x")}
    return observe(chosen, source.windows())["loss"]["n"]


def checks(source: Any) -> Any:
    from luthier.names import get

    reference = {"loss": (np.random.default_rng(1).random(20_000) < 0.1).astype(float)}
    chosen = [get("check", name)() for name in ("risk.v1", "risk_lifetime.v1")]
    memories = [check.start(reference) for check in chosen]
    for window in source.windows():
        memories, findings = zip(
            *(check.step(m, window) for check, m in zip(chosen, memories, strict=True)), strict=True
        )
    return findings[0].n


def monitor(source: Any) -> Any:
    import luthier

    reference = {"loss": (np.random.default_rng(1).random(20_000) < 0.1).astype(float)}
    watch = luthier.Monitor(reference, checks=("risk.v1", "risk_lifetime.v1"))
    for window in source.windows():
        watch.observe("label", {"loss": window["loss"]}, at=window["at"])
    return watch.findings()[0].n


KINDS: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "read": (read, ("x", "plan", "loss")), "drift": (drift, ("x", "plan")), "statistics": (statistics, ("x", "loss")),
    "checks": (checks, ("loss",)), "monitor": (monitor, ("loss", "at")),
}  # fmt: skip


def run(kind: str, folder: Path, rows: int, quiet: bool) -> dict[str, Any]:
    """One case, in the process that is measured."""
    from luthier.progress import Bar
    from luthier.tables.parquet import Parquet

    work, columns = KINDS[kind]
    files = sorted(folder.glob("*.parquet"))[: -(-rows // FILE)]
    work(Parquet(files[:1], select=columns))  # imports, and memory that every size needs
    before = peak()
    start, begun = time.process_time(), time.monotonic()
    with Bar(quiet=quiet) as bar:
        seen = work(Parquet(files, select=columns, progress=bar))
    assert seen == rows, (seen, rows)
    spent = time.process_time() - start
    return {
        "cpu_s": round(spent, 2), "wall_s": round(time.monotonic() - begun, 2), "rows_a_cpu_second": round(rows / spent),
        "peak_mb": peak(), "peak_mb_of_the_first_file": before,
    }  # fmt: skip


def peak() -> int:
    with open("/proc/self/status") as file:
        return next(round(int(line.split()[1]) / 1024) for line in file if line.startswith("VmHWM:"))


def measured(kind: str, folder: Path, rows: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", kind, str(rows), "--folder", str(folder)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("millions", nargs="*", type=float, default=[10, 30, 100])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--folder", help="where the temporary folder is made")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run(options.one[0], Path(options.folder), int(options.one[1]), not sys.stderr.isatty())))
        return
    sizes = sorted(round(million) * FILE for million in options.millions)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        make(folder, sizes[-1])
        disk = sum(path.stat().st_size for path in folder.iterdir())
        found: dict[str, Any] = {
            "rows": sizes,
            "disk_mb": round(disk / 2**20),
            "bytes_a_row": round(disk / sizes[-1], 2),
        }
        for kind in options.kinds:
            found[kind] = {f"{rows:,}": measured(kind, folder, rows) for rows in sizes}
            rates = [one["rows_a_cpu_second"] for one in found[kind].values()]
            for one, rate in zip(found[kind].values(), rates, strict=True):
                one["time_a_row"] = round(rates[0] / rate, 3)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
