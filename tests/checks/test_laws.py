"""Every registered check obeys the laws, on streams with and without a change, and on references that lack things."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from luthier.checks.base import silent
from luthier.checks.laws import check_check
from luthier.names import every, get
from luthier.types import Promise


def columns(n: int, seed: int, risk: float, shift: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 3, n)
    loss = (rng.random(n) < risk).astype(float)
    return {
        "loss": loss,
        "champion_loss": (rng.random(n) < 0.1).astype(float),
        "target": target,
        "predicted": np.where(loss == 1, (target + 1) % 3, target),
        "confidence": np.clip(rng.beta(8, 2, n) - 0.2 * shift, 0, 1),
        "margin": rng.random(n),
        "entropy": rng.random(n),
        "length": rng.integers(3, 40, n) + 100.0 * (shift > 0) * (rng.random(n) < 0.2),
        "embedding": (rng.standard_normal((n, 16)) + shift).astype(np.float32),
        "train_loss": np.linspace(1, 0.2, n) + 0.01 * rng.random(n),
        "validation_loss": np.where(np.arange(n) % 50 == 49, np.linspace(1, 0.5, n), np.nan),
        "gradient_norm": rng.random(n),
    }


@pytest.mark.parametrize("name", every("check"))
@pytest.mark.parametrize("world", ["stable", "changed", "short", "no reference", "empty"])
def test_laws(name: str, world: str) -> None:
    reference = {} if world == "no reference" else columns(400, 1, 0.1)
    n = {"short": 7, "empty": 0}.get(world, 900)
    changed = world == "changed"
    window = columns(n, 2, 0.4 if changed else 0.1, 1.0 if changed else 0.0)
    finding = check_check(get("check", name)(), reference, window)
    if world == "stable" and finding.promise.kind != "none":
        assert finding.alarm is False


@pytest.mark.parametrize(
    "name", ["risk.v1", "risk_lifetime.v1", "embedding_shift.v1", "confidence_shift.v1", "quality.v1"]
)
def test_a_monitor_sees_the_change_and_says_why(name: str) -> None:
    finding = check_check(get("check", name)(), columns(400, 1, 0.1), columns(900, 2, 0.4, 1.0))
    assert finding.alarm
    assert "shown at" in finding.why


@pytest.mark.parametrize(
    "name", ["risk.v1", "risk_lifetime.v1", "embedding_shift.v1", "confidence_shift.v1", "quality.v1"]
)
def test_without_a_reference_nothing_is_watched_and_that_is_said(name: str) -> None:
    check = get("check", name)()
    _, finding = check.step(check.start({}), columns(100, 1, 0.9))
    assert finding.why.startswith("not watched: the reference has")
    assert np.isnan(finding.value)
    assert not finding.alarm


@dataclasses.dataclass(frozen=True)
class Forgetful:
    """Its finding depends on the last window only."""

    name = "forgetful.v1"
    when = "label"
    promise = Promise("none")

    def start(self, reference: object) -> dict[str, object]:
        return {"reference": {}}

    def step(self, memory: dict[str, object], window: dict[str, np.ndarray]) -> tuple[dict[str, object], object]:
        return memory, silent(self.name, self.promise, "nothing", n=len(window.get("loss", ())))


def test_the_laws_catch_a_check_that_depends_on_how_it_is_fed() -> None:
    with pytest.raises(AssertionError, match="the last finding differs: n"):
        check_check(Forgetful(), {}, columns(50, 1, 0.1))
