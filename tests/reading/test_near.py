"""Near-duplicates against every pair compared one by one, and labels that are doubted."""

from __future__ import annotations

import random

import pytest

from luthier.reading.near import near_twins, text_vectors
from luthier.reading.suspicion import suspicious
from luthier.types import Record


def shingles(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(len(text) - 4)}


def edited(text: str, share: float, rng: random.Random) -> str:
    return " ".join(rng.choice("xyz") * 3 if rng.random() < share else word for word in text.split())


def test_nearly_all_twins_are_found_and_nothing_else() -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvw", k=rng.randint(2, 9))) for _ in range(150)]
    texts = [" ".join(rng.choices(words, k=rng.randint(4, 40))) for _ in range(150)]
    texts += [edited(text, share, rng) for text in texts for share in (0.03, 0.08)]
    texts = list(dict.fromkeys(texts))
    sets = [shingles(text) for text in texts]
    expected = {
        b for b, late in enumerate(sets) for early in sets[:b] if len(late & early) >= 0.8 * len(late | early)
    }  # fmt: skip
    found = near_twins(texts)
    assert len(expected) > 80
    assert {b for _, b in found} <= expected
    assert len(found) >= 0.97 * len(expected)
    assert all(a < b and len(sets[a] & sets[b]) >= 0.8 * len(sets[a] | sets[b]) for a, b in found)


@pytest.mark.parametrize("texts", [[], ["one text alone"], ["a", "a"], ["", "", ""], ["1234567", "1234567"]])
def test_too_few_or_too_short_to_tell(texts: list[str]) -> None:
    assert near_twins(texts) == []


def test_many_copies_of_one_text_take_linear_time() -> None:
    assert len(near_twins(["the very same sentence, again and again"] * 20_000)) == 19_999


def test_other_scripts_and_long_texts() -> None:
    long = "日本語の文章をここに書きます。" * 500
    assert near_twins([long, "something else entirely", long + "！", "\ud83d and half a pair", "😀" * 9]) == [(0, 2)]


def test_few_labels_of_real_people_are_doubted_and_most_swapped_ones_lead(tweets: list[Record]) -> None:
    texts, labels = [r.input for r in tweets], [str(r.target) for r in tweets]
    assert len(suspicious(texts, labels) or ()) <= 10  # of 3,432
    swapped = set(random.Random(1).sample(range(len(texts)), 40))
    other = {"positive": "negative", "negative": "positive"}
    doubted = suspicious(texts, [other[label] if i in swapped else label for i, label in enumerate(labels)]) or []
    assert sum(i in swapped for i, _ in doubted[:10]) >= 6
    assert all(label == labels[i] for i, label in doubted if i in swapped)


def test_nothing_to_learn_from_is_nothing_to_doubt() -> None:
    assert suspicious([], []) == []
    assert suspicious([f"word{i}" for i in range(90)], ["a", "b", "c"] * 30) == []
    assert suspicious(["same text"] * 90, ["a"] * 90) == []
    assert suspicious([f"text {i % 9}" for i in range(90)], [str(i // 2) for i in range(90)]) == []


def test_texts_have_vectors_where_no_model_gave_one() -> None:
    a, b, c, empty = text_vectors(["the parcel came late", "The parcels came too late", "großartig!", ""])
    assert a @ b > 0.6 > 0.2 > a @ c
    assert not empty.any()
