"""Evidence that may be looked at after every observation: e-processes, e-detectors, and how they combine.

A bet against "the mean is at most m0" turns an observation x in [0, 1] into a factor 1 + l (x - m0), whose mean is at
most 1 as long as that is true. Products of factors are e-processes; restarted at every observation they are
e-detectors, which notice a change however long things went well. K bets are mixed, so none has to be right. All of
it runs forward from a small state, and cutting a stream anywhere gives the same numbers bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError
from luthier.evidence.intervals import (
    bernoulli_sequence,
    betting_interval,
    betting_lower,
    betting_upper,
    binomial_tail,
    clopper_pearson,
    clopper_pearson_upper,
    wilson,
)

__all__ = [
    "LARGEST",
    "RISE_SHARES",
    "RISE_WEIGHTS",
    "WALK",
    "advance",
    "bernoulli_sequence",
    "betting_interval",
    "betting_lower",
    "betting_upper",
    "binomial_tail",
    "clopper_pearson",
    "clopper_pearson_upper",
    "conformal_p",
    "count_logs",
    "cusum",
    "cusum_counts",
    "detector",
    "e_bh",
    "floats",
    "labels_to_show",
    "level_ever",
    "level_now",
    "lifetime_starts",
    "mixed",
    "p_to_e",
    "paired_bets",
    "paired_factors",
    "rise",
    "rise_factors",
    "source_bound",
    "sr_counts",
    "unit_interval",
    "watch_rise",
    "wealth",
    "wilson",
]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
State: TypeAlias = Mapping[str, Any]
LARGEST = 1e300
BLOCK = 64
"""Products are taken over at most 64 observations, so that they stay inside float64 (each factor is below e^11)."""
RUN = 2048
"""Observations that `watch_rise` takes at a time: the factors of so many stay in the cache."""
RISE_SHARES = np.array([0.016, 0.04, 0.11, 0.35])
"""The stakes: share f of the purse lost on x = 0, which is the Kelly bet for a mean of m0 + f (1 - m0)."""
RISE_WEIGHTS = np.array([2, 3, 2, 1]) / 8
"""What each stake weighs in the mixture: most where labels are many, since a large rise shows itself soon enough.

Beside seven stakes of equal weight, from 0.01 to 0.64, they need a tenth fewer labels for a small rise, as many for one
by two thirds, some labels more where a risk jumps to .8, and 4 / 7 of the arithmetic.
"""
WALK = 1
"""The stake whose log wealth tells where a rise began."""


def floats(values: Any, name: str) -> Floats:
    """`values` as float64. Raises StateError where they are no numbers."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StateError(f"{name} holds what is no number: {error}. Give numbers, NaN where one is missing") from error


def unit_interval(values: Any, name: str) -> Floats:
    """`values` as float64 (n,) without the NaN.

    Raises StateError naming the first value outside [0, 1].
    """
    array = floats(values, name).ravel()
    array = array[~np.isnan(array)]
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        bad = array[(array < 0) | (array > 1)][0]
        raise StateError(f"{name} holds {bad:g}; it must lie in [0, 1]. Divide by its largest possible value first")
    return array


# -- factors ----


def rise_factors(x: Floats, m0: float, shares: Floats = RISE_SHARES) -> Floats:
    """(K, n): what each bet against "mean <= m0" makes of each x in [0, 1]. m0 in (0, 1)."""
    return 1.0 + (shares / m0)[:, None] * (x - m0)


def paired_bets(margin: float) -> Floats:
    """The 7 bets of the paired tests; differences lie in [-1, 1]."""
    return np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9]) / (1 - margin)


def paired_factors(difference: Floats, margin: float) -> Floats:
    """(K, n): factors against "mean difference >= margin" for differences in [-1, 1], margin in (-1, 1)."""
    return 1.0 + paired_bets(margin)[:, None] * (margin - difference)


# -- e-detectors and weighted starts ----


def detector(bets: int) -> dict[str, Any]:
    """The state of `advance` before the first observation."""
    return {
        "n": 0, "base": np.zeros(bets), "product": np.ones(bets), "sum": np.zeros(bets), "value": 0.0, "peak": 0.0,
    }  # fmt: skip


def advance(
    state: State, factors: Floats, starts: Floats | None = None, weights: Floats | None = None
) -> tuple[dict[str, Any], Floats]:
    """Run M_t = (M_{t-1} + g_t) e_t for each row of `factors` (K, n); returns the new state and mean_k M_t (n,).

    `weights` (K,) of that mean sum to 1; None: all the same.
    `starts` None: g = 1, the e-SR detector (Shin, Ramdas & Rinaldo): an alarm at M >= A comes at most once in A
    observations on average. `starts` (n,) with total at most 1 over all time (`lifetime_starts`): P(M ever >= 1/alpha)
    <= alpha. Within a block, M_t = P_t (M_block + sum_j g_j / P_{j-1}) with P the running product; blocks lie at
    fixed places of the stream, so that any cut gives the same bits.
    """
    n = factors.shape[1]
    g = np.ones(n) if starts is None else starts
    shares = np.full(len(factors), 1 / len(factors)) if weights is None else weights
    state, paths, done = dict(state), [], 0
    with np.errstate(over="ignore"):
        head = min(n, -state["n"] % BLOCK)
        whole = (n - head) // BLOCK * BLOCK
        for size in (head, whole, n - head - whole):
            if size:
                piece = slice(done, done + size)
                run = _whole_blocks if size == whole and done == head else _part_of_block
                paths.append(_mean(run(state, factors[:, piece], g[piece]), shares))
                done += size
    path = np.minimum(np.concatenate(paths), LARGEST) if paths else np.zeros(0)
    if n:
        state["value"], state["peak"] = float(path[-1]), max(state["peak"], float(path.max()))
    return state, path


def _part_of_block(state: dict[str, Any], factors: Floats, g: Floats) -> Floats:
    product = np.multiply.accumulate(np.column_stack([state["product"], factors]), axis=1)  # (K, n + 1)
    total = np.add.accumulate(np.column_stack([state["sum"], g / product[:, :-1]]), axis=1)
    m: Floats = product[:, 1:] * (state["base"][:, None] + total[:, 1:])
    state["n"] += len(g)
    state["product"], state["sum"] = product[:, -1].copy(), total[:, -1].copy()
    if state["n"] % BLOCK == 0:
        _close_block(state, np.minimum(m[:, -1], LARGEST))
    return m


def _whole_blocks(state: dict[str, Any], factors: Floats, g: Floats) -> Floats:
    bets, n = factors.shape
    product, starts = np.multiply.accumulate(factors.reshape(bets, -1, BLOCK), axis=2), g.reshape(-1, BLOCK)
    total = np.empty_like(product)
    total[:, :, 0] = starts[:, 0]
    np.divide(starts[:, 1:], product[:, :, :-1], out=total[:, :, 1:])
    np.add.accumulate(total, axis=2, out=total)
    bases = np.empty((n // BLOCK, bets))
    base = state["base"]
    for row, (last_product, last_total) in enumerate(zip(product[:, :, -1].T, total[:, :, -1].T, strict=True)):
        bases[row] = base
        base = np.minimum(last_product * (base + last_total), LARGEST)
    state["n"] += n
    _close_block(state, base)
    total += bases.T[:, :, None]
    total *= product
    return total.reshape(bets, n)


def _close_block(state: dict[str, Any], base: Floats) -> None:
    state.update(base=base, product=np.ones_like(base), sum=np.zeros_like(base))


def _mean(m: Floats, weights: Floats) -> Floats:
    """Mean over the bets, added one after the other: numpy's own sum changes its order with the shape."""
    mean: Floats = m[0] * weights[0]
    for row, weight in zip(m[1:], weights[1:], strict=True):
        mean += row * weight
    return mean


def lifetime_starts(after: int, n: int) -> Floats:
    """g_t for t = after + 1 ... after + n: 0.9 / ((t + 2) ln^2(t + 2)), whose sum over all t stays below 1.

    A mixture over change points with a proper prior: M_t plus the weights still to come is a non-negative
    supermartingale that starts below 1, so Ville's inequality holds for its whole life; the delay after a change at
    t grows only with log(1/g_t).
    """
    t = np.arange(after + 3, after + n + 3, dtype=np.float64)
    starts: Floats = 0.9 / (t * np.log(t) ** 2)
    return starts


def cusum(factors: Floats, carried: Floats | None = None) -> Floats:
    """e-CUSUM, M_t = max(M_{t-1}, 1) e_t, as log M (K, n); `carried` (K,) is the last column of the part before."""
    logs = np.log(factors)
    first = np.zeros(len(logs)) if carried is None else np.maximum(carried, 0.0)
    walk = np.add.accumulate(np.column_stack([first, logs]), axis=1)  # (K, n + 1)
    lowest = np.minimum.accumulate(np.minimum(walk[:, :-1], 0.0), axis=1)
    path: Floats = walk[:, 1:] - lowest
    return path


def sr_counts(log_m: Floats, n: Any, k: Any, m0: float, shares: Floats = RISE_SHARES) -> Floats:
    """One e-SR step from a batch of n answers with k errors: log M (..., K) to log M. Alarm at weighted mean M >= A / n."""
    logs: Floats = np.logaddexp(log_m, 0.0) + count_logs(n, k, m0, shares)
    return logs


def cusum_counts(log_m: Floats, n: Any, k: Any, m0: float, shares: Floats = RISE_SHARES) -> Floats:
    """One e-CUSUM step from a batch of n answers with k errors."""
    logs: Floats = np.maximum(log_m, 0.0) + count_logs(n, k, m0, shares)
    return logs


def count_logs(n: Any, k: Any, m0: float, shares: Floats = RISE_SHARES) -> Floats:
    """(..., K): log of what each bet makes of a batch of n answers with k errors."""
    n, k = np.asarray(n, dtype=np.float64)[..., None], np.asarray(k, dtype=np.float64)[..., None]
    logs: Floats = k * np.log1p(shares / m0 * (1 - m0)) + (n - k) * np.log1p(-shares)
    return logs


# -- one stream against one limit --------------------------------------------------------------------------------------


def source_bound(losses: Any, delta: float) -> float:
    """Upper bound for the mean of reference losses (n,) in [0, 1]; P(true mean above it) <= delta. Empty: nan.

    Clopper-Pearson for losses of 0 and 1, the betting bound for others: alarms measured against the plain reference
    mean were wrong in 30 % of streams that stayed within tolerance, against this bound in 1 %.
    """
    x = unit_interval(losses, "reference loss")
    wrong = int(x.sum()) if x.size else 0
    if bool(((x == 0) | (x == 1)).all()):
        return clopper_pearson_upper(wrong, len(x), delta)
    return betting_upper(x, delta)


def rise() -> dict[str, Any]:
    """The state of `watch_rise` before the first observation."""
    return {"detector": detector(len(RISE_SHARES)), "total": 0.0, "walk": 0.0, "low": 0.0, "low_n": 0, "low_total": 0.0}


def watch_rise(state: State, x: Floats, m0: float, lifetime: bool = False) -> tuple[dict[str, Any], Floats]:
    """Run the detector of "mean <= m0" over x (n,) in [0, 1]; returns the new state and the evidence path (n,).

    Beside the evidence it keeps where a rise most likely began: the last low of one bet's log wealth (Page 1954).
    """
    if len(x) > RUN:  # any cut gives the same bits
        paths = []
        for start in range(0, len(x), RUN):
            state, path = watch_rise(state, x[start : start + RUN], m0, lifetime)
            paths.append(path)
        return dict(state), np.concatenate(paths)
    if not len(x):
        return dict(state), np.zeros(0)
    seen = state["detector"]["n"]
    factors = rise_factors(x, m0)
    starts = lifetime_starts(seen, len(x)) if lifetime else None
    engine, path = advance(state["detector"], factors, starts, RISE_WEIGHTS)
    total = np.add.accumulate(np.concatenate([[state["total"]], x]))[1:]
    walk = np.add.accumulate(np.concatenate([[state["walk"]], np.log(factors[WALK])]))[1:]
    after = {**state, "detector": engine, "total": float(total[-1]), "walk": float(walk[-1])}
    last = len(walk) - 1 - int(np.argmin(walk[::-1]))
    if walk[last] <= state["low"]:
        after.update(low=float(walk[last]), low_n=seen + last + 1, low_total=float(total[last]))
    return after, path


def level_now(state: State) -> tuple[float, int, int]:
    """Mean and count of the observations since the most likely rise, and where that began; nan and 0 without any."""
    n = state["detector"]["n"] - state["low_n"]
    return ((state["total"] - state["low_total"]) / n if n else math.nan), n, state["low_n"]


def level_ever(state: State) -> float:
    """Mean of all observations; nan without any."""
    n: int = state["detector"]["n"]
    return float(state["total"]) / n if n else math.nan


# -- e-processes from the first observation on ----


def wealth(logs: Floats, factors: Floats) -> Floats:
    """Log wealth (K,) of each bet after `factors` (K, n), carried on from `logs`, the same for any cut."""
    if not factors.shape[1]:
        return logs
    last: Floats = np.add.accumulate(np.column_stack([logs, np.log(factors)]), axis=1)[:, -1].copy()
    return last


def mixed(logs: Floats) -> float:
    """The e-value of a mixture with log wealth (K,), capped at 1e300."""
    top = float(logs.max())
    log_mean = top + math.log(float(np.exp(logs - top).sum()) / len(logs))
    return LARGEST if log_mean >= math.log(LARGEST) else math.exp(log_mean)


def labels_to_show(n: int, grown: Callable[[float], float], alpha: float) -> int:
    """Labels still needed if what comes looks like the n rows seen; 0 when a thousand times as many would not do.

    `grown(s)` is the e-value that s times the rows seen would have given. An expectation, not a promise.
    """
    low, high = 1.0, 1000.0
    if n == 0 or grown(high) * alpha < 1:
        return 0
    for _ in range(30):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if grown(middle) * alpha >= 1 else (middle, high)
    return max(1, math.ceil(n * (high - 1)))


# -- other currencies, and many monitors ----


def conformal_p(score: float, null: Floats) -> float:
    """Share of the sorted `null` scores (m,) at least as large, the new one included; valid when exchangeable."""
    return float(1 + len(null) - np.searchsorted(null, score, side="left")) / (len(null) + 1)


def p_to_e(p: float) -> float:
    """An e-value from a p-value: the integral of k p^(k-1) over k in (0, 1), whose mean under the null is 1.

    Vovk & Wang 2021. From 1/2 at p = 1 to about 1 / (p ln^2 p) for small p.
    """
    if p >= 1 - 1e-4:  # the closed form loses its digits there; its series is (1 + (1 - p) / 3) / 2
        return 0.5 + max(1 - p, 0.0) / 6
    p = max(p, 1e-290)
    log = math.log(p)
    return min((1 - p + p * log) / (p * log * log), LARGEST)


def e_bh(evidence: Sequence[float], alpha: float, weight: float | None = None) -> list[int]:
    """Indices that e-BH rejects: false discovery rate <= alpha under any dependence (Wang & Ramdas 2022).

    The largest k for which the k-th largest e-value is at least n / (alpha k). NaN counts as no evidence. For
    e-detectors hand in M_t / t. `weight` (default n) is how much the means of all e-values may add up to when all nulls are true: for
    e-values that share one, or that were left out because they are small (weighted e-BH, as p-values' weights of Genovese,
    Roeder & Wasserman 2006).

    >>> e_bh([80.0, 1.0, 40.0], 0.05)
    [0, 2]
    """
    values = np.nan_to_num(np.asarray(evidence, dtype=np.float64), nan=0.0)
    order = np.argsort(-values, kind="stable")
    needed = (len(values) if weight is None else weight) / (alpha * np.arange(1, len(values) + 1))
    passing = np.flatnonzero(values[order] >= needed)
    return sorted(int(i) for i in order[: passing[-1] + 1]) if passing.size else []
