"""The parts of a column hour by hour: a plan like those of `parts`, with cuts, bounds and shares for every hour of its season."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from luthier.evidence.intervals import beta_uppers
from luthier.series.hours import hour_in
from luthier.tables.parts import (
    as_texts,
    categories,
    category_parts,
    codes,
    floats,
    frequent,
    halves,
    is_number,
    missing,
    numbers,
)

__all__ = ["cells_in", "graded", "plan_by_hour"]

GRADES = 10  # cells in which a season is looked for


def plan_by_hour(
    name: str, values: Any, hours: Any, season: int, bins: int, levels: int, delta: float
) -> dict[str, Any]:
    """The plan of a column values (n,), with the hours of the week (n,), -1 for none, and a season (`luthier.series.hours`).

    `members` (parts, cells); `rates` (season + 1, parts), upper bounds that hold together with probability 1 - delta,
    1 where nothing bounds a share; `usable`, the same shape, where a part is one of that hour; `counts` (season + 1,
    cells) of the reference. The last hour is that of rows without a time. The cuts of a number are quantiles of its own
    hour, so that a part stands for the same ranks in all of them; those of a season of 1 are as in `parts`.
    """
    hour = hour_in(hours, season)
    if season == 1:
        plan = numbers(name, values, bins, delta) if is_number(values) else categories(name, values, levels, delta)
        rates = np.vstack([plan["rates"], plan["rates"]])
    elif is_number(values):
        plan, rates = _numbers(name, floats(values), hour, season, bins, delta)
    else:
        plan, rates = _categories(name, values, hour, season, levels, delta)
    cells = plan["members"].shape[1]
    counts = np.bincount(hour * cells + cells_in(plan, values, hour), minlength=(season + 1) * cells)
    usable = rates < 1
    usable[season] = False
    return plan | {
        "season": season, "members": plan["members"].astype(np.float64), "rates": rates, "usable": usable,
        "counts": counts.reshape(season + 1, cells),
    }  # fmt: skip


def cells_in(plan: Mapping[str, Any], values: Any, hour: Any) -> Any:
    """The cell of every row, (n,), given its hour in the season (n,); `values` None: the column is gone, all missing."""
    if values is None or plan["kind"] != "number" or plan["cuts"].ndim == 1:
        return codes(plan, values, len(hour))
    x = floats(np.asarray(values))
    cuts = plan["cuts"][hour]  # (n, bins - 1)
    found = 2 * (cuts < x[:, None]).sum(axis=1) + 1 + (cuts == x[:, None]).any(axis=1)
    return np.where(np.isfinite(x), found, 0)


def graded(values: Any) -> Any:
    """Cells (n,) in which a season of a column shows: tenths of a number's values, or its frequent categories, and missing."""
    lost = missing(values)
    if is_number(values):
        x = floats(values)
        lost = ~np.isfinite(x)
        cuts = np.unique(np.quantile(x[~lost], np.arange(1, GRADES) / GRADES)) if not lost.all() else np.zeros(0)
        return np.where(lost, len(cuts) + 1, np.searchsorted(cuts, x))
    plan, _ = frequent("", as_texts(values[~lost]), GRADES)
    return codes(plan, values, len(values))


def _numbers(name: str, x: Any, hour: Any, season: int, bins: int, delta: float) -> tuple[dict[str, Any], Any]:
    """F(X_(i)-) and 1 - F(X_(i)) of every hour are below quantiles of Beta at fixed ranks (Wilks 1941), ties or not.

    A cut that equals the one before it is no part of that hour: the first of the two is, with the bound of the last.
    """
    places = np.arange(1, bins)
    parts = 1 + 2 * len(places) + len(places) - 1
    cuts, a, b = np.zeros((season + 1, len(places))), np.zeros((season + 1, parts)), np.zeros((season + 1, parts))
    order = np.argsort(hour, kind="stable")
    rows = np.split(x[order], np.searchsorted(hour[order], np.arange(1, season + 1)))
    for h, own in enumerate(rows[:season]):
        known = np.sort(own[np.isfinite(own)])
        n, lost = len(known), len(own) - len(known)
        if not n:
            continue
        ranks = np.maximum(np.rint(n * places / bins).astype(np.int64), 1)
        cut = cuts[h] = known[ranks - 1]
        first = np.append(True, cut[1:] != cut[:-1])
        last = np.append(first[1:], True)
        group = np.cumsum(first) - 1
        high = ranks[last][group]  # of the cuts that tie with each
        ends = np.where(first, ranks, 0), np.where(first, n - high + 1, 0), np.where(first[1:], np.diff(ranks), 0)
        a[h] = np.concatenate([[lost + 1], *ends])
        b[h] = np.concatenate([[n], *(n + 1 - end for end in ends)])
    bound = delta / (3 * bins * max(len(np.unique(hour[hour < season])), 1))
    cells = np.arange(2 * len(places) + 2)
    edge = 2 * places[:, None]  # the cell on each cut
    members = np.vstack([cells == 0, (cells > 0) & (cells < edge), cells > edge, cells == edge[1:] - 1])
    points = [f"the {100 * place / bins:.3g} % point of its hour" for place in places]
    said = [
        "missing, not finite or not a number",
        *(f"below {one}" for one in points),
        *(f"above {one}" for one in points),
    ]
    said += [f"between {low.split(' of ')[0]} and {high}" for low, high in itertools.pairwise(points)]
    return {"name": name, "kind": "number", "cuts": cuts, "members": members, "said": said}, _bounds(a, b, bound)


def _categories(
    name: str, values: Any, hour: Any, season: int, levels: int, delta: float
) -> tuple[dict[str, Any], Any]:
    """One half of the rows chooses the categories, for all hours; the other counts every part in every hour."""
    half = halves(len(values))
    plan, runs = frequent(name, as_texts(values[half & ~missing(values)]), levels)
    members, said = category_parts(plan["chosen"], runs)
    cells = members.shape[1]
    rest = hour[~half] * cells + codes(plan, values[~half], int((~half).sum()))
    counts = np.bincount(rest, minlength=(season + 1) * cells).reshape(season + 1, cells)
    hits = counts @ members.T.astype(np.int64)
    of = np.repeat(counts[:, 1:].sum(axis=1)[:, None], len(members), axis=1)
    of[:, 0] += counts[:, 0]
    a = np.where(hits < of, hits + 1, 0)
    share = delta / (len(members) * max(len(np.unique(hour[hour < season])), 1))
    return plan | {"members": members, "said": said}, _bounds(a, of - hits, share)


def _bounds(a: Any, b: Any, delta: float) -> Any:
    """Upper quantiles of Beta(a, b), 1 where a is 0: no rows, no part, or every row in it."""
    found = np.ones(a.shape)
    found[a > 0] = beta_uppers(a[a > 0], b[a > 0], delta)
    return found
