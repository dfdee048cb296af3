"""Many monitors under one budget of false pages, whether their models are in Python or in projects of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from luthier import codec
from luthier.errors import StateError, UsageError
from luthier.stages import detect, pages
from luthier.stages.monitor import Monitor
from luthier.stages.pages import Called
from luthier.stores.base import Row, Store
from luthier.stores.memory import MemoryStore
from luthier.types import Estimate, Finding, utc_now

__all__ = ["Fleet", "Paged"]


@dataclass(frozen=True, slots=True)
class Paged:
    """What a look at a fleet found: alarms that page (`loud`) and alarms that do not (`quiet`), their `subject` the monitor's
    name; and the open pages that nobody has acknowledged or snoozed."""

    loud: tuple[Finding, ...] = ()
    quiet: tuple[Finding, ...] = ()
    calling: Sequence[Called] = ()


class Fleet(MutableMapping[str, Monitor]):
    """Monitors by name, of any number of models, with one promise: together they page falsely at most
    `false_pages_per_month` times in 30 days on average.

    Feed each monitor as ever; `page` then judges all findings of all of them at once (models, slices and checks), by e-BH
    and by each one's share of the budget. `store` keeps the pages; without one they live as long as the fleet, and in `save`.

    Raises UsageError when the budget is not positive, or something else than monitors by name is given.

    >>> rng = np.random.default_rng(0)
    >>> def losses(n, risk):
    ...     return {"loss": (rng.random(n) < risk).astype(float)}
    >>> fleet = Fleet({f"shop {i}": Monitor(losses(2000, 0.1), checks=("risk.v1",)) for i in range(10)})
    >>> for name, monitor in fleet.items():
    ...     _ = monitor.observe("label", losses(500, 0.4 if name == "shop 3" else 0.1))
    >>> [(page.model, page.check) for page in fleet.page().calling]
    [('shop 3', 'risk.v1')]
    """

    def __init__(
        self, monitors: Mapping[str, Monitor] | None = None, *, false_pages_per_month: float = 1.0,
        store: Store | None = None,
    ) -> None:  # fmt: skip
        if not (isinstance(false_pages_per_month, int | float) and 0 < false_pages_per_month < math.inf):
            raise UsageError(f"false_pages_per_month is {false_pages_per_month!r}: it must be positive, a number")
        if not isinstance(monitors, Mapping | None):
            raise UsageError(
                f"a fleet has monitors by name, not a {type(monitors).__name__}: give {{name: Monitor(…)}}"
            )
        self.false_pages_per_month = false_pages_per_month
        self._monitors: dict[str, Monitor] = {}
        self._began: dict[str, datetime] = {}
        self._store: Store = store or MemoryStore()
        self.update(monitors or {})

    def __getitem__(self, name: str) -> Monitor:
        return self._monitors[name]

    def __setitem__(self, name: str, monitor: Monitor) -> None:
        if not isinstance(name, str) or not isinstance(monitor, Monitor):
            raise UsageError(
                f"{name!r} is given a {type(monitor).__name__}: a fleet has monitors by names that are text"
            )
        self._monitors[name] = monitor
        self._began.pop(name, None)

    def __delitem__(self, name: str) -> None:
        del self._monitors[name]
        self._began.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._monitors)

    def __len__(self) -> int:
        return len(self._monitors)

    def findings(self) -> list[Finding]:
        """The newest finding of every check and slice of every monitor."""
        return [replace(one, subject=name) for name, monitor in self.items() for one in monitor.findings()]

    def page(self, now: datetime | None = None) -> Paged:
        """Look at every monitor, and open and close pages. Call it after every batch, every hour or every day: the
        promise does not depend on how often. `now` (default: the clock) says which pages are snoozed."""
        found = {name: monitor.findings() for name, monitor in self.items()}
        looks = {name: detect.Look(findings, self._days(name, findings)) for name, findings in found.items()}
        judged = detect.page_together(looks, self.false_pages_per_month)
        now = utc_now() if now is None else _moment(now)
        called = pages.follow(self._store, found, {name: one.loud for name, one in judged.items()}, now)
        loud, quiet = (
            tuple(replace(one, subject=name) for name, page in judged.items() for one in getattr(page, part))
            for part in ("loud", "quiet")
        )
        return Paged(loud, quiet, pages.calling(called, now))

    def pages(self) -> list[Called]:
        """All pages there ever were, oldest first, with what labels of later answers say about them (`hindsight`)."""
        return pages.in_hindsight(pages.called(self._store), self._losses)

    def precision(self) -> Estimate:
        """Share of pages that were right in hindsight among those that labels can judge."""
        return pages.precision(self.pages())

    def acknowledge(self, page: str, why: str = "") -> Called:
        """Somebody has seen this page: it stays open but calls nobody any more."""
        return pages.acknowledge(self._store, page, why or "seen", utc_now())

    def snooze(self, page: str, hours: float = 24.0, why: str = "") -> Called:
        """This page calls nobody for `hours`."""
        return pages.snooze(self._store, page, hours, why, utc_now())

    def save(self) -> bytes:
        """Everything learned since the start, of all monitors and pages, as bytes for `restore`; no reference is in it."""
        rows = [[row.id, row.at.isoformat(), dict(row.body)] for row in self._store.scan("page")]
        monitors = {name: np.frombuffer(monitor.save(), np.uint8) for name, monitor in self.items()}
        return codec.pack({"version": 1, "monitors": monitors, "pages": rows})

    def restore(self, saved: bytes) -> None:
        """Go on where `save` was called. The fleet must hold a monitor, with its reference, for every name that was saved;
        others start anew.

        Raises StateError when the bytes are not from `save` or a monitor is missing; then nothing has changed.
        """
        state = codec.unpack(saved)
        if not isinstance(state, dict) or state.get("version") != 1 or "monitors" not in state:
            raise StateError("the saved fleet is not of version 1: it was written by something else or a newer Luthier")
        if missing := sorted(set(state["monitors"]) - set(self._monitors)):
            raise StateError(f"the saved fleet has a monitor {missing[0]!r} that this one lacks: add it first")
        try:
            rows = [Row(name, datetime.fromisoformat(at), dict(body)) for name, at, body in state["pages"]]
            saves = {name: bytes_.tobytes() for name, bytes_ in state["monitors"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"the saved fleet cannot be read: {error}. It is not what `save` gave") from error
        before = {name: self._monitors[name].save() for name in saves}
        try:
            for name, saved_ in saves.items():
                self._monitors[name].restore(saved_)
        except StateError:
            for name, kept in before.items():
                self._monitors[name].restore(kept)
            raise
        self._began.clear()
        self._store.append("page", rows)

    def _days(self, name: str, findings: Sequence[Finding]) -> float:
        """Days of event time from the first row of a monitor to its newest finding."""
        newest = max((one.at for one in findings if one.at), default=None)
        if newest is None:
            return 0.0
        if name not in self._began:
            began = self._monitors[name].began
            self._began[name] = newest if began is None else began
        return (newest - self._began[name]) / timedelta(days=1)

    def _losses(self, page: Called) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Mean loss of labelled answers in whole buckets since the page opened, as often as there were labels; of the
        whole traffic only, as buckets know no slices."""
        if page.slice or page.model not in self._monitors:
            return np.zeros(0)
        known = [row["loss"] for row in self._monitors[page.model].timeline() if row["at"] > page.opened]
        means, counts = [one.value for one in known if one.n], [one.n for one in known if one.n]
        return np.repeat(np.array(means, dtype=np.float64), counts)


def _moment(now: datetime) -> datetime:
    """A time that can be compared: without a zone it is UTC."""
    if not isinstance(now, datetime):
        raise UsageError(f"now is {now!r}: give a datetime, or leave it out for the clock")
    return now.replace(tzinfo=UTC) if now.tzinfo is None else now
