"""One number over time: rows with event times in, innovations of a seasonal model out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from luthier.series import seasonal
from luthier.series.moments import close, stream, unix_seconds
from luthier.types import Columns

__all__ = ["Metric", "Points"]

Memory: TypeAlias = Mapping[str, Any]
FEWEST = 150  # points of the reference: 100 to fit, 50 to calibrate


class Points(NamedTuple):
    """Buckets in order, their values on the metric's scale, and innovations in robust sd; (m,) each."""

    buckets: np.ndarray
    values: np.ndarray
    z: np.ndarray


@dataclass(frozen=True, slots=True)
class Metric:
    """Which number to follow. One value every `minutes`: the mean of `column`, or with `of` "count" the rows.

    `scale` "log" suits latencies, "root" (Anscombe) counts. A bucket is done once a row comes `lateness` minutes
    after its end.
    """

    column: str = "confidence"
    of: Literal["mean", "count"] = "mean"
    minutes: float = 60.0
    lateness: float = 5.0
    scale: Literal["linear", "log", "root"] = "linear"

    def __post_init__(self) -> None:
        if not 1e-3 <= self.minutes <= 10_080:
            raise ValueError(f"minutes is {self.minutes!r}; it must lie in [0.001, 10080]")
        if not 0 <= self.lateness <= 10_080:
            raise ValueError(f"lateness is {self.lateness!r}; it must lie in [0, 10080] minutes")
        if self.of not in ("mean", "count") or self.scale not in ("linear", "log", "root"):
            raise ValueError(f"of is {self.of!r}, mean or count; scale is {self.scale!r}, linear, log or root")

    @property
    def when(self) -> Literal["answer", "label"]:
        return "label" if self.column in ("loss", "target") and self.of == "mean" else "answer"

    @property
    def label(self) -> str:
        return (
            f"rows per {self.minutes:g} min" if self.of == "count" else f"mean {self.column} per {self.minutes:g} min"
        )

    def rows(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Event times in Unix seconds and values, (n,) each; times are NaN where there is no column `at`."""
        n = max((len(values) for values in columns.values()), default=0)
        seconds = unix_seconds(columns["at"]) if "at" in columns else np.full(n, np.nan)
        if self.of == "count":
            return seconds, np.ones(n)
        values = np.asarray(columns.get(self.column, np.full(n, np.nan)))
        return seconds, values.astype(np.float64) if values.ndim == 1 else np.full(n, np.nan)

    def _done(self, state: Memory, after: Memory, closed: Any) -> tuple[np.ndarray, np.ndarray]:
        """Buckets that are now done and their values. A count of nothing is 0, a mean of nothing no point."""
        number, total, count = closed
        if self.of == "count":
            # the first bucket began before the stream did, so its count would be too small
            first = state["done"] if state["begun"] else (int(number[0]) + 1 if len(number) else after["done"])
            every = np.arange(max(first, after["done"] - 100_000), after["done"])
            values = np.zeros(len(every))
            known = np.isin(number, every)
            values[np.searchsorted(every, number[known])] = count[known]
            number = every
        else:
            number, values = number[count > 0], total[count > 0] / count[count > 0]
        values = self._scaled(values)
        return number[np.isfinite(values)], values[np.isfinite(values)]

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if self.scale == "linear":
            return values
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled: np.ndarray = np.log(values) if self.scale == "log" else 2 * np.sqrt(values + 0.375)
        return scaled

    def _unscaled(self, value: float) -> float:
        if self.scale == "linear":
            return value
        return math.exp(min(value, 700.0)) if self.scale == "log" else round(max((value / 2) ** 2 - 0.375, 0.0), 9)

    def learn(self, reference: Columns) -> dict[str, Any]:
        """{why, model, held: innovations (m,) of the last third, which the model was not fitted to}."""
        seconds, values = self.rows(reference)
        order = np.argsort(seconds, kind="stable")  # NaN last
        after, *closed = close(stream(), seconds[order], values[order], self.minutes * 60)
        buckets, y = self._done(stream(), after, closed)
        if len(y) < FEWEST:
            timed = int(np.isfinite(seconds).sum())
            why = f"the reference has {len(y)} points of {self.label}, from {timed} "
            return {"why": why + f"of {len(seconds)} rows with an event time (`at`); {FEWEST} are needed"}
        cut = len(y) * 2 // 3
        model = seasonal.fit(buckets[:cut], y[:cut], self.minutes * 60)
        if not model["scale"]:
            return {"why": f"the reference never changes: {self.label} is {y[0]:g} at {cut} points"}
        _, carried = seasonal.innovations(model, buckets[:cut], y[:cut])
        held, _ = seasonal.innovations(model, buckets[cut:], y[cut:], carried)
        return {"why": "", "model": model, "held": held}

    def begin(self) -> dict[str, Any]:
        """The memory of `advance` before the first row."""
        return {"rows": stream(), "carried": [0, math.nan], "newest": [math.nan, 0]}

    def advance(self, memory: Memory, model: Memory, window: Columns) -> tuple[dict[str, Any], Points]:
        """Memory with the rows taken in, and the points that are now done."""
        state = memory["rows"]
        after, *closed = close(state, *self.rows(window), self.minutes * 60, self.lateness * 60)
        buckets, values = self._done(state, after, closed)
        z, carried = seasonal.innovations(model, buckets, values, tuple(memory["carried"]))
        newest = [float(values[-1]), int(buckets[-1])] if len(values) else memory["newest"]
        return {**memory, "rows": after, "carried": list(carried), "newest": newest}, Points(buckets, values, z)

    def usual(self, model: Memory, bucket: int) -> float:
        """What the season alone says for a bucket, in the metric's own unit."""
        return self._unscaled(float(seasonal.expected(model, np.array([bucket]))[0]))

    def shown(self, value: float) -> str:
        """A value of `advance` in the metric's own unit."""
        return f"{self._unscaled(value):.4g}"

    def left_out(self, memory: Memory) -> str:
        rows = memory["rows"]
        parts = [("too late", rows["late"]), ("more than 28 days ahead", rows["ahead"]), ("no time", rows["untimed"])]
        said = ", ".join(f"{n} {what}" for what, n in parts if n)
        return f"; rows left out: {said}: look at the clocks and time zones of the senders" if said else ""

    def moment(self, bucket: int) -> str:
        try:
            return f"{datetime.fromtimestamp(bucket * self.minutes * 60, UTC):%Y-%m-%d %H:%M}"
        except (ValueError, OverflowError, OSError):
            return f"bucket {bucket}"
