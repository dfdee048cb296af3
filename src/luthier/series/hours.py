"""The hour of the day or of the week that a row belongs to, and whether a column goes by it."""

from __future__ import annotations

import math
from datetime import datetime
from statistics import NormalDist
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from luthier.errors import StateError

__all__ = ["DAY", "WEEK", "WORKDAY", "hour_in", "hours_of_week", "season_of", "seasons_in"]

DAY, WORKDAY, WEEK = 24, 48, 168
"""Seasons, by how many hours they tell apart: those of a day, of workdays and weekends, of a week."""
SEEN = 2.9  # periods that a reference must span: three, without the gap between its last row and the end of the last
QUARTER = 900  # seconds: zones shift by 15 minutes
FIRST, LAST = -62_135_510_400, 253_402_214_400  # Unix seconds of the years 1 and 9999, a day off either end
CHANCE = 0.001  # of calling a column seasonal that is not
FEWEST = 1.0  # expected rows in a cell, on average, below which it is taken with others


def hours_of_week(seconds: Any, zone: str = "UTC") -> np.ndarray:
    """0 (Monday, midnight) to 167 of Unix seconds (n,) in a time zone with its daylight saving; -1 where there is no time.

    Raises StateError where there is no such zone.
    """
    seconds = np.asarray(seconds, np.float64)
    found = np.full(len(seconds), -1, np.int64)
    known = (seconds >= FIRST) & (seconds <= LAST)
    if zone == "UTC":
        found[known] = (
            np.floor_divide(seconds[known], 3600).astype(np.int64) + 3 * DAY
        ) % WEEK  # 1970 began on a Thursday
        return found
    try:
        there = ZoneInfo(zone)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise StateError(f"{zone!r} is no time zone: give a name such as Europe/Berlin") from error
    quarters, back = np.unique(np.floor_divide(seconds[known], QUARTER).astype(np.int64), return_inverse=True)
    moments = [datetime.fromtimestamp(int(quarter) * QUARTER, there) for quarter in quarters]
    found[known] = np.array([m.weekday() * DAY + m.hour for m in moments], np.int64)[back.reshape(-1)]
    return found


def hour_in(hours: Any, season: int) -> Any:
    """The hour (n,) in a season of 1, 24, 48 or 168; `season` itself where the hour of the week (n,) is not known (-1)."""
    if season == 1:
        return np.zeros(len(hours), np.int64)
    hour = hours % DAY + DAY * (hours >= 5 * DAY) if season == WORKDAY else hours % season
    return np.where(hours < 0, season, hour)


def seasons_in(seconds: Any) -> tuple[int, ...]:
    """The seasons that times (n,) span three times, which tells a season from a few odd days; the coarsest first."""
    known = seconds[np.isfinite(seconds)]
    hours = float(known.max() - known.min()) / 3600 if len(known) else 0.0
    return (DAY,) * (hours >= SEEN * DAY) + (WORKDAY, WEEK) * (hours >= SEEN * WEEK)


def season_of(cells: Any, hours: Any, among: tuple[int, ...]) -> int:
    """The season of rows that fall into cells (n,) at hours of the week (n,): the finest of `among` that says more than the one before.

    1 where none does. Pearson's chi-square of cells against hours, given the hour of the coarser season, beyond what one
    of 1,000 columns without a season reaches.
    """
    rows = hours >= 0
    cells, hours, found = cells[rows], hours[rows], 1
    for season in among:
        if _chance(cells, hour_in(hours, found), hour_in(hours, season)) < CHANCE:
            found = season
    return found


def _chance(cells: Any, coarse: Any, fine: Any) -> float:
    """The p-value of "cells do not depend on the fine hour, given the coarse one"; coarse hours are sums of fine ones."""
    size = int(cells.max()) + 1 if len(cells) else 0
    seen, place, of = np.unique(fine, return_inverse=True, return_counts=True)
    table = np.bincount(place * size + cells, minlength=len(seen) * size).reshape(len(seen), size)
    table = _taken_together(table)
    above = np.zeros(len(seen), np.int64)
    above[place] = coarse
    groups, group = np.unique(above, return_inverse=True)
    totals = np.zeros((len(groups), table.shape[1]))
    np.add.at(totals, group, table)
    expected = (totals / np.maximum(totals.sum(axis=1, keepdims=True), 1))[group] * of[:, None]
    freedom = (len(seen) - len(groups)) * (table.shape[1] - 1)
    if freedom <= 0:
        return 1.0
    square = float((np.square(table - expected) / np.where(expected > 0, expected, 1.0)).sum())
    spread = 2 / (9 * freedom)
    return NormalDist().cdf((1 - spread - (square / freedom) ** (1 / 3)) / math.sqrt(spread))  # Wilson & Hilferty 1931


def _taken_together(table: Any) -> Any:
    """Hours by cells, where the rare cells are one, lest chance rows in them count for much."""
    rare = table.mean(axis=0) < FEWEST
    return np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)]) if rare.any() else table
