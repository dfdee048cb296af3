from __future__ import annotations

import numpy as np
import pytest

from luthier.codec import pack
from luthier.errors import StateError
from luthier.names import get
from luthier.statistics.laws import check_statistic
from luthier.statistics.sliced import Sliced


def shop(n: int = 2000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    region = rng.choice(["eu", "us", "asia", ""], n, p=[0.5, 0.3, 0.15, 0.05])
    device = rng.integers(0, 3, n)
    return {"region": region, "device": device, "loss": (rng.random(n) < 0.1 + 0.3 * (region == "asia")).astype(float)}


def test_every_slice_of_one_and_two_predicates_is_the_statistic_of_its_rows() -> None:
    rows = shop()
    statistic = Sliced(by=("region", "device"), shown=100)
    found, mean = statistic.read(statistic.observe(rows)), get("statistic", "mean.v1")()
    assert found["mean"] == mean.read(mean.observe(rows))["mean"]
    for region in ("eu", "us", "asia"):
        inside = rows["region"] == region
        assert found[f"mean[region={region}]"] == mean.read(mean.observe({"loss": rows["loss"][inside]}))["mean"]
        for device in range(3):
            both = inside & (rows["device"] == device)
            expected = mean.read(mean.observe({"loss": rows["loss"][both]}))["mean"]
            assert found[f"mean[region={region} & device={device}]"] == expected
    assert not any(
        "region=]" in key or "region= &" in key for key in found
    )  # a row without a region is in no slice of it
    assert len([key for key in found if key.startswith("mean[")]) == 3 + 3 + 9


def test_slices_are_bounded_and_those_kept_are_exact() -> None:
    rng = np.random.default_rng(2)
    rows = {"group": rng.integers(0, 5000, 20_000), "kind": rng.choice(["a", "b"], 20_000), "loss": rng.random(20_000)}
    statistic = Sliced(by=("kind", "group"), limit=64)
    state = statistic.observe(rows)
    assert len(state["slices"]) == 64
    assert len(pack(state)) < 60_000
    assert {"kind=a", "kind=b"} & state["slices"].keys() or len(state["slices"]) == 64
    for key, one in state["slices"].items():
        if key.startswith("group="):
            assert one["rows"] == (rows["group"] == int(key[6:])).sum()
    assert state["other"] + sum(one["rows"] for one in state["slices"].values()) == 3 * 20_000
    check_statistic(statistic, rows, 3)


def test_a_value_cannot_pass_for_two_predicates() -> None:
    rows = {
        "a": np.array(["x & b=y", "x", "x"]), "b": np.array(["y", "y", "z"]), "loss": np.array([1.0, 0.0, 0.0]),
    }  # fmt: skip
    statistic = Sliced(by=("a", "b"))
    found = statistic.read(statistic.observe(rows))
    assert found["mean[a=x & b=y]"].value == 0
    assert found['mean[a="x & b=y"]'].value == 1
    check_statistic(statistic, rows, 1)


def test_it_knows_when_its_columns_are_known_and_says_what_is_wrong() -> None:
    assert (Sliced().when, Sliced(of="histogram.v1").when) == ("label", "answer")
    with pytest.raises(StateError, match="there is no column 'group'"):
        Sliced().observe({"loss": np.zeros(3)})
    with pytest.raises(ValueError, match="slices of slices"):
        Sliced(of="sliced.v1")
    with pytest.raises(ValueError, match="name one column or more"):
        Sliced(by=())
    with pytest.raises(StateError, match="limit"):
        Sliced(limit=3).merge(Sliced().observe({}), Sliced(limit=3).observe({}))
