"""Hashes that are the same on every machine, of whole columns at once."""

from __future__ import annotations

import numpy as np

__all__ = ["hash64"]

_CHUNK = 1 << 17  # texts whose code points are widened at once
_FNV = np.uint64(0x100000001B3)


def hash64(values: np.ndarray, salt: int = 0) -> np.ndarray:
    """A 64-bit hash of every integer or text in values (n,), the same on every machine; (n,) uint64.

    Text: FNV-1a over its code points; then splitmix64's finaliser. Not cryptographic: whoever knows the salt can
    choose ids by their hash.
    """
    start = np.uint64((0xCBF29CE484222325 ^ (salt * 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF)
    if values.dtype.kind in "biu":
        return _mixed(values.astype(np.int64).view(np.uint64) ^ start)
    text = np.ascontiguousarray(values if values.dtype.kind == "U" else values.astype(str))
    if len(text) > _CHUNK:
        return np.concatenate([hash64(text[i : i + _CHUNK], salt) for i in range(0, len(text), _CHUNK)])
    state = np.full(len(text), start, dtype=np.uint64)
    if len(text) and text.dtype.itemsize:
        points = text.view(np.uint32).reshape(len(text), -1).astype(np.uint64)  # (n, longest)
        for place in range(points.shape[1]):
            here = points[:, place]
            state = np.where(here > 0, (state ^ here) * _FNV, state)  # padding leaves the hash as it is
    return _mixed(state)


def _mixed(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
