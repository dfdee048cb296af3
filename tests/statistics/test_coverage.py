"""Do the intervals that are printed hold the truth in 95 of 100 samples? The whole table is `bench/bench_coverage.py`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = str(Path(__file__).parents[2] / "bench")
TIMES = 250
LEAST, MOST = 223, 248  # of 250: binomial, for 200 estimates: 0.03 % of 95 %, and, as rows are whole numbers, 98 %


def load():
    sys.path.insert(0, BENCH)
    try:
        return importlib.import_module("bench_coverage")
    finally:
        sys.path.remove(BENCH)


bench = load()
CASES = [
    "mean of 0 and 1", "mean", "ratio", "histogram", "confusion, 5 classes", "confusion, 2 classes", "multilabel",
    "curves", "curves, rare positives", "auroc", "calibration, calibrated", "calibration, overconfident",
    "log_loss", "regression", "regression, weighted", "ranking", "group_metrics, 2 groups apart",
]  # fmt: skip


@pytest.mark.parametrize("title", CASES)
def test_every_interval_holds_the_truth(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "TRUTH", 400_000)
    found = bench.covered(*bench.CASES[title], TIMES, (200,))
    for key, (share,) in found.items():
        assert share * TIMES >= LEAST, (key, share)
        assert share * TIMES <= MOST or bench.wider(title, key), (key, share)


def test_one_kind_of_interval_at_a_time_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    found = bench.main(50, "log_loss")
    assert list(found["coverage"]) == ["log_loss"]
    assert '"coverage"' in capsys.readouterr().out


@pytest.mark.parametrize("part", ["cards", "mixes", "few", "distinct"])
def test_every_part_runs(part: str) -> None:
    for title, held in getattr(bench, part)(5).items():
        assert min(held) >= 0.2, title


def test_rates_are_held_at_every_number_of_rows() -> None:
    for title, rows in bench.shares(200):
        for shares in rows.values():
            assert min(shares) >= (0.93 if title.startswith("≥") else 0.88), title


def test_an_absent_end_excludes_nothing() -> None:
    assert bench.holds(None, 1.0)
    assert bench.holds(bench.Estimate(0.5, 1), 7.0)
    assert not bench.holds(bench.Estimate(0.5, 9, 0.4, np.nan), 0.3)
