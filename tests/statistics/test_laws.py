"""Every registered statistic under the law, on columns that hypothesis makes as nasty as it can."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from luthier.codec import pack
from luthier.names import every, get
from luthier.statistics.laws import check_statistic
from luthier.types import Estimate

WILD = st.floats(allow_nan=True, allow_infinity=True)
SHARE = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5, float("nan"), -0.1, 1.5]))
CLASS = st.one_of(st.integers(-1, 4), st.sampled_from([99_999, 2**20 - 1, 2**20, 2**40]))
TEXT = st.one_of(st.text(max_size=6), st.integers(0, 99).map(lambda i: f"category {i} " + "x" * (i % 90)))

OPTIONS = {
    "auroc.v1": [{}, {"weight": "wild"}, {"weight": "length"}],
    "calibration.v1": [{}, {"probability": "score", "outcome": "positive", "bins": 7}, {"weight": "wild"}],
    "confusion.v1": [{}, {"cells": 3}, {"cells": 3, "weight": "wild"}, {"weight": "length"}],
    "counts.v1": [
        {"limit": 16},
        {"column": "text", "limit": 16, "known": ("category 1 x", "")},
        {"column": "mixed", "limit": 16},
    ],
    "counts.v2": [
        {"limit": 16, "heavy": 2},
        {"column": "text", "limit": 16, "heavy": 3, "known": ("category 1 x", "")},
        {"column": "mixed", "limit": 16},
    ],
    "sliced.v1": [
        {"by": ("text",)},
        {"of": "confusion.v1", "by": ("mixed", "id"), "limit": 5},
        {"of": "calibration.v1", "by": ("id", "text"), "options": {"bins": 4}},
    ],
    "embedding_sum.v1": [{}, {"second": True}],
    "group_metrics.v1": [{"group": "text"}, {"group": "mixed", "limit": 3, "positive": 0}],
    "histogram.v1": [
        {},
        {"column": "wild"},
        {"column": "wild", "accuracy": 0.001},
        {"column": "score", "weight": "wild"},
        {"column": "wild", "weight": "length"},
    ],
    "curves.v1": [{}, {"weight": "wild"}, {"weight": "length"}],
    "log_loss.v1": [
        {"probability": "score"},
        {"probability": "wild", "weight": "wild"},
        {"probability": "score", "of": "positive", "weight": "length"},
        {"probability": "shares", "of": "classes"},
    ],
    "multilabel.v1": [
        {"target": "labels", "predicted": "said"},
        {"target": "labels", "predicted": "said", "joint": 2},
        {"target": "labels", "predicted": "said", "weight": "wild"},
    ],
    "regression.v1": [{}, {"target": "wild", "weight": "length"}, {"target": "score", "predicted": "wild"}],
    "mean.v1": [{}, {"column": "wild"}, {"column": "mixed"}, {"column": "wild", "weight": "length"}],
    "random_features.v1": [{"features": 8, "bandwidth": 2.0}],
    "distinct.v1": [{}, {"column": "mixed", "precision": 11}, {"column": "wild"}],
    "ranking.v1": [
        {"gains": "said"},
        {"gains": "labels", "scores": "shares", "k": 2},
        {"gains": "said", "ideal": "embedding"},
        {"gains": "said", "scores": "shares", "weight": "wild"},
    ],
    "ratio.v1": [{}, {"over": "wild", "under": "wild"}, {"over": "wild", "weight": "wild"}],
    "sample.v1": [{"size": 5, "columns": ("wild", "text", "embedding")}, {"id": "predicted", "salt": 3}],
}
CASES = [pytest.param(name, options, id=f"{name}-{i}") for name in every("statistic") for i, options in
         enumerate(OPTIONS.get(name, [{}]))]  # fmt: skip


@st.composite
def columns(draw: st.DrawFn) -> dict[str, np.ndarray]:
    n = draw(st.integers(0, 40))

    def of(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(values, min_size=n, max_size=n))

    embedding = np.random.default_rng(n).normal(size=(n, 3)) * 10.0 ** draw(st.integers(-6, 4))
    embedding[np.array(of(st.booleans()), dtype=bool) & (np.arange(n) % 5 == 0), 1] = draw(WILD)
    mixed = np.empty(n, dtype=object)
    mixed[:] = of(st.one_of(st.none(), st.booleans(), st.integers(-2, 3), WILD, st.text(max_size=2)))
    with np.errstate(over="ignore"):
        narrow = embedding.astype(np.float32)
    return {
        "loss": np.array(of(SHARE), float), "confidence": np.array(of(SHARE), float), "mixed": mixed,
        "score": np.array(of(SHARE), float), "wild": np.array(of(WILD), float), "embedding": narrow,
        "length": np.array(of(st.integers(0, 9)), float), "text": np.array(of(TEXT), dtype=str),
        "predicted": np.array(of(CLASS), np.int64), "target": np.array(of(CLASS), np.int64),
        "id": np.array(of(st.sampled_from(["a", "b", "c", "dd", "eee"])), dtype=str),
        "labels": np.array(of(st.tuples(*[st.integers(0, 1)] * 3)), np.int64).reshape(n, 3),
        "said": np.array(of(st.tuples(*[st.sampled_from([0.0, 1.0, 1.0, 0.5])] * 3)), float).reshape(n, 3),
        "shares": np.array(of(st.sampled_from([(0.2, 0.5, 0.3), (1, 0, 0), (0.5, 0.6, 0.1), (1e300, 0, 0)])), float).reshape(n, 3),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "options"), CASES)
@settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(data=st.data())
def test_parts_make_the_whole(name: str, options: dict[str, object], data: st.DataObject) -> None:
    check_statistic(get("statistic", name)(**options), data.draw(columns()), data.draw(st.integers(0, 2**32)))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_parts_make_the_whole_on_many_rows(name: str, options: dict[str, object]) -> None:
    rng = np.random.default_rng(7)
    n = 40_000  # more than two chunks of every statistic
    table = {
        "loss": rng.random(n), "confidence": rng.beta(5, 1, n), "score": rng.random(n), "length": rng.random(n) * 50,
        "wild": rng.normal(size=n) * 10.0 ** rng.integers(-300, 300, n), "target": rng.integers(-1, 300, n),
        "predicted": rng.integers(-1, 300, n), "text": rng.integers(0, 5000, n).astype(str),
        "mixed": rng.normal(size=n), "embedding": rng.normal(size=(n, 24)).astype(np.float32),
        "id": np.arange(n).astype(str), "labels": rng.random((n, 3)) < 0.3, "said": rng.random((n, 3)) < 0.4,
        "shares": rng.dirichlet([1, 2, 3], n),
    }  # fmt: skip
    check_statistic(get("statistic", name)(**options), table, 11)


class FloatMean:
    """Adds floats as they come: the mistake that the law is there to find."""

    name = "float_mean.v1"
    when = "answer"

    def observe(self, columns):
        values = np.asarray(columns.get("x", ()), float)
        return {"n": len(values), "sum": float(sum(values.tolist()))}

    def merge(self, a, b):
        return {"n": a["n"] + b["n"], "sum": a["sum"] + b["sum"]}

    def read(self, state):
        return {"mean": Estimate(state["sum"] / max(state["n"], 1), state["n"])}


class ZeroWhenEmpty(FloatMean):
    """Reports 0.0 of nothing."""

    def observe(self, columns):
        return {"n": len(columns.get("x", ())), "sum": 0}


class Hoarder(FloatMean):
    """Keeps every row."""

    def observe(self, columns):
        values = np.sort(np.asarray(columns.get("x", ()), float))
        return {"n": len(values), "sum": 0, "rows": values}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (FloatMean(), "shuffled and merged, are not the state of all"),
        (ZeroWhenEmpty(), "nothing seen is Estimate"),
        (Hoarder(), "takes .* bytes, over 2000"),
    ],
)
def test_a_broken_statistic_is_named_with_its_law(broken: object, says: str) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    with pytest.raises(AssertionError, match=rf"float_mean.v1 breaks a law: .*{says}"):
        check_statistic(broken, {"x": values}, 1, max_bytes=2000)  # type: ignore[arg-type]


def test_rows_taken_in_pieces_are_the_rows_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = {
        "id": rng.integers(0, 400, 500).astype(str), "group": rng.choice(["a", "b", "", "c"], 500), "loss": rng.random(500),
        "target": rng.integers(-1, 2, 500), "predicted": rng.integers(0, 2, 500),
    }  # fmt: skip
    chosen = [
        get("statistic", "sliced.v1")(by=("group", "id"), limit=9),
        get("statistic", "group_metrics.v1")(group="id", limit=7),
        get("statistic", "sample.v1")(columns=("loss",), size=30),
        get("statistic", "counts.v2")(column="id", limit=16),
    ]
    whole = [pack(statistic.observe(rows)) for statistic in chosen]
    for name in ("statistics.sliced", "statistics.group_metrics", "statistics.counts", "sums.hashing"):
        monkeypatch.setattr(f"luthier.{name}._CHUNK", 64)
    assert [pack(statistic.observe(rows)) for statistic in chosen] == whole
