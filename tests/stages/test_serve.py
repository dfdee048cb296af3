"""The serving engine: batches, durable before acknowledged, swaps between batches, bounds, bad models."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import StoreFull, UsageError
from luthier.options import ServeOptions
from luthier.stages.serve import Busy, Late, NotReady, Server
from luthier.tasks.text_classification import TextClassification
from luthier.types import Record, Version, utc_now

TASK = TextClassification(("negative", "positive"))


@dataclass
class Fixed:
    """A model that says the same of everything, in `seconds`, and notes its batches."""

    confidence: float = 0.75
    seconds: float = 0.0
    hold: threading.Event | None = None
    batches: list[int] = field(default_factory=list)

    def answer(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        self.batches.append(len(records))
        if self.hold is not None:
            self.hold.wait(20)
        time.sleep(self.seconds)
        if any(record.input == "poison" for record in records):
            raise RuntimeError("index out of range in self")
        scores = {"positive": self.confidence, "negative": 1 - self.confidence}
        return [{"label": "positive", "confidence": self.confidence, "scores": scores} for _ in records]


@dataclass
class House:
    """What loop.py wires to a server, in memory: versions to adapters, the champion, and the record."""

    models: dict[int, Any]
    champion: int = 1
    rows: list[Record] = field(default_factory=list)
    commit: Callable[[Record], Future[Any]] | None = None

    def load(self) -> tuple[Version, Any]:
        model = self.models[self.champion]
        if isinstance(model, Exception):
            raise model
        return Version(self.champion, "0" * 64, utc_now()), model

    def record(self, record: Record) -> Future[Any]:
        if self.commit is not None:
            return self.commit(record)
        seen = any(row.id == record.id for row in self.rows)
        self.rows.append(record)
        done: Future[Any] = Future()
        done.set_result("duplicate" if seen else "stored")
        return done


Open = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Open]:
    opened: list[Server] = []

    def make(house: House, wait: bool = True, **options: Any) -> Server:
        opened.append(
            Server(
                TASK, load=house.load, record=house.record, newest=lambda: house.champion,
                options=ServeOptions(**options), poll_s=0.02,
            ).start()
        )  # fmt: skip
        assert not wait or opened[-1].wait_ready(10)
        return opened[-1]

    yield make
    for server in opened:
        server.close(10)


def texts(n: int, start: int = 0, text: str = "a good film") -> list[Record]:
    return [Record(f"r{start + i}", utc_now(), text) for i in range(n)]


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


def test_every_answer_says_which_version_gave_it_and_is_recorded_with_it(serve: Open) -> None:
    house = House({1: Fixed()})
    server = serve(house)
    answers = server.answer(texts(3))
    assert [(a.record.id, a.version, a.recorded, a.error) for a in answers] == [
        (f"r{i}", 1, True, "") for i in range(3)
    ]
    assert [(row.id, row.model, row.output["label"]) for row in house.rows] == [
        (f"r{i}", "v1", "positive") for i in range(3)
    ]
    assert server.answer([]) == []


def test_an_answer_is_acknowledged_only_once_durable_and_the_model_does_not_wait_for_it(serve: Open) -> None:
    open_commits: list[Future[Any]] = []

    def commit(record: Record) -> Future[Any]:
        open_commits.append(Future())
        return open_commits[-1]

    model = Fixed()
    server = serve(House({1: model}, commit=commit), max_wait_ms=0)
    first = server.submit(texts(2))
    until(lambda: len(open_commits) == 2)
    second = server.submit(texts(1, start=2))
    until(lambda: len(open_commits) == 3)  # the next batch ran while the first one's commit was open
    assert not first.future.done()
    assert server.status().committing == 3
    open_commits[0].set_result("stored")
    assert not first.future.done()
    open_commits[1].set_result("stored")
    assert all(answer.recorded for answer in first.future.result(5))
    assert not second.future.done()
    open_commits[2].set_result("stored")
    assert second.future.result(5)[0].recorded


def test_requests_are_batched_and_no_batch_is_larger_than_asked(serve: Open) -> None:
    model = Fixed(seconds=0.01)
    server = serve(House({1: model}), max_batch=8, max_wait_ms=5)
    model.batches.clear()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: server.answer(texts(2, start=2 * i)), range(60)))
    assert [a.record.id for some in answers for a in some] == [f"r{i}" for i in range(120)]
    assert max(model.batches) <= 8
    assert sum(model.batches) == 120
    assert len(model.batches) < 60  # fewer runs than requests


def test_a_full_queue_says_busy_and_goes_on(serve: Open) -> None:
    model = Fixed()
    server = serve(House({1: model}), max_queue=4, max_batch=1, max_wait_ms=0)
    model.hold = threading.Event()
    running = server.submit(texts(1))
    until(lambda: server.status().waiting == 0)
    queued = server.submit(texts(4, start=1))
    with pytest.raises(Busy, match="4 records wait already"):
        server.submit(texts(1, start=9))
    with pytest.raises(UsageError, match="the queue holds 4"):
        server.submit(texts(5))
    model.hold.set()
    assert len(running.future.result(5) + queued.future.result(5)) == 5
    assert server.status().counts["busy"] == 1


def test_a_slow_model_is_late_and_what_nobody_waits_for_is_not_computed(serve: Open) -> None:
    model = Fixed()
    house = House({1: model})
    server = serve(house, timeout_s=0.2, max_batch=1, max_wait_ms=0)
    model.hold = threading.Event()
    server.submit(texts(1))
    model.batches.clear()
    with pytest.raises(Late, match="1 of 1 records were not answered in time"):
        server.answer(texts(1, start=1))
    model.hold.set()
    model.hold = None
    assert server.answer(texts(1, start=2))[0].recorded
    assert [row.id for row in house.rows] == ["r0", "r2"]


def test_when_commits_hang_or_fail_the_answer_is_given_and_marked(serve: Open) -> None:
    hanging: Future[Any] = Future()
    house = House({1: Fixed()}, commit=lambda record: hanging)
    server = serve(house, timeout_s=0.2)
    hung = server.answer(texts(1))
    assert (hung[0].record.output["label"], hung[0].recorded) == ("positive", False)
    hanging.set_result("stored")

    def full(record: Record) -> Future[Any]:
        if record.id == "r1":
            raise StoreFull("no space left for the store")
        failed: Future[Any] = Future()
        failed.set_exception(StoreFull("no space left for the store"))
        return failed

    house.commit = full
    assert [answer.recorded for answer in server.answer(texts(2, start=1))] == [False, False]
    assert server.status().counts["unrecorded"] == 2
    assert "no space left" in server.status().error
    house.commit = None
    assert server.answer(texts(1, start=5))[0].recorded


def test_an_id_that_came_before_is_answered_and_counted_once(serve: Open) -> None:
    server = serve(House({1: Fixed()}))
    assert all(answer.recorded for answer in server.answer(texts(1)) + server.answer(texts(1)))
    counts = server.status().counts
    assert (counts["recorded"], counts["duplicate"]) == (1, 1)


def test_one_record_the_model_cannot_take_does_not_fail_its_neighbours(serve: Open) -> None:
    house = House({1: Fixed()})
    server = serve(house)
    answers = server.answer([*texts(2), Record("bad", utc_now(), "poison"), *texts(1, start=2)])
    assert [bool(answer.error) for answer in answers] == [False, False, True, False]
    assert "index out of range" in answers[2].error
    assert sorted(row.id for row in house.rows) == ["r0", "r1", "r2"]


def test_a_confidence_that_is_no_number_is_an_error_and_is_on_record(serve: Open) -> None:
    model = Fixed()
    house = House({1: model})
    server = serve(house)
    model.confidence = math.nan
    answer = server.answer(texts(1))[0]
    assert "v1 gave confidence nan" in answer.error
    assert answer.recorded
    assert math.isnan(house.rows[0].output["confidence"])  # the quality check must be able to see it
    model.confidence = 0.75
    assert not server.answer(texts(1, start=1))[0].error


def test_a_version_that_does_not_load_or_warm_up_leaves_the_old_one_serving(serve: Open) -> None:
    house = House({1: Fixed(), 2: OSError("model.safetensors is cut short"), 3: Fixed(confidence=math.nan), 4: Fixed()})
    server = serve(house)
    for broken, why in ((2, "cut short"), (3, "v3 gave confidence nan at its warm-up")):
        house.champion = broken
        until(lambda why=why: why in server.status().error)
        assert server.answer(texts(1))[0].version == 1
    assert server.status().counts["swap_failures"] >= 2
    house.champion = 4
    until(lambda: server.status().version.number == 4)
    assert server.status().error == ""
    house.champion = 1  # a rollback is a swap like any other
    until(lambda: server.status().version.number == 1)
    assert server.answer(texts(1))[0].version == 1


def test_swaps_under_load_lose_and_fail_nothing(serve: Open) -> None:
    house = House({number: Fixed(confidence=0.5 + number / 100, seconds=0.001) for number in range(1, 7)})
    server = serve(house, max_batch=8)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.answer, texts(1, start=i)) for i in range(200)]
        for number in range(2, 7):
            until(lambda number=number: sum(one.done() for one in asked) >= 30 * (number - 1))
            house.champion = number
            until(lambda number=number: server.status().version.number == number)
        asked += [pool.submit(server.answer, texts(1, start=i)) for i in range(200, 300)]
    answers = [one.result()[0] for one in asked]
    assert not [answer.error for answer in answers if answer.error or not answer.recorded]
    assert Counter(row.id for row in house.rows) == Counter(f"r{i}" for i in range(300))
    for answer in answers:  # the version it names is the one that computed it
        assert answer.record.output["confidence"] == pytest.approx(0.5 + answer.version / 100)
    assert len({answer.version for answer in answers}) >= 3
    assert server.status().counts["swaps"] == 5


def test_a_request_for_one_version_is_never_answered_by_another(serve: Open) -> None:
    house = House({1: Fixed(), 2: Fixed()})
    server = serve(house)
    assert server.answer(texts(1), version=1)[0].version == 1
    house.champion = 2
    until(lambda: server.status().version.number == 2)
    gone = server.answer(texts(1, start=1), version=1)[0]
    assert "version 1 is not served" in gone.error
    assert [row.id for row in house.rows] == ["r0"]


def test_closing_answers_what_is_queued_and_takes_no_more(serve: Open) -> None:
    model = Fixed(seconds=0.02)
    server = serve(House({1: model}), max_batch=1, max_wait_ms=0)
    tickets = [server.submit(texts(1, start=i)) for i in range(5)]
    assert server.close(10)
    assert all(ticket.future.result(0)[0].recorded for ticket in tickets)
    with pytest.raises(NotReady, match="shutting down"):
        server.submit(texts(1))


def test_before_the_first_champion_nothing_is_taken(serve: Open) -> None:
    house = House({1: Fixed()}, champion=0)
    server = serve(house, wait=False)
    assert not server.wait_ready(0.1)
    with pytest.raises(NotReady, match="no model version is loaded"):
        server.submit(texts(1))
    house.champion = 1
    assert server.wait_ready(5)
    assert server.answer(texts(1))[0].version == 1


def test_inputs_stay_out_of_the_record_when_asked(serve: Open) -> None:
    house = House({1: Fixed()})
    answer = serve(house, record_inputs=False).answer(texts(1))[0]
    assert answer.record.input == "a good film"
    assert (house.rows[0].input, house.rows[0].output["label"]) == (None, "positive")


def test_a_real_model_answers_in_batches_as_it_does_one_by_one(serve: Open, tiny_model: Path, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    TASK.adapter(tiny_model).save(tmp_path)
    adapter = TASK.adapter(tmp_path)
    server = serve(House({1: adapter}))
    sentences = ["a good film", "the worst of all possible evenings, and a long one at that", "fine"] * 4
    records = [Record(f"s{i}", utc_now(), text) for i, text in enumerate(sentences)]
    alone = [adapter.answer([record])[0]["confidence"] for record in records]
    served = server.answer(records)
    assert [answer.record.output["confidence"] for answer in served] == pytest.approx(alone, abs=0.02)
    assert {answer.record.output["label"] for answer in served} <= {"negative", "positive"}
