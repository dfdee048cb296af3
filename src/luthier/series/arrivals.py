"""Have rows stopped coming? How long nothing came, against how long the waits before were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from luthier.evidence import p_to_e
from luthier.types import Finding, Promise

__all__ = ["FACTOR", "FEWEST", "Arrivals", "duration", "silence"]

FACTOR = 3.0  # times the usual longest wait before silence alarms
FEWEST = 30  # gaps before anything is said
_LEAST = 600.0  # seconds: a shorter silence calls nobody, as a restart takes that long
_SETTLED = 14 * 86_400.0  # seconds of history before silence pages: two weeks know nights and weekends


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When rows came, by their event times and by the clock at which they were read; all in Unix seconds.

    `longest`: the two longest waits. The second is what is usual, so that one outage does not make the watch deaf. `seen`: the
    last look; rows that are read next came after it. `came`: the newest rows came no earlier than this. `follows`: event times
    were once seen to keep up with the clock. Where they do not (history that is loaded, a simulation), nothing can be said.
    """

    rows: int = 0
    began: float = math.nan
    newest: float = math.nan
    longest: tuple[float, float] = (0.0, 0.0)
    seen: float = math.nan
    came: float = math.nan
    follows: bool = False

    @property
    def limit(self) -> float:
        """The wait in seconds beyond which rows have stopped."""
        return max(FACTOR * self.longest[1], _LEAST)

    def after(self, times: Sequence[float], now: float) -> Arrivals:
        """With the event times (n,) of rows that were read at `now`; times ahead of the clock count as `now`."""
        t = np.minimum(np.sort(np.asarray(times, dtype=np.float64)), now)
        t = t[~np.isnan(t)]
        fresh = t if math.isnan(self.newest) else t[t > self.newest]
        if not fresh.size:
            return self
        waits = np.diff(fresh)
        if not math.isnan(self.newest):
            waits = np.append(waits, max(float(fresh[0]) - self.newest, self._wait(self.seen)))
        second, first = np.sort(np.concatenate([self.longest, waits]))[-2:]
        grown = replace(
            self, rows=self.rows + len(fresh), began=float(np.fmin(self.began, fresh[0])), newest=float(fresh[-1]),
            longest=(float(first), float(second)), came=self.seen,
        )  # fmt: skip
        return replace(grown, follows=self.follows or now - grown.newest <= grown.limit)

    def silence(self, now: float) -> Finding | None:
        """What the wait at `now` says; None where nothing can be said."""
        if not self.follows or self.rows <= FEWEST:
            return None
        return silence(self._wait(now), self.limit, self.rows - 1, rank=2)

    def settled(self, now: float) -> bool:
        """Whether the waits of two weeks are known."""
        return now - self.began >= _SETTLED

    def plain(self) -> dict[str, Any]:
        """As plain data, for `read`."""
        return asdict(self)

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Arrivals:
        """What `plain` gave."""
        return cls(**{**plain, "longest": tuple(plain["longest"])})

    def _wait(self, now: float) -> float:
        """How long nothing had come by then; 0 where event times do not follow the clock."""
        wait = now - float(np.fmax(self.newest, self.came))
        return max(wait, 0.0) if self.follows and not math.isnan(wait) else 0.0


def silence(waited: float, limit: float, gaps: int, *, rank: int = 1) -> Finding:
    """Rows have stopped when none came for longer than `limit`, three times the longest (`rank` 2: second longest) of so
    many `gaps`, in seconds.

    A conformal p-value of the present gap: longer than the rank-th longest for at most rank in gaps + 1 if gaps are
    exchangeable, which the factor of three makes rarer.
    """
    promise = Promise("fixed", min(rank / (gaps + 1), 1.0))
    alarm = waited > limit
    which = "longest gap of" if rank == 1 else "second longest gap, 10 minutes at least, of"
    why = f"nothing has come for {duration(waited)}, allowed {duration(limit)} (three times the {which} {gaps})"
    return Finding(
        check="feed.v1", value=waited, limit=limit, evidence=p_to_e(promise.level) if alarm else 1.0, promise=promise,
        alarm=alarm, n=gaps, why=f"{why}. See whether the source still sends" if alarm else why,
    )  # fmt: skip


def duration(seconds: float) -> str:
    """3.5 hours, from seconds."""
    for size, unit in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
