"""Embeddings: quiet on stable, lumpy, heavy-tailed traffic for references of any size; quick on new topics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from luthier.checks.embedding_shift import EmbeddingShift


class World:
    """Answers in `topics` lumps with heavy tails, like sentence embeddings; topics 8 and 9 are new ones."""

    def __init__(self, width: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.centres = rng.standard_normal((10, width))
        self.axes = 0.3 * rng.standard_normal((10, width, 8))
        self.scale = rng.uniform(0.3, 1, width)

    def draw(self, rng: np.random.Generator, n: int, topics: int = 8) -> np.ndarray:
        topic = rng.integers(0, topics, n)
        inner = np.einsum("ndk,nk->nd", self.axes[topic], rng.standard_t(6, (n, 8)))
        x = self.centres[topic] + inner + 0.5 * rng.standard_normal((n, len(self.scale)))
        return (x * self.scale).astype(np.float32)


@pytest.mark.parametrize(("width", "size"), [(4, 200), (16, 300), (64, 150)])
def test_stable_traffic_alarms_no_more_often_than_promised(width: int, size: int) -> None:
    """Small references drawn anew each time: their own error is part of the promise."""
    check, n, runs = EmbeddingShift(arl=30_000), 1500, 30
    wrong = 0
    for seed in range(runs):
        world, rng = World(width, seed), np.random.default_rng(1000 + seed)
        memory = check.start({"embedding": world.draw(rng, size)})
        wrong += check.step(memory, {"embedding": world.draw(rng, n)})[1].alarm
    print(f"\nembedding_shift.v1, {width} wide, reference {size}: {wrong} of {runs} streams of {n} alarm")
    assert wrong <= stats.binom.ppf(0.999, runs, 2 * check.delta + n / check.arl)


@pytest.mark.parametrize(("width", "size"), [(64, 300), (384, 300)])
def test_a_fifth_of_new_topics_is_found(width: int, size: int) -> None:
    check, delays = EmbeddingShift(), []
    for seed in range(4):
        world, rng = World(width, seed), np.random.default_rng(seed)
        memory = check.start({"embedding": world.draw(rng, size)})
        memory, quiet = check.step(memory, {"embedding": world.draw(rng, 1000)})
        assert not quiet.alarm
        memory, finding = check.step(memory, {"embedding": world.draw(rng, 1200, topics=10)})
        delays.append(memory["alarm_n"] - 1000 if finding.alarm else np.inf)
    print(f"\nembedding_shift.v1, {width} wide, 20 % new topics: median delay {np.median(delays):,.0f} answers")
    assert np.median(delays) <= 600


@pytest.mark.parametrize(("change", "view"), [("inward", "mmd"), ("mean", "mean"), ("outliers", "far")])
def test_each_view_sees_what_it_is_for(change: str, view: str) -> None:
    rng = np.random.default_rng(5)
    check = EmbeddingShift()
    memory = check.start({"embedding": rng.standard_normal((1000, 32)).astype(np.float32)})
    x = rng.standard_normal((3000, 32))
    if change == "inward":
        x *= 0.6
    elif change == "mean":
        x[:, 0] += 0.9
    else:
        x[rng.random(3000) < 0.15] *= 2
    memory, finding = check.step(memory, {"embedding": x.astype(np.float32)})
    assert finding.alarm
    stream = memory[view]["detector"] if view == "far" else memory[view]
    assert stream["peak"] * (1 if view == "far" else check.block) > check.arl


def test_wide_embeddings_are_projected_and_holes_left_out() -> None:
    rng = np.random.default_rng(6)
    check = EmbeddingShift()
    memory = check.start({"embedding": rng.standard_normal((200, 1500)).astype(np.float32)})
    window = rng.standard_normal((250, 1500)).astype(np.float32)
    window[:40] = np.nan
    memory, finding = check.step(memory, {"embedding": window})
    assert (finding.n, len(memory["buffer"])) == (200, 10)
    same, again = check.step(memory, {"embedding": np.zeros((5, 7), np.float32)})
    assert again.why.endswith("45 answers came without an `embedding` of 1500 finite numbers")
    assert replace(again, why=finding.why) == finding
    assert len(same["buffer"]) == 10


@pytest.mark.parametrize("width", [1, 2, 4])
def test_embeddings_of_few_dimensions_are_watched_like_any_other(width: int) -> None:
    """Their random features span fewer dimensions than there are, so their covariance has no Cholesky root in float32."""
    rng = np.random.default_rng(4)
    check = EmbeddingShift()
    memory = check.start({"embedding": rng.standard_normal((2000, width))})
    memory, quiet = check.step(memory, {"embedding": rng.standard_normal((1000, width))})
    assert not quiet.alarm
    assert quiet.n == 1000
    _, finding = check.step(memory, {"embedding": rng.standard_normal((1000, width)) + 1.0})
    assert finding.alarm
