"""Event times: quiet on a feed like the reference's, each fault found and named, silence noticed."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from luthier.checks.feed import Feed
from luthier.checks.laws import check_check

BEGIN = 1.7e9


def times(rng: np.random.Generator, n: int, begin: float = BEGIN) -> np.ndarray:
    """A row every half minute on average, a tenth of them up to two minutes late."""
    at = begin + np.cumsum(rng.exponential(30, n))
    return at - np.where(rng.random(n) < 0.1, rng.uniform(0, 120, n), 0)


@pytest.mark.parametrize("size", [60, 500])
def test_a_feed_like_the_reference_is_quiet(size: int) -> None:
    rng, check, runs, n = np.random.default_rng(1), Feed(arl=20_000), 60, 1500
    wrong = 0
    for _ in range(runs):
        memory = check.start({"at": times(rng, size)})
        wrong += check.step(memory, {"at": times(rng, n, BEGIN + 10**6)})[1].alarm
    print(f"\nfeed.v1, reference {size}: {wrong} of {runs} feeds of {n} alarm")
    assert wrong <= stats.binom.ppf(0.999, runs, check.delta + n / check.arl)


FAULTS = {
    "untimed": (lambda at, hit: np.where(hit, np.nan, at), "without an event time"),
    "milliseconds": (lambda at, hit: np.where(hit, at * 1000, at), "Unix seconds, not milliseconds"),
    "text": (lambda at, hit: np.where(hit, "noon", at.astype(str)), "without an event time"),
    "zone": (
        lambda at, hit: np.where(hit, at - 7200, at),
        "behind the newest before them, the newest by (2.0|1.9). hours .a time zone",
    ),
    "late": (
        lambda at, hit: np.where(hit, at - 4000, at),
        "behind the newest before them, the newest by [0-9.]+ minutes",
    ),
    "ahead": (lambda at, hit: np.where(hit, at + 1e7, at), "28 days ahead of all before them"),
    "gap": (lambda at, hit: at + np.cumsum(hit) * 3600, "after a longer gap than any in the reference"),
    "same": (lambda at, hit: np.full(len(at), at[0]), "at the very time of the row before"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_each_fault_is_found_and_named(what: str) -> None:
    rng, check = np.random.default_rng(2), Feed()
    memory, quiet = check.step(check.start({"at": times(rng, 500)}), {"at": times(rng, 700, BEGIN + 10**6)})
    assert not quiet.alarm
    at = times(rng, 600, BEGIN + 10**6 + 700 * 30)
    break_it, why = FAULTS[what]
    changed = break_it(at, rng.random(600) < 0.25)
    if what == "text":
        changed = np.array([text if text == "noon" else str(np.datetime64(int(float(text)), "s")) for text in changed])
    finding = check.step(memory, {"at": changed})[1]
    assert finding.alarm

    assert re.search(why, finding.why), finding.why
    assert "since about row" in finding.why


@pytest.mark.parametrize("what", ["", *FAULTS])
def test_laws(what: str) -> None:
    rng = np.random.default_rng(3)
    at = times(rng, 600, BEGIN + 10**6)
    if what and what != "text":
        at = FAULTS[what][0](at, rng.random(600) < 0.25)
    finding = check_check(Feed(), {"at": times(rng, 300)}, {"at": at, "other": np.ones(600)})
    assert finding.alarm is (what not in ("", "text"))


def test_rows_without_the_column_have_no_times() -> None:
    check = Feed()
    memory = check.start({"at": times(np.random.default_rng(4), 300)})
    finding = check.step(memory, {"confidence": np.ones(400)})[1]
    assert finding.alarm
    assert "without an event time" in finding.why


def test_silence_is_noticed_and_a_pause_is_not() -> None:
    rng, check = np.random.default_rng(5), Feed()
    memory = check.start({"at": times(rng, 500)})
    assert check.silence(memory, BEGIN).why == "no row with an event time yet"
    memory, _ = check.step(memory, {"at": times(rng, 300, BEGIN + 10**6)})
    assert not check.silence(memory, memory["newest"] + 100).alarm
    finding = check.silence(memory, datetime.fromtimestamp(memory["newest"] + 10_800, UTC))
    assert finding.alarm
    assert finding.value == pytest.approx(10_800)
    assert "nothing has come for 3 hours" in finding.why


@pytest.mark.parametrize(
    "reference", [{}, {"at": np.full(500, np.nan)}, {"at": np.full(500, BEGIN)}, {"at": np.arange(20.0)}]
)
def test_a_reference_that_cannot_be_learnt_from_says_so(reference: dict[str, np.ndarray]) -> None:
    check = Feed()
    finding = check_check(check, reference, {"at": times(np.random.default_rng(6), 50)})
    assert finding.why.startswith("not watched:")
    assert check.silence(check.start(reference), BEGIN).why.startswith("not watched:")
