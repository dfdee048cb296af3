"""What a report of tables says, as plain data: sections of text, tables and figures that HTML and Markdown both show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from luthier.statistics.base import State
from luthier.statistics.histogram import buckets, quantile
from luthier.tables.distances import category_counts
from luthier.types import Estimate

__all__ = ["Bars", "Cell", "Figure", "Grid", "Line", "Mark", "Section", "Sheet", "bars_of"]

BINS = 16  # bars of one small picture
TOP = 8  # categories that have a bar of their own


@dataclass(frozen=True, slots=True)
class Mark:
    """A short word with a tone: "good", "bad" or nothing."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """Shares (bins,) of reference and current in the same bins, and what each bin is."""

    reference: tuple[float, ...]
    current: tuple[float, ...]
    names: tuple[str, ...]
    loud: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A small line over windows, NaN for a gap; `loud`: the windows with an alarm; `level`: the reference's."""

    values: tuple[float, ...]
    loud: tuple[int, ...] = ()
    level: float = float("nan")


Cell: TypeAlias = str | float | int | Estimate | Mark | Bars | Line | None


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. `kinds`: of each column "" (text), "number" or "words"."""

    heads: Sequence[str]
    kinds: Sequence[str]
    lines: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure by the name of its maker in `luthier.figures`, with what it draws, and what it shows in words."""

    maker: str
    about: Mapping[str, Any]
    words: str


@dataclass(frozen=True, slots=True)
class Section:
    """One part under its heading; with neither table nor figure `lede` says what is missing."""

    name: str
    title: str
    lede: str = ""
    figures: Sequence[Figure] = ()
    table: Grid | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """A whole report: who it is about, the headline, the key numbers (name, number, note) and the sections."""

    title: str
    headline: str
    status: Mark
    facts: Sequence[tuple[str, str, str]] = ()
    sections: Sequence[Section] = ()
    notes: Sequence[str] = field(default=())


def bars_of(kind: str, reference: State | None, current: State | None, loud: bool = False) -> Bars | None:
    """The small picture of a column's two distributions, from the states of its statistic; None where it has none."""
    if reference is None or current is None or kind not in ("number", "category", "mixed"):
        return None
    if not (reference["n"] or current["n"]):
        return None
    return _numbers(reference, current, loud) if kind == "number" else _categories(reference, current, loud)


def _numbers(a: State, b: State, loud: bool) -> Bars:
    """Bars of equal width between both tables' 1 % and 99 % points; what lies beyond is in the outermost."""
    full = [state for state in (a, b) if state["n"]]
    low = min(quantile(state, 0.01).value for state in full)
    high = max(quantile(state, 0.99).value for state in full)
    if not low < high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    both = [_spread(state, edges) for state in (a, b)]
    names = [f"{start:.4g} to {end:.4g}" for start, end in pairwise(edges.tolist())]
    return Bars(both[0], both[1], tuple(names), loud)


def _spread(state: State, edges: np.ndarray) -> tuple[float, ...]:
    """The share of a log-bucket sketch between `edges`, each bucket spread evenly over its width."""
    if not state["n"]:
        return (0.0,) * (len(edges) - 1)
    low, high, counts = buckets(state)
    reached = np.concatenate([[0.0], np.cumsum(counts)]) / state["n"]
    inner = np.interp(edges[1:-1], np.concatenate([low[:1], high]), reached)
    return tuple(np.diff(np.concatenate([[0.0], inner, [1.0]])).tolist())


def _categories(a: State, b: State, loud: bool) -> Bars:
    """Bars of the most frequent categories, and one of all others."""
    p, q = category_counts(a, b)
    names = _pooled_names(a, b)
    order = np.argsort(-(p[:-1] / max(a["n"], 1) + q[:-1] / max(b["n"], 1)), kind="stable")
    top, rest = order[:TOP], order[TOP:]
    shares = []
    for counts, n in ((p, a["n"]), (q, b["n"])):
        other = [int(counts[rest].sum() + counts[-1])]
        shares.append(np.append(counts[top], other) / max(n, 1))
    kept = slice(None) if shares[0][-1] or shares[1][-1] else slice(-1)
    said = [*(names[i] for i in top), "other"][kept]
    return Bars(tuple(shares[0][kept].tolist()), tuple(shares[1][kept].tolist()), tuple(said), loud)


def _pooled_names(a: State, b: State) -> list[str]:
    """The categories in the order of `category_counts`."""
    from luthier.statistics.counts import Counts

    pooled = Counts(limit=a["limit"], known=tuple(a["known"])).merge(a, b)
    names: list[str] = pooled["names"].tolist()
    return names
