"""Answers wait for their label in bounded memory and come back in the order in which they are asked for."""

from __future__ import annotations

import numpy as np

from luthier import codec
from luthier.tables.waiting import Waiting


def test_rows_come_back_by_id_in_any_order_with_what_they_lack_missing() -> None:
    waiting = Waiting(10)
    waiting.add(["a", "b"], {"at": np.array([5.0, 1.0]), "x": np.array([1, 2]), "tag": np.array(["u", "v"])})
    waiting.add(["c"], {"at": np.array([3.0]), "y": np.array([0.5]), "tag": np.array([None], object)})
    found = waiting.rows(["c", "b", "a"])
    np.testing.assert_array_equal(found["x"], [np.nan, 2, 1])
    np.testing.assert_array_equal(found["y"], [0.5, np.nan, np.nan])
    assert found["tag"].tolist() == [None, "v", "u"]
    assert waiting.newest(2) == ["a", "c"]
    other = Waiting(10)
    other.load(codec.unpack(codec.pack(waiting.plain())))
    assert codec.pack(other.plain()) == codec.pack(waiting.plain())


def test_the_oldest_are_forgotten_and_memory_follows_those_that_wait() -> None:
    waiting = Waiting(1000)
    for block in range(400):
        ids = [f"{block}-{row}" for row in range(500)]
        waiting.add(ids, {"at": np.full(500, float(block)), "x": np.arange(500)})
        waiting.drop(ids[1:])  # one row of each block waits on
    assert len(waiting) == 400
    assert waiting._held <= 2 * 400 + 100_000 + 500
    assert waiting.rows(["399-0", "0-0"])["at"].tolist() == [399.0, 0.0]
    waiting.add([str(row) for row in range(900)], {"at": np.zeros(900), "x": np.zeros(900)})
    assert len(waiting) == 1000
    assert "0-0" not in waiting
    assert "399-0" in waiting
