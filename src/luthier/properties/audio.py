"""Properties of sounds: length, level, peak, clipping, zero crossings and silence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.errors import DataError

__all__ = ["COLUMNS", "audio_columns"]

COLUMNS = (
    "audio_seconds", "audio_level", "audio_peak", "audio_clipped", "audio_zero_crossings", "audio_silence",
)  # fmt: skip
_FLOOR = 1e-6  # of the full scale: -120 dB
_LOUDEST = 16.0  # times the full scale; above it the scale is another one
_FULL = 0.999  # of the full scale counts as clipped


def audio_columns(
    sounds: Sequence[Any], rate: float | Sequence[float], *, silence: float = -50.0, frame: float = 0.02
) -> dict[str, np.ndarray]:
    """Columns of n sounds, float64 (n,) each; None has NaN throughout, no samples or a NaN among them all but length.

    A sound is an array (samples,) or (samples, channels) of signed integers or of floats in [-1, 1], taken at `rate`
    samples a second, one for all or one each. `audio_seconds`; `audio_level`, the root mean square in dB of the full
    scale, -120 at least; `audio_peak`, the largest size, and `audio_clipped`, the share of samples at the full scale;
    `audio_zero_crossings` a second, of the channels' mean; `audio_silence`, the share of `frame`s (seconds) whose level
    is below `silence` (dB). Raises DataError for what is no sound, with its place, and for a rate that is not above 0.
    """
    rates = np.broadcast_to(np.asarray(rate, np.float64), len(sounds)) if np.ndim(rate) == 0 else np.asarray(rate)
    if len(rates) != len(sounds) or not (np.isfinite(rates) & (rates > 0)).all():
        raise DataError(f"rate is {rate!r} for {len(sounds)} sounds; give samples a second, one for all or one each")
    table = [_properties(i, sound, float(rates[i]), silence, frame) for i, sound in enumerate(sounds)]
    matrix = np.array(table, np.float64).reshape(len(table), len(COLUMNS))
    return {name: np.ascontiguousarray(matrix[:, i]) for i, name in enumerate(COLUMNS)}


def _properties(place: int, sound: Any, rate: float, silence: float, frame: float) -> tuple[float, ...]:
    if sound is None:
        return (math.nan,) * len(COLUMNS)
    samples = _samples(place, sound)
    seconds, energy = len(samples) / rate, float(np.square(samples).mean()) if samples.size else math.nan
    if not math.isfinite(energy):
        return (seconds,) + (math.nan,) * (len(COLUMNS) - 1)
    size = np.abs(samples)
    below = np.signbit(samples.mean(axis=1))
    return (
        seconds,
        _decibel(energy),
        float(size.max()),
        float((size >= _FULL).mean()),
        np.count_nonzero(below[1:] != below[:-1]) / seconds,
        _silence(samples, max(round(rate * frame), 1), silence),
    )


def _samples(place: int, sound: Any) -> np.ndarray:
    """(samples, channels) float64, the full scale at ±1."""
    samples = np.asarray(sound)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "if":
        raise DataError(
            f"sound {place} is {samples.dtype} of shape {samples.shape}; a sound has (samples,) or (samples, channels) "
            f"signed integers, or floats in [-1, 1]. Give None for one that is missing"
        )
    full = -float(np.iinfo(samples.dtype).min) if samples.dtype.kind == "i" else 1.0
    if samples.dtype.kind == "f" and (np.abs(samples) > _LOUDEST).any() and not np.isinf(samples).any():
        raise DataError(
            f"sound {place} holds floats up to {np.nanmax(np.abs(samples)):g}; floats are shares of the full scale in "
            f"[-1, 1]. Divide by 32768 if they were 16-bit integers"
        )
    scaled: np.ndarray = (samples[:, None] if samples.ndim == 1 else samples).astype(np.float64) / full
    return scaled


def _decibel(energy: float) -> float:
    return 10 * math.log10(max(energy, _FLOOR**2))


def _silence(samples: np.ndarray, step: int, silence: float) -> float:
    """The share of frames of `step` samples, the last perhaps shorter, whose mean square is below the limit."""
    starts = np.arange(0, len(samples), step)
    energy = np.add.reduceat(np.square(samples).mean(axis=1), starts) / np.diff(np.append(starts, len(samples)))
    return float((energy < 10 ** (silence / 10)).mean())
