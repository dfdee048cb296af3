"""Event times: as people write them to Unix seconds, and rows in any order to buckets that are done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

import numpy as np

__all__ = ["close", "stream", "unix_seconds"]

State: TypeAlias = Mapping[str, Any]

_LATEST = 2.0**38  # seconds: the year 10680; whatever lies beyond ±that is no time


def unix_seconds(values: Any) -> np.ndarray:
    """Times as float64 (n,), seconds since 1970 in UTC; NaN where a value is missing or no time.

    Numbers are Unix seconds; numpy datetime64 and whatever has no time zone is taken as UTC; `datetime` (pandas'
    Timestamp too) and ISO 8601 text with an offset are converted.
    """
    array = np.asarray(values).ravel()
    if array.dtype.kind == "M":
        seconds = array.astype("datetime64[us]").astype(np.int64) / 1e6
        seconds[np.isnat(array)] = np.nan
    elif array.dtype.kind in "iuf":
        seconds = array.astype(np.float64)
    else:
        seconds = np.fromiter((_seconds(value) for value in array.tolist()), np.float64, len(array))
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(seconds) < _LATEST, seconds, np.nan)


def _seconds(value: Any) -> float:
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, np.datetime64):
            value = value.astype("datetime64[us]").item()
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):  # pandas' NaT and dates outside what a clock can hold among them
        return math.nan


# -- rows with event times to buckets that are done ----


def stream() -> dict[str, Any]:
    """The state of `close` before the first row."""
    return {
        "newest": -math.inf, "done": 0, "begun": False, "open": np.zeros(0, np.int64), "sum": np.zeros(0),
        "count": np.zeros(0), "late": 0, "ahead": 0, "untimed": 0,
    }  # fmt: skip


def close(
    state: State, seconds: np.ndarray, values: np.ndarray, width: float, lateness: float = 0.0
) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
    """Fold rows into buckets of `width` seconds; returns the new state and number, sum and count of those now done.

    Rows may come out of order: a bucket is done once a row comes `lateness` seconds after its end. Rows for a bucket
    that is done count as `late`, rows without a time as `untimed`, rows more than 28 days (or 100,000 buckets) ahead
    of all before as `ahead`, a clock that is wrong; all three are left out. A value that is not finite moves the
    clock and adds nothing. Buckets come in order, each once; those without a row are not among them. However the
    rows are cut into windows, the buckets are the same bit for bit.
    """
    timed = ~np.isnan(seconds)
    after = {**state, "untimed": state["untimed"] + int((~timed).sum())}
    seconds, values = seconds[timed], values[timed]
    clock, sound = _clock(state["newest"], seconds, min(28 * 86_400.0, 100_000 * width))
    bucket = np.floor(seconds / width).astype(np.int64)
    in_time = sound & (bucket >= np.floor((clock - lateness) / width))
    after["ahead"] += int((~sound).sum())
    after["late"] += int((sound & ~in_time).sum())
    if not sound.any():
        return after, state["open"][:0], state["sum"][:0], state["count"][:0]
    after["newest"] = float(clock[-1])
    bucket, values = bucket[in_time], values[in_time]
    seen = np.isfinite(values)
    numbers, place = np.unique(np.concatenate([state["open"], bucket]), return_inverse=True)
    total = np.bincount(place, np.concatenate([state["sum"], np.where(seen, values, 0.0)]), len(numbers))
    count = np.bincount(place, np.concatenate([state["count"], seen]), len(numbers))
    done = numbers < math.floor((after["newest"] - lateness) / width)
    after.update(open=numbers[~done], sum=total[~done], count=count[~done])
    after["done"], after["begun"] = math.floor((after["newest"] - lateness) / width), True
    return after, numbers[done], total[done], count[done]


def _clock(newest: float, seconds: np.ndarray, jump: float) -> tuple[np.ndarray, np.ndarray]:
    """The latest time so far at each row (n,), and which rows do not lie more than `jump` ahead of it."""
    clock = np.maximum.accumulate(np.concatenate([[newest], seconds]))
    before = clock[:-1]
    sound = (seconds - before <= jump) | np.isinf(before)
    if not sound.all():  # rare: row by row, since a row that is left out must not move the clock
        for row, moment in enumerate(seconds.tolist()):
            sound[row] = math.isinf(newest) or moment - newest <= jump
            newest = max(newest, moment) if sound[row] else newest
            clock[row + 1] = newest
    return clock[1:], sound
