"""Do the columns of a table, numbers and categories, still come from where the reference came from?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent, watched_by_default
from luthier.errors import StateError
from luthier.evidence import LARGEST
from luthier.evidence.intervals import beta_quantile, binomial_tail, clopper_pearson_upper
from luthier.names import register
from luthier.tables.distances import jensen_shannon, kolmogorov_smirnov, psi, total_variation
from luthier.tables.tabular import rows_of
from luthier.types import Columns, Finding, Promise

__all__ = ["ColumnShift"]

SHARES = np.array([0.03, 0.08, 0.2, 0.5])
"""The stakes: share f of the purse lost on a row outside the event, the Kelly bet for a rate of m0 + f (1 - m0)."""
FEWEST = 100
NEWEST = 20  # blocks whose counts are kept, for the distances that a finding names
LONGEST = 64  # characters of a category
MOST = 10_000  # categories that are remembered as known


@register("check", "column_shift.v1")
@dataclass(frozen=True, slots=True)
class ColumnShift:
    """Bets that some part of a column has become more frequent than the reference allows, averaged to one e-detector.

    Parts of a number: below and above each of bins - 1 quantiles of the reference, between two of them, and missing.
    Of a category: each of the `levels` most frequent, its complement, runs of them by frequency and by name, all
    others, new ones, and missing.
    Each part's share may exceed its upper bound by `slack`. At most one false alarm in `arl` rows on average, with
    probability 1 - delta over the draw of the reference, for any number of columns.

    Proof: with m0 at or above the part's share, the factor of a block, Π (1 + (f / m0) (x - m0)), has mean at most 1;
    so M = (M + 1) · factor, averaged over parts and stakes, is an e-detector (Shin, Ramdas & Rinaldo), in blocks.
    All bounds hold together with probability 1 - delta: F(X_(i)-) and 1 - F(X_(i)) are below the quantiles of
    Beta(i, n - i + 1) and its mirror at fixed ranks i, ties or not (Wilks 1941); a category's bound solves
    P(Bin(n, p) <= k) = delta p, and Σ delta p_k = delta over all categories there are, chosen or not; runs, others
    and new ones are counted in the half of the reference that did not choose them.

    Columns: those named, or every one-dimensional column of the reference that is known with the answer. Rows that do
    not fill a block of `block` yet are counts in memory, so the batch size changes nothing. A shift is no proof of harm.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    columns: tuple[str, ...] = ()
    slack: float = 0.01
    arl: float = 100_000
    delta: float = 0.025
    bins: int = 10
    levels: int = 50
    block: int = 50

    def __post_init__(self) -> None:
        limits = {"bins": (2, 100), "levels": (2, 1000), "block": (1, 1000), "slack": (0, 0.5)}
        for field, (low, high) in limits.items():
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field} is {getattr(self, field)!r}; it must lie in [{low}, {high}]")

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's columns, each (n,): numbers, text or truth values.

        Raises StateError when a named column is not in a reference that has columns.
        """
        plans, reasons = self._plans(reference)
        known: dict[str, Any] = {"columns": plans, "why": ""}
        if not plans:
            why = "; ".join(reasons) or "it has no column of numbers or categories"
            known["why"] = f"not watched: the reference has {rows_of(reference)} rows: {why}; {FEWEST} are needed"
        known |= _bets(plans, self.block, self.slack)
        shape = known["members"].shape  # (columns, parts, cells)
        return {
            "reference": known, "n": 0, "alarm_n": 0, "open": np.zeros((shape[0], shape[2]), np.int64),
            "newest": np.zeros((0, shape[0], shape[2]), np.int64), "m": np.zeros((*shape[:2], len(SHARES))),
        }  # fmt: skip

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's columns; one that the reference has and a window lacks is missing in every row."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        n = rows_of(window)
        if n:
            memory = self._after(memory, window, n)
        return memory, self._finding(memory)

    def _plans(self, reference: Columns) -> tuple[list[dict[str, Any]], list[str]]:
        chosen = self.columns or tuple(name for name in sorted(reference) if _watched(name, reference[name]))
        absent = [name for name in chosen if reference and name not in reference]
        if absent:
            raise StateError(
                f"column_shift.v1: the reference has no column {absent[0]!r}; it has {', '.join(sorted(reference))}. "
                f"Name one of these in `columns`, or leave it empty for all"
            )
        plans, reasons = [], []
        for name in chosen:
            values = np.asarray(reference.get(name, ()))
            usable = len(values) - int(_missing(values).sum())
            if usable < FEWEST:
                reasons.append(f"{name!r} has {usable} usable values")
            elif _number(values):
                plans.append(_numbers(name, values, self.bins, self.delta / len(chosen)))
            else:
                plans.append(_categories(name, values, self.levels, self.delta / len(chosen)))
        return plans, reasons

    def _after(self, memory: Memory, window: Columns, n: int) -> Memory:
        known, waiting = memory["reference"], memory["n"] % self.block
        whole = (waiting + n) // self.block
        counts = np.zeros((whole + 1, *memory["open"].shape), np.int64)  # (blocks, columns, cells); the last is open
        counts[0] = memory["open"]
        place = (waiting + np.arange(n)) // self.block
        for i, plan in enumerate(known["columns"]):
            size = len(plan["counts"])
            codes = _codes(plan, window.get(plan["name"]), n)
            counts[:, i, :size] += np.bincount(place * size + codes, minlength=(whole + 1) * size).reshape(-1, size)
        m, alarm_n = memory["m"], memory["alarm_n"]
        for first in range(0, whole, 64):
            m, path = _run(known, m, counts[first : min(first + 64, whole)])
            if not alarm_n and path.max() >= self.arl:
                alarm_n = memory["n"] - waiting + (first + int((path >= self.arl).argmax()) + 1) * self.block
        newest = np.concatenate([memory["newest"], counts[:whole]])[-NEWEST:].copy()
        return {**memory, "n": memory["n"] + n, "alarm_n": alarm_n, "open": counts[-1].copy(), "newest": newest, "m": m}

    def _finding(self, memory: Memory) -> Finding:
        known, n = memory["reference"], memory["n"] // self.block * self.block
        if not n:
            return silent(self.name, self.promise, f"{memory['n']} rows: a block of {self.block} is not full yet")
        strength = memory["m"].sum(axis=(1, 2))  # (columns,)
        i = int(np.argmax(strength))
        plan, part = known["columns"][i], int(np.argmax(memory["m"][i].max(axis=1)))
        counts = memory["newest"].sum(axis=0)[i]
        hits, of = (int(found[0, i, part]) for found in _parts(known, memory["newest"].sum(axis=0)[None]))
        value, limit = (hits / of if of else math.nan), float(known["rates"][i, part])
        why = f"{plan['name']}: {plan['said'][part]}: {value:.2%} of the newest {of} rows, allowed {limit:.2%} "
        why += f"(reference {plan['shares'][part]:.2%}); {_distances(plan, counts[: len(plan['counts'])])}"
        if memory["alarm_n"]:
            also = [known["columns"][j]["name"] for j in np.argsort(-strength)[1:6] if strength[j] >= self.arl]
            why += f"; shown at row {memory['alarm_n']}" + (f"; also {', '.join(also)}" if also else "")
            why += ". Look at where the column comes from; a shift may or may not be harm"
        return Finding(
            check=self.name, value=value, limit=limit, evidence=float(_evidence(memory["m"][None])[0]), promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why, parts=self._parts(known, strength),
        )  # fmt: skip

    def _parts(self, known: Memory, strength: Any) -> tuple[tuple[str, float], ...]:
        """The columns that reach `arl` with their share of the mean; the strengths add up to it."""
        order = [j for j in np.argsort(-strength, kind="stable").tolist() if strength[j] >= self.arl]
        return tuple((known["columns"][j]["name"], min(float(strength[j]), LARGEST)) for j in order)


# -- bets on all parts of all columns, side by side ----


def _bets(plans: list[dict[str, Any]], block: int, slack: float) -> dict[str, Any]:
    """`members` (columns, parts, cells), `rates` (columns, parts), and the tables of `_run`, unused parts 0."""
    parts = max((len(plan["members"]) for plan in plans), default=0)
    cells = max((len(plan["counts"]) for plan in plans), default=0)
    members, rates = np.zeros((len(plans), parts, cells)), np.ones((len(plans), parts))
    weights, gain = np.zeros((len(plans), parts, 1)), np.zeros((len(plans), parts, block + 1, len(SHARES)))
    k = np.arange(block + 1, dtype=np.float64)[:, None]
    for i, plan in enumerate(plans):
        size = len(plan["members"])
        members[i, :size, : len(plan["counts"])] = plan["members"]
        rates[i, :size] = np.minimum(plan["rates"] + slack, 1 - 1e-9)
        weights[i, :size] = block / (size * len(plans) * len(SHARES))
        one = 1 + SHARES / rates[i, :size, None] * (1 - rates[i, :size, None])  # (parts, stakes)
        gain[i, :size] = one[:, None, :] ** k
    return {"members": members, "rates": rates, "weights": weights, "gain": gain, "loss": (1 - SHARES) ** k}


def _run(known: Memory, m: Any, counts: Any) -> tuple[Any, Any]:
    """Blocks of counts (b, columns, cells) after m (columns, parts, stakes); returns the last m and the evidence (b,).

    M is kept times its weight in the mean, so M = (M + weight) · factor. Factors of whole counts are looked up, so that
    no rounding depends on where a stream is cut.
    """
    hits, of = _parts(known, counts)
    columns, parts = np.ogrid[: hits.shape[1], : hits.shape[2]]
    factors = known["gain"][columns, parts, hits] * known["loss"][of - hits]  # (b, columns, parts, stakes)
    path = np.empty_like(factors)
    with np.errstate(over="ignore"):
        for b, factor in enumerate(factors):
            m = np.minimum((m + known["weights"]) * factor, LARGEST, out=path[b])
    return m.copy(), _evidence(path)


def _evidence(path: Any) -> Any:
    """The sum of every m (columns, parts, stakes) of path (b, …), at most 1e300: (b,)."""
    with np.errstate(over="ignore"):
        return np.minimum(np.ascontiguousarray(path).reshape(len(path), -1).sum(axis=1), LARGEST)


def _parts(known: Memory, counts: Any) -> tuple[Any, Any]:
    """Rows in each part, and rows it is a share of, (b, columns, parts) each; counts (b, columns, cells).

    Part 0, "missing", is a share of all rows, every other of those that are not. Sums of whole floats are exact.
    """
    hits = np.matmul(known["members"], counts.transpose(1, 2, 0).astype(np.float64)).transpose(2, 0, 1)
    of = np.repeat(counts[:, :, 1:].sum(axis=2)[:, :, None], hits.shape[2], axis=2)
    of[:, :, 0] += counts[:, :, 0]
    return hits.astype(np.int64), of


# -- the reference of one column: cells that rows fall in, parts (sets of cells), and what each part's share may be ----


def _numbers(name: str, values: Any, bins: int, delta: float) -> dict[str, Any]:
    """Cells: missing, then below cut 0, on it, between it and cut 1, …; 2 · cuts + 2 of them."""
    x = _floats(values)
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


def _categories(name: str, values: Any, levels: int, delta: float) -> dict[str, Any]:
    """Cells: missing, new (not in the half that chooses), known but rare, then the chosen categories by name."""
    texts = np.array(_texts(values[~_missing(values)]), f"U{LONGEST}")
    n, share = len(texts), delta / 5
    half = np.zeros(n, bool)
    half[np.random.default_rng(0).permutation(n)[: n // 2]] = True  # the order of a reference may not be chance
    names, counts = np.unique(texts[half], return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST]
    top = np.sort(most[:levels])
    chosen, rest = names[top], texts[~half]
    cells = np.arange(3 + len(chosen))
    members: list[Any] = [cells == 0, cells == 1, (cells == 1) | (cells == 2)]
    said = ["missing", "new categories", "categories beyond the frequent ones"]
    strangers = [int((~np.isin(rest, known)).sum()) for known in (names[most], chosen)]
    rates = [clopper_pearson_upper(len(values) - n, len(values), share)]
    rates += [clopper_pearson_upper(k, len(rest), share / 2) for k in strangers]
    for cell, category in enumerate(chosen.tolist(), start=3):
        k = int((texts == category).sum())
        members += [cells == cell, (cells > 0) & (cells != cell)]
        said += [f"category {category!r}", f"categories other than {category!r}"]
        rates += [_upper(k, n, share), _upper_of_rest(k, n, share)]
    for what, order in (("most frequent", np.argsort(-counts[top], kind="stable")), ("first", np.arange(len(top)))):
        for run in _quarters(order, counts[top]):
            k = int(np.isin(rest, chosen[run]).sum())
            inside = np.isin(cells, run + 3)
            members += [inside, ~inside & (cells > 0)]
            said += [f"the {len(run)} {what} categories", f"all but the {len(run)} {what} categories"]
            rates += [clopper_pearson_upper(hits, len(rest), share / 12) for hits in (k, len(rest) - k)]
    plan = {"name": name, "kind": "category", "chosen": chosen.tolist(), "seen": names[most].tolist()}
    return _planned(plan, values, np.array(members), rates, said)


def _quarters(order: Any, counts: Any) -> list[Any]:
    """The first places of `order` that hold a quarter, a half and three quarters of `counts`; not all, and each once."""
    reached = np.cumsum(counts[order]) / counts.sum()
    sizes = {int(np.searchsorted(reached, share)) + 1 for share in (0.25, 0.5, 0.75)}
    return [order[:size] for size in sorted(sizes) if size < len(order)]


def _planned(plan: dict[str, Any], values: Any, members: Any, rates: list[float], said: list[str]) -> dict[str, Any]:
    counts = np.bincount(_codes(plan, values, len(values)), minlength=members.shape[1])
    of = np.full(len(members), max(int(counts[1:].sum()), 1))
    of[0] = counts.sum()
    shares = (members @ counts) / of
    return plan | {"members": members, "counts": counts, "rates": np.array(rates), "said": said, "shares": shares}


def _upper(k: int, n: int, delta: float) -> float:
    """The rate p at which P(at most k of n) falls to delta · p, which is always reached below 1."""
    return 1.0 if k >= n else _crossing(lambda p: binomial_tail(k, n, p) <= delta * p)


def _upper_of_rest(k: int, n: int, delta: float) -> float:
    """Upper bound for 1 - p: P(at least k of n at rate p) rises to delta · p at the smallest p allowed."""
    return 1.0 if k == 0 else 1 - _crossing(lambda p: binomial_tail(n - k, n, 1 - p) > delta * p)


def _crossing(true: Any) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if true(middle) else (middle, high)
    return high


def _codes(plan: Memory, values: Any, n: int) -> Any:
    """The cell of every row, (n,); rows of an absent column, or of another kind of value, are missing."""
    if values is None:
        return np.zeros(n, np.int64)
    values = np.asarray(values)
    if plan["kind"] == "number":
        x = _floats(values)
        below = np.searchsorted(plan["cuts"], x)  # cuts below each value
        places = 2 * below + 1 + (np.append(plan["cuts"], np.nan)[below] == x)
        return np.where(np.isfinite(x), places, 0)
    cells = dict.fromkeys(plan["seen"], 2) | {name: place + 3 for place, name in enumerate(plan["chosen"])}
    found = np.fromiter((cells.get(text, 1) for text in _texts(values)), np.int64, n)
    return np.where(_missing(values), 0, found)


def _distances(plan: Memory, counts: Any) -> str:
    """The distances of the rows that are not missing, on the reference's own cells."""
    p, q = plan["counts"][1:], counts[1:]
    found = {"Jensen–Shannon": jensen_shannon(p, q), "PSI": psi(p, q), "total variation": total_variation(p, q)}
    if plan["kind"] == "number":
        found = {"Kolmogorov–Smirnov": kolmogorov_smirnov(p, q)} | found
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


def _watched(name: str, values: Any) -> bool:
    return watched_by_default(name) and np.ndim(values) == 1 and np.asarray(values).dtype.kind in "biufUO"


def _number(values: Any) -> bool:
    if values.dtype.kind == "O":
        return all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in values if value is not None
        )
    return values.dtype.kind in "iuf"


def _floats(values: Any) -> Any:
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return np.array([float(v) if isinstance(v, int | float) else math.nan for v in values.tolist()], np.float64)


def _missing(values: Any) -> Any:
    """Which rows hold None or no finite number, (n,)."""
    if values.dtype.kind == "f":
        return ~np.isfinite(values)
    if values.dtype.kind == "O":
        return np.array([value is None or value != value for value in values.tolist()], bool)
    return np.zeros(len(values), bool)


def _texts(values: Any) -> list[str]:
    """Categories as text of at most 64 characters."""
    return [str(value)[:LONGEST] for value in values.tolist()]
