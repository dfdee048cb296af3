"""Speed and memory beside other monitoring libraries: the same data, the same run, a fresh process a case.

    python bench/bench_peers.py [--small] [--cases drift …] [--peers river nannyml evidently] [--venvs FOLDER]

Without --peers ours alone. CPU seconds (children included, one thread) and MB at the peak above those before the work, data loaded;
ratios are theirs over ours. Peers run at their defaults, in environments that peers/venvs.py makes; one that cannot be
installed, fails or runs over --timeout is said and has no figures. --small takes a twentieth of the rows: a run in
minutes, with ratios that flatter nobody but are not those of the large tables. Prints a line of JSON a row, then a table.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import data, venvs

PEERS = {
    "drift": ("nannyml", "evidently"), "metrics": ("river", "nannyml", "evidently"), "label_free": ("nannyml",),
    "embedding": ("nannyml", "evidently"), "sequential": ("river",), "imports": ("river", "nannyml", "evidently"),
}  # fmt: skip
OURS = ("luthier.stages.monitor", "luthier.stages.drift", "luthier")
THEIRS = {"river": "river.drift", "nannyml": "nannyml", "evidently": "evidently"}
HOME = Path(__file__).parent / "peers"


def run(python: Path, script: str, case: str, folder: Path, timeout: float) -> list[dict[str, Any]]:
    """What the script reports; raises Absent when it fails or takes longer than `timeout` seconds of wall time."""
    process = subprocess.Popen(
        [str(python), "-W", "ignore", str(HOME / script), case, str(folder)], env=venvs.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        out, said = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise venvs.Absent(f"over {timeout:,.0f} s of wall time, stopped") from None
    if process.returncode:
        raise venvs.Absent((said.strip().splitlines() or [f"exit code {process.returncode}"])[-1][:200])
    return [json.loads(line[7:]) for line in out.splitlines() if line.startswith("RESULT ")]


def imported(python: Path, module: str, times: int = 5) -> float:
    """CPU seconds of importing it, over those of Python alone; the least of some fresh processes."""

    def least(code: str) -> float:
        spent = []
        for _ in range(times):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [str(python), "-W", "ignore", "-c", code], check=True, env=venvs.environment(), capture_output=True
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(spent)

    return round(least(f"import {module}") - least("pass"), 3)


def judged(case: str, ours: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Long lists become errors against what our own process knows to be true."""
    known = {key: value for row in ours for key, value in row.items() if key in ("exact_auroc", "truth")}
    for row in rows:
        if case == "metrics":
            exact, said = known["exact_auroc"], row.pop("auroc")
            row["auc_error"] = round(max(abs(a - b) for a, b in zip(said, exact, strict=True)), 5)
            row.pop("f1"), row.pop("exact_auroc", None)
        if row["case"] == "label_free":
            off = [abs(a - b) for a, b in zip(row.pop("accuracy"), known["truth"], strict=True)]
            valid, alerts = row.pop("valid", None), row.pop("alerts", None)
            for name, low, high in (("same", 0, 60), ("mix moved", 60, 80), ("concept moved", 80, 100)):
                row[f"mae, {name}"] = round(sum(off[low:high]) / (high - low), 4)
                if valid:
                    row[f"stated, {name}"] = sum(valid[low:high]) / (high - low)
                if alerts:
                    row[f"alerts, {name}"] = sum(bool(one) for one in alerts[low:high]) / (high - low)
            row.pop("truth", None)
    return rows


def measured(case: str, found: dict[str, Path], folder: Path, timeout: float) -> list[dict[str, Any]]:
    if case == "imports":
        rows = [{"peer": "luthier", "case": name, "cpu_s": imported(Path(sys.executable), name)} for name in OURS]
        for peer in (peer for peer in PEERS[case] if peer in found):
            rows.append({"peer": peer, "case": THEIRS[peer], "cpu_s": imported(found[peer], THEIRS[peer])})
        return with_ratios(rows)
    ours = run(Path(sys.executable), "case_ours.py", case, folder, timeout)
    truth = [dict(row) for row in ours]
    rows = [{"peer": "luthier", **row} for row in judged(case, truth, ours)]
    for peer in (peer for peer in PEERS[case] if peer in found):
        try:
            theirs = run(found[peer], f"case_{peer}.py", case, folder, timeout)
        except venvs.Absent as reason:
            rows.append({"peer": peer, "case": case, "absent": str(reason)})
            continue
        rows += [{"peer": peer, **row} for row in judged(case, truth, theirs)]
    return with_ratios(rows)


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every peer's cost over that of our first row."""
    for row in rows:
        for key in ("cpu_s", "us"):
            if row["peer"] != "luthier" and key in row:
                row["ratio"] = round(row[key] / rows[0][key], 1)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| who | case | CPU s | MB above the data | theirs / ours | what it said |", "|---|---|---|---|---|---|"]
    for row in rows:
        known = ("peer", "case", "cpu_s", "mb", "ratio", "us", "load")
        said = row.get("absent") or ", ".join(f"{key} {value}" for key, value in row.items() if key not in known)
        cost = f"{row['us']} µs each" if "us" in row else row.get("cpu_s", "")
        cost = round(cost, 3) if isinstance(cost, float) else cost
        lines.append(
            f"| {row['peer']} | {row['case']} | {cost} | {row.get('mb', '')} | {row.get('ratio', '')} | {said} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--cases", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--timeout", type=float, default=900, help="seconds of wall time a case")
    venvs.arguments(parser, "river nannyml evidently")
    given, rows = parser.parse_args(), []
    found = venvs.pythons([peer for peer in given.peers if peer in THEIRS], given.venvs)
    share = 20 if given.small else 1
    sizes = {"rows": 1_000_000 // share, "answers": 1_000_000 // share, "embeddings": 20_000 // min(share, 10)}
    print(
        json.dumps({**sizes, "columns": 50, "windows": data.WINDOWS, "width": data.WIDTH, "processors": os.cpu_count()})
    )
    with tempfile.TemporaryDirectory() as place:
        begun = time.perf_counter()
        data.make(Path(place), **sizes)
        print(f"data made in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
        for case in given.cases:
            for row in measured(case, found, Path(place), given.timeout):
                rows.append(row)
                print(json.dumps(row), flush=True)
    print(table(rows), file=sys.stderr)


if __name__ == "__main__":
    main()
