from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.properties import text
from luthier.properties.text import SCRIPTS, text_columns, vocabulary
from luthier.statistics.counts import Counts, table


def test_each_property_by_hand() -> None:
    found = text_columns(["Good film!", "", "¿Que? 100 %", "…", "hé\U0001f600llo"], known=frozenset({"good", "que"}))
    assert found["text_length"].tolist() == [10, 0, 11, 1, 6]
    assert found["text_words"].tolist() == [2, 0, 2, 0, 2]
    assert found["text_special"][[0, 2, 3, 4]].tolist() == [0.1, 3 / 11, 1.0, 1 / 6]
    assert found["text_script"].tolist() == ["Latin", "none", "Latin", "none", "Latin"]
    assert found["text_unknown"][[0, 2, 4]].tolist() == [0.5, 0.5, 1.0]
    for name in ("text_special", "text_script_share", "text_unknown"):
        assert math.isnan(found[name][1]), name


@pytest.mark.parametrize(
    ("written", "script"),
    [
        ("Привет, мир", "Cyrillic"), ("Καλημέρα", "Greek"), ("你好世界", "Han"), ("ひらがなカタカナ", "Kana"), ("ｶﾀｶﾅ", "Kana"),
        ("안녕하세요", "Hangul"), ("مرحبا", "Arabic"), ("שלום", "Hebrew"), ("नमस्ते", "Devanagari"), ("สวัสดี", "Thai"),
        ("Ｆｕｌｌ", "Latin"), ("ᚠᚢᚦ", "other"), ("123 !?", "none"), ("日本語のtext", "Latin"),
    ],
)  # fmt: skip
def test_scripts(written: str, script: str) -> None:
    assert text_columns([written])["text_script"][0] == script
    assert script in SCRIPTS


def test_what_is_no_text_is_missing() -> None:
    found = text_columns([None, 3, "a", math.nan, "\ud800"])
    assert np.isnan(found["text_length"]).tolist() == [True, True, False, True, False]
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found, 5)
    assert "text_unknown" not in found
    assert len(text_columns([])["text_length"]) == 0


def test_blocks_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(32, 3000, rng.integers(0, 60)))) for _ in range(300)]
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    known = vocabulary(texts[:100])
    whole = text_columns(texts, known)
    monkeypatch.setattr(text, "_BLOCK", 500)
    for name, values in text_columns(texts, known).items():
        np.testing.assert_array_equal(values, whole[name])


def test_the_vocabulary_keeps_the_most_frequent_words() -> None:
    assert vocabulary(["a b A", "b c", None, "c"], size=2) == {"a", "b"}


def test_a_statistic_reads_the_columns() -> None:
    state = Counts("text_script").observe(text_columns(["a", "b", "я", ""]))
    assert table(state) == {"Cyrillic": 1, "Latin": 2, "none": 1}
