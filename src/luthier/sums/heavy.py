"""Which categories are frequent, told from sums alone: so that parts add up to the whole in any order, byte for byte.

Combinatorial group testing (Cormode and Muthukrishnan, "What's hot and what's not", 2005). A category falls into one
bucket of each of three rows by its hash; a bucket counts its rows, and for each bit of a category's name (and of a
checksum) the rows whose bit is set. Where one category has most of a bucket's rows, the majority of each bit spells its
name. What is found is taken out of all rows and the rest is read again, so that frequent categories that share buckets
come to light one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luthier.sums.hashing import hash64

__all__ = ["Heavy", "heavy", "narrowed", "shortened", "sketch"]

_ROWS = 3
_NAME, _CHECK = 24, 4  # bytes
_BITS = 8 * (_NAME + _CHECK)
_CHUNK = 4096  # names at once: 1 MB of bits
_FEWEST = 6  # of 32 checksum bits in which two names differ; fewer once in 10,000 pairs


@dataclass(frozen=True, slots=True)
class Heavy:
    """A category, about how many rows it has, and between what numbers that lies."""

    name: str
    rows: int
    low: int
    high: int


def shortened(name: str) -> str:
    """The name if it takes at most 24 bytes, else its beginning, "…" and eight digits of its hash.

    What UTF-8 has no bytes for (half a surrogate pair) is a question mark.
    """
    encoded = name.encode("utf-8", "replace")
    if len(encoded) <= _NAME:
        return encoded.decode()
    start = encoded[: _NAME - 11].decode("utf-8", "ignore")
    return f"{start}…{int(hash64(np.array([name]))[0]) >> 32:08x}"


def sketch(names: np.ndarray, times: np.ndarray, width: int) -> np.ndarray:
    """Sums for text `names` (m,) that were seen `times` (m,) each: (3, width, 1 + 224) int64; width at most 1,024."""
    sums = np.zeros((_ROWS, width, 1 + _BITS), np.int64)
    for start in range(0, len(names), _CHUNK):
        part, weights = names[start : start + _CHUNK], times[start : start + _CHUNK].astype(np.int64)
        code, places = _codes(part, width)
        for row, bucket in enumerate(places):
            order = np.argsort(bucket, kind="stable")
            ranked = bucket[order]
            starts = np.flatnonzero(np.diff(ranked, prepend=-1))
            values = code[order]
            if weights.max() > 1:
                fits = weights.sum() < 2**31
                values = values * weights[order].astype(np.int32 if fits else np.int64)[:, None]
            sums[row, ranked[starts]] += np.add.reduceat(
                values, starts, axis=0, dtype=np.int64 if values.itemsize > 4 else np.int32
            )
    return sums


def narrowed(sums: np.ndarray) -> np.ndarray:
    """The same sums in the narrowest integers that hold them."""
    peak = int(sums.max(initial=0))
    return sums.astype(next(kind for kind in (np.int16, np.int32, np.int64) if peak <= np.iinfo(kind).max))


def heavy(sums: np.ndarray, least: float) -> list[Heavy]:
    """The categories with about `least` rows or more, the most frequent first."""
    rest, found = sums.astype(np.int64), {}
    for _ in range(2 * sums.shape[1]):
        fresh = [one for one in _spelled(rest, least) if one.name not in found and one.rows >= least]
        if not fresh:
            break
        for one in fresh:
            found[one.name] = one
            code, places = _codes(np.array([one.name]), sums.shape[1])
            rest[range(_ROWS), places[:, 0]] -= code[0].astype(np.int64) * one.rows
        rest = np.maximum(rest, 0)
    return sorted(found.values(), key=lambda one: (-one.rows, one.name))


def _codes(names: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A 1 and the bits of each shortened name and its checksum, (m, 1 + 224) uint8, and its bucket in every row, (3, m)."""
    text, size = names.astype(str), len(names)
    encoded = np.char.encode(text, "utf-8", "replace")
    if encoded.dtype.itemsize > _NAME or (np.char.find(encoded, b"?") >= 0).any():  # too long, or not to be encoded
        text = np.array([shortened(name) for name in text.tolist()])
        encoded = np.char.encode(text, "utf-8")
    letters = np.ascontiguousarray(encoded.astype(f"S{_NAME}")).view(np.uint8).reshape(size, _NAME)
    hashes = hash64(text, salt=99)
    checks = (hashes >> np.uint64(32)).astype(">u4").view(np.uint8).reshape(size, _CHECK)
    code = np.ones((size, 1 + _BITS), np.uint8)
    code[:, 1:] = np.unpackbits(np.concatenate((letters, checks), axis=1), axis=1)
    fields = [(hashes >> np.uint64(10 * row)).astype(np.int64) & 1023 for row in range(_ROWS)]
    return code, np.stack(fields) * width >> 10


def _spelled(rest: np.ndarray, least: float) -> list[Heavy]:
    """What the majority of each bit spells in the buckets of `least` rows or more, if it belongs there."""
    places = np.argwhere(rest[:, :, 0] >= least)
    spelt = {}
    for row, bucket in places.tolist():
        here = rest[row, bucket]
        code = np.packbits(here[1:] * 2 > here[0])
        name = code[:_NAME].tobytes().rstrip(b"\0").decode("utf-8", "replace")
        if name in spelt or "\0" in name:
            continue
        bits, at = _codes(np.array([name]), rest.shape[1])
        if at[row, 0] == bucket and (np.packbits(bits[0, 1:])[_NAME:] == code[_NAME:]).all():
            spelt[name] = _sized(name, rest[range(_ROWS), at[:, 0]], bits[0, 1:])
    return sorted(spelt.values(), key=lambda one: (-one.rows, one.name))


def _sized(name: str, buckets: np.ndarray, bits: np.ndarray) -> Heavy:
    """How many rows it has: those of its `buckets` (3, 225) but for others, which differ in half of the checksum bits."""
    likely, low, high = [], [], []
    for here in buckets:
        against = np.where(bits == 1, here[0] - here[1:], here[1:])  # rows of others with another bit
        others = int(against[8 * _NAME :].sum())
        likely.append((others, int(here[0]) - round(others / (4 * _CHECK))))
        low.append(int(here[0]) - others // _FEWEST)
        high.append(int(here[0] - against.max()))
    least, most = max(*low, 0), max(min(high), 0)
    rows = min(likely)[1]  # of the bucket with the fewest others
    return Heavy(name, min(max(rows, least), max(most, least)), min(least, most), most)
