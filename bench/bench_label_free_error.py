"""How far estimates of accuracy without labels are off, beside the table of EVIDENCE.md 2(c), and what the gate says.

    python bench/bench_label_free_error.py [--seeds 3] [--only digits "car loan"] [--peers nannyml] [--venvs FOLDER]

Mean absolute error of accuracy in points, over the productions of an environment (bench/environments.py) and seeds:
label_free.v1 and v2 whether their gate lets them speak or not, a plain CBPE (scikit-learn's isotonic regression of "right" on
confidence) and M-CBPE (the same with the weights of a gradient-boosted domain classifier), 100 labels, and 100 labels with
confidences (`combined`: PPI++). `stated` is the share of productions on which v2's gate speaks; then its error there and elsewhere.
`--only`: environments whose name begins so. With NannyML's environment (--peers nannyml) its census and car-loan data are used, and its own CBPE beside ours. On concept
shift: labels that risk.v1 needs to show it. `table`: the range of accuracies and the error of CBPE / M-CBPE there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import environments
import numpy as np
from environments import Environment, Part
from peers import venvs

from luthier.fewlabels import combined
from luthier.names import get

LABELS, DRAWS = 100, 40
TABLE = {  # environment → (true accuracies, CBPE, M-CBPE) of EVIDENCE.md 2(c)
    "census natural years": (".82-.83", 0.38, 0.39), "census covariate resample": (".81-.92", 0.52, 0.52),
    "census subpopulations": (".69-.84", 0.87, 0.59), "census, 42 windows of 5,000": ("", 0.51, None),
    "synthetic RF covariate": (".88", 1.67, 1.16), "synthetic RF noise": (".72-.82", 3.3, 4.4),
    "synthetic RF concept": (".74", 12.7, 12.6), "breast cancer noise": (".82-.95", 7.7, 7.7),
    "digits contrast": (".62-.95", 7.5, 9.6), "digits blur": (".58-.78", 15.2, 13.2),
    "digits translate": (".17-.51", 52, 53), "digits noise": (".17-.51", 59, 57),
}  # fmt: skip


def ours(name: str, reference: Part, production: Part) -> tuple[float, bool]:
    n = len(production.target)
    check = get("check", name)(window=n, block=max(n // 10, 1))
    memory = check.start(reference.columns())
    window = {key: x for key, x in production.columns().items() if key not in ("loss", "target")}
    memory, _ = check.step(memory, window)
    reading = check.read(memory)
    return reading.estimate.value, reading.valid


def isotonic(reference: Part, production: Part, weights: Any = None) -> float:
    from sklearn.isotonic import IsotonicRegression

    known, now = reference.columns(), production.columns()
    curve = IsotonicRegression(out_of_bounds="clip")
    curve.fit(known["confidence"], 1 - known["loss"], sample_weight=weights)
    return float(curve.predict(now["confidence"]).mean())


def domain_weights(reference: Part, production: Part) -> Any:
    """P(production | x) / P(reference | x) by cross-fitted gradient boosting."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import cross_val_predict

    x = np.concatenate([reference.x, production.x])
    y = np.repeat([0, 1], [len(reference.x), len(production.x)])
    model = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    p = cross_val_predict(model, x, y, cv=3, method="predict_proba")[: len(reference.x), 1]
    return np.clip(p / (1 - p) * len(reference.x) / len(production.x), 1e-3, 50)


def by_labels(production: Part, seed: int) -> tuple[float, float]:
    """Mean error of `LABELS` labels, and of these with confidences."""
    rng, now, off = np.random.default_rng(seed), production.columns(), []
    loss, guess = now["loss"], 1 - now["confidence"]
    for _ in range(DRAWS):
        some = rng.choice(len(loss), min(LABELS, len(loss)), replace=False)
        both = combined(loss[some], guess[some], guess).estimate.value
        off.append([abs(loss[some].mean() - loss.mean()), abs(both - loss.mean())])
    labels, both = np.mean(off, axis=0)
    return float(labels), float(both)


def labels_until_shown(reference: Part, production: Part, seed: int) -> float:
    """Labels of random answers that risk.v1 takes to alarm; inf where all of them do not do."""
    check = get("check", "risk.v1")()
    memory = check.start({"loss": reference.columns()["loss"]})
    loss = np.random.default_rng(seed).permutation(production.columns()["loss"])
    memory, finding = check.step(memory, {"loss": loss})
    return float(memory["alarm_n"]) if finding.alarm else np.inf


def nannyml(python: Path, environment: Environment) -> list[float]:
    """NannyML's CBPE of a binary environment, in its own process."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "parts.npz"
        parts = [environment.reference, *environment.productions]
        arrays = {f"p{i}": part.probability[:, 1] for i, part in enumerate(parts)}
        np.savez(path, **arrays, **{f"y{i}": part.target for i, part in enumerate(parts)})
        command = [str(python), "-W", "ignore", str(Path(__file__).parent / "peers" / "cbpe_nannyml.py"), str(path)]
        done = subprocess.run(command, env=venvs.environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def measured(environment: Environment, seed: int, python: Path | None) -> list[dict[str, Any]]:
    """A row a production: errors of every method, in points."""
    rows, reference = [], environment.reference
    binary = python and reference.probability.shape[1] == 2
    theirs = nannyml(python, environment) if binary and python else [np.nan] * len(environment.productions)
    for i, production in enumerate(environment.productions):
        truth = 1 - float(production.columns()["loss"].mean())
        (first, spoke), (second, speaks) = (ours(f"label_free.{v}", reference, production) for v in ("v1", "v2"))
        estimates = {
            "v1": first, "v2": second, "cbpe": isotonic(reference, production), "nannyml": theirs[i],
            "m-cbpe": isotonic(reference, production, domain_weights(reference, production)),
        }  # fmt: skip
        row: dict[str, Any] = {name: 100 * abs(value - truth) for name, value in estimates.items()}
        labels, both = by_labels(production, seed)
        row |= {"100 labels": 100 * labels, "100 labels + PPI++": 100 * both, "accuracy": truth}
        row |= {"v1 states": spoke, "v2 states": speaks, "n": len(production.target)}
        row["labels until risk.v1 alarms"] = labels_until_shown(reference, production, seed)
        rows.append(row)
    return rows


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "environment": name,
        "productions": len(rows),
        "rows": round(np.mean([row["n"] for row in rows])),
    }
    said["accuracy"] = [round(f(row["accuracy"] for row in rows), 3) for f in (min, max)]
    for method in ("v1", "v2", "cbpe", "m-cbpe", "nannyml", "100 labels", "100 labels + PPI++"):
        values = [row[method] for row in rows]
        said[method] = round(float(np.mean(values)), 2) if np.isfinite(values).all() else None
    for version in ("v1", "v2"):
        stated = np.array([row[f"{version} states"] for row in rows])
        errors = np.array([row[version] for row in rows])
        said[f"{version} states"] = round(float(stated.mean()), 2)
        said[f"{version} where stated"] = round(float(errors[stated].mean()), 2) if stated.any() else None
        said[f"{version} elsewhere"] = round(float(errors[~stated].mean()), 2) if not stated.all() else None
    middle = float(np.median([row["labels until risk.v1 alarms"] for row in rows]))
    said["labels until risk.v1 alarms"] = middle if np.isfinite(middle) else None
    return said | {"table": TABLE.get(name)}


def everywhere(seeds: int, data: Path | None) -> Iterator[tuple[int, Environment]]:
    for seed in range(seeds):
        for make in (environments.synthetic, environments.breast_cancer, environments.digits):
            yield from ((seed, one) for one in make(seed))
        if data:
            yield from ((seed, one) for one in environments.census(data, seed))
    if data:
        yield from ((0, one) for one in environments.car_loan(data))


def table(rows: list[dict[str, Any]]) -> str:
    keys = (
        "v1",
        "v2",
        "cbpe",
        "m-cbpe",
        "nannyml",
        "100 labels",
        "100 labels + PPI++",
        "v2 states",
        "v2 where stated",
        "v2 elsewhere",
    )
    lines = [
        "| environment | accuracy | rows | "
        + " | ".join(keys)
        + " | labels to alarm | EVIDENCE: accuracy, CBPE, M-CBPE |"
    ]
    lines.append("|---" * (5 + len(keys)) + "|")
    for row in rows:
        cells = ["" if row[key] is None else f"{row[key]:.2f}" for key in keys]
        alarm = row["labels until risk.v1 alarms"]
        ends = " to ".join(f"{one:.2f}" for one in row["accuracy"])
        theirs = ", ".join(str(one) for one in row["table"]) if row["table"] else ""
        cells += ["never" if alarm is None else f"{alarm:.0f}", theirs]
        lines.append(f"| {row['environment']} | {ends} | {row['rows']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[""])
    venvs.arguments(parser, "nannyml")
    given = parser.parse_args()
    python = venvs.pythons([peer for peer in given.peers if peer == "nannyml"], given.venvs).get("nannyml")
    data = environments.packaged(python) if python else None
    found: dict[str, list[dict[str, Any]]] = {}
    for seed, environment in everywhere(given.seeds, data):
        if not environment.name.startswith(tuple(given.only)):
            continue
        found.setdefault(environment.name, []).extend(measured(environment, seed, python))
    rows = [summary(name, parts) for name, parts in found.items()]
    for row in rows:
        print(json.dumps(row), flush=True)
    print(table(rows), file=sys.stderr)


if __name__ == "__main__":
    main()
