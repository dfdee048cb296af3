"""NannyML's part of bench_peers.py, in its own environment: python case_nannyml.py CASE DATA_FOLDER."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import nannyml
import numpy as np
import pandas as pd
from peers import data, measure

warnings.filterwarnings("ignore")
METRICS = ["roc_auc", "f1", "precision", "recall", "accuracy"]


def table_drift(folder: str) -> None:
    """Its defaults: Jensen–Shannon distance, mean ± 3 sd of ten reference chunks."""
    good, now = (pd.DataFrame(data.table(folder, name)) for name in ("reference", "current"))
    names = data.NUMBERS + data.CATEGORIES
    judge = nannyml.UnivariateDriftCalculator(
        column_names=names, treat_as_categorical=data.CATEGORIES, chunk_number=10
    )  # fmt: skip
    _, fit = measure.cost(lambda: judge.fit(good))
    result, spent = measure.cost(lambda: judge.calculate(now))
    alerts = result.filter(period="analysis").to_df().xs("alert", axis=1, level=2).any()
    named = {key[0] for key in alerts[alerts].index}
    measure.report("drift", fit=fit, later=spent, cpu_s=fit["cpu_s"] + spent["cpu_s"], mb=max(fit["mb"], spent["mb"]),
                   found=len(named & data.SHIFTED), false=len(named - data.SHIFTED))  # fmt: skip


def _answers(folder: str, name: str) -> pd.DataFrame:
    kept = {
        key: x for key, x in data.load(folder, f"answers_{name}").items() if key in ("score", "predicted", "target")
    }
    return pd.DataFrame(kept)


def _settings(rows: int) -> dict[str, Any]:
    return {
        "metrics": METRICS, "y_pred_proba": "score", "y_pred": "predicted", "y_true": "target",
        "problem_type": "classification_binary", "chunk_size": rows // data.WINDOWS,
    }  # fmt: skip


def metrics_of_windows(folder: str) -> None:
    good, now = _answers(folder, "reference"), _answers(folder, "current")
    judge = nannyml.PerformanceCalculator(**_settings(len(now)))
    judge.fit(good)
    result, spent = measure.cost(lambda: judge.calculate(now))
    found = result.filter(period="analysis").to_df()
    measure.report("metrics", **spent, auroc=found[("roc_auc", "value")].tolist(), f1=found[("f1", "value")].tolist())


def without_labels(folder: str) -> None:
    good, now = _answers(folder, "reference"), _answers(folder, "current").drop(columns="target")
    judge = nannyml.CBPE(**_settings(len(now)))
    _, fit = measure.cost(lambda: judge.fit(good))
    result, spent = measure.cost(lambda: judge.estimate(now))
    found = result.filter(period="analysis").to_df()
    measure.report("label_free", fit=fit, later=spent, cpu_s=fit["cpu_s"] + spent["cpu_s"], mb=max(fit["mb"], spent["mb"]),
                   accuracy=found[("accuracy", "value")].tolist(), alerts=found[("accuracy", "alert")].tolist())  # fmt: skip


def embeddings(folder: str) -> None:
    """PCA reconstruction error."""
    names = [f"e{i}" for i in range(data.WIDTH)]
    good, now, same = (pd.DataFrame(x, columns=names) for x in data.load(folder, "embeddings").values())
    judge = nannyml.DataReconstructionDriftCalculator(column_names=names, chunk_size=len(now))
    _, fit = measure.cost(lambda: judge.fit(good))
    result, spent = measure.cost(lambda: judge.calculate(now))
    alerts = [
        bool(np.any(one.filter(period="analysis").to_df()[("reconstruction_error", "alert")]))
        for one in (result, judge.calculate(same))
    ]
    measure.report("embedding", fit=fit, later=spent, cpu_s=fit["cpu_s"] + spent["cpu_s"], mb=max(fit["mb"], spent["mb"]),
                   found=alerts[0], false=alerts[1])  # fmt: skip


CASES = {"drift": table_drift, "metrics": metrics_of_windows, "label_free": without_labels, "embedding": embeddings}
if __name__ == "__main__":
    CASES[sys.argv[1]](sys.argv[2])
