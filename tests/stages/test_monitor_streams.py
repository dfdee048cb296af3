"""Streaming and batch are one: one pass, any batches, a restart in the middle, and shards give the same bytes."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luthier
from luthier.errors import StateError
from luthier.names import every, get
from luthier.options import MonitorOptions

DAY = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
WATCHING = {name: get("check", name)().when for name in every("check")}
ROWS = 160


def table(n: int, seed: int, risk: float = 0.1) -> dict[str, Any]:
    """Columns that every check finds its own among, with missing values, times out of order and two tags."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 3, n)
    wrong = rng.random(n) < risk
    plan = rng.choice(np.array(["free", "pro", "team"], object), n)
    plan[rng.random(n) < 0.05] = None
    return {
        "id": [f"{seed}-{row}" for row in range(n)],
        "at": DAY + rng.uniform(0, 20 * 3600, n),
        "target": target,
        "predicted": np.where(wrong, (target + 1) % 3, target),
        "confidence": np.where(rng.random(n) < 0.02, np.nan, rng.beta(8 - 4 * (risk > 0.1), 2, n)),
        "margin": rng.random(n),
        "entropy": rng.random(n),
        "length": rng.integers(3, 40, n).astype(float),
        "agrees": (rng.random(n) < 0.9).astype(float),
        "group": rng.choice(["a", "b"], n),
        "latency": rng.lognormal(0, 1, n),
        "embedding": rng.standard_normal((n, 4)).astype(np.float32),
        "lang": rng.choice(["de", "en", ""], n, p=[0.3, 0.1, 0.6]),
        "plan": plan,
    }


OPTIONS = MonitorOptions(slices=("lang", "lang&plan"), window_minutes=240)
ONE_SLICE = MonitorOptions(slices=("lang",), window_minutes=600)


@cache
def streams() -> tuple[dict[str, Any], dict[str, Any]]:
    """The reference, and a stream in order of event time and id."""
    stream = table(ROWS, 2, 0.4)
    order = np.lexsort((np.array(stream["id"]), stream["at"]))
    return table(400, 1), rows(stream, order)


def rows(columns: dict[str, Any], chosen: Any) -> dict[str, Any]:
    return {name: np.asarray(values)[chosen] for name, values in columns.items()}


def monitor(check: str) -> luthier.Monitor:
    return luthier.Monitor(streams()[0], options=ONE_SLICE, checks=(check,), task="loss")


@cache
def one_pass(check: str) -> bytes:
    whole = monitor(check)
    whole.observe(WATCHING[check], streams()[1])
    return whole.save()


@settings(max_examples=2, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("check", [name for name, when in WATCHING.items() if when in ("answer", "label")])
def test_one_pass_is_any_batches_is_a_restart_is_shards(check: str, data: st.DataObject) -> None:
    when = WATCHING[check]
    cuts = sorted(data.draw(st.lists(st.integers(0, ROWS), max_size=3), label="cuts"))
    restart = data.draw(st.integers(0, len(cuts)), label="restart before part")
    shard = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed of shards")).integers(0, 3, ROWS)
    parts = monitor(check)
    for number, (low, high) in enumerate(zip([0, *cuts], [*cuts, ROWS], strict=True)):
        if number == restart:
            parts, saved = monitor(check), parts.save()
            parts.restore(saved)
        parts.observe(when, rows(streams()[1], np.arange(low, high)))
    assert parts.save() == one_pass(check)
    merged = monitor(check)
    found = merged.replay(when, [rows(streams()[1], np.flatnonzero(shard == one)[::-1]) for one in range(3)])
    assert merged.save() == one_pass(check)
    assert repr(found) == repr(parts.findings(when))


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_states_of_shards_add_up_in_any_order(data: st.DataObject) -> None:
    reference, stream = streams()
    whole = luthier.Monitor(reference, options=OPTIONS, checks=())
    whole.observe("answer", stream)
    whole.observe("label", stream)
    whole.answer(rows(stream, np.arange(5)))
    shard = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed of shards")).integers(0, 4, ROWS)
    saved = []
    for one in data.draw(st.permutations(range(4))):
        part = luthier.Monitor(reference, options=OPTIONS, checks=())
        part.observe("label", rows(stream, np.flatnonzero(shard == one)))
        part.observe("answer", rows(stream, np.flatnonzero(shard == one)))
        if one == 0:
            part.answer(rows(stream, np.arange(5)))
        saved.append(part.save())
    merged = luthier.Monitor(reference, options=OPTIONS, checks=())
    merged.merge(saved)
    assert merged.save() == whole.save()
    assert repr(merged.metrics(slice="lang=de&plan=pro")) == repr(whole.metrics(slice="lang=de&plan=pro"))


def test_workers_sum_up_and_one_process_judges() -> None:
    reference, stream = streams()
    whole = luthier.Monitor(reference, options=OPTIONS, checks=("risk.v1",))
    whole.observe("label", stream)
    shards = [rows(stream, slice(start, None, 3)) for start in range(3)]
    workers = [luthier.Monitor(reference, options=OPTIONS, checks=()) for _ in shards]
    for worker, shard in zip(workers, shards, strict=True):
        worker.observe("label", shard)
    judge = luthier.Monitor(reference, options=OPTIONS, checks=("risk.v1",))
    judge.merge(workers)
    judge.replay("label", [[rows(s, slice(0, 40)), rows(s, slice(40, None))] for s in shards], states=False)
    assert judge.save() == whole.save()


def test_evidence_of_two_streams_does_not_add_up_and_a_refused_merge_changes_nothing() -> None:
    reference, stream = streams()
    parts = [luthier.Monitor(reference, checks=("risk.v1",)) for _ in range(2)]
    for part in parts:
        part.observe("label", stream)
    before = parts[0].save()
    with pytest.raises(StateError, match="order of rows and does not add up"):
        parts[0].merge(parts[1:])
    waiting = [luthier.Monitor(reference, checks=()) for _ in range(3)]
    for part in waiting[1:]:
        part.answer(rows(stream, np.arange(5)))
    with pytest.raises(StateError, match="column 'id': 5 of 10 rows wait in two of the monitors"):
        waiting[0].merge(waiting[1:])
    assert waiting[0].save() == luthier.Monitor(reference, checks=()).save()
    assert parts[0].save() == before


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        ([{"loss": [0.0], "at": [1.0]}], "shard 0 has no column 'id'"),
        ([{"loss": [0.0], "at": [1.0], "id": ["a"]}] * 2, "1 of 2 rows are there twice"),
        ([[{"loss": [0.0], "at": [one], "id": ["a"]} for one in (2.0, 1.0)]], "shard 0: a part begins at"),
        ([{"loss": [0.0, 0.0], "at": [1.0, None], "id": ["a", "b"]}], "1 of 2 rows have no event time"),
        ([{"loss": [0.0], "at": [1.0], "id": [None]}], "1 of 1 rows have no id"),
        (
            [{"loss": [0.0], "at": [1.0], "id": ["a"]}, {"loss": [0.0], "at": [1.0], "id": ["b"], "x": [1]}],
            r"the columns \['x'\]",
        ),
    ],
)
def test_shards_whose_order_is_not_known_are_refused(shards: list[Any], said: str) -> None:
    watched = luthier.Monitor({"loss": np.zeros(100)}, checks=("risk.v1",))
    with pytest.raises(StateError, match=said):
        watched.replay("label", shards)


def test_a_hostile_tag_keeps_a_bounded_number_of_slices_whatever_the_order() -> None:
    n = 50_000
    tags = np.char.add("user-", np.arange(n).astype(str))
    reference = {"loss": np.zeros(300), "user": np.resize(["a", "b", "c"], 300)}
    options = MonitorOptions(slices=("user",), checks=())
    stream = {"loss": np.zeros(n + 9), "user": np.concatenate([["a"] * 9, tags]), "at": np.full(n + 9, DAY)}
    whole, parts = (luthier.Monitor(reference, options=options) for _ in range(2))
    whole.observe("label", stream)
    for chosen in np.array_split(np.random.default_rng(0).permutation(n + 9), 30):
        parts.observe("label", rows(stream, chosen))
    assert parts.save() == whole.save()
    assert len(whole.save()) < 100_000
    assert len(whole.slices) == 98  # of 100: b and c, which the reference has, were not seen
    assert whole.metrics(slice="user=a")["loss"].n == 9


def test_the_oldest_buckets_go_first_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.scoring.buckets._KEPT", 9)
    monkeypatch.setattr("luthier.scoring.buckets._SLICED", 4)
    reference, stream = streams()
    options = MonitorOptions(slices=("lang",), window_minutes=60, checks=())
    whole, parts = (luthier.Monitor(reference, options=options) for _ in range(2))
    whole.observe("label", stream)
    for chosen in np.array_split(np.random.default_rng(4).permutation(ROWS), 50):
        parts.observe("label", rows(stream, chosen))
    assert parts.save() == whole.save()
    assert len(whole.timeline()) == 9
    assert 0 < sum(row["loss"].n > 0 for row in whole.timeline(slice="lang=de")) <= 4
