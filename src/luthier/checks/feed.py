"""Do rows come with sound event times, in order, and do they still come?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent
from luthier.evidence import LARGEST, clopper_pearson_upper, level_ever, level_now, rise, watch_rise
from luthier.names import register
from luthier.series.arrivals import FACTOR, FEWEST, duration, silence
from luthier.series.moments import unix_seconds
from luthier.types import Columns, Finding, Promise

__all__ = ["Feed"]

STILL = 0.9  # share of rows at the very time of the row before that is no sign of a clock that stands still
AHEAD = 28 * 86_400.0
STREAMS = {
    "untimed": ("without an event time", "Send `at` as ISO 8601 with its offset, or as Unix seconds, not milliseconds"),
    "late": ("more than {lateness:g} minutes behind the newest before them", "Look at queues, clocks and time zones"),
    "ahead": ("more than 28 days ahead of all before them", "Look at the clocks of the senders"),
    "gap": ("after a longer gap than any in the reference", "See why the feed stops and starts"),
    "same": ("at the very time of the row before", "A clock or a source may stand still: see whether it repeats itself"),
}  # fmt: skip


@register("check", "feed.v1")
@dataclass(frozen=True, slots=True)
class Feed:
    """Five e-SR detectors of the event times `at`: missing, out of order, far ahead, after a long gap, repeated.

    Each share may exceed the Clopper-Pearson bound (1 - delta for all) of the reference's own by `slack`; an alarm
    needs evidence 5 `arl` from one of them, so at most one false alarm comes in `arl` rows. Whether rows still come
    no row can tell: ask `silence`.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    slack: float = 0.01
    arl: float = 100_000
    delta: float = 0.025
    lateness: float = 5.0

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `at` (n,), see `luthier.series.moments.unix_seconds`, in the order in which rows came."""
        seconds = unix_seconds(reference.get("at", ()))
        gaps = np.diff(np.sort(seconds[~np.isnan(seconds)]))
        known: dict[str, Any] = {"why": "", "limits": {}, "gaps": len(gaps), "longest": 0.0}
        if len(gaps) < FEWEST or not gaps.max() > 0:
            known["why"] = (
                f"not watched: {len(gaps) + 1 if len(seconds) else 0} of {len(seconds)} reference rows have an event "
            )
            known["why"] += f"time (`at`); {FEWEST + 1} are needed, not all at one moment"
            return {"reference": known}
        known["longest"] = float(gaps.max())
        begun = {"newest": math.nan, "before": math.nan, "lag": 0.0}
        bad, _ = self._observe(known, seconds, begun)
        for name, hit in bad.items():
            wrong = int(hit.sum()) + (name == "gap")  # the next gap is the longest as often as any of them was
            bound = clopper_pearson_upper(min(wrong, len(hit)), len(hit), self.delta / len(bad)) + self.slack
            known["limits"][name] = min(max(bound, STILL if name == "same" else 1e-4), 1 - 1e-9)
        return {"reference": known, **begun, "alarm_n": 0, "streams": {name: rise() for name in bad}}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `at` (n,), in the order in which rows came; without it they have no times."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        n = max((len(values) for values in window.values()), default=0)
        if not n:
            return memory, self._finding(memory)
        bad, kept = self._observe(known, unix_seconds(window["at"]) if "at" in window else np.full(n, np.nan), memory)
        streams, first = {}, []
        for name, hit in bad.items():
            seen = memory["streams"][name]["detector"]["n"]
            streams[name], path = watch_rise(memory["streams"][name], hit.astype(np.float64), known["limits"][name])
            high = path >= self.arl * len(bad)
            first += [seen + int(high.argmax()) + 1] if high.any() else []
        alarm_n = memory["alarm_n"] or min(first, default=0)
        after = {**memory, **kept, "streams": streams, "alarm_n": alarm_n}
        return after, self._finding(after)

    def silence(self, memory: Memory, now: Any) -> Finding:
        """Have rows stopped? How long nothing has come by the time `now`, against three times the longest gap.

        A conformal p-value of the present gap among the reference's m: wrong for at most one gap in m + 1 if gaps are
        exchangeable, which the factor of three makes rarer.
        """
        known = memory["reference"]
        if known["why"] or math.isnan(memory["newest"]):
            promise = Promise("fixed", 1 / (known["gaps"] + 1))
            return silent(self.name, promise, known["why"] or "no row with an event time yet")
        waited = float(unix_seconds([now])[0]) - memory["newest"]
        return silence(waited, FACTOR * known["longest"], known["gaps"])

    def _observe(
        self, known: Memory, seconds: np.ndarray, memory: Memory
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Which rows are bad, (n,) a stream; and newest time, last time and last lag in seconds."""
        timed = ~np.isnan(seconds)
        bad = {name: np.zeros(len(seconds), bool) for name in STREAMS}
        bad["untimed"] = ~timed
        t = seconds[timed]
        if not len(t):
            return bad, {key: memory[key] for key in ("newest", "before", "lag")}
        before, ahead = self._newest(t, memory["newest"])
        lag = np.where(ahead, 0.0, before - t)
        late = lag > self.lateness * 60
        bad["late"][timed], bad["ahead"][timed] = late, ahead
        bad["gap"][timed] = -lag > known["longest"]
        bad["same"][timed] = t == np.concatenate([[memory["before"]], t[:-1]])
        newest = np.fmax(memory["newest"], t[~ahead].max()) if (~ahead).any() else memory["newest"]
        lag_now = float(lag[late][-1]) if late.any() else memory["lag"]
        return bad, {"newest": float(newest), "before": float(t[-1]), "lag": lag_now}

    def _newest(self, t: np.ndarray, newest: float) -> tuple[np.ndarray, np.ndarray]:
        """The newest time before each row (n,), NaN for none, and which rows lie too far ahead to count."""
        start = -math.inf if math.isnan(newest) else newest
        before = np.maximum.accumulate(np.concatenate([[start], t]))[:-1]
        ahead = (t - before > AHEAD) & np.isfinite(before)
        if ahead.any():  # rare: row by row, since a row too far ahead must not count as the newest
            for row, moment in enumerate(t.tolist()):
                before[row] = start
                ahead[row] = math.isfinite(start) and moment - start > AHEAD
                start = start if ahead[row] else max(start, moment)
        before[np.isinf(before)] = np.nan
        return before, ahead

    def _finding(self, memory: Memory) -> Finding:
        known, streams = memory["reference"], memory["streams"]
        name = max(STREAMS, key=lambda one: streams[one]["detector"]["value"])  # not by the order of a stored memory
        stream, limit = streams[name], known["limits"][name]
        n, evidence = stream["detector"]["n"], stream["detector"]["value"]
        if not n:
            return silent(self.name, self.promise, "no rows yet")
        says, way_out = STREAMS[name]
        value, says = level_ever(stream), says.format(lateness=self.lateness)
        why = f"column at: {value:.2%} of {n} rows {says}, allowed {limit:.2%}"
        if memory["alarm_n"]:
            recent, count, begun = level_now(stream)
            value = recent if count else value
            zone = _zone(memory["lag"]) if name == "late" else ""
            why = (
                f"column at: {value * count:.0f} of {count} rows since about row {begun + 1} ({value:.2%}) {says}{zone}, allowed "
                f"{limit:.2%}; shown at row {memory['alarm_n']}. {way_out}"
            )
        return Finding(
            check=self.name, value=value, limit=limit, evidence=min(evidence / len(streams), LARGEST), promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why,
        )  # fmt: skip


def _zone(lag: float) -> str:
    """A lag within a minute of whole quarters of an hour, at least one half, is probably a time zone."""
    quarters = round(lag / 900)
    if quarters >= 2 and quarters <= 26 * 4 and abs(lag - quarters * 900) <= 60:
        return f", the newest by {lag / 3600:.2f} hours (a time zone?)"
    return f", the newest by {duration(lag)}"
