from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.codec import pack
from luthier.errors import StateError
from luthier.statistics.embedding_sum import EmbeddingSum, covariance, mean

RNG = np.random.default_rng(8)


def test_mean_and_covariance_are_numpys() -> None:
    vectors = (RNG.normal(size=(3000, 12)) @ RNG.normal(size=(12, 12)) + 3).astype(np.float32)
    state = EmbeddingSum(second=True).observe({"embedding": vectors})
    assert mean(state) == pytest.approx(vectors.astype(float).mean(axis=0), abs=1e-6)
    assert covariance(state) == pytest.approx(np.cov(vectors.T.astype(float)), abs=5e-3)
    found = EmbeddingSum(second=True).read(state)["norm"]
    assert found.low < np.linalg.norm(vectors.mean(axis=0)) < found.high


def test_rows_that_are_not_finite_are_missing_and_large_ones_are_cut() -> None:
    vectors = np.array([[1.0, 2.0], [math.nan, 0.0], [math.inf, 0.0], [1e9, -1e9]])
    state = EmbeddingSum().observe({"embedding": vectors})
    found = EmbeddingSum().read(state)
    assert (state["n"], found["missing"].value, found["cut"].value) == (2, 0.5, 0.5)
    assert mean(state) == pytest.approx([128.5, -127.0])


def test_a_thousand_dimensions_with_products_stay_bounded() -> None:
    state = EmbeddingSum(second=True).observe({"embedding": RNG.normal(size=(300, 1024)).astype(np.float16)})
    assert len(pack(state)) < 4.3e6
    assert len(pack(EmbeddingSum().observe({"embedding": np.ones((300, 1024))}))) < 20_000


def test_misuse_is_named() -> None:
    two, three = (EmbeddingSum().observe({"embedding": np.ones((2, d))}) for d in (2, 3))
    with pytest.raises(StateError, match="2 and 3 components cannot be merged; another model answered"):
        EmbeddingSum().merge(two, three)
    with pytest.raises(StateError, match=r"second=True"):
        covariance(two)
    with pytest.raises(StateError, match="embeddings are numbers"):
        EmbeddingSum().observe({"embedding": np.array(["a"])})
    assert np.isnan(mean(EmbeddingSum().observe({"embedding": np.full((1, 2), np.nan)}))).all()
