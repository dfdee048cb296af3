"""Properties of images: size, brightness, contrast, sharpness and colour."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from luthier.errors import DataError

__all__ = ["COLUMNS", "image_columns"]

COLUMNS = (
    "image_width", "image_height", "image_aspect", "image_brightness", "image_contrast", "image_sharpness",
    "image_red", "image_green", "image_blue", "image_saturation", "image_colourfulness",
)  # fmt: skip
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def image_columns(images: Iterable[Any]) -> dict[str, np.ndarray]:
    """Columns of n images, float64 (n,) each; None has NaN throughout.

    An image is a PIL image or an array (height, width) or (height, width, 1, 3 or 4), of unsigned integers or of
    floats in [0, 1]; alpha is ignored. `image_width`, `image_height` in pixels and `image_aspect`, the first by the
    second; `image_brightness` and `image_contrast`, mean and standard deviation of the luma (BT.601) in [0, 1];
    `image_sharpness`, the variance of its Laplacian (Pech-Pacheco et al. 2000; NaN below 3 by 3 pixels); mean
    `image_red`, `image_green`, `image_blue` in [0, 1]; mean `image_saturation` (HSV); `image_colourfulness` (Hasler
    and Süsstrunk 2003, in units of the full scale). Raises DataError for what is no image, with its place.
    """
    table = [_properties(place, image) for place, image in enumerate(images)]
    matrix = np.array(table, np.float64).reshape(len(table), len(COLUMNS))
    return {name: np.ascontiguousarray(matrix[:, i]) for i, name in enumerate(COLUMNS)}


def _properties(place: int, image: Any) -> tuple[float, ...]:
    if image is None:
        return (math.nan,) * len(COLUMNS)
    pixels = _pixels(place, image)
    height, width = pixels.shape[:2]
    grey = pixels.ndim == 2
    luma = pixels if grey else pixels @ _LUMA
    size = (float(width), float(height), width / height)
    light = (_mean(luma), float(luma.std(dtype=np.float64)), _sharpness(luma))
    return size + light + ((light[0],) * 3 + (0.0, 0.0) if grey else _colour(pixels))


def _pixels(place: int, image: Any) -> np.ndarray:
    """(height, width) or (height, width, 3), float32 in [0, 1]."""
    if hasattr(image, "convert") and image.mode not in ("L", "I;16", "RGB", "F", "1"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4):
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, :3]
    if (
        pixels.ndim not in (2, 3)
        or pixels.shape[2:] not in ((), (3,))
        or pixels.dtype.kind not in "buf"
        or not pixels.size
    ):
        raise DataError(
            f"image {place} is {pixels.dtype} of shape {pixels.shape}; an image has (height, width) or (height, width, "
            f"1, 3 or 4) unsigned integers, or floats in [0, 1]. Give None for one that is missing"
        )
    if pixels.dtype.kind == "u":
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise DataError(
            f"image {place} holds floats from {pixels.min():g} to {pixels.max():g}; floats are shares of the full scale "
            f"in [0, 1]. Divide by 255 if that is the full scale, or give unsigned integers"
        )
    return pixels.astype(np.float32)


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64))


def _sharpness(luma: np.ndarray) -> float:
    if min(luma.shape) < 3:
        return math.nan
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float((around - 4 * luma[1:-1, 1:-1]).var(dtype=np.float64))


def _colour(pixels: np.ndarray) -> tuple[float, ...]:
    red, green, blue = (pixels[:, :, channel] for channel in range(3))
    most, least = pixels.max(axis=2), pixels.min(axis=2)
    saturation = np.divide(most - least, most, out=np.zeros_like(most), where=most > 0)
    across, along = red - green, (red + green) / 2 - blue
    spread = math.hypot(float(across.std(dtype=np.float64)), float(along.std(dtype=np.float64)))
    colourful = spread + 0.3 * math.hypot(_mean(across), _mean(along))
    return (_mean(red), _mean(green), _mean(blue), _mean(saturation), colourful)
