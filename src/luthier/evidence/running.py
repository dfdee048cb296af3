"""A mean watched against a limit: window by window, from counts, and a row a call; the engine of the risk checks.

A memory here is what those checks keep: `stream` (of `evidence.rise`) and `alarm_n`, the row at which the evidence first
reached the threshold (0: not yet).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.evidence import (
    BLOCK,
    LARGEST,
    RISE_SHARES,
    RISE_WEIGHTS,
    WALK,
    Floats,
    State,
    count_logs,
    lifetime_starts,
    rise_factors,
    unit_interval,
    watch_rise,
)

__all__ = ["Online", "is_counted", "watch_counts", "watched"]

_AHEAD = 1024  # weights of starts worked out at a time
_WEIGHTS = RISE_WEIGHTS.tolist()
_KEPT = 256  # values whose factors are kept


def watched(
    memory: State, window: State, column: str, limit: float, threshold: float, *, good: int = 0, lifetime: bool = False
) -> dict[str, Any]:
    """The memory after a window's `column` (n,) in [0, 1], or its `<column>_sum` and `<column>_n` where it has those.

    `good` 1: the column tells what is right (its complement is watched). Raises StateError as `unit_interval` and
    `watch_counts` do.
    """
    if is_counted(window, column):
        n, total = _counts(window, column)
        stream, path = watch_counts(memory["stream"], n, n - total if good else total, limit, lifetime)
        places = np.cumsum(n)
    else:
        x = unit_interval(window.get(column, ()), column)
        stream, path = watch_rise(memory["stream"], 1 - x if good else x, limit, lifetime)
        places = None
    alarm_n = memory["alarm_n"]
    if not alarm_n and path.size and path.max() >= threshold:
        first = int((path >= threshold).argmax())
        alarm_n = memory["stream"]["detector"]["n"] + (first + 1 if places is None else int(places[first]))
    return {**memory, "stream": stream, "alarm_n": alarm_n}


# -- from counts ----


def is_counted(window: State, column: str) -> bool:
    """Whether a window's rows are batches of rows, summed up.

    Raises StateError when it says both, or only half of it.
    """
    there = [name for name in (column, f"{column}_sum", f"{column}_n") if name in window]
    if there in ([], [column]):
        return False
    if there != [f"{column}_sum", f"{column}_n"]:
        raise StateError(
            f"a window holds {' and '.join(there)}; give {column} of every row, or both {column}_sum and {column}_n of "
            f"every batch of rows"
        )
    return True


def _counts(window: State, column: str) -> tuple[Floats, Floats]:
    """Rows and their sum in each batch, (m,) each; batches without rows, and with NaN, are left out."""
    n, total = (np.asarray(window[f"{column}_{name}"], np.float64).ravel() for name in ("n", "sum"))
    if len(n) != len(total):
        raise StateError(f"{column}_sum has {len(total)} batches and {column}_n {len(n)}; they must have the same")
    known = ~(np.isnan(n) | np.isnan(total)) & (n != 0)
    n, total = n[known], total[known]
    odd = (n < 0) | (n != np.floor(n)) | ~np.isfinite(n) | (total < 0) | (total > n)
    if odd.any():
        place = int(odd.argmax())
        raise StateError(
            f"{column}_sum is {total[place]:g} of {column}_n {n[place]:g} rows; n must be a whole number, and a sum of n "
            f"values in [0, 1] lies between 0 and n"
        )
    return n, total


def watch_counts(
    state: State, n: Floats, total: Floats, m0: float, lifetime: bool = False
) -> tuple[dict[str, Any], Floats]:
    """`evidence.watch_rise` where only the rows n (m,) and the sum `total` (m,) of each batch are known.

    M <- (M + g) e^(k log(1 + l (1 - m0)) + (n - k) log(1 - l m0)), g the starts of all rows of the batch: M keeps
    counting single rows, so batches of any sizes and single rows may follow each other with the same promise, looked at
    after each batch. For sums of zeros and ones that is the product of the rows' factors; for others it is below it
    (the logarithm is concave), so the promise holds and a little power is lost. Returns the state, and M after each
    batch (m,). A change is seen later by at most the batch in which it begins.
    """
    if not len(n):
        return dict(state), np.zeros(0)
    logs = count_logs(n, total, m0, RISE_SHARES)  # (m, K)
    with np.errstate(over="ignore"):
        gains = np.minimum(np.exp(logs), LARGEST).tolist()
    engine = dict(state["detector"])
    seen, path = engine["n"], []
    starts = _starts(seen, n) if lifetime else n
    base = (engine["product"] * (engine["base"] + engine["sum"])).tolist()
    for gain, start in zip(gains, starts.tolist(), strict=True):
        base = [min((m + start) * e, LARGEST) for m, e in zip(base, gain, strict=True)]
        path.append(sum(m * weight for m, weight in zip(base, _WEIGHTS, strict=True)))
    found = np.minimum(np.array(path), LARGEST)
    engine |= {
        "n": seen + int(n.sum()), "base": np.array(base), "product": np.ones(len(base)), "sum": np.zeros(len(base)),
        "value": float(found[-1]), "peak": max(engine["peak"], float(found.max())),
    }  # fmt: skip
    walk = np.add.accumulate(np.concatenate([[state["walk"]], logs[:, WALK]]))[1:]
    sums = np.add.accumulate(np.concatenate([[state["total"]], total]))[1:]
    after = {**state, "detector": engine, "total": float(sums[-1]), "walk": float(walk[-1])}
    last = len(walk) - 1 - int(np.argmin(walk[::-1]))
    if walk[last] <= state["low"]:
        after.update(low=float(walk[last]), low_n=seen + int(n[: last + 1].sum()), low_total=float(sums[last]))
    return after, found


def _starts(after: int, n: Floats) -> Floats:
    """What the `lifetime_starts` of each batch's rows sum to at least, (m,): the integral of 0.9 / (t ln^2 t).

    The weights fall, so the integral is the smaller, and the total stays below 1.
    """
    ends = after + 3 + np.concatenate([[0.0], np.cumsum(n)])
    starts: Floats = -0.9 * np.diff(1 / np.log(ends))
    return starts


# -- a row a call ----


class Online:
    """The detector of `watched` in plain floats: `add(x)` tells whether the evidence has reached the threshold.

    The same bits as `evidence.advance`, so it says so at the very row that `watched` will call `alarm_n`; it keeps
    nothing else. About 2 µs a row.
    """

    __slots__ = (
        "_ahead", "_base", "_factors", "_good", "_lifetime", "_limit", "_n", "_product", "_sum", "_threshold", "alarm", "column",
    )  # fmt: skip

    def __init__(
        self, memory: State, column: str, limit: float, threshold: float, *, good: int = 0, lifetime: bool = False
    ) -> None:
        engine = memory["stream"]["detector"]
        self.column, self.alarm = column, bool(memory["alarm_n"])
        self._limit, self._threshold, self._good, self._lifetime = limit, threshold, good, lifetime
        self._factors: dict[float, list[float]] = {}
        self._base, self._product, self._sum = (engine[name].tolist() for name in ("base", "product", "sum"))
        self._n: int = engine["n"]
        self._ahead: list[float] = []

    def add(self, x: float) -> bool:
        """Whether the alarm has been given by now; NaN is nothing seen.

        Raises StateError when x lies outside [0, 1].
        """
        if self.alarm or x != x:
            return self.alarm
        products, sums, total, k = self._product, self._sum, 0.0, 0
        factors = self._factors.get(x) or self._factors_of(x)
        start = self._start() if self._lifetime else 1.0
        for product, grown, base, factor, weight in zip(products, sums, self._base, factors, _WEIGHTS, strict=True):
            sums[k] = grown = grown + start / product
            products[k] = product = product * factor
            total += product * (base + grown) * weight
            k += 1
        self._n += 1
        if self._n % BLOCK == 0:
            self._base = [min(p * (m + s), LARGEST) for p, m, s in zip(products, self._base, sums, strict=True)]
            self._product, self._sum = [1.0] * k, [0.0] * k
        self.alarm = total >= self._threshold
        return self.alarm

    def _factors_of(self, x: float) -> list[float]:
        """What each bet makes of x, kept for the values that come again and again, such as 0 and 1."""
        try:
            x = float(x)
        except (TypeError, ValueError):
            raise StateError(f"{self.column} holds {x!r:.80}, which is no number") from None
        if not 0 <= x <= 1:
            raise StateError(
                f"{self.column} holds {x:g}; it must lie in [0, 1]. Divide by its largest possible value first"
            )
        factors: list[float] = rise_factors(np.array([1 - x if self._good else x]), self._limit)[:, 0].tolist()
        if len(self._factors) < _KEPT:
            self._factors[x] = factors
        return factors

    def _start(self) -> float:
        if not self._ahead:
            self._ahead = lifetime_starts(self._n, _AHEAD)[::-1].tolist()
        return self._ahead.pop()
