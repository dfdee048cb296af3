"""Names without a version: what they become, and that it is seen."""

from __future__ import annotations

import numpy as np
import pytest

import luthier
from luthier.choice import chosen
from luthier.names import get
from luthier.options import CHOSEN, MonitorOptions


def bursts(seed: int, n: int, length: float = 20.0) -> np.ndarray:
    """Losses of mean .1 that stay bad for `length` rows on average."""
    rng = np.random.default_rng(seed)
    bad, losses = False, np.zeros(n)
    for i, draw in enumerate(rng.random(n).tolist()):
        bad = draw > 1 / length if bad else draw < 0.1 / 0.9 / length
        losses[i] = bad
    return losses


def independent(seed: int, n: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) < 0.1).astype(float)


def test_bursts_in_time_order_choose_blocks_and_a_finding_says_why() -> None:
    at = np.arange(4000.0) * 60
    monitor = luthier.Monitor({"loss": bursts(0, 4000), "at": at}, checks=("risk",))
    for seed in range(1, 4):
        (finding,) = monitor.observe("label", {"loss": bursts(seed, 4000)})
    assert finding.check == "risk_block.v1"
    assert "for bursts of" in finding.why
    assert monitor.limit("risk") == finding.limit
    monitor = luthier.Monitor({"loss": independent(0, 4000), "at": at}, checks=("risk",))
    assert monitor.observe("label", {"loss": independent(1, 100)})[0].check == "risk.v1"


def test_a_season_chooses_blocks_too() -> None:
    hour = np.arange(6000) % 240
    losses = (np.random.default_rng(0).random(6000) < np.where(hour < 120, 0.02, 0.3)).astype(float)
    assert chosen(["risk"], {"loss": losses, "at": np.arange(6000.0)}) == ["risk_block.v1"]


def test_independent_losses_hardly_ever_choose_blocks() -> None:
    times = np.arange(2000.0)
    blocks = sum(
        chosen(["risk"], {"loss": independent(seed, 2000), "at": times}) == ["risk_block.v1"] for seed in range(300)
    )
    assert blocks <= 4  # 3 standard errors: .13 % by the first autocorrelation, 0.1 % by the season


@pytest.mark.parametrize(
    "at",
    [None, np.arange(4000.0)[::-1], np.zeros(4000), np.full(4000, np.nan)],
    ids=["none", "backwards", "one", "missing"],
)
def test_without_an_order_in_time_nothing_is_read_into_the_order(at: np.ndarray | None) -> None:
    reference = {"loss": bursts(0, 4000)} | ({} if at is None else {"at": at})
    assert chosen(["risk"], reference) == ["risk.v1"]


def test_tables_get_the_checks_of_tables_and_texts_do_not() -> None:
    text = {
        "loss": np.zeros(50),
        "confidence": np.ones(50),
        "embedding": np.ones((50, 4)),
        "tag:shop": np.full(50, "a"),
    }
    assert chosen(CHOSEN, text) == ["risk.v1", "quality.v1"]
    assert chosen(CHOSEN, text | {"age": np.arange(50)}) == ["risk.v1", "quality.v2", "column_shift.v1"]
    assert chosen(["risk.v1", "quality.v1"], text | {"age": np.arange(50)}) == ["risk.v1", "quality.v1"]
    assert chosen(CHOSEN, get("task", "text_classification")(labels=("a", "b")).columns([])) == [
        "risk.v1",
        "quality.v1",
    ]
    assert chosen(CHOSEN, {}) == ["risk.v1", "quality.v1"]
    assert set(CHOSEN) < set(MonitorOptions().checks)


def test_the_default_watch_of_a_table_is_quiet_and_finds_a_column_that_moved() -> None:
    def rows(seed: int, n: int, age: float = 40) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        p = rng.beta(8, 2, n)
        return {"age": rng.normal(age, 9, n), "shop": rng.choice(list("abc"), n), "confidence": p,
                "loss": (rng.random(n) > p).astype(float)}  # fmt: skip

    quiet = luthier.Monitor(rows(0, 3000))
    assert not any(one.alarm for one in quiet.observe("answer", rows(1, 3000)))
    found = {one.check for one in quiet.observe("answer", rows(2, 1000, age=49)) if one.alarm}
    assert found == {"column_shift.v1"}


def test_columns_that_go_by_the_hour_are_held_against_their_hours() -> None:
    rng = np.random.default_rng(0)
    at = np.sort(1_767_571_200 + rng.uniform(0, 14 * 86_400, 6000))
    table = {"loss": np.zeros(6000), "at": at, "plan": rng.choice(["a", "b"], 6000), "load": rng.normal(size=6000)}
    by_hour = table | {"load": table["load"] + np.sin(at / 86_400 * 2 * np.pi)}
    assert chosen(["column_shift"], table) == ["column_shift.v1"]
    assert chosen(["column_shift"], by_hour) == ["column_shift.v2"]
    assert chosen(["column_shift"], {name: values[:800] for name, values in by_hour.items()}) == [
        "column_shift.v1"
    ]  # two days
    assert chosen(["column_shift"], by_hour | {"at": np.full(6000, np.nan)}) == ["column_shift.v1"]
    del by_hour["at"]
    assert chosen(["column_shift"], by_hour) == ["column_shift.v1"]
