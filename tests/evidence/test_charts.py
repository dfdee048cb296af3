"""Run lengths of control charts against the published tables, and against charts that are run."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.evidence.charts import arl_cusum, arl_ewma, cusum, cusum_limit, ewma

SHIFTS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4)
CUSUM = {
    4.0: (168, 74.2, 26.6, 13.3, 8.38, 4.75, 3.34, 2.62, 2.19, 1.71),
    5.0: (465, 139, 38.0, 17.0, 10.4, 5.75, 4.01, 3.11, 2.57, 2.01),
}
EWMA = {
    (0.1, 2.814): (500, 106, 31.3, 15.9, 10.3, 6.1, 4.4, 3.4, 2.9, 2.2),
    (0.2, 2.962): (500, 150, 41.8, 18.2, 10.5, 5.5, 3.7, 2.9, 2.4, 1.9),
    (0.4, 3.054): (500, 224, 71.2, 28.4, 14.3, 5.9, 3.5, 2.5, 2.0, 1.4),
}


def digit(printed: float) -> float:
    """Half of the last digit that a table prints."""
    places = len(repr(printed).partition(".")[2]) if isinstance(printed, float) else 0
    return 0.5 * 10.0**-places


@pytest.mark.parametrize("h", CUSUM)
def test_cusum_runs_as_long_as_the_table_says(h: float) -> None:
    """Montgomery's table for k = 0.5 (Lucas & Crosier)."""
    for shift, printed in zip(SHIFTS, CUSUM[h], strict=True):
        assert arl_cusum(h, shift, 0.5, 201) == pytest.approx(printed, abs=1.001 * digit(printed))


@pytest.mark.parametrize("chart", EWMA)
def test_ewma_runs_as_long_as_the_table_says(chart: tuple[float, float]) -> None:
    """Lucas & Saccucci 1990; their 500 stands for 497 to 501."""
    for shift, printed in zip(SHIFTS, EWMA[chart], strict=True):
        room = 3 if printed == 500 else 1.5 * digit(printed)
        assert arl_ewma(*chart, shift, 201) == pytest.approx(printed, abs=room)


def test_the_charts_run_as_long_as_the_chain_says() -> None:
    z = np.random.default_rng(0).standard_normal((400, 2000))
    runs = [_run(np.maximum(cusum(row), cusum(-row)) > 3) for row in z]
    assert np.mean(runs) == pytest.approx(arl_cusum(3.0), rel=0.15)
    runs = [_run(np.abs(ewma(row, 0.2)) > 2.4 * np.sqrt(0.2 / 1.8)) for row in z]
    assert np.mean(runs) == pytest.approx(arl_ewma(0.2, 2.4), rel=0.15)


def _run(beyond: np.ndarray) -> int:
    return int(beyond.argmax()) + 1 if beyond.any() else len(beyond)


@pytest.mark.parametrize("arl", [10.0, 500.0, 2000.0, 1e6])
def test_the_limit_of_an_arl_has_that_arl(arl: float) -> None:
    assert arl_cusum(cusum_limit(arl), 0.0, 0.5, 201) == pytest.approx(arl, rel=0.05)


def test_charts_go_on_where_they_were() -> None:
    z = np.random.default_rng(1).standard_normal(50)
    for chart in (cusum, ewma):
        first = chart(z[:20])
        np.testing.assert_array_equal(np.concatenate([first, chart(z[20:], carried=first[-1])]), chart(z))
