"""Columns of any kind as numbers side by side, in a unit that some rows have fixed: what a classifier of rows reads.

A plan is plain data made from rows of the reference; `encoded` reads any window by it. Nothing is left out: a value that is
missing is 0, the middle, and says so in a feature of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError

__all__ = ["Plan", "encoded", "is_readable", "planned", "usable"]

Plan: TypeAlias = Mapping[str, Any]
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"

WIDEST = 1024  # wider vectors are projected at random
MOST = 2048  # features in all
LEVELS = 20  # categories with a feature of their own
FAR = 6.0  # robust standard deviations at which a number is cut
FARTHEST = 1e6  # common standard deviations at which a vector's component is cut, so that nothing overflows
LONGEST = 64  # characters of a category


def is_readable(values: Any) -> bool:
    """Whether a column is numbers or categories (n,), or a vector of numbers a row (n, d)."""
    values = np.asarray(values)
    return (values.ndim == 1 and values.dtype.kind in "biufUO") or (
        values.ndim == 2 and values.shape[1] > 0 and values.dtype.kind in "biuf"
    )


def usable(values: Any) -> int:
    """Rows of a readable column that hold a value."""
    return int((~_missing(np.asarray(values))).sum())


def planned(columns: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """How to read the named columns, in units of these rows: {columns, said: a name for each of p features, owner (p,):
    the column of each, shares (p,): which are 0 or 1}.

    A number gives its distance from the median in robust sd, cut at 6; a category one feature for each of the 20 most
    frequent levels and one for all others; a vector its components over their common sd. Each has one for missing.

    Raises StateError when there are more than 2,048 features.
    """
    plans = [_plan(name, np.asarray(columns[name])) for name in names]
    owner = np.repeat(np.arange(len(plans)), [len(plan["said"]) for plan in plans])
    if len(owner) > MOST:
        raise StateError(
            f"{len(names)} columns are {len(owner):,} features; {MOST:,} can be compared. Name fewer in `columns`"
        )
    said = [said for plan in plans for said in plan["said"]]
    shares = [
        kind["kind"] == "category" or j == len(kind["said"]) - 1 for kind in plans for j in range(len(kind["said"]))
    ]
    return {"columns": plans, "said": said, "owner": owner, "shares": np.array(shares, bool)}


def encoded(plan: Plan, columns: Mapping[str, Any], n: int) -> Floats:
    """Features (n, p) float32 of n rows; a column that is absent, or of another kind or width, is missing in every row."""
    parts = [_read(one, columns.get(one["name"]), n) for one in plan["columns"]]
    return np.concatenate(parts, axis=1) if parts else np.zeros((n, 0), np.float32)


def _plan(name: str, values: np.ndarray) -> dict[str, Any]:
    if values.ndim == 2:
        return _vector_plan(name, values)
    if _is_number(values):
        x = _floats(values)
        x = x[np.isfinite(x)]
        middle = float(np.median(x)) if len(x) else 0.0
        size = 1.4826 * float(np.median(np.abs(x - middle))) if len(x) else 0.0
        size = size or (float(x.std()) if len(x) else 0.0)
        size = size if 0 < size < math.inf else 1.0
        return {"name": name, "kind": "number", "middle": middle, "size": size, "said": [name, f"{name} missing"]}
    texts = _texts(values[~_missing(values)])
    found, counts = np.unique(texts, return_counts=True) if texts else (np.zeros(0, str), np.zeros(0, int))
    levels = sorted(found[np.argsort(-counts, kind="stable")[:LEVELS]].tolist())
    said = [*(f"{name} = {level!r}" for level in levels), f"{name} other than these", f"{name} missing"]
    return {"name": name, "kind": "category", "levels": levels, "said": said}


def _vector_plan(name: str, values: np.ndarray) -> dict[str, Any]:
    width = values.shape[1]
    x = _as_float32(values)
    x = x[np.isfinite(x).all(axis=1)].astype(np.float64)
    middle = x.mean(axis=0) if len(x) else np.zeros(width)
    size = float(np.sqrt(((x - middle) ** 2).mean())) if len(x) else 0.0
    plan: dict[str, Any] = {"name": name, "kind": "vector", "width": width, "middle": middle.astype(np.float32)}
    plan |= {"size": size if size > 0 else 1.0, "projection": np.zeros((0, 0), np.float32)}
    if width > WIDEST:
        draws = np.random.default_rng(0).standard_normal((width, WIDEST))
        plan["projection"] = (draws / math.sqrt(WIDEST)).astype(np.float32)
    said = [f"{name}[{j}]" if width <= WIDEST else f"projection {j} of {name}" for j in range(min(width, WIDEST))]
    return plan | {"said": [*said, f"{name} missing"]}


def _read(plan: Plan, values: Any, n: int) -> Floats:
    out = np.zeros((n, len(plan["said"])), np.float32)
    values = np.asarray(values) if values is not None else np.zeros(0)
    if len(values) != n or not _fits(plan, values):
        out[:, -1] = 1
    elif plan["kind"] == "vector":
        _read_vector(plan, values, out)
    elif plan["kind"] == "number":
        x = (_floats(values) - plan["middle"]) / plan["size"]
        gone = ~np.isfinite(x)
        out[:, 0], out[:, 1] = np.where(gone, 0.0, np.clip(x, -FAR, FAR)), gone
    else:
        places = {level: place for place, level in enumerate(plan["levels"])}
        other = len(places)
        found = np.fromiter((places.get(text, other) for text in _texts(values)), np.int64, n)
        out[np.arange(n), np.where(_missing(values), other + 1, found)] = 1
    return out


def _read_vector(plan: Plan, values: np.ndarray, out: Floats) -> None:
    x = _as_float32(values)
    gone = ~np.isfinite(x).all(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (x - plan["middle"]) * np.float32(1 / plan["size"])
        if plan["projection"].size:
            scaled = np.stack([row @ plan["projection"] for row in scaled]) if len(x) else scaled[:, :WIDEST]
    np.clip(scaled, -FARTHEST, FARTHEST, out=out[:, :-1])
    out[gone, :-1] = 0
    out[:, -1] = gone


def _fits(plan: Plan, values: np.ndarray) -> bool:
    if plan["kind"] == "vector":
        return values.ndim == 2 and values.shape[1] == plan["width"] and values.dtype.kind in "biuf"
    return values.ndim == 1 and (plan["kind"] == "category" or values.dtype.kind in "biufO")


def _is_number(values: np.ndarray) -> bool:
    if values.dtype.kind != "O":
        return values.dtype.kind in "iuf"
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values.tolist() if v is not None)


def _as_float32(values: np.ndarray) -> Floats:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def _floats(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return np.array([float(v) if isinstance(v, int | float) else math.nan for v in values.tolist()], np.float64)


def _missing(values: np.ndarray) -> np.ndarray:
    """Which rows hold None or a number that is not finite, (n,); a vector is missing when one component is."""
    if values.ndim == 2:
        return np.asarray(~np.isfinite(_as_float32(values)).all(axis=1))
    if values.dtype.kind == "f":
        return np.asarray(~np.isfinite(values))
    if values.dtype.kind == "O":
        return np.array([value is None or value != value for value in values.tolist()], bool)
    return np.zeros(len(values), bool)


def _texts(values: np.ndarray) -> list[str]:
    return [str(value)[:LONGEST] for value in values.tolist()]
