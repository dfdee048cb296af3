from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.codec import pack
from luthier.errors import StateError
from luthier.statistics import counts
from luthier.statistics.counts import Counts, HeavyCounts, table
from luthier.sums.heavy import shortened


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


def stream(rng: np.random.Generator, heavy: list[str], share: float, n: int = 8000) -> np.ndarray:
    """A tail of thousands of categories, and these of `share` each."""
    values = rng.integers(0, 6000, n).astype("U60")
    place = rng.permutation(n)
    for i, name in enumerate(heavy):
        values[place[i * int(share * n) : (i + 1) * int(share * n)]] = name
    return values


def test_every_frequent_category_is_named_however_many_there_are() -> None:
    rng = np.random.default_rng(5)
    asked = named = held = 0
    for run in range(25):
        names = [
            f"Größe {run}.{i}" if i % 2 else f"a much longer category {run}.{i}" for i in range(rng.integers(1, 28))
        ]
        statistic = HeavyCounts("x", limit=64)
        state = statistic.observe({"x": stream(rng, names, 1 / 32)})
        found = statistic.read(state)
        assert len(pack(state)) < 200_000
        assert state["other"] + state["counts"].sum() == state["n"] == 8000
        for name in names:
            one = found.get(f"share[{shortened(name)}]") or found.get(f"share[{name}]")
            asked, named = asked + 1, named + (one is not None)
            held += one is not None and one.low <= 1 / 32 <= one.high
        tail = [one.value for key, one in found.items() if key.startswith("share[") and key[6:-1].isdigit()]
        assert max(tail, default=0) < 0.01  # nothing rare passes for frequent
    assert named == asked
    assert held == asked


def test_up_to_the_limit_counts_v2_is_counts_v1() -> None:
    values = {"x": np.array(["a", "b", "a", "c"])}
    one, two = Counts("x"), HeavyCounts("x")
    assert one.read(one.observe(values)) == two.read(two.observe(values))
    with pytest.raises(ValueError, match="heavy is 1"):
        HeavyCounts(heavy=1)
    many = {"x": np.arange(5000)}
    with pytest.raises(StateError, match="heavy"):
        two.merge(two.observe({}), HeavyCounts("x", heavy=4).observe(many))


def test_hostile_names_are_spelled_and_stay_bounded() -> None:
    names = np.array(
        ["\x00", "a\x00", "𐍈" * 40, "é" * 30, "\ud800", " ", "…"] * 300 + [f"{i}" for i in range(3000)], dtype=object
    )
    statistic = HeavyCounts("x", limit=16)
    state = statistic.observe({"x": names})
    assert len(pack(state)) < 200_000
    shares = [one for key, one in statistic.read(state).items() if key.startswith("share[") and one.value > 0.05]
    assert len(shares) == 7
    assert all(one.low <= 300 / 5100 <= one.high for one in shares)
