"""How often every interval that is printed holds the truth: 1,000 samples each of 50, 200 and 2,000 rows.

Run it: `python bench/bench_coverage.py [repetitions] [part of a name]`; prints JSON, interval → estimate → coverage at
each size, where 0.95 is promised, and `off`, what lies outside 0.94 to 0.96. By chance alone 1,000 repetitions of a
right interval give 0.936 to 0.964. "≥" stands before those that are wider by design, for they hold at every n or of
any distribution. An end that is NaN holds whatever lies there.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from luthier import evidence
from luthier.evidence import intervals
from luthier.fewlabels import Pool, active, chances, combined, labels_only, ppi
from luthier.fewlabels.label_shift import bbse, em
from luthier.models import classification
from luthier.names import get
from luthier.types import Estimate

Columns = Mapping[str, np.ndarray]
Draw = Callable[[np.random.Generator, int], Columns]
TRUTH = 2_000_000
SIZES = (50, 200, 2000)
RATES = (0.02, 0.1, 0.5)


def binary(share: float) -> Draw:
    """A score whose logit is normal in either class, calibrated, and the target; the share of positives."""
    apart, prior = 1.5, math.log(share / (1 - share))

    def draw(rng: np.random.Generator, n: int) -> Columns:
        target = (rng.random(n) < share).astype(np.int64)
        logit = apart**2 * (target - 0.5) + apart * rng.normal(size=n) + prior
        return {"score": 1 / (1 + np.exp(-logit)), "target": target}

    return draw


def hopeful(rng: np.random.Generator, n: int) -> Columns:
    """A confidence that promises more than it keeps."""
    confidence = rng.beta(6, 2, n)
    return {"confidence": confidence, "loss": (rng.random(n) > confidence**1.5).astype(float)}


def honest(rng: np.random.Generator, n: int) -> Columns:
    confidence = rng.beta(6, 2, n)
    return {"confidence": confidence, "loss": (rng.random(n) > confidence).astype(float)}


def classes(*shares: float) -> Draw:
    """Classes of these shares, predicted right by 80 % and a bit."""

    def draw(rng: np.random.Generator, n: int) -> Columns:
        target, other = (rng.choice(len(shares), n, p=p) for p in (shares, None))
        return {"target": target, "predicted": np.where(rng.random(n) < 0.8, target, other)}

    return draw


def labels(rng: np.random.Generator, n: int) -> Columns:
    """Six labels that depend on each other through how rich and how hard a row is."""
    rich, hard = rng.normal(size=(2, n, 1))
    target = rng.normal(size=(n, 6)) + rich > np.linspace(0.2, 1.2, 6)
    return {"target": target, "predicted": target ^ (rng.normal(size=(n, 6)) + hard > 1.8)}


def numbers(rng: np.random.Generator, n: int) -> Columns:
    """Errors that grow away from the middle, weights, and a length that goes with the error."""
    target = rng.normal(50, 2, n)
    error = 0.3 + rng.normal(size=n) * (1 + 0.3 * np.abs(target - 50))
    length = rng.poisson(20, n) + 1.0 + np.abs(error)
    return {"target": target, "predicted": target + error, "cost": rng.gamma(2, size=n), "length": length,
            "loss": np.minimum(np.abs(error) / 10, 1)}  # fmt: skip


def rare(share: float) -> Draw:
    return lambda rng, n: {"loss": (rng.random(n) < share).astype(float), "cost": rng.gamma(2, size=n)}


def probabilities(rng: np.random.Generator, n: int) -> Columns:
    p = rng.dirichlet([0.7] * 4, n)
    return {"p": p, "target": (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)}


def lists(rng: np.random.Generator, n: int) -> Columns:
    gains = (rng.random((n, 20)) < rng.beta(1, 6, (n, 1))) * rng.integers(1, 4, (n, 20)).astype(float)
    gains[:, 0] = np.maximum(gains[:, 0], 1)
    return {"gains": gains, "scores": gains + 2 * rng.normal(size=(n, 20))}


def groups(count: int) -> Draw:
    """People in groups of whom some are answered worse."""

    def draw(rng: np.random.Generator, n: int) -> Columns:
        group, target = rng.integers(0, count, n), rng.integers(0, 2, n)
        worse = 0.1 * group / max(count - 1, 1)
        return {
            "group": group,
            "target": target,
            "predicted": np.where(rng.random(n) < 0.85 - worse, target, 1 - target),
        }

    return draw


def vectors(rng: np.random.Generator, n: int) -> Columns:
    return {"embedding": rng.normal(0.3, 1, (n, 8)), "id": rng.integers(0, 2**62, n), "confidence": rng.random(n)}


CASES: dict[str, tuple[str, dict[str, object], Draw]] = {
    **{f"mean, rate {rate}": ("mean.v1", {}, rare(rate)) for rate in RATES},
    "mean": ("mean.v1", {"column": "predicted"}, numbers),
    "ratio": ("ratio.v1", {}, numbers),
    "histogram": ("histogram.v1", {"column": "predicted", "accuracy": 0.001}, numbers),
    "sample": ("sample.v1", {"size": 1_000_000}, vectors),
    "confusion, 5 classes": ("confusion.v1", {}, classes(0.4, 0.25, 0.2, 0.1, 0.05)),
    **{f"confusion, rate {rate}": ("confusion.v1", {}, classes(1 - rate, rate)) for rate in RATES},
    "multilabel": ("multilabel.v1", {}, labels),
    **{f"curves, rate {rate}": ("curves.v1", {}, binary(rate)) for rate in RATES},
    **{f"auroc, rate {rate}": ("auroc.v1", {}, binary(rate)) for rate in RATES},
    "calibration, calibrated": ("calibration.v1", {}, honest),
    "calibration, overconfident": ("calibration.v1", {}, hopeful),
    "log_loss": ("log_loss.v1", {"probability": "p", "of": "classes"}, probabilities),
    "regression": ("regression.v1", {}, numbers),
    "regression, weighted": ("regression.v1", {"weight": "cost"}, numbers),
    "ranking": ("ranking.v1", {"scores": "scores", "k": 5}, lists),
    "group_metrics, 2 groups": ("group_metrics.v1", {}, groups(2)),
    "group_metrics, 6 groups": ("group_metrics.v1", {}, groups(6)),
    "embedding_sum": ("embedding_sum.v1", {}, vectors),
    "random_features": ("random_features.v1", {"features": 64, "bandwidth": 4.0}, vectors),
}
EXACT = {"min", "max", "missing", "kept", "cut"}
WIDER: dict[str, tuple[str, ...]] = {
    "confusion": ("precision_", "recall_", "f1_", "balanced"), "curves": ("roc", "average"), "auroc": ("auroc",),
    "histogram": ("p",), "calibration": ("ece",), "embedding_sum": ("norm",), "random_features": ("norm",), "group_metrics": ("accuracy_diff", "demog", "equal", "fpr_diff", "worst"),
}  # fmt: skip
"""Title and estimate, by how they begin, of intervals that are wider by design, here with few rows of a class."""
FEWEST = {"confusion, rate 0.02": 200}
"""Rows below which a class is often not seen at all, and an average over classes is of other classes."""


def holds(found: Estimate | None, truth: float) -> bool:
    """Whether the interval does not exclude the truth: an end that is NaN, or nothing seen, says nothing."""
    return found is None or not (found.low > truth or found.high < truth)


def covered(
    name: str, options: dict[str, object], draw: Draw, repetitions: int, sizes: tuple[int, ...] = SIZES
) -> dict[str, list[float]]:
    """Estimate → for every size, the share of `repetitions` samples whose interval holds the truth."""
    rng = np.random.default_rng(1)
    statistic = get("statistic", name)(**options)
    truth = statistic.observe({})
    for _ in range(20):
        truth = statistic.merge(truth, statistic.observe(draw(rng, TRUTH // 20)))
    true = {key: found.value for key, found in statistic.read(truth).items() if key not in EXACT}
    held: dict[str, list[float]] = {key: [] for key in true}
    for n in sizes:
        reads = [statistic.read(statistic.observe(draw(rng, n))) for _ in range(repetitions)]
        for key, value in true.items():
            held[key].append(round(sum(holds(found.get(key), value) for found in reads) / repetitions, 3))
    return held


def shares(repetitions: int) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Intervals for a rate: by n and rate."""
    rng = np.random.default_rng(2)
    kinds = {
        "≥ clopper_pearson": evidence.clopper_pearson,
        "≥ bernoulli_sequence": evidence.bernoulli_sequence,
        "≥ chernoff": lambda k, n: tuple(float(end) for end in intervals.chernoff(k, n, 0.025)),
        "≥ betting_interval": lambda k, n: evidence.betting_interval(np.repeat([0.0, 1.0], [n - k, k])),
        "wilson": evidence.wilson,
    }
    for title, interval in kinds.items():
        rows = {}
        for rate in RATES:
            draws = [rng.binomial(n, rate, repetitions) for n in SIZES]
            ends = [{k: interval(k, n) for k in set(ks.tolist())} for ks, n in zip(draws, SIZES, strict=True)]
            held = [[end[k][0] <= rate <= end[k][1] for k in ks.tolist()] for ks, end in zip(draws, ends, strict=True)]
            rows[f"rate {rate}"] = [round(float(np.mean(one)), 3) for one in held]
        yield title, rows


def distinct(repetitions: int) -> dict[str, list[float]]:
    """Cardinalities from hashes: 100 to 100,000 different values; beyond its limit, counts.v1 estimates too."""
    rng, rows = np.random.default_rng(3), {}
    for title, statistic in (
        ("distinct.v1", get("statistic", "distinct.v1")(column="id", precision=11)),
        ("counts.v1", get("statistic", "counts.v1")(column="id", limit=64)),
    ):
        held = []
        for n in (100, 3000, 100_000):
            times = repetitions if n < 10_000 else repetitions // 5
            found = [
                statistic.read(statistic.observe({"id": np.tile(rng.integers(0, 2**62, n), 2)})) for _ in range(times)
            ]
            held.append(round(float(np.mean([holds(one["distinct"], n) for one in found])), 3))
        rows[f"{title} of 100, 3,000, 100,000"] = held
    return rows


def mixes(repetitions: int) -> dict[str, list[float]]:
    """The share of class 1 in production, by the predictions and by the probabilities; 2,000 and 200 reference rows."""
    rng = np.random.default_rng(4)
    held: dict[str, list[float]] = {}
    for share, known in ((0.3, 2000), (0.05, 2000), (0.3, 200)):
        for n in SIZES:
            hits = np.zeros(2)
            for _ in range(repetitions):
                target, now = (rng.random(known) < 0.2).astype(int), (rng.random(n) < share).astype(int)
                score, later = rng.normal(2.0 * target), rng.normal(2.0 * now)
                odds = 0.25 * np.exp(2.0 * later - 2.0)
                p = odds / (1 + odds)
                one = bbse(target, (score > 1.3).astype(int), (later > 1.3).astype(int), 2).priors[1]
                two = em(np.column_stack([1 - p, p]), [0.8, 0.2]).priors[1]
                hits += [holds(one, share), holds(two, share)]
            for name, value in zip(("bbse", "≥ em" if share < 0.1 else "em"), hits / repetitions, strict=True):
                held.setdefault(f"{name}, share {share}, {known} reference rows", []).append(round(float(value), 3))
    return {name: rows for name, rows in held.items() if name != "em, share 0.3, 200 reference rows"}


def few(repetitions: int) -> dict[str, list[float]]:
    """The mean loss of 5,000 answers from 50, 200 and 2,000 labels: error rates, one that confidence knows little of."""
    rng, held = np.random.default_rng(6), dict[str, list[float]]()
    for title, known, correlation, unknown in (
        ("0.035", 0.035, 0.29, 0.0), ("0.088", 0.088, 0.4, 0.0), ("0.5", 0.5, 0.4, 0.0), ("0.195, shifted", 0.1, 0.4, 0.238),
    ):  # fmt: skip
        truth, size = known * (1 - unknown) + 0.5 * unknown, 1 / correlation**2 - 1
        for n in SIZES:
            hits = np.zeros(4)
            for _ in range(repetitions):
                guess = rng.beta(known * size, (1 - known) * size, 5000)
                loss = (rng.random(5000) < np.where(rng.random(5000) < unknown, 0.5, guess)).astype(float)
                pool, some, chance = Pool.of(guess), rng.permutation(5000)[:n], chances(guess, n)
                picked = np.flatnonzero(rng.random(5000) < chance)
                found = (
                    labels_only(loss[some]), ppi(loss[some], guess[some], pool),
                    active(loss[picked], guess[picked], chance[picked], pool), combined(loss[some], guess[some], pool).estimate,
                )  # fmt: skip
                hits += [holds(one, truth) for one in found]
            for name, value in zip(("labels", "ppi", "active", "combined"), hits / repetitions, strict=True):
                held.setdefault(f"{name}, error {title}", []).append(round(float(value), 3))
    return held


def cards(repetitions: int) -> dict[str, list[float]]:
    """What a card says of a classifier of two labels, and the gate and `fit` judge by; 10 % and half positives."""
    rng, rows = np.random.default_rng(8), dict[str, list[float]]()
    for share in (0.5, 0.1):
        draw, truth, held = binary(share), {}, dict[str, list[float]]()
        for n in (TRUTH // 4, *SIZES):
            hits: dict[str, int] = {}
            for _ in range(repetitions if truth else 1):
                row = dict(draw(rng, n))
                score, target = row["score"], row["target"]
                row["predicted"] = (score > 0.5).astype(np.int64)
                row |= {
                    "loss": 1.0 * (row["predicted"] != target),
                    "target_score": np.where(target == 1, score, 1 - score),
                }
                found = classification.estimates(row, ("a", "b"))
                truth = truth or {name: one.value for name, one in found.items()}
                for name, one in found.items():
                    hits[name] = hits.get(name, 0) + holds(one, truth[name])
            if n in SIZES:
                for name, hit in hits.items():
                    held.setdefault(f"{'≥ ' * (name == 'f1_macro')}{name}, rate {share}", []).append(
                        round(hit / repetitions, 3)
                    )
        rows |= held
    return rows


def answers(rng: np.random.Generator, n: int, moved: float) -> Columns:
    """Answers of two classes whose confidence promises too much, and inputs (n, 4) that move by `moved` towards the hard."""
    x = rng.normal(size=(n, 4))
    x[:, 0] += moved
    logit = 1.5 * x[:, 1] + np.where(x[:, 0] > 1, 0.0, 1.2) * np.sign(x[:, 1])
    said = (logit > 0).astype(np.int64)
    right = rng.random(n) < 1 / (1 + np.exp(-np.abs(logit)))
    return {
        "embedding": x.astype(np.float32), "confidence": 1 / (1 + np.exp(-1.5 * np.abs(logit))), "predicted": said,
        "target": np.where(right, said, 1 - said), "loss": 1.0 - right,
    }  # fmt: skip


def scored(window: Columns) -> dict[str, float]:
    """What labels of these answers show, named as label_free.v2 names it."""
    said, true = (np.asarray(window[name]) for name in ("predicted", "target"))
    cells = np.bincount(said * 2 + true, minlength=4).reshape(2, 2)
    found = {f"confusion[{i},{j}]": float(cells[i, j]) for i in range(2) for j in range(2)}
    for c in range(2):
        hit, of, there = cells[c, c], cells[c].sum(), cells[:, c].sum()
        found |= {f"precision[{c}]": hit / of, f"recall[{c}]": hit / there, f"f1[{c}]": 2 * hit / (of + there)}
    score = np.where(said == 1, window["confidence"], 1 - window["confidence"])
    above = score[true == 1][:, None] - score[true == 0]
    found["auroc"] = float(((above > 0) + (above == 0) / 2).mean())
    return found | {"accuracy": float((said == true).mean())}


def unlabelled(repetitions: int) -> dict[str, list[float]]:
    """label_free.v1 and v2: what labels of 500 answers turn out to show, beside 1,000 reference rows; where stated."""
    rows: dict[str, list[float]] = {}
    for name, moved in (("label_free.v1", 0.0), ("label_free.v2", 0.0), ("label_free.v2", 0.3)):
        rng, check, held = np.random.default_rng(7), get("check", name)(), dict[str, list[bool]]()
        for _ in range(max(repetitions // 2, 25)):
            start = check.start(answers(rng, 1000, 0.0))
            for _ in range(2):
                window = answers(rng, 500, moved)
                known = {key: window[key] for key in ("embedding", "confidence", "predicted")}
                memory = check.step(start, known)[0]
                reading, true = check.read(memory), scored(window)
                found = {"accuracy": reading.estimate} if reading.valid else {}
                found |= check.estimates(memory) if name.endswith("v2") else {}
                for key in found.keys() & true.keys():
                    held.setdefault(key, []).append(holds(found[key], true[key]))
        title = f"{name[-2:]}, moved by {moved}"
        rows |= {f"{title}: {key}": [round(float(np.mean(one)), 3)] for key, one in sorted(held.items())}
    return rows


def regressions(rng: np.random.Generator, n: int, large: float) -> Columns:
    """Inputs whose first component moves by `large`, and a loss that grows with its square."""
    x = rng.normal(size=(n, 4))
    x[:, 0] += large
    loss = np.clip(np.abs(rng.normal(size=n)) * (0.1 + 0.05 * x[:, 0] ** 2), 0, 1)
    return {"embedding": x.astype(np.float32), "loss": loss}


def losses(repetitions: int) -> dict[str, list[float]]:
    """loss_free.v1: the mean loss that 500 rows turn out to have, beside 2,000 reference rows; the mix as it was, and moved."""
    rng, rows = np.random.default_rng(5), {}
    check = get("check", "loss_free.v1")()
    for large in (0.0, 0.15, 0.3):
        held = []
        for _ in range(max(repetitions // 2, 50)):
            start = check.start(regressions(rng, 2000, 0.0))
            for _ in range(2):
                window = regressions(rng, 500, large)
                reading = check.read(check.step(start, {"embedding": window["embedding"]})[0])
                held.append(holds(reading.estimate, float(window["loss"].mean())))
        rows[f"mix moved by {large}"] = [round(float(np.mean(held)), 3)]
    return rows


def wider(title: str, key: str) -> bool:
    return any(title.startswith(name) and key.startswith(begin) for name, begin in WIDER.items())


def everything(repetitions: int, part: str) -> dict[str, dict[str, list[float]]]:
    """Interval → estimate → coverage by size, of the intervals whose title has `part` in it."""
    found = {
        title: covered(*case, repetitions, tuple(n for n in SIZES if n >= FEWEST.get(title, 0)))
        for title, case in CASES.items() if part in title
    }  # fmt: skip
    for title, rows in shares(repetitions):
        found |= {title: rows} if part in title else {}
    others = {
        "distinct": distinct, "label_shift": mixes, "few_labels": few, "label_free": unlabelled, "loss_free.v1": losses,
        "card": cards,
    }  # fmt: skip
    found |= {title: of(repetitions) for title, of in others.items() if part in title}
    return {
        title: {("≥ " if wider(title, key) else "") + key: value for key, value in rows.items()}
        for title, rows in found.items()
    }


def main(repetitions: int = 1000, part: str = "") -> dict[str, object]:
    table, chance = everything(repetitions, part), 2 * math.sqrt(0.95 * 0.05 / repetitions)
    off = [
        f"{title}: {key} {values}"
        for title, rows in table.items() for key, values in rows.items()
        if min(values) < 0.94 - chance or (max(values) > 0.96 + chance and "≥" not in title + key)
    ]  # fmt: skip
    found: dict[str, object] = {"repetitions": repetitions, "rows": SIZES, "coverage": table, "off": off}
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return found


if __name__ == "__main__":
    main(*(int(argument) if argument.isdigit() else argument for argument in sys.argv[1:]))
