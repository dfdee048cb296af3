"""How often every interval that is printed holds the truth: 1,000 samples each of 50, 200 and 2,000 rows.

What counts rows is sampled from 20 populations whose rates differ, for at one fixed rate coverage jumps with n. Run it:
`python bench/bench_coverage.py [repetitions] [part of a name]`; prints JSON, interval → estimate → coverage at each
size, where 0.95 is promised, and `off`, what lies outside 0.94 to 0.96 but for fixed rates. By chance alone 1,000 repetitions of a
right interval give 0.936 to 0.964. "≥" stands before those that are wider by design, for they hold at every n or of
any distribution. An end that is NaN holds whatever lies there.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from populations import (
    Columns,
    Draw,
    Population,
    always,
    answers,
    binary,
    classes,
    confident,
    groups,
    heaps,
    labels,
    lists,
    numbers,
    of_rate,
    probabilities,
    regressions,
    vectors,
)

from luthier import evidence
from luthier.evidence import estimates, intervals
from luthier.fewlabels import Pool, active, chances, combined, labels_only, ppi
from luthier.fewlabels.label_shift import bbse, em
from luthier.models import classification
from luthier.names import get
from luthier.statistics.base import Statistic
from luthier.types import Estimate

TRUTH = 400_000
POPULATIONS = 20
SIZES = (50, 200, 2000)
RATES = (0.02, 0.1, 0.5)

CASES: dict[str, tuple[str, dict[str, object], Population]] = {
    "mean of 0 and 1": ("mean.v1", {}, of_rate(0.01, 0.99)),
    "mean of 0 and 1, rare": ("mean.v1", {}, of_rate(0.02, 0.1)),
    "mean": ("mean.v1", {"column": "predicted"}, always(numbers)),
    "ratio": ("ratio.v1", {}, always(numbers)),
    "histogram": ("histogram.v1", {"column": "predicted", "accuracy": 0.001}, always(numbers)),
    "sample": ("sample.v1", {"size": 1_000_000}, always(vectors)),
    "confusion, 5 classes": ("confusion.v1", {}, classes(0.4, 0.25, 0.2, 0.1, 0.05)),
    "confusion, 2 classes": ("confusion.v1", {}, classes(0.6, 0.4)),
    "confusion, rare class": ("confusion.v1", {}, classes(0.95, 0.05)),
    "multilabel": ("multilabel.v1", {}, labels),
    "curves": ("curves.v1", {}, binary(0.2, 0.5)),
    "curves, rare positives": ("curves.v1", {}, binary(0.01, 0.1)),
    "curves, scores in two heaps": ("curves.v1", {}, heaps),
    "auroc": ("auroc.v1", {}, binary(0.2, 0.5)),
    "auroc, rare positives": ("auroc.v1", {}, binary(0.01, 0.1)),
    "calibration, calibrated": ("calibration.v1", {}, confident(1.0)),
    "calibration, overconfident": ("calibration.v1", {}, confident(1.5)),
    "calibration, far off": ("calibration.v1", {}, confident(4.0)),
    "log_loss": ("log_loss.v1", {"probability": "p", "of": "classes"}, always(probabilities)),
    "regression": ("regression.v1", {}, always(numbers)),
    "regression, weighted": ("regression.v1", {"weight": "cost"}, always(numbers)),
    "ranking": ("ranking.v1", {"scores": "scores", "k": 5}, lists),
    "group_metrics, 2 groups apart": ("group_metrics.v1", {}, groups(2, 0.3)),
    "group_metrics, 6 groups apart": ("group_metrics.v1", {}, groups(6, 0.3)),
    "group_metrics, 6 groups alike": ("group_metrics.v1", {}, groups(6, 0.0)),
    "embedding_sum": ("embedding_sum.v1", {"second": True}, always(vectors)),
    "embedding_sum, without products": ("embedding_sum.v1", {}, always(vectors)),
    "random_features": ("random_features.v1", {"features": 64, "bandwidth": 4.0}, always(vectors)),
}
EXACT = {"min", "max", "missing", "kept", "cut"}
WIDER: dict[str, tuple[str, ...]] = {
    "curves": ("roc", "average"), "auroc": ("auroc",), "calibration": ("ece", "brier"), "multilabel": ("hamming",),
    "confusion": ("precision", "recall", "f1", "balanced", "smallest"), "histogram": ("p50",), "distinct": ("distinct.v1 of 100,",),
    "share": ("rare",), "embedding_sum, without": ("norm",), "random_features": ("norm",),
    "group_metrics, 6": ("accuracy", "demog", "equal", "fpr", "worst", "tpr", "selection"),
    "group_metrics, 2": ("equalized",),
}  # fmt: skip
"""Title and estimate, by how they begin, of intervals that are wider with few rows of a class, where groups or bins vie,
or where rows are as close to each other as a bucket is wide, or a count of few values jumps.
"""
FEWEST = {"confusion, rare class": 200}
"""Rows below which a class is often not seen at all, and an average over classes is of other classes."""


def main(repetitions: int = 1000, part: str = "") -> dict[str, object]:
    table, chance = everything(repetitions, part), 2 * math.sqrt(0.95 * 0.05 / repetitions)
    off = [
        f"{title}: {key} {values}"
        for title, rows in table.items() for key, values in rows.items()
        if ("rate 0." not in key and key != "worst rate")
        and (min(values) < 0.94 - chance or (max(values) > 0.96 + chance and "≥" not in title + key))
    ]  # fmt: skip
    found: dict[str, object] = {"repetitions": repetitions, "rows": SIZES, "coverage": table, "off": off}
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return found


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


def wider(title: str, key: str) -> bool:
    return any(title.startswith(name) and key.startswith(begin) for name, begin in WIDER.items())


def covered(
    name: str, options: dict[str, object], population: Population, repetitions: int, sizes: tuple[int, ...] = SIZES
) -> dict[str, list[float]]:
    """Estimate → for every size, the share of `repetitions` samples whose interval holds the truth of their population."""
    rng = np.random.default_rng(1)
    statistic = get("statistic", name)(**options)
    draws = [population(rng) for _ in range(POPULATIONS)]
    draws = draws[:1] if draws[0] is draws[1] else draws
    true = truths(statistic, draws, rng)
    held: dict[str, list[float]] = {key: [] for key in true[0]}
    for n in sizes:
        hits = dict.fromkeys(held, 0)
        for i in range(repetitions):
            which = i % len(draws)
            found = statistic.read(statistic.observe(draws[which](rng, n)))
            for key in held:
                hits[key] += holds(found.get(key), true[which].get(key, math.nan))
        for key, times in hits.items():
            held[key].append(round(times / repetitions, 3))
    return held


def truths(statistic: Statistic, draws: list[Draw], rng: np.random.Generator) -> list[dict[str, float]]:
    """What a statistic reads of each population, from 200,000 rows, or ten times TRUTH of the only one."""
    found = []
    for draw in draws:
        state = statistic.observe({})
        for _ in range(10):
            state = statistic.merge(state, statistic.observe(draw(rng, TRUTH // len(draws))))
        found.append({key: one.value for key, one in statistic.read(state).items() if key not in EXACT})
    return found


def holds(found: Estimate | None, truth: float) -> bool:
    """Whether the interval does not exclude the truth: an end that is NaN, or nothing seen, says nothing."""
    return found is None or not (found.low > truth or found.high < truth)


KINDS: dict[str, Callable[[int, int], tuple[float, float]]] = {
    "≥ clopper_pearson": evidence.clopper_pearson,
    "≥ bernoulli_sequence": evidence.bernoulli_sequence,
    "≥ chernoff": lambda k, n: (float(intervals.chernoff(k, n, 0.025)[0]), float(intervals.chernoff(k, n, 0.025)[1])),
    "≥ betting_interval": lambda k, n: evidence.betting_interval(np.repeat([0.0, 1.0], [n - k, k])),
    "wilson": evidence.wilson,
    "share": lambda k, n: (estimates.share(k, n, 0.95).low, estimates.share(k, n, 0.95).high),
}


def shares(repetitions: int) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Intervals for a rate: by n at fixed rates (a "worst rate" cannot be 0.95, see the theorem), and over all rates.

    No interval that is not random holds every rate equally often, since rows are whole numbers (Brown, Cai and DasGupta
    2001). So "any rate" draws one, of 0.01 to 0.99, for each repetition, and "rare" one of 1 / n to 0.2 on the logarithm.
    """
    rng = np.random.default_rng(2)
    for title, interval in KINDS.items():
        rows = {}
        kinds = {f"rate {rate}": rate for rate in RATES} | {"any rate": (0.01, 0.99), "rare": (0.0, 0.2)}
        for kind, rate in kinds.items():
            rows[kind] = [round(_held(rng, interval, n, rate, repetitions), 3) for n in SIZES]
        if title == "share":
            rows["worst rate"] = [round(min(_exactly(interval, n)), 3) for n in SIZES]
        yield title, rows


def _held(
    rng: np.random.Generator,
    interval: Callable[[int, int], tuple[float, float]],
    n: int,
    rate: float | tuple[float, float],
    repetitions: int,
) -> float:
    rates = np.full(repetitions, rate) if isinstance(rate, float) else rng.uniform(*rate, repetitions)
    if isinstance(rate, tuple) and not rate[0]:
        rates = np.exp(rng.uniform(math.log(1 / n), math.log(rate[1]), repetitions))
    seen = rng.binomial(n, rates).tolist()
    ends = {k: interval(k, n) for k in set(seen)}
    return float(np.mean([ends[k][0] <= p <= ends[k][1] for k, p in zip(seen, rates.tolist(), strict=True)]))


def _exactly(interval: Callable[[int, int], tuple[float, float]], n: int) -> Iterator[float]:
    """The coverage itself at rates of 0.01 to 0.99, from the binomial distribution."""
    k = np.arange(n + 1)
    ends = np.array([interval(i, n) for i in range(n + 1)])
    ways = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(n + 1)])
    for p in np.linspace(0.01, 0.99, 491):
        chance = np.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
        yield float(chance[(ends[:, 0] <= p) & (p <= ends[:, 1])].sum())


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
        draw, truth, held = binary(share, share)(rng), {}, dict[str, list[float]]()
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


if __name__ == "__main__":
    main(*(int(argument) if argument.isdigit() else argument for argument in sys.argv[1:]))
