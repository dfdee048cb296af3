"""Luthier's part of bench_peers.py, in a process of its own: python case_ours.py CASE DATA_FOLDER."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from peers import data, measure

from luthier.names import get


def table_drift(folder: str) -> None:
    """From the pandas frames that the peers get, and from Arrow tables."""
    import pandas as pd
    import pyarrow as pa

    from luthier.stages.drift import drift, summarise

    for name, frame in (("drift", pd.DataFrame), ("drift, Arrow", pa.table)):
        good, now = (frame(data.table(folder, one)) for one in ("reference", "current"))
        drift(good[:200], now[:200])  # imports
        result, spent = measure.cost(lambda good=good, now=now: drift(good, now))
        kept = summarise(good)
        _, later = measure.cost(lambda kept=kept, now=now: drift(kept, now))
        named = set(result.drifted)
        measure.report(name, **spent, later=later, found=len(named & data.SHIFTED), false=len(named - data.SHIFTED))
        del good, now, kept, result


def exact_auc(score: np.ndarray, target: np.ndarray) -> float:
    """By ranks; scores drawn from a density do not tie."""
    ranks = np.empty(len(score))
    ranks[np.argsort(score)] = np.arange(1, len(score) + 1)
    positive = int(target.sum())
    return (ranks[target == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(score) - positive))


def metrics_of_windows(folder: str) -> None:
    """Confusion with every F1, ROC and PR areas, and log loss, each with its interval."""
    windows = data.parts(data.load(folder, "answers_current"))
    watched = [get("statistic", "confusion.v1")(), get("statistic", "curves.v1")()]
    watched.append(get("statistic", "log_loss.v1")(probability="score", of="positive"))

    def work() -> list[dict[str, Any]]:
        found = []
        for part in windows:
            row: dict[str, Any] = {}
            for statistic in watched:
                row |= statistic.read(statistic.observe(part))
            found.append(row)
        return found

    found, spent = measure.cost(work)
    exact = [exact_auc(part["score"], part["target"]) for part in windows]
    measure.report("metrics", **spent, auroc=[row["roc_auc"].value for row in found],
                   f1=[row["f1[1]"].value for row in found], exact_auroc=exact)  # fmt: skip


def _columns(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    score = columns["score"]
    wrong = (columns["predicted"] != columns["target"]).astype(np.float64)
    kept = {name: x for name, x in columns.items() if name != "score"}
    return kept | {"confidence": np.maximum(score, 1 - score), "loss": wrong}


def without_labels(folder: str) -> None:
    """label_free.v2 with its gate and weights, then what few labels see of the concept shift that it cannot see."""
    good, now = (_columns(data.load(folder, f"answers_{name}")) for name in ("reference", "current"))
    windows = data.parts(now)
    size = len(windows[0]["loss"])
    inputs = tuple(f"x{i}" for i in range(data.INPUTS))
    check = get("check", "label_free.v2")(window=size, block=max(size // 10, 1), columns=inputs)
    memory, fit = measure.cost(lambda: check.start(good))

    def work() -> list[Any]:
        found, state = [], memory
        for part in windows:
            state, _ = check.step(state, {name: x for name, x in part.items() if name not in ("loss", "target")})
            found.append(check.read(state))
        return found

    found, spent = measure.cost(work)
    measure.report("label_free", fit=fit, later=spent, cpu_s=fit["cpu_s"] + spent["cpu_s"], mb=max(fit["mb"], spent["mb"]),
                   accuracy=[one.estimate.value for one in found], valid=[one.valid for one in found],
                   truth=[1 - float(part["loss"].mean()) for part in windows])  # fmt: skip
    few_labels(good, windows)


def few_labels(good: dict[str, np.ndarray], windows: list[dict[str, np.ndarray]], draws: int = 100) -> None:
    """Labels of random answers, windows 0 to 59 and then 80 to 99: how many it takes, and the error of 100 a window."""
    from luthier.fewlabels import combined

    risk = get("check", "risk.v1")()
    start, rng, delays, early, off = risk.start(good), np.random.default_rng(6), [], 0, []
    before, after = (
        np.concatenate([part["loss"] for part in windows[slice(*span)]]) for span in ((0, 60), (80, 100))
    )  # fmt: skip
    for draw in range(draws):
        few, many = rng.choice(before, min(6000, len(before))), rng.permutation(after)[:20_000]
        memory, first = risk.step(start, {"loss": few})
        memory, finding = risk.step(memory, {"loss": many})
        early += first.alarm
        if not first.alarm:
            delays.append(memory["alarm_n"] - len(few) if finding.alarm else np.inf)
        part = windows[80 + draw % 20]
        some, guess = rng.choice(len(part["loss"]), min(100, len(part["loss"])), replace=False), 1 - part["confidence"]
        value = combined(part["loss"][some], guess[some], guess).estimate.value
        off.append([abs(part["loss"][some].mean() - part["loss"].mean()), abs(value - part["loss"].mean())])
    labels, both = np.mean(off, axis=0)
    middle = float(np.median(delays)) if delays else np.inf
    measure.report("few_labels", draws=draws, false_alarms=early, median_labels=middle if np.isfinite(middle) else None,
                   missed=float(np.isinf(delays).mean()) if delays else None, mae_100_labels=round(float(labels), 4),
                   mae_100_labels_and_confidence=round(float(both), 4))  # fmt: skip


def embeddings(folder: str) -> None:
    good, now, same = data.load(folder, "embeddings").values()
    check = get("check", "embedding_shift.v1")()
    memory, fit = measure.cost(lambda: check.start({"embedding": good}))
    (_, found), spent = measure.cost(lambda: check.step(memory, {"embedding": now}))
    _, quiet = check.step(memory, {"embedding": same})
    measure.report("embedding", fit=fit, later=spent, cpu_s=fit["cpu_s"] + spent["cpu_s"], mb=max(fit["mb"], spent["mb"]),
                   found=found.alarm, false=quiet.alarm)  # fmt: skip


def one_by_one(_: str) -> None:
    from bench_sequential import per_observation, row_a_call, through_check, through_counted

    for name, step in (
        ("risk.v1 in batches of 1,000", through_check("risk.v1", 1000)),
        ("risk.v1 from counts of 100", through_counted("risk.v1", 100, 1000)),
        ("risk.v1 a row a call", row_a_call("risk.v1")),
    ):
        measure.report(name, us=round(per_observation(step, 1.0) / 1000, 3))


CASES = {
    "drift": table_drift, "metrics": metrics_of_windows, "label_free": without_labels, "embedding": embeddings,
    "sequential": one_by_one,
}  # fmt: skip
if __name__ == "__main__":
    CASES[sys.argv[1]](sys.argv[2])
