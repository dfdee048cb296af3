"""How far one observation of a series tells about the next: correlation time, bursts, season, and blocks that forget."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np

__all__ = ["Blocks", "blocks", "burst_length", "correlation_time", "season_length"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
SHORTEST = 100  # observations of a block
BURSTS = 20  # burst lengths a block: their sums are nearly normal
WIDER = 2  # times as long are the blocks whose variance is measured, which short ones understate
ENOUGH = 8  # blocks that a variance is measured on
NEWEST = 2**18  # rows of a long reference that are looked at
PERIODS = 3  # times that a season must be seen
HARMONICS = 3  # of the season that are taken out before bursts are measured
NEIGHBOURS = 10  # ordinates of the periodogram on each side that say what is usual there
PEAK = 25.0  # times the usual ordinate: by chance one of 10,000 is that high once in some 1,000 series


class Blocks(NamedTuple):
    """How a series is cut: `length` of a block, and what it was chosen from.

    `clumping`: variance of a block's mean over that of independent rows; `burst` and `season` in rows, season 0 for
    none; `measured`: length of the blocks whose means were compared, `wide` what it would be in a long enough series.
    """

    length: int
    clumping: float
    burst: float
    season: int
    measured: int
    wide: int


def correlation_time(x: Floats) -> tuple[float, float]:
    """(t, r) of a series x (n,): t rows are worth one independent one, and a deviation lasts for r rows on average.

    t = 1 + 2 Σ ρ_k and r = Σ ρ_k / ρ_1 over the autocorrelations ρ_k up to the first that noise explains. (1, 1)
    where even the first is: constant, short or independent series.
    """
    n = len(x)
    centred = x - x.mean() if n else x
    if n < 8 or not centred.any():
        return 1.0, 1.0
    power = np.abs(np.fft.rfft(centred, 2 ** math.ceil(math.log2(2 * n)))) ** 2
    covariance = np.fft.irfft(power)[: n // 2 + 1]
    rho = covariance[1:] / covariance[0]  # (n // 2,), from lag 1
    if rho[0] <= 3 / math.sqrt(n):
        return 1.0, 1.0
    noise = np.flatnonzero(rho <= 2 / math.sqrt(n))
    total = float(rho[: noise[0] if noise.size else len(rho)].sum())
    return 1 + 2 * total, total / float(rho[0])


def burst_length(x: Floats, residual: Floats) -> float:
    """Mean length for which losses x (n,) in [0, 1] stay bad; 1 / (1 - mean) when they are independent.

    In a two-state chain of mean m, deviations last for r = L (1 - m). What only partly rises in a burst hides in the
    runs of errors and shows in r, taken from `residual` (x without its season), so the larger is taken.
    """
    mean = float(x.mean()) if len(x) else math.nan
    if not 0 < mean < 1:
        return 1.0
    length = correlation_time(residual)[1] / (1 - mean)
    if not bool(((x == 0) | (x == 1)).all()):
        return length
    begun = int(np.count_nonzero((x[1:] == 1) & (x[:-1] == 0))) + int(x[0] == 1)
    return max(length, float(x.sum()) / begun)


def season_length(x: Floats) -> int:
    """The longest period, of at least 10 rows and seen at least 3 times, that x (n,) repeats; 0 for none.

    A peak of the periodogram (Hann window) above 25 times its neighbours' level, so that the slow decay of bursts is
    no season; refined on a grid eight times as fine.
    """
    n = len(x)
    if n < 10 * PERIODS or not np.ptp(x):
        return 0
    tapered = (x - x.mean()) * np.hanning(n)
    power = np.abs(np.fft.rfft(tapered))[1 : n // 10 + NEIGHBOURS] ** 2  # from one period in all on
    around = np.lib.stride_tricks.sliding_window_view(np.pad(power, NEIGHBOURS, mode="symmetric"), 2 * NEIGHBOURS + 1)
    ratio = power * math.log(2) / np.maximum(np.median(around, axis=1), 1e-300)
    ratio[: PERIODS - 1] = 0.0
    higher = ratio > np.maximum(np.concatenate([[0.0], ratio[:-1]]), PEAK)
    peaks = 1 + np.flatnonzero(higher & (ratio >= np.concatenate([ratio[1:], [0.0]])))
    if not peaks.size or peaks[0] > n // 10:
        return 0
    fine = np.abs(np.fft.rfft(tapered, 8 * n))[8 * (peaks[0] - 1) : 8 * (peaks[0] + 1) + 1]
    return round(8 * n / (8 * (int(peaks[0]) - 1) + int(fine.argmax())))


def blocks(x: Floats, length: int = 0, season: int = 0) -> Blocks:
    """Blocks of losses x (n,) in [0, 1] whose means are nearly independent, and how much bursts widen such a mean.

    A block holds at least 20 burst lengths, at least 100 rows and whole seasons, and is doubled as long as blocks
    twice as long are correlated with their neighbours and 16 of these are left. `clumping` comes from the correlation
    time, or from the variance of those longer blocks' means where that is larger beyond chance. `length` and `season`
    are taken where given.
    """
    x = x[-NEWEST:]
    n, season = len(x), season or season_length(x)
    residual = _without(x, season)
    burst, clumping = burst_length(x, residual), correlation_time(residual)[0]
    wide = length or _whole(max(SHORTEST, math.ceil(WIDER * BURSTS * burst)), season)
    while not length and n // wide >= 2 * ENOUGH and _correlated(_means(x, wide)):
        wide *= 2
    measured = max(min(wide, n // ENOUGH), 1)
    if n >= 2 * measured and (spread := float(x.var())) > 0:
        means = _means(x, measured)
        seen = float(means.var(ddof=1)) * measured / spread
        chance = 1 + 2.33 * math.sqrt(2 / (len(means) - 1)) + 2 / (len(means) - 1)  # chi-square .99 over its freedom
        clumping = seen if seen > clumping * chance else clumping
    return Blocks(length or _whole(max(SHORTEST, wide // WIDER), season), clumping, burst, season, measured, wide)


def _without(x: Floats, season: int) -> Floats:
    """x (n,) less its first harmonics of the season, by least squares."""
    if not season:
        return x
    angle = 2 * math.pi / season * np.arange(len(x))
    waves = [wave(k * angle) for k in range(1, HARMONICS + 1) for wave in (np.sin, np.cos)]
    design = np.column_stack([np.ones(len(x)), *waves])
    fitted = np.linalg.lstsq(design, x, rcond=None)[0]
    residual: Floats = x - design[:, 1:] @ fitted[1:]
    return residual


def _whole(length: int, season: int) -> int:
    return math.ceil(length / season) * season if season else length


def _means(x: Floats, length: int) -> Floats:
    """Means (n // length,) of the newest whole blocks."""
    count = len(x) // length
    means: Floats = x[len(x) - count * length :].reshape(count, length).mean(axis=1)
    return means


def _correlated(means: Floats) -> bool:
    """Whether neighbours resemble each other: lag-1 autocorrelation more than 3 standard errors above none."""
    centred = means - means.mean()
    square = float(centred @ centred)
    return square > 0 and float(centred[1:] @ centred[:-1]) / square > 3 / math.sqrt(len(means))
