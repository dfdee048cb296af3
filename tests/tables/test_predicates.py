from __future__ import annotations

import numpy as np

import luthier
from luthier.checks.risk import Risk
from luthier.options import MonitorOptions
from luthier.tables.predicates import MOST, Slices


def test_texts_that_begin_alike_are_one_slice_and_no_row_is_lost() -> None:
    tags = np.array(["x" * 70 + "a", "x" * 70 + "b", "y"] * 40)
    slices = Slices.of(["tag"], {"tag": tags})
    assert slices.pinned["tag"] == ("tag=" + "x" * 64, "tag=y")
    _, rows = slices.seen({"tag": tags})
    assert {name: len(chosen) for name, chosen in rows} == {"tag=" + "x" * 64: 80, "tag=y": 40}


def test_rows_are_those_that_comparing_names_finds() -> None:
    rng = np.random.default_rng(0)
    table = {"tag": rng.integers(0, 5000, 20_000), "plan": rng.choice(["a", "b", ""], 20_000)}
    slices = Slices.of(["tag", "tag&plan"], {name: values[:8000] for name, values in table.items()})
    after, rows = slices.seen(table)
    assert after.names >= {name for name, _ in rows}
    assert len(rows) > MOST
    for name, chosen in rows:
        tag, _, plan = name.removeprefix("tag=").partition("&")
        there = (table["tag"].astype(str) == tag) & (not plan or table["plan"] == plan.removeprefix("plan="))
        assert (chosen == np.flatnonzero(there)).all()
    assert len(after.others["tag"]) + len(after.pinned["tag"]) == MOST


def test_a_check_learns_the_whole_reference_once_for_all_slices_that_are_few() -> None:
    learned = []

    class Counted(Risk):
        __slots__ = ()

        def start(self, reference):  # type: ignore[no-untyped-def]
            learned.append(len(reference["loss"]))
            return Risk.start(self, reference)

    rng = np.random.default_rng(0)
    rows = {
        "loss": (rng.random(2000) < 0.1) * 1.0,
        "tag": np.where(rng.random(2000) < 0.5, 0, rng.integers(1, 2000, 2000)),
    }
    monitor = luthier.Monitor(rows, checks=(Counted(),), options=MonitorOptions(slices=("tag",)))
    monitor.observe("label", rows, at="2026-01-01")
    assert len(monitor.slices) == MOST
    assert sorted(learned) == [int((rows["tag"] == 0).sum()), 2000]
