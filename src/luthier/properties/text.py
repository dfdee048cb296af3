"""Properties of texts: length, words, special characters, the script they are written in, words never seen before."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["SCRIPTS", "text_columns", "vocabulary"]

SCRIPTS = (
    "none", "other", "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Devanagari", "Bengali", "Gurmukhi",
    "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Tibetan", "Myanmar",
    "Georgian", "Hangul", "Ethiopic", "Khmer", "Mongolian", "Kana", "Han",
)  # fmt: skip
"""What `text_script` may say; "none" is a text without a letter."""

_ALIASES = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana"}
_PLACE = {name.upper(): place for place, name in enumerate(SCRIPTS)} | {
    alias: SCRIPTS.index(name) for alias, name in _ALIASES.items()
}
_UNKNOWN, _SPECIAL, _PLAIN = 255, 254, 0  # else the number of a letter's script
_WORD = re.compile(r"[^\W_]+")
_BLOCK = 1 << 21  # characters that are worked on at once
_table = np.full(0x110000, _UNKNOWN, np.uint8)  # by code point, filled as characters are met


def text_columns(texts: Sequence[Any], known: Set[str] | None = None) -> dict[str, np.ndarray]:
    """Columns of n texts; what is not a text has NaN (script "none").

    `text_length` in characters; `text_words`; `text_special`, the share of characters that are neither letters, marks,
    digits nor white space; `text_script`, the script of most letters (see SCRIPTS; the first of them on a tie), and
    `text_script_share`, its share of the letters; with a vocabulary `known`, `text_unknown`, the share of words outside
    it. A share of nothing is NaN. All are float64 (n,) but `text_script`, which is text.
    """
    texts = [text if isinstance(text, str) else None for text in texts]
    parts = [_block(texts[start:end], known) for start, end in _blocks(texts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def vocabulary(texts: Iterable[Any], size: int = 50_000) -> frozenset[str]:
    """The `size` most frequent words of the reference's texts, case folded; of equally frequent ones, the first."""
    counts: Counter[str] = Counter()
    for text in texts:
        if isinstance(text, str):
            counts.update(_words(text))
    return frozenset(word for word, _ in counts.most_common(size))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _blocks(texts: Sequence[str | None]) -> list[tuple[int, int]]:
    ends, held = [0], 0
    for place, text in enumerate(texts):
        held += len(text or "") + len(SCRIPTS)
        if held > _BLOCK:
            ends.append(place + 1)
            held = 0
    ends += [len(texts)] if ends[-1] < len(texts) or len(ends) == 1 else []
    return list(pairwise(ends))


def _block(texts: Sequence[str | None], known: Set[str] | None) -> dict[str, np.ndarray]:
    there = np.array([text is not None for text in texts], bool)
    lengths = np.array([len(text or "") for text in texts], np.int64)
    kinds = _kinds("".join(text or "" for text in texts))
    rows, seen = np.repeat(np.arange(len(texts)), lengths), kinds != _PLAIN
    places = rows[seen] * len(SCRIPTS) + np.where(kinds[seen] == _SPECIAL, 0, kinds[seen])
    size = (len(texts), len(SCRIPTS))
    counts = np.bincount(places, minlength=size[0] * size[1]).reshape(size)  # letters by script; under 0, special ones
    letters, most = counts[:, 1:].sum(axis=1), counts[:, 1:].argmax(axis=1) + 1
    words = [_words(text) if text else [] for text in texts]
    said = np.array([len(one) for one in words], np.int64)
    columns = {
        "text_length": np.where(there, lengths, np.nan),
        "text_words": np.where(there, said, np.nan),
        "text_special": _share(counts[:, 0], lengths),
        "text_script": np.array(SCRIPTS)[np.where(letters > 0, most, 0)],
        "text_script_share": _share(counts[np.arange(len(texts)), most], letters),
    }
    if known is not None:
        columns["text_unknown"] = _share(np.array([sum(word not in known for word in one) for one in words]), said)
    return columns


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    share: np.ndarray = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share


def _kinds(text: str) -> np.ndarray:
    """For every character _SPECIAL, _PLAIN or its script's number, (characters,) uint8."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _table[points]
    new = np.unique(points[kinds == _UNKNOWN])
    if len(new):
        _table[new] = [_kind(chr(point)) for point in new.tolist()]
        kinds = _table[points]
    return kinds


def _kind(character: str) -> int:
    category = unicodedata.category(character)
    if category[0] == "L":
        words = unicodedata.name(character, "OTHER").replace("HALFWIDTH ", "").replace("FULLWIDTH ", "").split()
        return _PLACE.get(words[0], _PLACE["OTHER"])
    return _PLAIN if category[0] in "MN" or character.isspace() else _SPECIAL
