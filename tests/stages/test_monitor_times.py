"""Columns of times: they move on their own, so no check takes them for what a model sees, unless it is asked to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import luthier
from luthier.names import get
from luthier.tables import times_among

N = 400
RNG = np.random.default_rng(0)
FAR = timezone(timedelta(hours=9))
TIMES: dict[str, Callable[[np.ndarray], Any]] = {
    "numpy": lambda moments: moments,
    "Arrow": lambda moments: pa.array(moments),
    "with a zone": lambda moments: pa.array(moments).cast(pa.timestamp("s", "Asia/Tokyo")),
    "pandas": lambda moments: pd.Series(moments),
    "Polars": lambda moments: pl.Series(moments.astype("datetime64[us]")),
    "dates": lambda moments: [one.date() for one in moments.tolist()],
    "zones mixed, some missing": lambda moments: [
        None if row % 7 == 0 else one.replace(tzinfo=FAR if row % 2 else UTC)
        for row, one in enumerate(moments.tolist())
    ],
    "with and without a zone": lambda moments: [
        one.replace(tzinfo=FAR) if row % 2 else one for row, one in enumerate(moments.tolist())
    ],
}


def answers(start: str, made: Callable[[np.ndarray], Any], scale: float = 1.0) -> dict[str, Any]:
    moments = np.datetime64(start, "s") + 3600 * np.arange(N)
    confidence = np.clip(RNG.beta(8, 1, N), 0.5, 1)
    wait = (RNG.exponential(60, N) * scale).astype("timedelta64[s]")
    return {"created": made(moments), "x": RNG.normal(size=N), "confidence": confidence, "loss": (RNG.random(N) > confidence) * 1.0, "wait": wait}  # fmt: skip


def table(columns: dict[str, Any], frame: str) -> Any:
    if frame == "pandas":
        return pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})
    return columns


@pytest.mark.parametrize("frame", ["dictionary", "pandas"])
@pytest.mark.parametrize("kind", TIMES)
def test_a_later_time_is_no_drift(kind: str, frame: str) -> None:
    if frame == "pandas" and kind in ("Arrow", "with a zone", "Polars"):
        return  # a frame holds its own
    checks = ("quality", "column_shift", "label_free.v2", "classifier_shift.v1")
    monitor = luthier.Monitor(table(answers("2026-01-01", TIMES[kind]), frame), checks=checks)
    assert "created holds times: no check reads it" in monitor.said
    for month in range(2, 6):
        window = table(answers(f"2026-{month:02d}-01", TIMES[kind]), frame)
        findings = monitor.observe("answer", window, at=f"2026-{month:02d}-20")
    assert len(findings) == 4
    assert not [one.why for one in findings if one.alarm]
    assert not [one.why for one in findings if "created" in one.why.split("not in the reference")[0]]


def test_a_time_that_is_asked_for_is_read_and_durations_are_numbers() -> None:
    made = TIMES["numpy"]
    asked = luthier.Monitor(
        answers("2026-01-01", made), checks=(get("check", "column_shift.v1")(columns=("created",)),)
    )
    assert "created" not in asked.said
    assert asked.observe("answer", answers("2027-01-01", made), at="2027-01-20")[0].alarm
    monitor = luthier.Monitor(answers("2026-01-01", made), checks=("column_shift",))
    for month in range(2, 6):
        (finding,) = monitor.observe("answer", answers(f"2026-{month:02d}-01", made, 10.0), at=f"2026-{month:02d}-20")
    assert finding.alarm
    assert "wait" in finding.why


def test_what_holds_times() -> None:
    columns: dict[str, Any] = {
        "time": np.zeros(2, "datetime64[s]"), "date": [date(2026, 1, 1), None], "both": [datetime(2026, 1, 1), date(2026, 1, 1)],
        "text": ["2026-01-01", "2026-01-02"], "mixed": [date(2026, 1, 1), 5], "none": [None, None], "wait": np.zeros(2, "timedelta64[s]"),
        "ragged": [[1], [1, 2]], "numbers": [1, 2], "vectors": np.zeros((2, 3)),
    }  # fmt: skip
    assert times_among(columns) == {"time", "date", "both"}
    frame = pd.DataFrame({name: columns[name] for name in ("time", "date", "text", "numbers")})
    assert times_among(frame) == {"time", "date"}
    assert times_among(pl.from_pandas(frame)) == times_among(pa.table(frame)) == {"time", "date"}
