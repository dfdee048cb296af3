"""Answers in, labels in whenever they come, each joined exactly once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.errors import RecordError, StateError, StoreError, StoreFull, TargetError
from luthier.stages.record import Recorder, append, feedback, from_row, joined, labelled, to_row
from luthier.stores.base import Store
from luthier.stores.memory import MemoryStore
from luthier.stores.sqlite import SqliteStore
from luthier.types import Record

T0 = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite", "sealed"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Any = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path)
    if request.param == "sealed":  # every transaction's rows go straight into segments
        plain: Callable[[], Any] = made.transaction

        @contextmanager
        def sealing() -> Iterator[None]:
            with plain():
                yield
            assert made.seal("answer", least=1) + made.seal("label", least=1) >= 0

        made.transaction = sealing
    yield made
    if request.param == "sealed" and made.count("answer"):
        assert list((tmp_path / "segments" / "answer").glob("*.parquet"))
    made.close()


def answer(id: str, **output: Any) -> Record:
    said = {"label": "positive", "confidence": 0.9, "length": 4} | output
    return Record(id, T0, f"text of {id}", output=said, model="v1", tags={"domain": "tweets"})


def keep(store: Store, *ids: str) -> None:
    append(store, [to_row(answer(id)) for id in ids])


def drain(store: Store, since: int = 0, limit: int | None = None) -> tuple[list[str], list[str], int]:
    records: list[str] = []
    corrected: list[str] = []
    while True:
        part = joined(store, since, limit)
        records += [one.id for one in part.records]
        corrected += [one.id for one in part.corrected]
        if part.cursor == since:
            return records, corrected, since
        since = part.cursor


# rows


def test_an_answer_comes_back_as_it_was(store: Store) -> None:
    embedding = np.linspace(-2, 2, 8).astype(np.float16)
    record = answer("a", margin=np.float32(0.25), entropy=float("nan"), scores={"positive": 0.9}, embedding=embedding)
    row = to_row(record)
    assert row.body["output"] == {
        "label": "positive", "confidence": 0.9, "length": 4, "margin": 0.25, "entropy": None,
        "scores": {"positive": 0.9},
    }  # fmt: skip
    assert len(row.blob) == 16
    append(store, [row])
    (back,) = (from_row(one) for one in store.scan("answer"))
    assert (back.id, back.at, back.input, back.model, back.tags) == ("a", T0, record.input, "v1", {"domain": "tweets"})
    np.testing.assert_array_equal(back.output["embedding"], embedding)
    assert np.isnan(back.output["entropy"])
    assert (back.output["margin"], back.output["length"]) == (0.25, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": object()},
        {"x": {1, 2}},
        {"embedding": "text"},
        {"embedding": np.zeros((2, 2))},
        {"embedding": [[1], [1, 2]]},
    ],
)
def test_an_answer_that_is_no_plain_data_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="record 'bad'"):
        to_row(answer("bad", **wrong))


def test_an_answer_with_odd_but_plain_output_is_kept(store: Store) -> None:
    odd = [
        answer("a", big=10**400, inf=np.inf, flag=np.bool_(True)),
        Record("b", T0, None),
        Record("c", T0, "x", output="y"),
    ]
    append(store, [to_row(one) for one in odd])
    a, b, c = (from_row(row) for row in store.scan("answer"))
    assert (a.output["big"], a.output["inf"], a.output["flag"]) == (10**400, np.inf, True)
    assert (b.output, c.output) == (None, "y")


# recorder


def test_recorder_commits_in_groups_and_counts(store: Store) -> None:
    with Recorder(store) as recorder:
        futures = [recorder.submit(answer(f"a{i % 90}")) for i in range(100)]
        outcomes = [future.result(10) for future in futures]
    assert sorted(set(outcomes)) == ["duplicate", "stored"]
    assert recorder.counts == {"stored": 90, "duplicate": 10, "dropped": 0, "failed": 0}
    assert store.count("answer") == 90
    with pytest.raises(StoreError, match="closed"):
        recorder.submit(answer("late"))


class Slow:
    """A memory store whose commits wait or fail when told to."""

    def __init__(self) -> None:
        self.inner, self.groups = MemoryStore(), list[int]()
        self.go, self.problem = threading.Event(), list[Exception]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.go.wait(10)
        if self.problem:
            raise self.problem.pop()
        with self.inner.transaction():
            yield

    def append(self, kind: str, rows: Any) -> Any:
        self.groups.append(len(rows))
        return self.inner.append(kind, rows)


def test_a_full_queue_refuses_and_loses_nothing_accepted() -> None:
    store: Any = Slow()
    recorder = Recorder(store, max_queue=10, max_group=4, max_wait_ms=0)
    accepted, refused = [], 0
    for i in range(40):
        try:
            accepted.append(recorder.submit(answer(f"a{i}")))
        except StoreError as error:
            assert "max_queue" in str(error)  # noqa: PT017
            refused += 1
    assert refused == recorder.counts["dropped"] >= 26
    store.go.set()
    recorder.close()
    assert [future.result(0) for future in accepted] == ["stored"] * len(accepted)
    assert max(store.groups) <= 4
    assert store.count("answer") == len(accepted) == recorder.counts["stored"]


def test_a_failing_disk_fails_its_group_and_the_next_goes_on() -> None:
    store: Any = Slow()
    store.go.set()
    with Recorder(store, max_wait_ms=0) as recorder:
        for problem, shown in ((StoreFull("no space"), StoreFull), (ValueError("odd"), StoreError)):
            store.problem = [problem]
            with pytest.raises(shown):
                recorder.submit(answer("a")).result(10)
        assert recorder.submit(answer("a")).result(10) == "stored"
    assert recorder.counts == {"stored": 1, "duplicate": 0, "dropped": 0, "failed": 2}


def test_a_bad_record_is_refused_alone() -> None:
    store = MemoryStore()
    with Recorder(store, max_wait_ms=20) as recorder:
        good = recorder.submit(answer("good"))
        for bad in (
            Record("", T0, "x"),
            Record("n", datetime(2026, 1, 1), "x"),
            answer("x" * 600),
            answer("b", t="y" * 9**8),
        ):
            with pytest.raises(StateError):
                recorder.submit(bad)
        cancelled = recorder.submit(answer("cancelled"))
        cancelled.cancel()
        assert good.result(10) == "stored"
    assert store.count("answer") == 2  # a caller that went away does not undo the answer


# feedback


def label(id: Any, target: Any, **more: Any) -> dict[str, Any]:
    return {"id": id, "target": target} | more


def test_labels_are_stored_counted_and_contradictions_seen(store: Store) -> None:
    keep(store, "a", "b")
    done = feedback(
        store, [label("a", "x"), label("a", "x"), label("b", "y"), label("c", "z"), label("b", "x")], now=T0
    )
    assert (done.stored, done.duplicates, done.conflicts, done.waiting) == (3, 1, 1, 1)
    assert done.rejected[0][0] == "b"
    assert "correct: true" in done.rejected[0][1]
    again = feedback(store, [label("a", "x"), label("b", "x")], now=T0)
    assert (again.stored, again.duplicates, again.conflicts) == (0, 1, 1)
    (rejection,) = store.scan("rejection")
    assert rejection.body["id"] == "b"
    assert "contradicts" in rejection.body["why"]


def test_a_correction_replaces_and_its_repetition_does_not(store: Store) -> None:
    keep(store, "a")
    feedback(store, [label("a", "x")])
    assert feedback(store, [label("a", "y", correct=True), label("a", "y", correct=True)]).stored == 1
    assert feedback(store, [label("a", "x"), label("a", "y")]).duplicates == 2  # late repetitions of what was said
    assert feedback(store, [label("a", "x", correct=True)]).stored == 1
    assert [row.id for row in store.scan("label")] == ["a", "a#2", "a#3"]
    assert store.lookup("label", ["a#3"])["a#3"].body["corrects"] == "a"
    assert [one.target for one in labelled(store)] == ["x"]
    records, corrected, _ = drain(store)
    assert (records, corrected) == (["a"], ["a", "a"])
    assert [one.target for one in joined(store).corrected] == ["y", "x"]


def test_ids_that_look_like_corrections_are_kept_apart(store: Store) -> None:
    keep(store, "a", "a#2", "a#2#1")
    feedback(store, [label("a", "x"), label("a#2", "y"), label("a#2#1", "z"), label("a", "w", correct=True)])
    assert {one.id: one.target for one in labelled(store)} == {"a": "w", "a#2": "y", "a#2#1": "z"}
    assert drain(store)[:2] == (["a", "a#2", "a#2#1"], ["a"])


@pytest.mark.parametrize(
    "bad",
    [
        label(None, "x"), label(7, "x"), label("", "x"), label("a", None), label("a", float("nan")),
        label("\ud800", "x"),
        label("i" * 600, "x"), label("a", object()), label("a", "x", at="yesterday"), label("a", "x", at=1e300),
        label("a", "x", at=[]), label("a", "unknown"), label("a", {"x": 1}), {}, "text", None, 3.5,
        label("a", "y" * 9_000_000),
    ],
)  # fmt: skip
def test_a_bad_label_is_rejected_with_its_reason_and_the_rest_goes_on(bad: Any) -> None:
    store = MemoryStore()
    keep(store, "a", "b")

    def known(record: Record) -> None:
        if record.target in {"unknown"}:  # a TypeError for what cannot be hashed
            raise TargetError(f"record {record.id}: 'unknown' is not a label")

    done = feedback(store, [bad, label("b", "x", at="2026-04-01T12:00:00Z")], known=known, now=T0)
    assert (done.stored, len(done.rejected)) == (1, 1)
    assert 10 < len(done.rejected[0][1]) <= 500
    assert store.count("rejection") == 1
    assert [row.at for row in store.scan("label")] == [datetime(2026, 4, 1, 12, tzinfo=UTC)]


def test_records_and_every_form_of_time_are_labels() -> None:
    store = MemoryStore()
    given = [
        Record("a", T0, None, target="x"),
        label("b", 1, at=0),
        label("c", ["B", "I"], at="2026-04-01 10:00+02:00"),
    ]
    assert feedback(store, given, now=T0).waiting == 3
    assert [row.at for row in store.scan("label")] == [T0, datetime(1970, 1, 1, tzinfo=UTC), T0.replace(hour=8)]


# joined


def test_a_label_before_its_answer_waits_and_is_given_out_once(store: Store) -> None:
    keep(store, "a")
    feedback(store, [label("early", "x"), label("a", "y"), label("early", "z", correct=True)])
    first = joined(store)
    assert ([one.id for one in first.records], first.waiting) == (["a"], 2)
    assert labelled(store)[0].id == "a"
    keep(store, "early", "unlabelled")
    second = joined(store, first.cursor)
    assert [(one.id, one.target) for one in second.records] == [("early", "x")]
    assert [(one.id, one.target) for one in second.corrected] == [("early", "z")]
    third = joined(store, second.cursor)
    assert (third.records, third.corrected, third.cursor) == ((), (), second.cursor)
    assert [(one.id, one.target) for one in labelled(store)] == [("early", "z"), ("a", "y")]
    assert [one.id for one in labelled(store, ["nobody", "a", "early", "a"])] == ["a", "early"]


def test_labelled_takes_a_window_of_event_time() -> None:
    store = MemoryStore()
    append(store, [to_row(Record(f"a{i}", T0 + timedelta(hours=i), "x")) for i in range(5)])
    feedback(store, [label(f"a{i}", "x") for i in (4, 3, 2, 1)])
    window = labelled(store, start=T0 + timedelta(hours=2), end=T0 + timedelta(hours=4))
    assert [one.id for one in window] == ["a3", "a2"]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_order_every_labelled_answer_comes_exactly_once(store: Store, seed: int) -> None:
    draw = random.Random(seed)
    events = [("answer", f"i{i}") for i in range(25)] + [("label", f"i{i}") for i in range(25) if i % 5]
    draw.shuffle(events)
    given: list[str] = []
    cursor = 0
    for kind, id in events:
        if kind == "answer":
            keep(store, id)
        else:
            feedback(store, [label(id, "x")])
        if draw.random() < 0.2:
            part = joined(store, cursor, draw.choice([1, 3, None]))
            given, cursor = given + [one.id for one in part.records], part.cursor
    rest, _, _ = drain(store, cursor, limit=2)
    both = [id for i, (kind, id) in enumerate(events) if ("answer" if kind == "label" else "label", id) in events[:i]]
    assert given + rest == both


def test_the_order_holds_when_recorder_and_feedback_race(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    ids = [f"r{i}" for i in range(200)]

    def teach() -> None:
        for start in range(0, 200, 10):
            feedback(store, [label(id, "x") for id in ids[start : start + 10]])

    teacher = threading.Thread(target=teach)
    given: list[str] = []
    cursor = 0
    with Recorder(store, max_group=16, max_wait_ms=1) as recorder:
        teacher.start()
        for id in reversed(ids):
            recorder.submit(answer(id))
            if id.endswith("0"):
                part = joined(store, cursor)
                given, cursor = given + [one.id for one in part.records], part.cursor
    teacher.join()
    given += drain(store, cursor)[0]
    assert sorted(given) == sorted(ids)
