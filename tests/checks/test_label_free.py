"""Accuracy without labels: right where it may be stated, and silent where it may not."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.checks.label_free import LabelFree


def traffic(rng: np.random.Generator, n: int, hard: float = 0.2, moved: float = 0.0, overconfident: float = 0.05):
    """Rows of an easy and a hard region of embedding space; confidence is miscalibrated everywhere alike."""
    tough = rng.random(n) < hard
    right = np.clip(np.where(tough, rng.beta(6, 4, n), rng.beta(30, 1.5, n)), 0, 1)
    x = rng.standard_normal((n, 12))
    x[:, 0] += np.where(tough, 1.0, 0.0)
    return {
        "loss": (rng.random(n) >= right).astype(float),
        "confidence": np.clip(right + overconfident * (1 - right) * 4, 0, 1),
        "embedding": (x + moved).astype(np.float32),
    }


def test_in_support_the_interval_holds_the_accuracy_that_comes_out() -> None:
    rng = np.random.default_rng(1)
    check, said, held, widths = LabelFree(), 0, 0, []
    runs = 80
    for _ in range(runs):
        memory = check.start(traffic(rng, 700))
        window = traffic(rng, 500)
        reading = check.read(check.step(memory, window)[0])
        said += reading.valid
        held += reading.valid and reading.estimate.low <= 1 - window["loss"].mean() <= reading.estimate.high
        widths.append(reading.estimate.high - reading.estimate.low)
    print(
        f"\nlabel_free.v1 in support: stated {said / runs:.2f}, holds the truth {held / said:.2f}, width {np.mean(widths):.3f}"
    )
    assert said >= 0.8 * runs
    assert 0.88 * said <= held < said
    assert np.mean(widths) < 0.1


def test_a_mild_change_of_the_mix_is_followed_and_raises_an_alarm_when_harmful() -> None:
    rng = np.random.default_rng(2)
    check = LabelFree(far=0.3, tolerance=0.0)
    memory = check.start(traffic(rng, 3000))
    window = traffic(rng, 1000, hard=0.5)
    after, finding = check.step(memory, window)
    reading = check.read(after)
    if not reading.valid:  # the mean moved: the estimate is still right, only not stated
        assert "mean embedding" in reading.why
    assert reading.estimate.value == pytest.approx(1 - window["loss"][-500:].mean(), abs=0.05)
    assert finding.alarm is (reading.valid and 1 - reading.estimate.high > finding.limit)


@pytest.mark.parametrize(
    ("moved", "why"), [(3.0, "beyond the reference's 95 % distance"), (0.15, "mean embedding has moved")]
)
def test_off_support_it_says_unknown_and_how_many_labels(moved: float, why: str) -> None:
    rng = np.random.default_rng(3)
    check = LabelFree()
    memory = check.start(traffic(rng, 2000))
    memory, finding = check.step(memory, traffic(rng, 500, moved=moved))
    assert np.isnan(finding.value)
    assert not finding.alarm
    assert finding.why.startswith("unknown: ")
    assert why in finding.why
    assert "label 683 more for ± 0.03" in finding.why
    assert check.read(memory).labels == 683


def test_points_that_move_inward_are_seen_too() -> None:
    rng = np.random.default_rng(4)
    check = LabelFree()
    memory = check.start(traffic(rng, 1000))
    window = traffic(rng, 500)
    window["embedding"] *= 0.5
    assert "closer to the reference" in check.step(memory, window)[1].why


def test_it_forgets_old_answers() -> None:
    rng = np.random.default_rng(5)
    check = LabelFree()
    memory, finding = check.step(check.start(traffic(rng, 1000)), traffic(rng, 1000, moved=3.0))
    assert finding.why.startswith("unknown")
    memory, finding = check.step(memory, traffic(rng, 500))
    assert finding.n == 500
    assert check.read(memory).valid


def test_before_a_hundred_answers_and_without_embeddings_nothing_is_said() -> None:
    rng = np.random.default_rng(6)
    check = LabelFree()
    reference = traffic(rng, 300)
    assert check.step(check.start(reference), traffic(rng, 60))[1].why == "unknown: 60 of the first 500 answers seen"
    del reference["embedding"]
    finding = check.step(check.start(reference), traffic(rng, 300))[1]
    assert finding.why.startswith("unknown: the reference has 0 labelled rows with confidence and embedding")


def test_shares_that_sum_to_a_hair_more_than_one_give_no_estimate_above_one() -> None:
    rng = np.random.default_rng(0)
    reference = {
        "loss": np.zeros(300), "confidence": rng.random(300), "embedding": rng.normal(size=(300, 4)).astype(np.float32)
    }  # fmt: skip
    check = LabelFree()
    memory = dict(check.start(reference))
    cells = next(c for c in rng.integers(1, 200, (10_000, 6)) if float((c / c.sum()) @ np.ones(6)) > 1)
    known = {**memory["reference"], "curve": np.ones(6), "curves": np.ones((9, 6))}
    ready = {
        **memory, "reference": known, "cells": cells[None], "far": np.zeros(1), "distance": np.zeros((1, 2)),
        "middle": np.zeros((1, len(known["axes"]))),
    }  # fmt: skip
    assert check.read(ready).estimate.value == 1.0


def test_the_bootstrap_of_the_calibration_has_the_spread_of_rows_drawn_again() -> None:
    rng = np.random.default_rng(8)
    n = 4000
    sure = rng.random(n)
    for loss in ((rng.random(n) < 0.3).astype(float), rng.beta(0.6, 1.4, n)):
        known = LabelFree().start({"loss": loss, "confidence": sure, "embedding": np.zeros((n, 1))})["reference"]
        shares = np.bincount(np.searchsorted(known["edges"], sure, side="right"), minlength=len(known["curve"])) / n
        assert (known["curves"] @ shares).std() == pytest.approx(loss.std() / np.sqrt(n), rel=0.2)
        assert known["curve"] @ shares == pytest.approx(1 - loss.mean(), abs=1e-3)


def stated(warm: int, moved: float, reference: int, runs: int = 25) -> np.ndarray:
    """Share of runs (12,) in which a number stands after each block of 50 moved answers, `warm` good ones before."""
    said = np.zeros(12)
    for run in range(runs):
        rng = np.random.default_rng(100 + run)
        check = LabelFree()
        memory = check.start(traffic(rng, reference))
        if warm:
            memory, _ = check.step(memory, traffic(rng, warm))
        for block in range(12):
            memory, finding = check.step(memory, traffic(rng, 50, moved=moved))
            said[block] += np.isfinite(finding.value)
    return said / runs


def test_the_first_bad_answers_do_not_hide_behind_good_ones() -> None:
    """Every input has moved by a fifth, their mean by .7; with the whole window alone a number stood for 200 answers."""
    said = stated(1000, 0.2, 2000)
    print(f"\nlabel_free.v1 after 1,000 good answers, a mean moved by .7: states a number {said}")
    assert said[0] > 0.8
    assert said[1:3].mean() <= 0.35
    assert said[3:].max() == 0
    assert stated(1000, 0.0, 2000).mean() >= 0.9


def test_no_number_before_the_answers_would_show_a_mean_that_moves() -> None:
    """A mean moved by .5, twice what is let pass, is stated in one window of ten at most, however early."""
    cold = stated(0, 0.145, 2000)
    print(f"\nlabel_free.v1 from its first answer, a mean moved by .5: states a number {cold}")
    assert cold.max() <= 0.12
    unchanged = stated(0, 0.0, 2000)
    assert unchanged[:4].max() == 0
    assert unchanged[5:].mean() >= 0.9
    small = stated(0, 0.0, 200, runs=10)
    assert small[:9].max() == 0  # too small a reference to see so small a move: the window has to be full
    assert small[9:].mean() >= 0.7
    check = LabelFree()
    rng = np.random.default_rng(9)
    memory, finding = check.step(check.start(traffic(rng, 2000)), traffic(rng, 150))
    assert finding.why == "unknown: 150 of the first 250 answers seen; fewer show no mean that moves"
    assert check.read(memory).labels == 0
