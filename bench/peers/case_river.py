"""River's part of bench_peers.py, in its own environment: python case_river.py CASE DATA_FOLDER."""

from __future__ import annotations

import functools
import sys

import numpy as np
from peers import data, measure
from river import drift, metrics
from river.drift import binary

DETECTORS = {"ADWIN": drift.ADWIN, "DDM": binary.DDM, "HDDM_A": binary.HDDMA, "PageHinkley": drift.PageHinkley}
STREAM = 200_000


def fed(detector, errors: list[int]) -> None:
    for x in errors:
        detector.update(x)


def one_by_one(_: str) -> None:
    errors = (np.random.default_rng(0).random(STREAM) < 0.1).astype(int).tolist()
    for name, make in DETECTORS.items():
        _, spent = measure.cost(functools.partial(fed, make(), errors))
        measure.report(name, us=round(spent["cpu_s"] / STREAM * 1e6, 3))


def metrics_of_windows(folder: str) -> None:
    kept = ("target", "predicted", "score")
    windows = [[part[key].tolist() for key in kept] for part in data.parts(data.load(folder, "answers_current"))]

    def work() -> list[list[float]]:
        found = []
        for rows in windows:
            plain = [metrics.Accuracy(), metrics.Precision(), metrics.Recall(), metrics.F1()]
            auc, loss = metrics.ROCAUC(), metrics.LogLoss()
            for target, predicted, score in zip(*rows, strict=True):
                for metric in plain:
                    metric.update(target, predicted)
                auc.update(target, {True: score, False: 1 - score})
                loss.update(target, score)
            found.append([metric.get() for metric in (*plain, auc, loss)])
        return found

    found, spent = measure.cost(work)
    measure.report("metrics", **spent, auroc=[row[4] for row in found], f1=[row[3] for row in found])


if __name__ == "__main__":
    {"sequential": one_by_one, "metrics": metrics_of_windows}[sys.argv[1]](sys.argv[2])
