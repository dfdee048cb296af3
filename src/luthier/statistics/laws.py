"""The laws of a statistic, as one function that a plug-in's tests call too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from luthier.codec import pack, unpack
from luthier.statistics.base import State, Statistic
from luthier.types import Columns, Estimate

__all__ = ["check_statistic"]


def check_statistic(statistic: Statistic, columns: Columns, seed: int, *, max_bytes: int = 16 * 2**20) -> None:
    """Raises AssertionError, saying which law `statistic` breaks on `columns` and how, if it breaks one.

    The laws: parts merge to the whole, byte for byte, whatever the rows' order, the cuts (empty parts included) and
    the tree of merges; merging changes neither state; a state survives `codec.pack` and `unpack`, then merges and
    reads as before, and is at most `max_bytes` packed; what is read is Estimates with low ≤ value ≤ high; a state of
    no rows reads as nan with n 0 under every name. `seed` draws order, cuts and tree.

    >>> from luthier.statistics.mean import Mean
    >>> check_statistic(Mean("x"), {"x": np.array([0.1, 0.2, np.nan, 1e300, -1e300])}, seed=1)
    """
    rng = np.random.default_rng(seed)
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    n = len(next(iter(arrays.values()), ()))
    before = pack(_packable(arrays))
    whole = statistic.observe(arrays)
    expected = pack(whole)
    _holds(statistic, pack(_packable(arrays)) == before, "observe changed the columns it was given")
    _holds(statistic, len(expected) <= max_bytes, f"a state of {n} rows takes {len(expected)} bytes, over {max_bytes}")
    _holds(statistic, statistic.when in ("answer", "label"), f"`when` is {statistic.when!r}, not 'answer' or 'label'")

    _parts_make_the_whole(statistic, arrays, n, rng, expected)
    _empty_is_neutral(statistic, arrays, whole, expected)
    _survives_packing(statistic, whole, expected)
    _reads(statistic, whole)


def _parts_make_the_whole(
    statistic: Statistic, arrays: Mapping[str, Any], n: int, rng: np.random.Generator, expected: bytes
) -> None:
    order = rng.permutation(n)
    cuts = np.sort(rng.integers(0, n + 1, size=int(rng.integers(1, 7))))  # equal cuts leave empty parts
    pieces = np.split(order, cuts)
    parts = [statistic.observe({name: values[piece] for name, values in arrays.items()}) for piece in pieces]
    while len(parts) > 1:
        a, b = (parts.pop(int(rng.integers(len(parts)))) for _ in range(2))
        packed = pack(a), pack(b)
        merged = statistic.merge(a, b)
        _holds(statistic, (pack(a), pack(b)) == packed, "merge changed a state it was given")
        _holds(statistic, pack(statistic.merge(b, a)) == pack(merged), "merge(a, b) and merge(b, a) differ")
        parts.append(merged)
    sizes = [len(piece) for piece in pieces]
    _holds(
        statistic, pack(parts[0]) == expected,
        f"parts of {sizes} rows, shuffled and merged, are not the state of all {n} rows: "
        f"{_difference(parts[0], unpack(expected))}",
    )  # fmt: skip


def _empty_is_neutral(statistic: Statistic, arrays: Mapping[str, Any], whole: State, expected: bytes) -> None:
    for empty in (statistic.observe({name: values[:0] for name, values in arrays.items()}), statistic.observe({})):
        _holds(statistic, pack(statistic.merge(whole, empty)) == expected, "merging a state of no rows changes a state")
        _holds(statistic, pack(statistic.merge(empty, whole)) == expected, "merging into a state of no rows changes it")
        for name, estimate in statistic.read(empty).items():
            _holds(
                statistic, estimate.n == 0 and math.isnan(estimate.value),
                f"{name!r} of no rows reads {estimate}; nothing seen is Estimate(), nan with n 0",
            )  # fmt: skip


def _survives_packing(statistic: Statistic, whole: State, expected: bytes) -> None:
    again = unpack(expected)
    _holds(statistic, pack(again) == expected, "a state changes by pack and unpack")
    _holds(
        statistic, pack(statistic.merge(again, again)) == pack(statistic.merge(whole, whole)),
        "a state that was packed and unpacked merges differently",
    )  # fmt: skip
    _holds(
        statistic, repr(statistic.read(again)) == repr(statistic.read(whole)),
        "a state that was packed and unpacked reads differently",
    )  # fmt: skip


def _reads(statistic: Statistic, state: State) -> None:
    for name, estimate in statistic.read(state).items():
        _holds(statistic, isinstance(estimate, Estimate), f"{name!r} reads as {type(estimate).__name__}, not Estimate")
        _holds(
            statistic, estimate.n > 0 or math.isnan(estimate.value),
            f"{name!r} reads {estimate}: a value without an observation",
        )  # fmt: skip
        _holds(
            statistic, not (estimate.low > estimate.value or estimate.high < estimate.value),
            f"{name!r} reads {estimate}: the value is outside its own interval",
        )  # fmt: skip


def _holds(statistic: Statistic, condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(f"{getattr(statistic, 'name', type(statistic).__name__)} breaks a law: {text}")


def _difference(a: State, b: State) -> str:
    for key in b:
        if key not in a:
            return f"{key!r} is absent"
        if pack(a[key]) != pack(b[key]):
            return f"{key!r} is {str(a[key])[:200]} instead of {str(b[key])[:200]}"
    return f"the keys are {sorted(a)} instead of {sorted(b)}"


def _packable(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Columns as `pack` takes them: those of objects as their text."""
    return {name: repr(values.tolist()) if values.dtype.kind == "O" else values for name, values in arrays.items()}
