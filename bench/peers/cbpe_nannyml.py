"""NannyML's CBPE on the parts that bench_label_free_error.py saved: python cbpe_nannyml.py PARTS.npz

p0, y0 are the reference's probabilities of class 1 and targets; p1 … each production, estimated as one chunk. Prints a
JSON list of accuracies.
"""

from __future__ import annotations

import json
import sys

import nannyml
import numpy as np
import pandas as pd


def frame(p: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"p": p, "said": (p > 0.5).astype(int)})


def main(path: str) -> None:
    parts = np.load(path)
    found = []
    for i in range(1, len(parts.files) // 2):
        production = frame(parts[f"p{i}"])
        estimator = nannyml.CBPE(
            metrics=["accuracy"], y_pred_proba="p", y_pred="said", y_true="true", problem_type="classification_binary",
            chunk_size=len(production),
        )  # fmt: skip
        estimator.fit(frame(parts["p0"]).assign(true=parts["y0"]))
        result = estimator.estimate(production).filter(period="analysis").to_df()
        found.append(float(result[("accuracy", "value")].iloc[0]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
