"""Near-duplicates among texts in linear time: MinHash over character shingles, banded, then verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["near_twins", "text_vectors"]

SHINGLE = 5  # characters
HASHES, BANDS = 32, 8  # a pair of Jaccard index s shares a band with probability 1 - (1 - s^4)^8: 0.985 at s = 0.8
_LONGEST = 2_000  # characters of a text that are looked at
_CHUNK = 2_048  # texts hashed at once, to bound the memory
_WORDS: TypeAlias = npt.NDArray[np.uint64]


def near_twins(
    texts: Sequence[str], *, threshold: float = 0.8, progress: Callable[[float], None] | None = None
) -> list[tuple[int, int]]:
    """Pairs (first, second), first < second, one for each text that is nearly a text before it.

    Nearly: the Jaccard index of the sets of 5-character shingles is at least `threshold`. Broder, "On the resemblance
    and containment of documents" (1997). Within a band, a text is held against the first text of its bucket and the
    one before it only, so the time is linear and a few pairs of large groups are left out. Texts with fewer than 8
    characters are left out: there one letter is the difference.
    """
    long = np.array([len(text) >= 8 for text in texts], bool)
    kept = np.flatnonzero(long).tolist()
    if len(kept) < 2:
        return []
    signatures = _signatures([texts[i] for i in kept], progress)  # (n, HASHES)
    candidates = _candidates(signatures)  # (m, 2), rising within a row
    alike = (signatures[candidates[:, 0]] == signatures[candidates[:, 1]]).mean(axis=1)  # estimates the Jaccard index
    twins: dict[int, int] = {}
    for first, second in candidates[alike >= threshold - 0.25].tolist():
        a, b = kept[first], kept[second]
        if b not in twins and _jaccard(texts[a], texts[b]) >= threshold:
            twins[b] = a
    return sorted((a, b) for b, a in twins.items())


def text_vectors(texts: Sequence[str], width: int = 512) -> npt.NDArray[np.float64]:
    """Hashed counts of character trigrams, (n, width), each of length 1: texts for `embedding` where no model gave one."""
    vectors = np.zeros((len(texts), width))
    for row, text in zip(vectors, texts, strict=True):
        codes = np.frombuffer(f" {text[:2000].lower()} ".encode("utf-32-le", "surrogatepass"), np.uint32).astype(
            np.uint64
        )
        if len(codes) > 2:
            mixed = (codes[:-2] * np.uint64(1_000_003) + codes[1:-1]) * np.uint64(1_000_003) + codes[2:]
            row += np.bincount((mixed % np.uint64(width)).astype(np.int64), minlength=width)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def _signatures(texts: Sequence[str], progress: Callable[[float], None] | None) -> _WORDS:
    generator = np.random.default_rng(20_260_101)
    multiply = generator.integers(1, 2**63, HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)  # odd
    add = generator.integers(0, 2**63, HASHES, dtype=np.uint64)
    parts = []
    for start in range(0, len(texts), _CHUNK):
        shingles, starts = _shingles([text[:_LONGEST] for text in texts[start : start + _CHUNK]])
        rows = [
            np.minimum.reduceat((shingles * m + a) >> np.uint64(20), starts)
            for m, a in zip(multiply, add, strict=True)  # (texts,) each
        ]
        parts.append(np.stack(rows, axis=1))
        if progress:
            progress(min(1.0, (start + _CHUNK) / len(texts)))
    return np.concatenate(parts)


def _shingles(texts: Sequence[str]) -> tuple[_WORDS, npt.NDArray[np.int64]]:
    """Hash of every shingle of every text, end to end, and where each text starts."""
    lengths = np.array([len(text) for text in texts])
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    width = len(codes) - SHINGLE + 1
    mixed = np.zeros(width, np.uint64)
    for offset in range(SHINGLE):
        mixed = mixed * np.uint64(0x100000001B3) + codes[offset : offset + width]
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    ends = np.cumsum(lengths)
    inside = np.ones(width, bool)
    for offset in range(1, SHINGLE):  # windows that reach into the next text
        inside[(ends - offset)[ends - offset < width]] = False
    counts = lengths - SHINGLE + 1
    return mixed[inside], np.concatenate([[0], np.cumsum(counts)[:-1]])


def _candidates(signatures: _WORDS) -> npt.NDArray[np.int64]:
    """Pairs that share a band: each text with the first of its bucket and with the one before it."""
    rows = HASHES // BANDS
    found = []
    for band in range(BANDS):
        key = signatures[:, band * rows].copy()
        for column in range(band * rows + 1, (band + 1) * rows):
            key = key * np.uint64(0x9E3779B97F4A7C15) + signatures[:, column]
        order = np.argsort(key, kind="stable")  # within a bucket, texts keep their order
        same = key[order][1:] == key[order][:-1]
        at = np.flatnonzero(same) + 1
        begins = np.maximum.accumulate(np.where(np.concatenate([[False], same]), 0, np.arange(len(order))))
        found += [np.stack([order[at - 1], order[at]], axis=1), np.stack([order[begins[at]], order[at]], axis=1)]
    return np.unique(np.concatenate(found), axis=0)


def _jaccard(a: str, b: str) -> float:
    first, second = ({t[i : i + SHINGLE] for i in range(len(t) - SHINGLE + 1)} for t in (a[:_LONGEST], b[:_LONGEST]))
    return len(first & second) / len(first | second)
