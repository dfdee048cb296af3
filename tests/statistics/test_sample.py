from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.statistics.sample import Sample

RNG = np.random.default_rng(10)


def table(n: int) -> dict[str, np.ndarray]:
    return {"id": np.array([f"row {i}" for i in range(n)]), "confidence": np.arange(n, dtype=float)}


def test_rows_stay_whole_and_the_sample_is_uniform() -> None:
    statistic = Sample(size=2000)
    state = statistic.observe(table(50_000))
    rows = state["rows"]
    assert [f"row {value:.0f}" for value in rows["confidence"]] == rows["id"].tolist()
    parts = np.bincount((rows["confidence"] // 5000).astype(int), minlength=10)
    assert abs(parts - 200).max() < 60
    found = statistic.read(state)["mean[confidence]"]
    assert abs(found.value - 24_999.5) < 3 * 14_434 / 2000**0.5
    assert (state["n"], statistic.read(state)["kept"].value) == (50_000, 2000)


def test_another_salt_is_another_sample() -> None:
    first, second = (set(Sample(size=100, salt=salt).observe(table(5000))["rows"]["id"]) for salt in (0, 1))
    assert len(first & second) < 20


def test_vectors_text_and_objects_are_kept_and_nan_is_left_out_of_the_mean() -> None:
    statistic = Sample(("score", "note", "vector"), size=10)
    columns = {
        "id": np.array([1, 2]), "score": np.array([math.nan, 2.0]), "vector": np.ones((2, 3)),
        "note": np.array(["x" * 900, None], dtype=object),
    }  # fmt: skip
    state = statistic.observe(columns)
    assert sorted(map(len, state["rows"]["note"])) == [4, 256]
    assert state["rows"]["vector"].dtype == np.float32
    assert statistic.read(state)["mean[score]"].value == 2.0
    assert statistic.read(state)["mean[score]"].n == 1


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="size is 0"):
        Sample(size=0)
    with pytest.raises(ValueError, match="columns hold the id 'id'"):
        Sample(("id",))
    with pytest.raises(StateError, match="'id' and 'confidence' have 3 and 2 rows"):
        Sample().observe({"id": np.arange(3), "confidence": np.ones(2)})
    one, two = (Sample().observe({"id": np.arange(2), "confidence": np.ones((2, d))}) for d in (2, 3))
    with pytest.raises(StateError, match="samples of different columns cannot be merged"):
        Sample().merge(one, two)
