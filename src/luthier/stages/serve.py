"""The engine behind the HTTP routes: batches requests, swaps the model between batches, and acknowledges an answer
only once its record is durable.

Three kinds of work, each on its own: the batcher thread runs the model; commits happen wherever `record` puts them,
while the next batch is already running; the watcher thread loads and warms up a new champion in the background. The
batcher reads the model once a batch, so a swap neither drops nor mixes anything.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from luthier.errors import LuthierError, UsageError
from luthier.options import ServeOptions
from luthier.tasks.base import Adapter, Task
from luthier.tickets import Answer, Busy, Late, NotReady, Ticket
from luthier.types import Record, Version, utc_now

__all__ = ["Answer", "Busy", "Late", "NotReady", "Server", "Status", "Ticket"]

log = logging.getLogger("luthier.serve")
_LONGEST_BACKOFF = 30.0  # seconds between attempts to load a version that will not load
_KEPT = 8  # recent records a new version is warmed up with


@dataclass(frozen=True, slots=True)
class Status:
    """What the server is doing. `counts`: answered (by version number), recorded, duplicate, unrecorded, failed,
    swaps, swap_failures, busy, late. `waiting`: records in the queue; `committing`: answered, not yet durable."""

    ready: bool
    version: Version | None
    waiting: int
    committing: int
    error: str
    answered: Mapping[int, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Item:
    ticket: Ticket
    index: int

    @property
    def record(self) -> Record:
        return self.ticket.records[self.index]


class Server:
    """Answers records with the newest champion.

    `load()` gives the champion's version and adapter; `newest()` its number (0: there is none yet) and is asked every
    `poll_s` seconds; `record(record)` starts a durable commit and gives a future that resolves when it is done
    (to "duplicate", or to something whose `duplicates` is not empty, for an id that was there before).
    """

    def __init__(
        self,
        task: Task,
        *,
        load: Callable[[], tuple[Version, Adapter]],
        record: Callable[[Record], Future[Any]],
        newest: Callable[[], int],
        options: ServeOptions | None = None,
        poll_s: float = 0.5,
    ) -> None:
        self.task = task
        self.options = options or ServeOptions()
        self._load, self._record, self._newest, self._poll = load, record, newest, poll_s
        self._model: tuple[Version, Adapter] | None = None
        self._queue: deque[_Item] = deque()
        self._arrived = threading.Condition()
        self._closing = False
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._counts: Counter[str] = Counter()
        self._answered: Counter[int] = Counter()
        self._committing = 0
        self._committed_all = threading.Condition()  # also guards the three counters
        self._error = ""
        self._recent: tuple[Record, ...] = ()
        self._threads: list[threading.Thread] = []

    # ---- the doors ----

    def start(self) -> Server:
        """Start the two threads; returns at once. The first champion is loaded by the watcher."""
        if not self._threads:
            for name, work in (("batcher", self._batch), ("watcher", self._watch)):
                self._threads.append(threading.Thread(target=work, name=f"luthier-{name}", daemon=True))
            for thread in self._threads:
                thread.start()
        return self

    def wait_ready(self, timeout: float | None = None) -> bool:
        """True once a champion is loaded, False when `timeout` seconds passed first."""
        return self._ready.wait(timeout)

    def submit(self, records: Sequence[Record], *, version: int | None = None) -> Ticket:
        """Queue one request.

        Raises NotReady without a champion, Busy when the queue has no room, UsageError for more records than it holds.
        """
        if len(records) > self.options.max_queue:
            raise UsageError(f"{len(records)} records in one request; the queue holds {self.options.max_queue}")
        ticket = Ticket(records, time.monotonic() + self.options.timeout_s, version)
        with self._arrived:
            if self._closing:
                raise NotReady("the server is shutting down; retry in a moment")
            if self._model is None:
                raise NotReady(self._error or "no model version is loaded yet; retry in a moment")
            if len(self._queue) + len(records) > self.options.max_queue:
                self._count(busy=1)
                raise Busy(
                    f"{len(self._queue)} records wait already (max_queue {self.options.max_queue}); retry in a moment"
                )
            self._queue.extend(_Item(ticket, index) for index in range(len(records)))
            self._arrived.notify()
        return ticket

    def answer(self, records: Sequence[Record], *, version: int | None = None) -> list[Answer]:
        """Answer and wait. Raises as `submit`, and Late after `timeout_s`."""
        ticket = self.submit(records, version=version)
        try:
            return ticket.future.result(self.options.timeout_s)
        except TimeoutError:
            return self.give_up(ticket)

    def give_up(self, ticket: Ticket) -> list[Answer]:
        """`ticket.give_up()`, counted."""
        self._count(late=1)
        return ticket.give_up()

    def status(self) -> Status:
        """A snapshot of version, queue and counts."""
        version = self._model[0] if self._model else None
        with self._committed_all:
            counts, answered, committing = dict(self._counts), dict(self._answered), self._committing
        ready = version is not None and not self._closing
        return Status(ready, version, len(self._queue), committing, self._error, answered, counts)

    def close(self, timeout: float = 30.0) -> bool:
        """Take no more requests, answer what is queued, wait for open commits; True when nothing was left over."""
        end = time.monotonic() + timeout
        with self._arrived:
            self._closing = True
            self._arrived.notify_all()
        self._stop.set()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._committed_all:
            done = self._committed_all.wait_for(lambda: self._committing == 0, max(0.0, end - time.monotonic()))
        return done and not any(thread.is_alive() for thread in self._threads)

    # ---- batching ----

    def _batch(self) -> None:
        while batch := self._take():
            try:
                self._answer_batch(batch)
            except Exception as error:  # the thread must outlive anything a model or a recorder does
                log.exception("a batch failed")
                for item in batch:
                    item.ticket.settle(item.index, Answer(item.record, 0, error=f"the server failed: {error}"))

    def _take(self) -> list[_Item]:
        """The next batch, at most `max_batch` records; empty when closing and drained.

        It is gathered for as long as requests follow each other within `max_wait_ms`, five times that at most.
        """
        size = self.options.max_batch
        with self._arrived:
            while not self._queue and not self._closing:
                self._arrived.wait()
            pause = self.options.max_wait_ms / 1000
            end = time.monotonic() + 5 * pause
            while len(self._queue) < size and not self._closing and (left := end - time.monotonic()) > 0:
                if not self._arrived.wait(min(pause, left)):
                    break
            return [self._queue.popleft() for _ in range(min(size, len(self._queue)))]

    def _answer_batch(self, batch: Sequence[_Item]) -> None:
        assert self._model is not None  # submit lets nothing in before
        version, adapter = self._model  # read once a batch: this is where a swap takes effect
        now = time.monotonic()
        wanted = []
        for item in batch:
            if item.ticket.future.done() or item.ticket.deadline < now:  # nobody waits for it any more
                continue
            if item.ticket.version not in (None, version.number):
                gone = f"version {item.ticket.version} is not served; version {version.number} is"
                item.ticket.settle(item.index, Answer(item.record, 0, error=gone))
                continue
            wanted.append(item)
        if not wanted:
            return
        outputs = _tried(adapter, [item.record for item in wanted])
        self._recent = tuple(item.record for item in wanted[:_KEPT])
        for item, output in zip(wanted, outputs, strict=True):
            self._settle(item, version, output)

    def _settle(self, item: _Item, version: Version, output: dict[str, Any] | str) -> None:
        if isinstance(output, str):
            self._count(failed=1)
            item.ticket.settle(item.index, Answer(item.record, version.number, error=output))
            return
        answer = Answer(replace(item.record, output=output, model=version.name), version.number)
        if flaw := _flaw(output):
            self._count(failed=1)
            answer = replace(answer, error=f"{version.name} gave {flaw} for this record, so it has no usable answer")
        item.ticket.answered(item.index, answer)
        with self._committed_all:
            self._answered[version.number] += 1
            self._committing += 1
        kept = answer.record if self.options.record_inputs else replace(answer.record, input=None)
        try:
            commit = self._record(kept)
        except Exception as error:
            commit = Future()
            commit.set_exception(error)
        commit.add_done_callback(partial(self._committed, item, answer))

    def _committed(self, item: _Item, answer: Answer, commit: Future[Any]) -> None:
        problem = None if commit.cancelled() else commit.exception()
        stored = problem is None and not commit.cancelled()
        if stored:
            outcome = "duplicate" if _is_duplicate(commit.result()) else "recorded"
        else:
            outcome = "unrecorded"
            self._error = f"an answer was not recorded: {problem or 'the commit was cancelled'}"
            log.error("record %s: %s", item.record.id, self._error)
        self._count(**{outcome: 1})
        item.ticket.settle(item.index, replace(answer, recorded=stored))
        with self._committed_all:
            self._committing -= 1
            self._committed_all.notify_all()

    def _count(self, **more: int) -> None:
        with self._committed_all:
            self._counts.update(more)

    # ---- hot swap ----

    def _watch(self) -> None:
        failures, pause = 0, 0.0
        while not self._stop.wait(pause):
            pause = self._poll
            try:
                number = self._newest()
                if number and (self._model is None or number != self._model[0].number):
                    self._swap()
                failures = 0
            except Exception as error:  # the old version goes on answering
                failures += 1
                pause = min(_LONGEST_BACKOFF, self._poll * 2**failures)
                self._error = f"the newest version could not be loaded: {type(error).__name__}: {error}"
                self._count(swap_failures=1)
                log.error("%s (attempt %d)", self._error, failures)

    def _swap(self) -> None:
        version, adapter = self._load()
        if sample := self._sample():
            for output in _checked(adapter, sample):
                if flaw := _flaw(output):
                    raise ValueError(f"{version.name} gave {flaw} at its warm-up")
        first = self._model is None
        self._model = (version, adapter)
        self._error = ""
        self._ready.set()
        if not first:
            self._count(swaps=1)
        log.info("serving %s (%s)", version.name, version.digest[:12])

    def _sample(self) -> Sequence[Record]:
        """Records to warm up with: the last real ones, else one short text where the task takes text."""
        if self._recent:
            return self._recent
        record = Record("warm-up", utc_now(), "a short text to warm up with")
        try:
            self.task.check(record)
        except LuthierError:
            return ()
        return (record,)


def _tried(adapter: Adapter, records: Sequence[Record]) -> list[dict[str, Any] | str]:
    """One output a record, in their order. When the model fails on several each is tried alone; the error of one is
    text."""
    try:
        return list(_checked(adapter, records))
    except Exception as error:
        if len(records) > 1:
            return [_tried(adapter, [record])[0] for record in records]
        log.warning("the model failed on record %s: %s", records[0].id, error)
        return [f"the model failed on this record: {type(error).__name__}: {error}"]


def _checked(adapter: Adapter, records: Sequence[Record]) -> list[dict[str, Any]]:
    outputs = adapter.answer(records)
    if len(outputs) != len(records):
        raise ValueError(f"{len(outputs)} outputs came for {len(records)} records")
    return outputs


def _flaw(output: Mapping[str, Any]) -> str:
    """The first number of an output that is not finite, in words; empty when all are."""
    scores = output.get("scores")
    numbers = [*output.items(), *(scores.items() if isinstance(scores, Mapping) else ())]
    for name, value in numbers:
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} {value}"
    return ""


def _is_duplicate(result: Any) -> bool:
    return result == "duplicate" if isinstance(result, str) else bool(getattr(result, "duplicates", ()))
