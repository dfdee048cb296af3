from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.codec import pack
from luthier.errors import StateError
from luthier.statistics import counts
from luthier.statistics.counts import Counts, table


def test_few_categories_are_counted_exactly() -> None:
    statistic = Counts("x", shown=2)
    state = statistic.observe({"x": np.array([3, 3, 1, -1, 3, 2])})
    assert table(state) == {"1": 1, "2": 1, "3": 3}
    found = statistic.read(state)
    assert (found["share[3]"].value, found["share[3]"].n) == (0.6, 5)
    assert [name for name in found if name.startswith("share")] == ["share[3]", "share[1]"]
    assert (found["distinct"].value, found["other"].value, found["missing"].value) == (3, 0.0, 1 / 6)


def test_text_and_mixed_columns() -> None:
    mixed = np.array(["a", None, math.nan, 1, 1.0, True, ["a list"]], dtype=object)
    state = Counts("x").observe({"x": mixed})
    assert state["missing"] == 2
    assert table(state) == {"1": 2, "True": 1, "['a list']": 1, "a": 1}


def test_many_categories_stay_bounded_known_ones_exact_and_the_rest_is_other() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.integers(1000, 200_000, 60_000), np.full(5000, 7)])
    statistic = Counts("x", limit=1024, known=("7",))
    state = statistic.observe({"x": values})
    assert len(table(state)) == 1024
    assert table(state)["7"] == 5000
    assert sum(table(state).values()) + state["other"] == state["n"] == 65_000
    distinct = statistic.read(state)["distinct"]
    assert distinct.low <= len(np.unique(values)) <= distinct.high
    assert distinct.high - distinct.low < 0.2 * distinct.value
    assert len(pack(state)) < 50_000


@pytest.mark.parametrize("kind", [np.int64, str, object])
def test_many_rows_are_counted_in_pieces(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).integers(-1, 5000, 20_000)
    values = values.astype(str).astype(object) if kind is object else values.astype(kind)
    statistic = Counts("x", limit=64, known=("7", "12", "4999"))
    whole = pack(statistic.observe({"x": values}))
    monkeypatch.setattr(counts, "_CHUNK", 1000)
    assert pack(statistic.observe({"x": values})) == whole


def test_half_a_million_categories_keep_their_total() -> None:
    statistic = Counts("x")
    state = statistic.observe({"x": np.arange(500_000)})
    assert (len(table(state)), state["n"], state["other"]) == (4096, 500_000, 500_000 - 4096)
    distinct = statistic.read(state)["distinct"]
    assert distinct.low <= 500_000 <= distinct.high


def test_long_names_are_cut_but_stay_apart() -> None:
    names = table(Counts("x").observe({"x": np.array(["n" * 500 + "a", "n" * 500 + "b"])}))
    assert len(names) == 2
    assert max(map(len, names)) == 64


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="limit is 4 with 0 known"):
        Counts("x", limit=4)
    with pytest.raises(StateError, match=r"shape \(2, 2\)"):
        Counts("x").observe({"x": np.ones((2, 2))})
