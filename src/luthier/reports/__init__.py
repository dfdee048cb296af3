"""Reports on tables, without a server, a project or torch: drift, performance and data quality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from luthier.errors import UsageError
from luthier.reports import drift, performance, quality
from luthier.reports.base import Report, Series, Table

__all__ = ["KINDS", "Report", "report"]

KINDS = ("drift", "performance", "quality")


def report(
    kind: Literal["drift", "performance", "quality"], reference: Table, current: Table, *, at: Any = None,
    every: str | float | None = None, chunk: int | None = None, alpha: float = 0.05, relevant: float = 0.0,
    categories: Iterable[str] = (), roles: Mapping[str, str | Sequence[str]] | None = None, title: str = "",
) -> Report:  # fmt: skip
    """A drift, performance or data-quality report of `current` against `reference`, for one window or a series.

    Tables are dictionaries of numpy arrays, Arrow tables, pandas or Polars frames; `current` may be an iterable of them
    (Parquet batches), read once. A series: `at`, a column of times or times (n,), with `every` ("hour", "day", "week",
    "month" or minutes, UTC), or `chunk` rows. Alarms: e-BH at `alpha` over all columns and windows. `relevant` (drift):
    the smallest Jensen–Shannon distance that matters. `categories`: columns of numbers that are names. `roles`
    (performance): which column is the target, predicted, score … where their names do not say so.

    Raises UsageError for another kind, StateError when a table cannot be read.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> good = {"age": rng.normal(40, 9, 2000)}
    >>> report("drift", good, {"age": rng.normal(44, 9, 2000)}).sheet.headline
    '1 column of 1 drifted: age.'
    """
    series = Series(at, every, chunk)
    named = title or f"{kind} report"
    if kind == "drift":
        return drift.report(reference, current, series, title=named, alpha=alpha, relevant=relevant, categories=categories)  # fmt: skip
    if kind == "quality":
        return quality.report(reference, current, series, title=named, alpha=alpha, categories=categories)
    if kind == "performance":
        return performance.report(reference, current, series, title=named, alpha=alpha, roles=roles or {})
    raise UsageError(f"{kind!r} is no kind of report; known are {', '.join(KINDS)}")
