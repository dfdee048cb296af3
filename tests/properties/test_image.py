from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from luthier.errors import DataError
from luthier.properties.image import COLUMNS, image_columns

RNG = np.random.default_rng(0)


def one(image):
    return {name: float(values[0]) for name, values in image_columns([image]).items()}


def test_each_property_by_hand() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3] = (255, 0, 0)
    found = one(pixels)
    assert (found["image_width"], found["image_height"], found["image_aspect"]) == (6, 4, 1.5)
    assert found["image_brightness"] == pytest.approx(0.1495)
    assert found["image_contrast"] == pytest.approx(0.1495)
    assert (found["image_red"], found["image_green"], found["image_blue"], found["image_saturation"]) == (
        0.5,
        0,
        0,
        0.5,
    )
    assert found["image_colourfulness"] == pytest.approx(np.hypot(0.5, 0.25) + 0.3 * np.hypot(0.5, 0.25))
    laplacian = np.array([[0, 0.299, 0.299, 0]])  # the edge between the halves, with both signs
    laplacian[0, 1] *= -1
    assert found["image_sharpness"] == pytest.approx(laplacian.var(), rel=1e-5)


def test_one_picture_in_every_form_has_the_same_properties() -> None:
    pixels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    forms = [
        pixels, Image.fromarray(pixels), pixels / 255.0, (pixels / 255.0).astype(np.float32), pixels.astype(np.uint16) * 257,
        np.dstack((pixels, np.full((20, 30), 7, np.uint8))), Image.fromarray(pixels).convert("RGBA"),
    ]  # fmt: skip
    found = image_columns(forms)
    for name, values in found.items():
        np.testing.assert_allclose(values, values[0], rtol=1e-5, atol=1e-7, err_msg=name)
    grey = RNG.integers(0, 256, (20, 30), np.uint8)
    found = image_columns([grey, grey[..., None], Image.fromarray(grey), np.dstack([grey] * 3)])
    for name, values in found.items():
        np.testing.assert_allclose(values, values[0], rtol=1e-5, atol=1e-6, err_msg=name)


def test_what_people_see_is_what_is_measured() -> None:
    pixels = np.kron(RNG.random((8, 8, 3)), np.ones((8, 8, 1)))
    smooth = (pixels[1:-1, 1:-1] + pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]) / 5
    plain, dark, blurred, grey = (one(image) for image in (pixels, pixels / 2, smooth, pixels.mean(axis=2)))
    assert dark["image_brightness"] == pytest.approx(plain["image_brightness"] / 2, rel=1e-5)
    assert dark["image_contrast"] < plain["image_contrast"]
    assert blurred["image_sharpness"] < plain["image_sharpness"] / 2
    assert grey["image_colourfulness"] == grey["image_saturation"] == 0 < plain["image_colourfulness"]


def test_a_missing_or_tiny_image_is_absent_and_none_is_nothing() -> None:
    found = image_columns([None, np.zeros((2, 5), np.uint8)])
    assert all(np.isnan(values[0]) for values in found.values())
    assert np.isnan(found["image_sharpness"][1])
    assert found["image_brightness"][1] == 0
    assert {name: len(values) for name, values in image_columns([]).items()} == dict.fromkeys(COLUMNS, 0)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.ones((4, 4)) * 255, "image 1 holds floats from 255 to 255; .* Divide by 255"),
        (np.full((4, 4), np.nan), "image 1 holds floats from nan"),
        (np.zeros((4, 4, 2), np.uint8), r"image 1 is uint8 of shape \(4, 4, 2\)"),
        (np.zeros((0, 4), np.uint8), r"shape \(0, 4\)"),
        (np.zeros((4, 4), np.int64), "image 1 is int64"),
        ("a path", "image 1 is <U6"),
    ],
)
def test_what_is_no_image_is_named(image: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        image_columns([np.zeros((3, 3)), image])
