from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.errors import DataError
from luthier.properties.audio import COLUMNS, audio_columns

RATE = 16_000
TIME = np.arange(RATE) / RATE
TONE = 0.5 * np.sin(2 * np.pi * 440 * TIME + 0.1)


def one(sound, **options):
    return {name: float(values[0]) for name, values in audio_columns([sound], RATE, **options).items()}


def test_a_tone_has_the_level_and_crossings_of_a_tone() -> None:
    found = one(TONE)
    assert (found["audio_seconds"], found["audio_silence"], found["audio_clipped"]) == (1.0, 0.0, 0.0)
    assert found["audio_level"] == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=1e-3)
    assert found["audio_peak"] == pytest.approx(0.5, abs=1e-3)
    assert found["audio_zero_crossings"] == 879  # 880 but for the ends


def test_one_sound_in_every_form_has_the_same_properties() -> None:
    whole = np.round(TONE * 32767).astype(np.int16)
    forms = [
        whole,
        whole / 32768,
        (whole / 32768).astype(np.float32),
        np.stack([whole] * 2, axis=1),
        whole.astype(np.int32) << 16,
    ]
    for name, values in audio_columns(forms, RATE).items():
        np.testing.assert_allclose(values, values[0], rtol=1e-6, err_msg=name)


def test_silence_is_the_share_of_quiet_frames() -> None:
    half = np.concatenate((TONE, np.zeros(RATE), [0.001] * 10))
    assert one(half)["audio_silence"] == pytest.approx(51 / 101)
    assert one(half, silence=-130)["audio_silence"] == pytest.approx(50 / 101)
    assert one(np.zeros(RATE))["audio_level"] == -120


def test_clipping_is_seen() -> None:
    assert 0.3 < one(np.clip(TONE * 4, -1, 1))["audio_clipped"] < 0.8


def test_a_rate_each() -> None:
    found = audio_columns([TONE, TONE], [RATE, 2 * RATE])
    assert found["audio_seconds"].tolist() == [1.0, 0.5]
    assert found["audio_zero_crossings"].tolist() == [879, 1758]


def test_missing_empty_and_broken_sounds_are_absent() -> None:
    found = audio_columns([None, np.zeros(0), np.append(TONE, math.nan), np.append(TONE, math.inf)], RATE)
    for name in COLUMNS[1:]:
        assert np.isnan(found[name]).all(), name
    assert np.isnan(found["audio_seconds"]).tolist() == [True, False, False, False]
    assert len(audio_columns([], RATE)["audio_level"]) == 0


@pytest.mark.parametrize(
    ("sound", "rate", "says"),
    [
        (TONE * 32767, RATE, "sound 0 holds floats up to 16383.* Divide by 32768"),
        (np.zeros((2, 2, 2)), RATE, r"sound 0 is float64 of shape \(2, 2, 2\)"),
        (np.zeros(3, np.uint8), RATE, "sound 0 is uint8"),
        (TONE, 0, "rate is 0 for 1 sounds"),
        (TONE, [RATE, RATE], "for 1 sounds"),
    ],
)
def test_misuse_is_named(sound: object, rate: float, says: str) -> None:
    with pytest.raises(DataError, match=says):
        audio_columns([sound], rate)
