"""Evidently's part of bench_peers.py, in its own environment: python case_evidently.py CASE DATA_FOLDER."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import evidently.metrics as known
import pandas as pd
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.metrics.embeddings import ModelDriftMethod
from evidently.presets import DataDriftPreset
from peers import data, measure

warnings.filterwarnings("ignore")


def table_drift(folder: str) -> None:
    """Its defaults: normed Wasserstein distance and Jensen–Shannon distance, 0.1 each."""
    kinds = DataDefinition(numerical_columns=data.NUMBERS, categorical_columns=data.CATEGORIES)
    good, now = (
        Dataset.from_pandas(pd.DataFrame(data.table(folder, name)), kinds) for name in ("reference", "current")
    )
    result, spent = measure.cost(lambda: Report([DataDriftPreset()]).run(now, good).dict())
    named = set()
    for metric in result["metrics"]:
        if metric["metric_name"].startswith("ValueDrift") and float(metric["value"]) >= 0.1:
            named |= {name for name in data.NUMBERS + data.CATEGORIES if f"column={name}" in metric["metric_name"]}
    measure.report("drift", **spent, found=len(named & data.SHIFTED), false=len(named - data.SHIFTED))


def metrics_of_windows(folder: str) -> None:
    kinds = DataDefinition(
        classification=[
            BinaryClassification(target="target", prediction_labels="predicted", prediction_probas="score", pos_label=1)
        ]
    )
    kept = ("target", "predicted", "score")
    windows = [
        pd.DataFrame({key: part[key] for key in kept}) for part in data.parts(data.load(folder, "answers_current"))
    ]

    def work() -> list[dict[str, Any]]:
        found = []
        for rows in windows:
            asked = [
                known.Accuracy(),
                known.Precision(),
                known.Recall(),
                known.F1Score(),
                known.RocAuc(),
                known.LogLoss(),
            ]
            result = Report(asked).run(Dataset.from_pandas(rows, kinds), None).dict()
            found.append({metric["metric_name"].split("(")[0]: metric["value"] for metric in result["metrics"]})
        return found

    found, spent = measure.cost(work)
    measure.report("metrics", **spent, auroc=[row["RocAuc"] for row in found], f1=[row["F1Score"] for row in found])


def embeddings(folder: str) -> None:
    """A classifier of reference against current, its default."""
    names = [f"e{i}" for i in range(data.WIDTH)]
    kinds = DataDefinition(embeddings={"e": names}, numerical_columns=names)
    good, now, _ = (
        Dataset.from_pandas(pd.DataFrame(x, columns=names), kinds) for x in data.load(folder, "embeddings").values()
    )
    asked = [known.EmbeddingsDrift(embeddings_name="e", drift_method=ModelDriftMethod())]
    result, spent = measure.cost(lambda: Report(asked).run(now, good).dict())
    measure.report("embedding", **spent, score=[metric["value"] for metric in result["metrics"]])


CASES = {"drift": table_drift, "metrics": metrics_of_windows, "embedding": embeddings}
if __name__ == "__main__":
    CASES[sys.argv[1]](sys.argv[2])
