"""Mean loss from inputs: right where the mix moves within the support, and unknown beyond it (pytest -s)."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.checks.laws import check_check
from luthier.checks.loss_free import LossFree
from luthier.errors import StateError


def houses(rng: np.random.Generator, n: int, large: float = 0.3) -> dict[str, np.ndarray]:
    """Prices whose error grows with the size of the house; `large` is the share of large ones."""
    size = np.where(rng.random(n) < large, rng.normal(200, 30, n), rng.normal(90, 20, n))
    age = rng.uniform(0, 80, n)
    spread = 0.04 + 0.0012 * np.maximum(size - 60, 0) + 0.1 * (age > 60)
    return {
        "size": size, "age": age, "price": 3000 * size, "town": rng.choice(["A", "B"], n),
        "loss": np.minimum(np.abs(rng.normal(0, spread)), 1.0),
    }  # fmt: skip


def inputs(window: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values for name, values in window.items() if name != "loss"}


@pytest.mark.parametrize("large", [0.3, 0.4, 0.7])
def test_the_mix_is_followed_and_the_interval_holds(large: float) -> None:
    check, said, held, off, constant = LossFree(window=1000, block=100), 0, [], [], []
    for run in range(60):
        rng = np.random.default_rng(run)
        reference, window = houses(rng, 2000), houses(rng, 1000, large)
        reading = check.read(check.step(check.start(reference), inputs(window))[0])
        said += reading.valid
        truth = window["loss"].mean()
        held.append(reading.estimate.low <= truth <= reading.estimate.high)
        off.append(abs(reading.estimate.value - truth))
        constant.append(abs(reference["loss"].mean() - truth))
    print(
        f"\nloss_free.v1, {large} large: off by {np.mean(off):.4f}, the reference's mean by {np.mean(constant):.4f}; holds {np.mean(held):.2f}"
    )
    assert said >= 54 or large > 0.3
    assert np.mean(held) >= 0.9
    assert np.mean(off) <= 0.006
    assert large == 0.3 or np.mean(off) < np.mean(constant) / 2


def steep(rng: np.random.Generator, n: int, moved: float = 0.0) -> dict[str, np.ndarray]:
    """A loss that grows with the square of an embedding's first component, so beyond the outermost bins too."""
    x = rng.normal(size=(n, 4))
    x[:, 0] += moved
    loss = np.clip(np.abs(rng.normal(size=n)) * (0.1 + 0.05 * x[:, 0] ** 2), 0, 1)
    return {"embedding": x.astype(np.float32), "loss": loss}


def test_what_bins_cannot_tell_of_a_moved_mix_is_told_by_tilted_rows() -> None:
    check, held, off = LossFree(), [], []
    for run in range(120):
        rng = np.random.default_rng(run)
        window = steep(rng, 500, 0.5)
        reading = check.read(check.step(check.start(steep(rng, 2000)), inputs(window))[0])
        truth = window["loss"].mean()
        held.append(reading.estimate.low <= truth <= reading.estimate.high)
        off.append(reading.estimate.value - truth)
    assert np.mean(held) >= 0.9
    assert abs(np.mean(off)) <= 0.003


def test_off_support_it_says_unknown_and_how_many_labels() -> None:
    rng = np.random.default_rng(1)
    check = LossFree()
    memory = check.start(houses(rng, 2000))
    far, near = inputs(houses(rng, 500)), inputs(houses(rng, 500))
    far["size"] = far["size"] + 400
    near |= {"size": np.full(500, 90.0), "age": np.full(500, 30.0), "price": np.full(500, 270_000.0)}
    for window, why in ((far, "beyond the reference's 95 % distance"), (near, "closer to the reference")):
        finding = check.step(memory, window)[1]
        assert finding.why.startswith("unknown: ")
        assert why in finding.why
        assert "more for ± 0.03" in finding.why
        assert np.isnan(finding.value)


def test_harm_from_the_mix_is_an_alarm() -> None:
    rng = np.random.default_rng(2)
    check = LossFree(tolerance=0.0, window=2000, far=0.2)
    memory = check.start(houses(rng, 5000))
    assert not check.step(memory, inputs(houses(rng, 2000)))[1].alarm
    finding = check.step(memory, inputs(houses(rng, 2000, 0.5)))[1]
    assert finding.alarm
    assert finding.why.endswith("Label some of the newest answers to confirm it")


def test_cut_anywhere_it_says_the_same() -> None:
    rng = np.random.default_rng(3)
    assert check_check(LossFree(), houses(rng, 800), inputs(houses(rng, 733, 0.5))).n == 500
    embedded = {"embedding": rng.normal(size=(800, 24)).astype(np.float32), "loss": rng.random(800)}
    window = {"embedding": rng.normal(size=(617, 24)).astype(np.float32)}
    finding = check_check(LossFree(), embedded, window)
    assert finding.value == pytest.approx(0.5, abs=0.05)
    assert "which tell 0% of the variance" in finding.why


def test_what_is_missing_or_broken_is_said() -> None:
    rng = np.random.default_rng(4)
    check, reference = LossFree(), houses(rng, 1000)
    assert check.step(check.start({}), inputs(reference))[1].why.startswith(
        "unknown: the reference has 0 labelled rows"
    )
    memory = check.start(reference)
    assert (
        check.step(memory, {"size": np.ones(100)})[1].why
        == "0 of the first 100 answers seen; 100 answers came without all of what is read: age, price, size"
    )
    dead = inputs(houses(rng, 500)) | {"age": np.full(500, np.nan)}
    assert check.step(memory, dead)[1].why.startswith("unknown: ")
    wild = inputs(houses(rng, 500)) | {"age": np.full(500, np.inf)}
    assert check.step(memory, wild)[1].why.startswith("unknown: ")
    with pytest.raises(StateError, match=r"reference loss holds 7"):
        check.start(reference | {"loss": np.full(1000, 7.0)})
    constant = {"size": np.ones(300), "loss": np.zeros(300)}
    assert check.step(check.start(constant), {"size": np.ones(300)})[1].value == 0
