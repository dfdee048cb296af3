"""What was answered and what turned out to be true: durable, counted once, joined however late the truth comes.

Answers go in through `append` (or `Recorder`, which commits many at once), labels through `feedback`. A label that
comes before its answer waits in the store; the answer's own `append` then writes a "join" row, so that `joined` needs
only one number to give out every labelled answer exactly once, in the order in which they became labelled.
"""

from __future__ import annotations

import heapq
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeAlias

from luthier.errors import LuthierError, RecordError, StateError, StoreError
from luthier.rows import from_row, is_number, plain, to_row, with_label
from luthier.stores.base import Appended, Row, Store, encode
from luthier.types import Record, content_id, utc_now

__all__ = ["Feedback", "Joined", "Recorder", "append", "feedback", "from_row", "joined", "labelled", "to_row"]

Label: TypeAlias = Record | Mapping[str, Any]
"""A Record with id, at and target, or a mapping {id, target, at?, correct?, source?, at_random?}.

`at_random` False: the answer was picked for labelling because of what it is, so it does not stand for the traffic.
"""

_CHUNK = 2000  # labels of one transaction, ids of one lookup
_NUMBERED = re.compile(r"(.*)#(\d{1,9})", re.DOTALL)


# answers


def append(store: Store, rows: Sequence[Row]) -> Appended:
    """Store answers (from `to_row`) durably, and note which of them had a label waiting."""
    with store.transaction():
        done = store.append("answer", rows)
        early = _labels_of(store, done.stored)
        if early:
            store.append("join", [Row(id, labels[0].at) for id, labels in early.items()])
    return done


_Item: TypeAlias = tuple[Row, "Future[str]"]


class Recorder:
    """Commits answers in groups on a thread of its own, so that one fsync serves many requests.

    A group closes at `max_group` rows, or `max_wait_ms` after its first. `counts`: stored, duplicate, dropped (queue
    full), failed; `depth`: rows not yet committed. Close it, or use it as a context manager: what is queued is kept.
    """

    def __init__(
        self, store: Store, *, max_queue: int = 10_000, max_group: int = 512, max_wait_ms: float = 5.0
    ) -> None:
        self.store = store
        self._group, self._wait = max_group, max_wait_ms / 1000  # rows, seconds
        self._queue: queue.Queue[_Item | None] = queue.Queue(max_queue)
        self._counts: Counter[str] = Counter(stored=0, duplicate=0, dropped=0, failed=0)
        self._lock, self._closed = threading.Lock(), False
        self._thread = threading.Thread(target=self._work, name="luthier-recorder", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    @property
    def depth(self) -> int:
        return self._queue.qsize()

    def submit(self, record: Record) -> Future[str]:
        """A future of "stored" or "duplicate" that resolves once the record is durable, or fails with a StoreError.

        Raises RecordError or StateError for a record that cannot be kept, StoreError when the queue is full or closed.
        """
        row = to_row(record)
        encode("answer", row)  # a bad record fails here and alone, never its group
        future: Future[str] = Future()
        with self._lock:
            if self._closed:
                raise StoreError(f"record {record.id!r}: the recorder is closed; open a new one")
            try:
                self._queue.put_nowait((row, future))
            except queue.Full:
                self._counts["dropped"] += 1
                raise StoreError(
                    f"record {record.id!r} was not kept: {self._queue.maxsize} records wait for the disk already; "
                    f"slow down, or raise max_queue"
                ) from None
        return future

    def close(self) -> None:
        """Commit what is queued, then stop; closing twice is fine."""
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            self._queue.put(None)
        self._thread.join()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        more = True
        while more:
            group, more = self._next_group()
            if group:
                self._commit(group)

    def _next_group(self) -> tuple[list[_Item], bool]:
        item = self._queue.get()
        deadline = time.monotonic() + self._wait
        group: list[_Item] = []
        while item is not None:
            group.append(item)
            if len(group) >= self._group:
                return group, True
            try:
                item = self._queue.get(timeout=max(deadline - time.monotonic(), 0.0))
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list[_Item]) -> None:
        try:
            done = append(self.store, [row for row, _ in group])
        except Exception as error:  # the thread must outlive whatever the disk does; every caller is told
            problem = error if isinstance(error, LuthierError) else StoreError(f"the answers were not kept: {error!r}")
            self._count("failed", len(group))
            for _, future in group:
                if future.set_running_or_notify_cancel():
                    future.set_exception(problem)
            return
        self._count("stored", len(done.stored))
        self._count("duplicate", len(done.duplicates))
        fresh = set(done.stored)
        for row, future in group:
            outcome = "stored" if row.id in fresh else "duplicate"
            fresh.discard(row.id)
            if future.set_running_or_notify_cancel():
                future.set_result(outcome)

    def _count(self, outcome: str, n: int) -> None:
        with self._lock:
            self._counts[outcome] += n


# labels


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of labels: each is stored (perhaps `waiting` for its answer, perhaps as a correction), a duplicate,
    or rejected with the reason why; `conflicts` are the rejected ones that contradict an earlier label."""

    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    waiting: int = 0
    rejected: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Batch:
    """The labels of one transaction: what is known of each id, what will be written."""

    chains: dict[str, list[Row]]
    fresh: list[tuple[str, Row]] = field(default_factory=list)  # (the answer's id, label row)
    rejected: list[tuple[str, str, Any]] = field(default_factory=list)  # (id, why, target)
    duplicates: int = 0
    conflicts: int = 0


def feedback(
    store: Store, labels: Sequence[Label], *, known: Callable[[Record], None] | None = None, now: datetime | None = None
) -> Feedback:
    """Store labels; safe to repeat. A second, different label needs `correct: true` and then becomes the target.

    `known(record)` raises for a target that the task does not have; the record has only id, at and target. A label
    without answer is stored and waits. Rejections are also rows of kind "rejection". Raises StoreError only.
    """
    now, total = now or utc_now(), Feedback()
    for start in range(0, len(labels), _CHUNK):
        with store.transaction():
            part = _feedback(store, labels[start : start + _CHUNK], known, now)
        total = Feedback(
            total.stored + part.stored, total.duplicates + part.duplicates, total.conflicts + part.conflicts,
            total.waiting + part.waiting, total.rejected + part.rejected,
        )  # fmt: skip
    return total


def _feedback(store: Store, labels: Sequence[Label], known: Callable[[Record], None] | None, now: datetime) -> Feedback:
    ids = [str(_field(label, "id")) for label in labels]
    batch = _Batch(_labels_of(store, ids))
    for id, label in zip(ids, labels, strict=True):
        try:
            _take(batch, label, known, now)
        except (LuthierError, TypeError, ValueError, ArithmeticError, OSError, RecursionError) as error:
            batch.rejected.append((id[:200], str(error)[:500], _field(label, "target")))
    store.append("label", [row for _, row in batch.fresh])
    store.append("rejection", [_rejection(*one, now) for one in batch.rejected])
    answered = store.known("answer", [id for id, _ in batch.fresh])
    waiting = sum(id not in answered for id, _ in batch.fresh)
    rejected = tuple((id, why) for id, why, _ in batch.rejected)
    return Feedback(len(batch.fresh), batch.duplicates, batch.conflicts, waiting, rejected)


def _take(batch: _Batch, label: Label, known: Callable[[Record], None] | None, now: datetime) -> None:
    id, target, at = _field(label, "id"), _field(label, "target"), _moment(_field(label, "at"), now)
    if not isinstance(id, str):
        raise RecordError(f"label {id!r:.80}: an id is text, the same as the answer's")
    if known is not None and target is not None:
        known(Record(id, at, None, target=target))
    target = plain(target)
    if target is None:
        raise RecordError(f"label {id!r:.80}: there is no target")
    earlier = batch.chains.get(id, [])
    correct = _field(label, "correct") is True
    if earlier and target in ([earlier[-1].body["target"]] if correct else [row.body["target"] for row in earlier]):
        batch.duplicates += 1
        return
    if earlier and not correct:
        batch.conflicts += 1
        raise RecordError(
            f"label {id!r:.80}: {target!r:.80} contradicts the earlier label {earlier[-1].body['target']!r:.80}; "
            f"send it with correct: true if it is the truth"
        )
    body: dict[str, Any] = {"target": target, "source": str(_field(label, "source") or "feedback")[:200]}
    if _field(label, "at_random") is False or not (earlier[0].body if earlier else {}).get("at_random", True):
        body["at_random"] = False
    number = max((_parts(row.id)[1] for row in earlier), default=0) + 1
    row = Row(_label_id(id, number), at, body | ({"corrects": id} if earlier else {}))
    encode("label", row)  # raises StateError for an id or target that no row can hold
    batch.chains.setdefault(id, []).append(row)
    batch.fresh.append((id, row))


def _field(label: Label, name: str) -> Any:
    return label.get(name) if isinstance(label, Mapping) else getattr(label, name, None)


def _moment(at: Any, now: datetime) -> datetime:
    if at is None:
        return now
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    elif is_number(at):
        at = datetime.fromtimestamp(at, UTC)
    if not isinstance(at, datetime):
        raise StateError(f"at is {at!r:.80}; it must be an ISO 8601 time or Unix seconds")
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _rejection(id: str, why: str, target: Any, now: datetime) -> Row:
    body = {"of": "label", "id": id, "target": f"{target!r:.200}", "why": why}
    return Row(content_id(body), now, body)  # the same rejection again is the same row


def _label_id(id: str, number: int) -> str:
    """The row id of an answer's label number 1, 2, …; an answer whose own id ends in #2 always gets its number."""
    return id if number == 1 and not _NUMBERED.fullmatch(id) else f"{id}#{number}"


def _parts(row_id: str) -> tuple[str, int]:
    """The answer's id, and which of its labels this is."""
    found = _NUMBERED.fullmatch(row_id)
    return (found[1], int(found[2])) if found else (row_id, 1)


def _labels_of(store: Store, ids: Sequence[str]) -> dict[str, list[Row]]:
    """All labels of each answer that has one, the first first, then its corrections."""
    found: dict[str, list[Row]] = {}
    wanted, number = list(dict.fromkeys(ids)), 1
    while wanted:
        rows = store.lookup("label", [_label_id(id, number) for id in wanted])
        wanted = [id for id in wanted if _label_id(id, number) in rows]
        for id in wanted:
            found.setdefault(id, []).append(rows[_label_id(id, number)])
        number += 1
    return found


# joined


@dataclass(frozen=True, slots=True)
class Joined:
    """Newly labelled answers with their target, and answers whose target was corrected (the new one); `cursor` is the
    `since` of the next call, `waiting` the labels met that have no answer yet (they come when it does)."""

    records: tuple[Record, ...]
    cursor: int
    waiting: int = 0
    corrected: tuple[Record, ...] = ()


def joined(store: Store, since: int = 0, limit: int | None = None) -> Joined:
    """What became labelled after `since`, each answer exactly once, in that order; at most `limit` steps of it.

    A label takes effect at its own row when its answer was there, else at the "join" row that came with the answer.
    """
    end = max(store.last("label"), store.last("join"))  # rows up to here are all committed: seq is given in that order
    rows = list(islice(_merged(store, since, end), limit))
    parts = [(row, *_parts(row.id)) if is_label else (row, row.id, 0) for is_label, row in rows]
    answers: dict[str, Row] = {}
    early: dict[str, list[Row]] = {}
    for start in range(0, len(parts), _CHUNK):
        some = parts[start : start + _CHUNK]
        answers |= store.lookup("answer", [id for _, id, _ in some])
        early |= _labels_of(store, [id for _, id, number in some if number == 0])
    records: list[Record] = []
    corrected: list[Record] = []
    waiting = 0
    for row, id, number in parts:
        answer = answers.get(id)
        waiting += answer is None
        if answer is None or (number and answer.seq > row.seq):
            continue  # the join row that came with the answer gives it out
        for label in early[id] if number == 0 else [row]:
            if label.seq <= row.seq:
                (corrected if "corrects" in label.body else records).append(with_label(answer, label))
    return Joined(tuple(records), rows[-1][1].seq if rows else since, waiting, tuple(corrected))


def _merged(store: Store, since: int, end: int) -> Iterator[tuple[bool, Row]]:
    labels = ((True, row) for row in store.scan("label", since=since))
    joins = ((False, row) for row in store.scan("join", since=since))
    for is_label, row in heapq.merge(labels, joins, key=lambda one: one[1].seq):
        if row.seq > end:
            return
        yield is_label, row


def labelled(
    store: Store, ids: Sequence[str] | None = None, *, start: datetime | None = None, end: datetime | None = None
) -> list[Record]:
    """Answers with their final target, corrections applied: those of `ids` in that order, else all in label order.

    `start` <= at < `end` of the answer. An id without answer or label is left out.
    """
    wanted: Iterator[str]
    if ids is None:
        wanted = (_parts(row.id)[0] for row in store.scan("label") if "corrects" not in row.body)
    else:
        wanted = iter(dict.fromkeys(ids))
    found: list[Record] = []
    while some := list(islice(wanted, _CHUNK)):
        labels, answers = _labels_of(store, some), store.lookup("answer", some)
        found += [with_label(answers[id], labels[id][-1]) for id in some if id in labels and id in answers]
    return [one for one in found if (start is None or one.at >= start) and (end is None or one.at < end)]
