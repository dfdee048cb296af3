"""Windows: every row in its own, whatever the parts, the library and the order it comes in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from luthier.errors import StateError
from luthier.reports.base import MOST_WINDOWS, Series, fold

START = np.datetime64("2026-03-01T22:00:00")  # a Sunday
AT = START + (np.arange(100) * 3600).astype("timedelta64[s]")


def windows(table: Any, series: Series) -> dict[str, list[float]]:
    def step(state: list[float] | None, part: Any) -> list[float]:
        values = part["x"].to_pylist() if hasattr(part["x"], "to_pylist") else np.asarray(part["x"]).tolist()
        return [*(state or []), *values]

    return {window.name: values for window, values in fold(table, series, step)[0].items()}


def table(n: int = 100) -> dict[str, Any]:
    return {"x": np.arange(n, dtype=float), "at": AT[:n]}


@pytest.mark.parametrize("every", ["hour", "day", "week", "month", 90, 720.0])
def test_every_row_is_in_the_window_of_its_time(every: Any) -> None:
    found, _ = fold(table(), Series("at", every), lambda state, part: [*(state or []), *part["x"].tolist()])
    assert sorted(value for values in found.values() for value in values) == list(range(100))
    for window, values in found.items():
        assert window.start is not None
        assert window.end is not None
        for row in values:
            moment = AT[int(row)].astype("datetime64[s]").item().replace(tzinfo=UTC)
            assert window.start <= moment < window.end
    assert [window.start for window in found] == sorted(window.start for window in found)


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    assert list(windows(table(), Series("at", "week"))) == ["2026-02-23", "2026-03-02"]
    assert list(windows(table(), Series("at", "month"))) == ["2026-03"]
    assert next(iter(windows(table(), Series("at", "hour")))) == "2026-03-01 22:00"


@pytest.mark.parametrize("series", [Series("at", "day"), Series(chunk=7), Series()], ids=["day", "chunk", "whole"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_parts_of_any_size_and_of_any_library_give_the_same(series: Series, size: int) -> None:
    whole = windows(table(), series)
    arrow = pa.table(table())
    assert windows((arrow.slice(start, size) for start in range(0, 100, size)), series) == whole
    assert windows(arrow, series) == whole
    pandas = pytest.importorskip("pandas")
    assert windows(pandas.DataFrame(table()), series) == whole


def test_rows_out_of_order_find_their_window() -> None:
    order = np.random.default_rng(0).permutation(100)
    shuffled = {name: values[order] for name, values in table().items()}
    found = windows(shuffled, Series("at", "day"))
    assert {name: sorted(values) for name, values in found.items()} == windows(table(), Series("at", "day"))


@pytest.mark.parametrize(
    "at",
    [
        AT.astype("datetime64[s]").astype(np.int64).astype(float),
        [str(moment) for moment in AT],
        [f"{moment}+00:00" for moment in AT],
        pa.array(AT.astype("datetime64[us]").astype(object), pa.timestamp("us", "UTC")),
        [moment.astype("datetime64[s]").item().replace(tzinfo=UTC) for moment in AT],
    ],
    ids=["unix", "text", "text with a zone", "arrow", "datetime"],
)
def test_times_of_every_kind(at: Any) -> None:
    expected = windows(table(), Series("at", "day"))
    assert windows({"x": table()["x"], "at": at}, Series("at", "day")) == expected
    assert windows({"x": table()["x"]}, Series(at, "day")) == expected


def test_a_zone_is_turned_into_utc() -> None:
    at = pa.array([datetime(2026, 3, 1, 23, 30)], pa.timestamp("us", "UTC")).cast(pa.timestamp("us", "Asia/Tokyo"))
    assert list(windows(pa.table({"x": [1.0], "at": at}), Series("at", "day"))) == ["2026-03-01"]


def test_rows_without_a_time_are_counted() -> None:
    at = AT.copy()
    at[[3, 9]] = np.datetime64("NaT")
    found, left_out = fold(
        {"x": np.arange(100.0), "at": at}, Series("at", "day"), lambda state, part: (state or 0) + len(part["x"])
    )
    assert left_out == 2
    assert sum(found.values()) == 98


def test_without_a_length_days_or_hours() -> None:
    assert len(windows(table(), Series("at"))) == 6
    assert len(windows(table(30), Series("at"))) == 30


def test_no_rows_give_one_empty_window() -> None:
    for series in (Series(), Series("at", "day"), Series(chunk=5)):
        assert windows({"x": np.zeros(0), "at": AT[:0]}, series) == {"current": []}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": "day"}, "name the column of times in `at`"),
        ({"at": "at", "every": "fortnight"}, "give hour, day, week, month"),
        ({"at": "at", "every": -5}, "give hour, day, week, month"),
        ({"at": "at", "every": float("nan")}, "give hour, day, week, month"),
        ({"chunk": 0}, "at least one row"),
        ({"at": "at", "every": "day", "chunk": 5}, "not both"),
    ],
)
def test_a_wrong_series_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(StateError, match=words):
        Series(**options)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ([1.8e12] * 100, "100 of 100 rows hold no time.*Milliseconds"),
        (["soon"] * 100, "100 of 100 rows hold no time.*row 0, 'soon'"),
        (AT[:5], "5 times for 100 rows"),
        ("when", "there is no column 'when' of times; there are x, at"),
    ],
)
def test_wrong_times_are_refused(at: Any, words: str) -> None:
    with pytest.raises(StateError, match=words):
        windows(table(), Series(at, "day"))


def test_too_many_windows_are_refused() -> None:
    many = {"x": np.zeros(MOST_WINDOWS + 2)}
    with pytest.raises(StateError, match="cut into longer ones"):
        windows(many, Series(chunk=1))


def test_what_is_no_table_is_refused() -> None:
    for thing in (3, "file.csv", np.zeros(3)):
        with pytest.raises(StateError, match="is not a table"):
            windows(thing, Series())
