"""The parts of a column that a check counts: cells that rows fall in, sets of cells, and what each one's share may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from luthier.evidence.intervals import beta_quantile, binomial_tail, clopper_pearson_upper
from luthier.tables.distances import jensen_shannon, kolmogorov_smirnov, psi, total_variation

__all__ = [
    "as_texts", "categories", "category_parts", "codes", "distances", "floats", "frequent", "halves", "is_number", "missing", "numbers",
    "upper", "upper_of_rest",
]  # fmt: skip

LONGEST = 64  # characters of a category
MOST = 10_000  # categories that are remembered as known


def numbers(name: str, values: Any, bins: int, delta: float) -> dict[str, Any]:
    """Cells: missing, then below cut 0, on it, between it and cut 1, …; 2 · cuts + 2 of them."""
    x = floats(values)
    x = np.sort(x[np.isfinite(x)])
    n = len(x)
    ranks = [max(round(n * j / bins), 1) for j in range(1, bins)]  # from 1; fixed before the values are looked at
    share = delta / (3 * bins)
    found: dict[float, list[int]] = {}
    for rank in ranks:
        found.setdefault(float(x[rank - 1]), []).append(rank)
    cuts, cells = list(found), 2 * len(found) + 2
    parts = [(0, 1, clopper_pearson_upper(len(values) - n, len(values), share), "missing, not finite or not a number")]
    for j, (cut, tied) in enumerate(found.items()):
        low, high = tied[0], tied[-1]
        parts.append((1, 2 * j + 2, beta_quantile(1 - share, low, n - low + 1), f"below {cut:.6g}"))
        parts.append((2 * j + 3, cells, beta_quantile(1 - share, n - high + 1, high), f"above {cut:.6g}"))
        if j:
            gap = low - found[cuts[j - 1]][-1]
            bound = beta_quantile(1 - share, gap, n - gap + 1)
            parts.append((2 * j + 1, 2 * j + 2, bound, f"between {cuts[j - 1]:.6g} and {cut:.6g}"))
    plan = {"name": name, "kind": "number", "cuts": np.array(cuts)}
    members = np.array([[low <= cell < high for cell in range(cells)] for low, high, _, _ in parts])
    return _planned(plan, values, members, [part[2] for part in parts], [part[3] for part in parts])


def categories(name: str, values: Any, levels: int, delta: float) -> dict[str, Any]:
    """Cells: missing, new (not in the half that chooses), known but rare, then the chosen categories by name."""
    found = as_texts(values[~missing(values)])
    n, share = len(found), delta / 5
    half = halves(n)
    plan, runs = frequent(name, found[half], levels)
    members, said = category_parts(plan["chosen"], runs)
    chosen, rest = np.array(plan["chosen"]), found[~half]
    strangers = [int((~np.isin(rest, known)).sum()) for known in (plan["seen"], chosen)]
    rates = [clopper_pearson_upper(len(values) - n, len(values), share)]
    rates += [clopper_pearson_upper(k, len(rest), share / 2) for k in strangers]
    for category in plan["chosen"]:
        k = int((found == category).sum())
        rates += [upper(k, n, share), upper_of_rest(k, n, share)]
    for run, _ in runs:
        k = int(np.isin(rest, chosen[run]).sum())
        rates += [clopper_pearson_upper(hits, len(rest), share / 12) for hits in (k, len(rest) - k)]
    return _planned(plan, values, members, rates, said)


def halves(n: int) -> Any:
    """Which rows choose the categories, (n,): half of them at random, for the order of a reference may not be chance."""
    half = np.zeros(n, bool)
    half[np.random.default_rng(0).permutation(n)[: n // 2]] = True
    return half


def frequent(name: str, found: Any, levels: int) -> tuple[dict[str, Any], list[tuple[Any, str]]]:
    """A plan with the most frequent categories of `found` (n,), and runs of these: by frequency, and by name."""
    names, counts = np.unique(found, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST]
    top = np.sort(most[:levels])
    runs = [
        (run, what)
        for what, order in (("most frequent", np.argsort(-counts[top], kind="stable")), ("first", np.arange(len(top))))
        for run in _quarters(order, counts[top])
    ]
    return {"name": name, "kind": "category", "chosen": names[top].tolist(), "seen": names[most].tolist()}, runs


def category_parts(chosen: list[str], runs: list[tuple[Any, str]]) -> tuple[Any, list[str]]:
    """Which cells each part holds, (parts, cells), and its words."""
    cells = np.arange(3 + len(chosen))
    members: list[Any] = [cells == 0, cells == 1, (cells == 1) | (cells == 2)]
    said = ["missing", "new categories", "categories beyond the frequent ones"]
    for cell, category in enumerate(chosen, start=3):
        members += [cells == cell, (cells > 0) & (cells != cell)]
        said += [f"category {category!r}", f"categories other than {category!r}"]
    for run, what in runs:
        inside = np.isin(cells, run + 3)
        members += [inside, ~inside & (cells > 0)]
        said += [f"the {len(run)} {what} categories", f"all but the {len(run)} {what} categories"]
    return np.array(members), said


def _quarters(order: Any, counts: Any) -> list[Any]:
    """The first places of `order` that hold a quarter, a half and three quarters of `counts`; not all, and each once."""
    reached = np.cumsum(counts[order]) / counts.sum()
    sizes = {int(np.searchsorted(reached, share)) + 1 for share in (0.25, 0.5, 0.75)}
    return [order[:size] for size in sorted(sizes) if size < len(order)]


def _planned(plan: dict[str, Any], values: Any, members: Any, rates: list[float], said: list[str]) -> dict[str, Any]:
    counts = np.bincount(codes(plan, values, len(values)), minlength=members.shape[1])
    of = np.full(len(members), max(int(counts[1:].sum()), 1))
    of[0] = counts.sum()
    shares = (members @ counts) / of
    return plan | {"members": members, "counts": counts, "rates": np.array(rates), "said": said, "shares": shares}


def upper(k: int, n: int, delta: float) -> float:
    """The rate p at which P(at most k of n) falls to delta · p, which is always reached below 1."""
    return 1.0 if k >= n else _crossing(lambda p: binomial_tail(k, n, p) <= delta * p)


def upper_of_rest(k: int, n: int, delta: float) -> float:
    """Upper bound for 1 - p: P(at least k of n at rate p) rises to delta · p at the smallest p allowed."""
    return 1.0 if k == 0 else 1 - _crossing(lambda p: binomial_tail(n - k, n, 1 - p) > delta * p)


def _crossing(true: Any) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if true(middle) else (middle, high)
    return high


def codes(plan: Mapping[str, Any], values: Any, n: int) -> Any:
    """The cell of every row, (n,); rows of an absent column, or of another kind of value, are missing."""
    if values is None:
        return np.zeros(n, np.int64)
    values = np.asarray(values)
    if plan["kind"] == "number":
        x = floats(values)
        below = np.searchsorted(plan["cuts"], x)  # cuts below each value
        places = 2 * below + 1 + (np.append(plan["cuts"], np.nan)[below] == x)
        return np.where(np.isfinite(x), places, 0)
    cells = dict.fromkeys(plan["seen"], 2) | {name: place + 3 for place, name in enumerate(plan["chosen"])}
    found = np.fromiter((cells.get(text, 1) for text in texts(values)), np.int64, n)
    return np.where(missing(values), 0, found)


def distances(plan: Mapping[str, Any], counts: Any) -> str:
    """The distances of the rows that are not missing, on the reference's own cells."""
    p, q = plan["counts"][1:], counts[1:]
    found = {"Jensen–Shannon": jensen_shannon(p, q), "PSI": psi(p, q), "total variation": total_variation(p, q)}
    if plan["kind"] == "number":
        found = {"Kolmogorov–Smirnov": kolmogorov_smirnov(p, q)} | found
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


def is_number(values: Any) -> bool:
    if values.dtype.kind == "O":
        return all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in values if value is not None
        )
    return values.dtype.kind in "iuf"


def floats(values: Any) -> Any:
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return np.array([float(v) if isinstance(v, int | float) else math.nan for v in values.tolist()], np.float64)


def missing(values: Any) -> Any:
    """Which rows hold None or no finite number, (n,)."""
    if values.dtype.kind == "f":
        return ~np.isfinite(values)
    if values.dtype.kind == "O":
        return np.array([value is None or value != value for value in values.tolist()], bool)
    return np.zeros(len(values), bool)


def texts(values: Any) -> list[str]:
    """Categories as text of at most 64 characters."""
    return [str(value)[:LONGEST] for value in values.tolist()]


def as_texts(values: Any) -> Any:
    """Categories as an array of text, (n,)."""
    return np.array(texts(values), f"U{LONGEST}")
