"""Ranges of confidence by a table are those of a binary search."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.fewlabels.ranges import MOST, first_ranges, range_of


@pytest.mark.parametrize("steep", [0.05, 1.0, 9.0])
@pytest.mark.parametrize("edges", [0, 1, 63])
def test_every_value_gets_the_range_of_a_binary_search(edges: int, steep: float) -> None:
    rng = np.random.default_rng(edges)
    sure = 1 / (1 + np.exp(-steep * np.abs(rng.standard_normal(20_000))))
    cuts = np.unique(np.quantile(sure, np.linspace(0, 1, edges + 2)[1:-1]))
    values = np.concatenate(
        [sure, cuts, np.nextafter(cuts, 0), np.nextafter(cuts, 1), [0, 1, -0.0, -3, 7, 1e300, -1e300]]
    )
    assert np.array_equal(range_of(cuts, first_ranges(cuts), values), np.searchsorted(cuts, values, side="right"))


def test_edges_that_crowd_where_there_are_no_keys_between_are_searched() -> None:
    cuts = np.sort(np.concatenate([0.5 + np.arange(20) * 1e-9, [-2.0, -1.0, 2.0]]))
    first = first_ranges(cuts)
    values = np.concatenate([cuts, cuts - 1e-10, [0.1, 0.9]])
    assert first[1] > MOST
    assert np.array_equal(range_of(cuts, first, values), np.searchsorted(cuts, values, side="right"))
