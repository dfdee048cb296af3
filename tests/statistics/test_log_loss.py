from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from luthier.errors import StateError
from luthier.statistics.laws import check_statistic
from luthier.statistics.log_loss import LogLoss

OF = ("target", "positive", "classes")


def read(columns, **options):
    statistic = LogLoss(probability="p", **options)
    return statistic.read(statistic.observe({name: np.asarray(values) for name, values in columns.items()}))


def drawn(rng, n, classes=4):
    p = rng.dirichlet(np.full(classes, 0.7), n)
    target = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return {"p": p, "target": target, "cost": rng.gamma(2, size=n)}


@pytest.mark.parametrize("weight", ["", "cost"])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_both_scores_are_scikit_learns(classes: int, weight: str) -> None:
    columns = drawn(np.random.default_rng(classes), 500, classes)
    columns["p"][:3] = np.eye(classes)[:1]  # certain: cut to 1 - 2**-52
    columns["target"][:3] = (0, 1, 1)
    labels, weights = list(range(classes)), {"sample_weight": columns["cost"]} if weight else {}
    found = read(columns, of="classes", weight=weight)
    loss = metrics.log_loss(columns["target"], y_proba=columns["p"], labels=labels, **weights)
    brier = metrics.brier_score_loss(columns["target"], columns["p"], labels=labels, **weights)
    assert found["log_loss"].value == pytest.approx(loss, abs=1e-9)
    assert found["brier"].value == pytest.approx(brier, abs=1e-9)
    assert found["perplexity"].value == pytest.approx(math.exp(loss), rel=1e-9)
    own = columns["p"][np.arange(500), columns["target"]]
    assert read(columns | {"p": own}, weight=weight)["log_loss"] == found["log_loss"]
    if classes == 2:
        positive = read(columns | {"p": columns["p"][:, 1]}, of="positive", weight=weight)
        assert positive["brier"].value == pytest.approx(brier, abs=1e-9)
        assert positive["log_loss"].value == pytest.approx(loss, abs=1e-9)


@pytest.mark.parametrize("of", OF)
@pytest.mark.parametrize("weight", ["", "cost"])
def test_the_law(of: str, weight: str) -> None:
    rng = np.random.default_rng(1)
    columns = drawn(rng, 4000)
    columns["p"][::9] *= rng.choice([0.5, math.nan, -1], (445, 4))
    columns["target"][::7] = rng.integers(-2, 9, 572)
    columns["cost"][::11] = math.nan
    if of != "classes":
        columns["p"] = columns["p"][:, 0]
    check_statistic(LogLoss("p", of=of, weight=weight), columns, 2)


def test_intervals_cover() -> None:
    rng = np.random.default_rng(2)
    true = read(drawn(rng, 500_000), of="classes", weight="cost")
    covered = dict.fromkeys(("log_loss", "perplexity", "brier"), 0)
    for _ in range(400):
        found = read(drawn(rng, 300), of="classes", weight="cost")
        for name in covered:
            covered[name] += found[name].low <= true[name].value <= found[name].high
    assert min(covered.values()) >= 0.91 * 400, covered
    assert max(covered.values()) <= 0.985 * 400, covered


def test_what_is_no_probability_is_missing() -> None:
    p = [[0.5, 0.5], [0.5, 0.6], [1.2, -0.2], [math.nan, 1], [0.3, 0.7], [0.3, 0.7]]
    found = read({"p": p, "target": [0, 0, 0, 1, -1, 2]}, of="classes")
    assert found["log_loss"].value == pytest.approx(math.log(2))
    assert found["missing"].value == pytest.approx(5 / 6)
    assert math.isnan(found["log_loss"].low)  # one row does not tell
    assert read({"p": [math.nan]})["log_loss"].n == 0


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="of is 'all'"):
        LogLoss(of="all")  # type: ignore[arg-type]
    with pytest.raises(StateError, match=r"'p' is float64 of shape \(2,\) with 2 targets"):
        read({"p": [0.5, 0.5], "target": [0, 1]}, of="classes")
    with pytest.raises(StateError, match="of 'target' and 'positive' cannot be merged"):
        LogLoss().merge(LogLoss().observe({}), LogLoss(of="positive").observe({}))
