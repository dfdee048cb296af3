"""People's sentences as live traffic over real HTTP: event times, late labels for some, and a count of every failure."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx

from luthier.types import Record

__all__ = ["Traffic"]

_BATCH = 8  # records a request
_CLIENTS = 4  # requests under way at once


@dataclass
class Traffic:
    """Sends records to a server one after the other in event time; a fixed share gets its true label back, late.

    `every`: event time between two records. `late`: how long after an answer its label comes.
    """

    address: str
    begin: datetime
    every: timedelta
    late: timedelta
    share: float = 0.2
    sent: int = 0
    failed: list[str] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    _due: list[tuple[datetime, str, str]] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def now(self) -> datetime:
        """The event time of the next record."""
        return self.begin + self.sent * self.every

    def send(self, records: Sequence[Record], *, until: Callable[[], bool] = lambda: False, pause: float = 0.0) -> int:
        """Send all of `records`, or as many as fit before `until()`; how many were sent."""
        count = 0
        with (
            httpx.Client(base_url=self.address, timeout=60) as client,
            ThreadPoolExecutor(_CLIENTS, thread_name_prefix="client") as clients,
        ):
            for start in range(0, len(records), _BATCH * _CLIENTS):
                if until():
                    break
                group = self._stamped(records[start : start + _BATCH * _CLIENTS])
                parts = [group[i : i + _BATCH] for i in range(0, len(group), _BATCH)]
                list(clients.map(lambda part: self._answer(client, part), parts))
                self._label(client)
                count += len(group)
                if pause:
                    threading.Event().wait(pause)
        return count

    def labels_due(self) -> int:
        """Labels that are still on their way."""
        return len(self._due)

    def flush(self) -> None:
        """Let event time pass until every label has come."""
        with httpx.Client(base_url=self.address, timeout=60) as client:
            self._label(client, everything=True)

    def _stamped(self, records: Iterable[Record]) -> list[tuple[Record, datetime]]:
        stamped = []
        for record in records:
            stamped.append((record, self.now))
            if _share(record.id) < self.share:
                self._due.append((self.now + self.late, record.id, record.target))
            self.sent += 1
        return stamped

    def _answer(self, client: httpx.Client, part: Sequence[tuple[Record, datetime]]) -> None:
        rows = [{"id": r.id, "input": r.input, "at": at.isoformat(), "tags": dict(r.tags)} for r, at in part]
        try:
            response = client.post("/v1/answer", json={"records": rows})
            response.raise_for_status()
            body = response.json()
        except (httpx.HTTPError, ValueError) as error:
            with self._guard:
                self.failed.append(f"{part[0][0].id}: {error}")
            return
        with self._guard:
            self.models.add(str(body["version"]))
            self.failed += [f"{one['id']}: not recorded" for one in body["answers"] if not one.get("recorded")]

    def _label(self, client: httpx.Client, *, everything: bool = False) -> None:
        now = self.now
        ripe = [due for due in self._due if everything or due[0] <= now]
        if not ripe:
            return
        self._due = [due for due in self._due if due not in set(ripe)]
        for start in range(0, len(ripe), 100):
            rows = [
                {"id": name, "target": target, "at": at.isoformat()} for at, name, target in ripe[start : start + 100]
            ]
            try:
                client.post("/v1/feedback", json={"labels": rows}).raise_for_status()
            except httpx.HTTPError as error:
                self.failed.append(f"feedback: {error}")


def _share(identifier: str) -> float:
    return int.from_bytes(hashlib.sha256(f"label\0{identifier}".encode()).digest()[:8], "big") / 2**64
