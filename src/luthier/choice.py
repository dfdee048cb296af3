"""Which version of a check to run, where the name leaves that to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.evidence.dependence import correlation_time, season_length
from luthier.series.hours import hours_of_week, season_of, seasons_in
from luthier.series.moments import unix_seconds
from luthier.statistics.base import known_when
from luthier.tables.parts_by_hour import graded
from luthier.types import Columns

__all__ = ["chosen"]

_OWN = {
    "confidence", "margin", "entropy", "length", "predicted", "score", "guess", "embedding", "probabilities", "at", "id",
    "at_random", "champion_predicted", "group", "target_score", "scores", "gains", "ideal", "tokens",
}  # fmt: skip
_LOOKED_AT = 20_000  # rows of the reference


def chosen(checks: Sequence[Any], reference: Columns) -> list[Any]:
    """The checks with names without a version replaced by those that suit the reference; others as they are.

    risk          risk_block.v1 where `at` shows the reference in time order and its losses come in bursts or seasons,
                  else risk.v1: its detectors take each loss as independent of those before
    quality       quality.v2 where there are columns beyond what a model says of its answers, else quality.v1
    column_shift  column_shift.v2 where there are such columns and `at` shows that one of them goes by the hour, column_shift.v1
                  where none does, nothing where there are none
    """
    found: list[Any] = []
    for check in [checks] if isinstance(checks, str) else checks:
        if check == "risk":
            found.append("risk_block.v1" if _dependent(reference) else "risk.v1")
        elif check == "quality":
            found.append("quality.v2" if _is_table(reference) else "quality.v1")
        elif check != "column_shift":
            found.append(check)
        elif _is_table(reference):
            found.append("column_shift.v2" if _by_hour(reference) else "column_shift.v1")
    return found


def _dependent(reference: Columns) -> bool:
    """Whether the reference's losses, in the order of its event times, depend on those before, beyond chance."""
    if "loss" not in reference or "at" not in reference:
        return False
    losses, at = np.asarray(reference["loss"], np.float64).ravel(), unix_seconds(reference["at"])
    known = ~np.isnan(losses) & ~np.isnan(at)
    losses, at = losses[known], at[known]
    if not len(at) or (np.diff(at) < 0).any() or at[0] == at[-1]:
        return False  # no order in time: what looks like bursts may be how the file was sorted
    return correlation_time(losses)[0] > 1 or season_length(losses) > 0


def _by_hour(reference: Columns) -> bool:
    """Whether a column of the table is seen to go by the hour of the day or of the week, on rows evenly taken."""
    if "at" not in reference:
        return False
    at = unix_seconds(reference["at"])
    some = slice(None, None, max(len(at) // _LOOKED_AT, 1))
    hours, among = hours_of_week(at[some]), seasons_in(at)
    columns = (np.asarray(reference[name])[some] for name in _table(reference))
    return bool(among) and any(season_of(graded(values), hours, among) > 1 for values in columns)


def _is_table(reference: Columns) -> bool:
    return bool(_table(reference))


def _table(reference: Columns) -> list[str]:
    """Columns, known with the answer, that are not what a model says of its answers."""
    return [
        name
        for name, values in reference.items()
        if np.asarray(values).ndim == 1
        and known_when(name) == "answer"
        and name not in _OWN
        and not name.startswith("tag:")
    ]
