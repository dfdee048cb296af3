"""Reports on tables, without a server, a project or torch: drift, performance and data quality."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from luthier.errors import UsageError
from luthier.reports import compare, drift, performance, quality
from luthier.reports.base import Report, Series
from luthier.scoring import Scoring
from luthier.tables import tablefiles
from luthier.tables.tabular import Table

__all__ = ["KINDS", "Report", "compare_projects", "of_files", "of_project", "report"]

Progress = Callable[[str, float, Mapping[str, float]], None]

KINDS = ("drift", "performance", "quality")


def report(
    kind: Literal["drift", "performance", "quality"], reference: Table, current: Table, *, at: Any = None,
    every: str | float | None = None, chunk: int | None = None, alpha: float = 0.05, relevant: float = 0.0,
    categories: Iterable[str] = (), task: str | Scoring | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None, title: str = "",
) -> Report:  # fmt: skip
    """A drift, performance or data-quality report of `current` against `reference`, for one window or a series.

    Tables are dictionaries of numpy arrays, Arrow tables, pandas or Polars frames; `current` may be an iterable of them
    (Parquet batches), read once. A series: `at`, a column of times or times (n,), with `every` ("hour", "day", "week",
    "month" or minutes, UTC), or `chunk` rows. Alarms: e-BH at `alpha` over all columns and windows. `relevant` (drift):
    the smallest Jensen–Shannon distance that matters. `categories`: columns of numbers that are names. `task` and
    `columns` (performance) as for `luthier.Monitor`: a task or a `Scoring`, and our column names to yours.

    Raises UsageError for another kind, StateError when a table cannot be read.

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
        return performance.report(
            reference, current, series, title=named, alpha=alpha, task=task, columns=columns or {}
        )
    raise UsageError(f"{kind!r} is no kind of report; known are {', '.join(KINDS)}")


def of_files(
    kind: Any, reference: str | Path, current: str | Path, progress: Progress | None = None, **options: Any
) -> Report:
    """The same of two files: Parquet, read in parts, CSV or JSON Lines. `options`: those of `report`."""
    known = tablefiles.whole(reference, progress) if kind == "performance" else tablefiles.parts(reference, progress)
    return report(kind, known, tablefiles.parts(current, progress), **options)


def of_project(
    kind: Any, project: Any, since: datetime | None = None, until: datetime | None = None, **options: Any
) -> Report:
    """The same of a project's champion: its reference against its recorded answers and the labels that came."""
    known, answers = project.traffic(since, until)
    champion = project.champion()
    options = {"title": f"{project.config.name} {champion.name}: {kind}", "at": None, **options}
    if options["at"] is None and (options.get("every") or kind == "performance") and not options.get("chunk"):
        options["at"] = "at"
    if kind == "performance":
        labels = tuple(champion.about["labels"])
        known, answers = (_named(table, labels) for table in (known, answers))
        scoring = Scoring("binary" if len(labels) == 2 else "multiclass", labels)
        return report(kind, known, answers, task=scoring, **options)
    names = [name for name in known if np.ndim(known[name]) == 1 and name in answers and name not in _LATE]
    cut = ["at"] if options["at"] else []
    return report(kind, {n: known[n] for n in names}, {n: answers[n] for n in [*names, *cut]}, categories=_INDEX & {*names}, **options)  # fmt: skip


def _named(table: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """The table with labels for their indices, "" where one is missing; -1 is."""
    names = np.array([*labels, ""])
    return {
        **table,
        **{name: names[np.asarray(table[name], np.int64)] for name in ("predicted", "target") if name in table},
    }


_LATE = ("target", "loss", "target_score")  # what only labels tell
_INDEX = {"predicted"}  # numbers that are names


def compare_projects(projects: Sequence[Any], progress: Progress | None = None) -> Report:
    """Many models on one page: the champions of several projects, or the versions of one."""
    stories: dict[str, Any] = {}
    champions: dict[str, str] = {}
    for index, project in enumerate(projects):
        name = project.config.name if project.config.name not in stories else f"{project.config.name} ({project.home})"
        stories[name] = project.story()
        champion = project.champion()
        champions[name] = champion.name if champion else ""
        if progress:
            progress("reading projects", (index + 1) / len(projects), {})
    return compare.report(stories, champions)
