"""Pictures for people."""

import io
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from skies import double_source

from twinjet.model.cutout import Cutout
from twinjet.model.render import Stretch, render_input, render_png


def picture(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("stretch", get_args(Stretch))
def test_every_stretch_runs_from_black_to_white(stretch: Stretch) -> None:
    cutout = Cutout(double_source(np.random.default_rng(0)))
    drawn = picture(render_png(cutout, size_px=100, stretch=stretch))
    assert drawn.shape == (100, 100)
    assert drawn.min() == 0
    assert drawn.max() > 240
    assert np.median(drawn) < 30


def test_the_last_row_of_pixels_is_on_top() -> None:
    pixels = np.zeros((40, 40), np.float32)
    pixels[-5:] = 1
    drawn = picture(render_png(Cutout(pixels), size_px=40, stretch="linear"))
    assert drawn[0].mean() > 200 > drawn[-1].mean()


def test_a_field_wider_than_the_cutout_is_black_around() -> None:
    pixels = np.ones((40, 40), np.float32)
    pixels[20, 20] = 2
    cutout = Cutout(pixels, linear=False, pixel_scale_arcsec=(2, 2))
    drawn = picture(render_png(cutout, size_px=80, field_arcsec=160))
    assert drawn[:15].max() == 0


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_nothing_is_drawn_black(value: float) -> None:
    with np.errstate(all="raise"):
        pixels = np.full((40, 40), value, np.float32)
        pixels[0, 0] = 0
        assert picture(render_png(Cutout(pixels), size_px=16)).max() == 0


def test_the_encoders_input_is_drawn_as_it_is() -> None:
    drawn = picture(render_input(np.eye(32, dtype=np.float32), size_px=32))
    assert set(np.unique(drawn)) == {0, 255}
