"""Plain data and numpy arrays to bytes and back, without pickle: a JSON head and raw array bytes, bit for bit."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from luthier.errors import StateError

__all__ = ["pack", "unpack"]

_ARRAY = "__array__"
_KINDS = "biufU"


def pack(value: Any) -> bytes:
    """`value` (dict, list, tuple, str, int, float, bool, None, numpy array or scalar) as bytes; equal values give equal bytes."""
    buffers: list[bytes] = []

    def plain(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            if item.dtype.kind not in _KINDS:
                raise StateError(f"cannot pack an array of {item.dtype}: states hold numbers, bools and text only")
            buffers.append(np.ascontiguousarray(item).tobytes())
            return {_ARRAY: [len(buffers) - 1, item.dtype.str, list(item.shape)]}
        if isinstance(item, np.generic):
            return item.item()
        if isinstance(item, dict):
            return {str(key): plain(item[key]) for key in sorted(item, key=str)}
        if isinstance(item, list | tuple):
            return [plain(part) for part in item]
        if item is None or isinstance(item, str | int | float | bool):
            return item
        raise StateError(f"cannot pack a {type(item).__name__}: states hold plain data and numpy arrays only")

    head = json.dumps({"value": plain(value), "sizes": [len(b) for b in buffers]}, separators=(",", ":")).encode()
    return struct.pack("<I", len(head)) + head + b"".join(buffers)


def unpack(data: bytes) -> Any:
    """What `pack` was given; tuples come back as lists.

    Raises StateError when the bytes are cut short or not from `pack`.
    """
    try:
        (size,) = struct.unpack_from("<I", data)
        head = json.loads(data[4 : 4 + size])
        starts, start = [], 4 + size
        for length in head["sizes"]:
            starts.append(start)
            start += length
        if start != len(data):
            raise ValueError(f"{len(data)} bytes where {start} were announced")
        return _rebuild(head["value"], data, starts, head["sizes"])
    except (struct.error, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise StateError(
            f"a stored state cannot be read: {error}. It was cut short or is not a Luthier state"
        ) from error


def _rebuild(item: Any, data: bytes, starts: list[int], sizes: list[int]) -> Any:
    if isinstance(item, dict):
        if _ARRAY in item:
            index, dtype, shape = item[_ARRAY]
            kind = np.dtype(dtype)
            if kind.kind not in _KINDS:
                raise ValueError(f"array of {dtype}")
            array = np.frombuffer(data, dtype=kind, count=sizes[index] // kind.itemsize, offset=starts[index])
            return array.reshape(shape).copy()
        return {key: _rebuild(part, data, starts, sizes) for key, part in item.items()}
    if isinstance(item, list):
        return [_rebuild(part, data, starts, sizes) for part in item]
    return item
