"""One request on its way through the server, and how it can end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from luthier.errors import LuthierError
from luthier.types import Record

__all__ = ["Answer", "Busy", "Late", "NotReady", "Ticket"]


class Busy(LuthierError):
    """The queue is full; try again in a moment."""


class NotReady(LuthierError):
    """No champion is loaded yet, or the server is shutting down."""


class Late(LuthierError):
    """The model did not answer within the request's time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered record: `record` with `output` and `model` filled in, the version's number, whether it is durable.

    `error` is set instead when the model could not answer this record.
    """

    record: Record
    version: int
    recorded: bool = False
    error: str = ""


class Ticket:
    """One request on its way: settles when each of its records is answered and committed."""

    def __init__(self, records: Sequence[Record], deadline: float, version: int | None) -> None:
        self.future: Future[list[Answer]] = Future()
        self.records = records
        self.deadline = deadline  # time.monotonic()
        self.version = version  # the only version that may answer, or None
        self._answers: list[Answer | None] = [None] * len(records)
        self._open = set(range(len(records)))
        self._lock = threading.Lock()
        if not records:
            self.future.set_result([])

    def answered(self, index: int, answer: Answer) -> None:
        """The model is done with this record; its commit is still open."""
        with self._lock:
            self._answers[index] = answer

    def settle(self, index: int, answer: Answer) -> None:
        """Nothing more happens to this record; a second call changes nothing."""
        with self._lock:
            if index not in self._open:
                return
            self._answers[index] = answer
            self._open.discard(index)
            if not self._open and not self.future.done():
                self.future.set_result([made for made in self._answers if made is not None])

    def give_up(self) -> list[Answer]:
        """What is there when time is up: complete answers whose commit hangs come back as not recorded.

        Raises Late when the model has not answered all records.
        """
        with self._lock:
            if not self.future.done():
                made = [answer for answer in self._answers if answer is not None]
                late = len(self._answers) - len(made)
                if late:
                    problem = Late(
                        f"{late} of {len(self._answers)} records were not answered in time; send fewer or retry"
                    )
                    self.future.set_exception(problem)
                else:
                    self.future.set_result(made)
        return self.future.result()
