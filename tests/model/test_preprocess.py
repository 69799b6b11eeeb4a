"""One recipe: what it keeps, what it takes off, what it refuses."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skies import double_source

from twinjet.model.cutout import Cutout
from twinjet.model.errors import EncoderFileError, NoUsablePixelsError
from twinjet.model.preprocess import Preprocess, margin_for, sky_and_noise

RECIPE = Preprocess(size_px=48)
SCALE = (1.8, 1.8)


def source(seed: int = 0, size: int = 100) -> NDArray[np.float32]:
    return double_source(np.random.default_rng(seed), size=size)


def prepared(pixels: NDArray[np.float32], **fields: object) -> NDArray[np.float32]:
    cutout = Cutout(pixels, **{"pixel_scale_arcsec": SCALE} | fields)  # type: ignore[arg-type]
    return RECIPE(cutout).image


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


@pytest.mark.parametrize("size", [99, 100, 150])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turning_before_is_turning_after(size: int, turns: int) -> None:
    pixels = source(size=size)
    turned = prepared(np.rot90(pixels, turns).copy())
    np.testing.assert_allclose(turned, np.rot90(prepared(pixels), turns), atol=1e-6)
    mirrored = prepared(pixels[:, ::-1].copy())
    np.testing.assert_allclose(mirrored, prepared(pixels)[:, ::-1], atol=1e-6)


def test_the_image_runs_from_sky_to_peak() -> None:
    image = prepared(source())
    assert (image.min(), image.max()) == (0, 1)
    assert image.dtype == np.float32
    assert np.median(image) == 0


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_neither_flux_scale_nor_sky_level_matter(factor: float) -> None:
    pixels = source()
    np.testing.assert_allclose(
        prepared(pixels * np.float32(factor)), prepared(pixels), atol=1e-3
    )
    np.testing.assert_allclose(
        prepared(pixels + np.float32(0.01)), prepared(pixels), atol=1e-3
    )


@pytest.mark.parametrize("scale", [0.9, 1.2, 3.6])
def test_the_same_sky_in_other_pixels_looks_the_same(scale: float) -> None:
    def sky(step: float) -> NDArray[np.float32]:
        side = round(180 / step)
        y, x = (np.indices((side, side)) - (side - 1) / 2) * step
        return np.asarray(np.exp(-((x - 9) ** 2 + y**2) / 200), np.float32)

    wanted = prepared(sky(1.8))
    found = prepared(sky(scale), pixel_scale_arcsec=(scale, scale))
    assert cosine(wanted, found) > 0.99


def test_a_margin_leaves_the_inside_as_it_is() -> None:
    cutout = Cutout(source(), pixel_scale_arcsec=SCALE)
    wide = RECIPE(cutout, margin_px=10).image
    np.testing.assert_array_equal(wide[10:-10, 10:-10], RECIPE(cutout).image)


UPRIGHT = dataclasses.replace(RECIPE, upright=True)


def lying(pixels: NDArray[np.float32], **fields: object) -> NDArray[np.float32]:
    cutout = Cutout(pixels, **{"pixel_scale_arcsec": SCALE} | fields)  # type: ignore[arg-type]
    return UPRIGHT(cutout).image


def alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Cosine of the better of the other's two half turns."""
    return max(cosine(one, other), cosine(one, np.rot90(other, 2)))


@pytest.mark.parametrize("angle", [33, 45, 77, 140, 261])
@pytest.mark.parametrize("seed", range(3))
def test_a_source_at_any_angle_is_upright(angle: float, seed: int) -> None:
    pixels = source(seed)
    turned = ndimage.rotate(pixels, angle, reshape=False).astype(np.float32)
    assert alike(lying(pixels), lying(turned)) > 0.9
    assert alike(prepared(pixels), prepared(turned)) < 0.9


@pytest.mark.parametrize("size", [99, 100])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_upright_is_exact_for_the_symmetries_of_the_square(
    size: int, turns: int
) -> None:
    pixels = source(size=size)
    upright = lying(pixels)
    turned = lying(np.rot90(pixels, turns).copy())
    either = [np.rot90(turned, 2 * half) for half in range(2)]
    assert min(np.abs(upright - one).max() for one in either) < 1e-5
    mirrored = lying(pixels[:, ::-1].copy())
    either = [np.rot90(mirrored, 2 * half)[:, ::-1] for half in range(2)]
    assert min(np.abs(upright - one).max() for one in either) < 1e-5


def test_a_long_source_lies_along_x() -> None:
    place = np.arange(100) - 49.5
    x, y = place, place[:, None]
    ridge = np.exp(-((x - 2 * y) ** 2) / 40 - (2 * x + y) ** 2 / 1000)
    image = lying(ridge.astype(np.float32))
    assert image.sum(axis=0).std() < image.sum(axis=1).std()


def test_a_round_source_stays_as_it_is() -> None:
    place = np.arange(100) - 49.5
    pixels = np.exp(-(place**2 + place[:, None] ** 2) / 40).astype(np.float32)
    np.testing.assert_allclose(lying(pixels), prepared(pixels), atol=1e-6)


def test_light_in_a_corner_alone_leaves_the_field_as_it_lies() -> None:
    """Turned, the corner would be outside."""
    pixels = np.zeros((100, 100), np.float32)
    pixels[27:29, 27:29] = 1  # inside the square of 48 pixels, outside its circle
    np.testing.assert_allclose(lying(pixels), prepared(pixels), atol=1e-6)


def test_a_faint_pixel_is_not_lost_by_turning() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        pixels = rng.normal(0, 1, (100, 100)).astype(np.float32)
        pixels[50, 50:54] = 4.5
        assert lying(pixels).max() == 1


def test_a_margin_is_for_views_that_turn_the_image_themselves() -> None:
    margin = margin_for(48)
    cutout = Cutout(source(), pixel_scale_arcsec=SCALE)
    wide = UPRIGHT(cutout, margin_px=margin).image
    np.testing.assert_array_equal(wide, RECIPE(cutout, margin_px=margin).image)


def test_a_picture_is_upright_too() -> None:
    picture = np.clip(source() / np.percentile(source(), 99.5), 0, 1).astype(np.float32)
    turned = ndimage.rotate(picture, 45, reshape=False).astype(np.float32)
    assert alike(lying(picture, linear=False), lying(turned, linear=False)) > 0.9


def test_an_offset_puts_the_source_into_the_middle() -> None:
    pixels = np.zeros((100, 100), np.float32)
    pixels[70:72, 20:22] = 1
    image = RECIPE(Cutout(pixels, pixel_scale_arcsec=SCALE), offset_px=(-29, 21)).image
    assert image[23:25, 23:25].min() > 0.9
    assert image.sum() == pytest.approx(4)


def test_nan_is_sky() -> None:
    pixels = source()
    pixels[:30] = np.nan
    assert np.isfinite(prepared(pixels)).all()


def test_a_field_without_a_source_is_refused_with_its_signal_to_noise() -> None:
    pixels = np.random.default_rng(0).normal(0, 1, (40, 40)).astype(np.float32)
    pixels[:, :] = np.clip(pixels, -2.5, 2.5)
    with pytest.raises(NoUsablePixelsError, match="times the noise") as caught:
        prepared(pixels)
    assert caught.value.limit == 3
    assert 2 < float(caught.value.actual or 0) < 3


def test_a_picture_with_visible_noise_still_gives_an_image() -> None:
    rng = np.random.default_rng(0)
    pixels = np.clip(
        90 + 60 * rng.normal(size=(64, 64)) + 200 * (rng.uniform(size=(64, 64)) > 0.99),
        0,
        255,
    )
    image = prepared(pixels.astype(np.float32), linear=False, pixel_scale_arcsec=None)
    assert image.max() == 1


def test_what_is_assumed_is_noted() -> None:
    pixels = np.random.default_rng(0).normal(0, 1, (20, 20)).astype(np.float32)
    pixels[9:11, 9:11] += 50
    notes = RECIPE(Cutout(pixels)).notes
    assert any("1.8 arcsec" in note for note in notes)
    assert any("covers only" in note for note in notes)


def test_the_noise_of_a_sky_with_sources_is_that_of_the_sky() -> None:
    pixels = np.random.default_rng(1).normal(0.3, 0.02, (150, 150)).astype(np.float32)
    pixels[60:80, 60:80] += 10
    level, noise = sky_and_noise(pixels)
    assert level == pytest.approx(0.3, abs=0.001)
    assert noise == pytest.approx(0.02, rel=0.04)


@pytest.mark.parametrize("fill", [np.nan, 0.0, 0.3, -5.0])
def test_padding_is_no_sky(fill: float) -> None:
    whole = np.random.default_rng(1).normal(0.3, 0.02, (150, 150)).astype(np.float32)
    inner = whole[30:130, 20:].copy()
    pixels = np.full((150, 150), fill, np.float32)
    pixels[30:130, 20:] = inner
    assert sky_and_noise(pixels) == sky_and_noise(inner)


def test_whole_numbers_and_plateaus_are_no_padding() -> None:
    rng = np.random.default_rng(1)
    rounded = rng.normal(40, 4, (150, 150)).round().astype(np.float32)
    assert sky_and_noise(rounded)[1] == pytest.approx(4, rel=0.05)
    saturated = rng.normal(0, 2, (150, 150)).astype(np.float32)
    saturated[50:90, 50:90] = 100.0
    prepared = Preprocess(size_px=80)(Cutout(saturated, pixel_scale_arcsec=(1.8, 1.8)))
    assert (prepared.image == 1).sum() == 40 * 40


def test_a_turn_does_not_change_the_noise() -> None:
    pixels = np.random.default_rng(1).normal(0, 1, (150, 150)).astype(np.float32)
    whole = sky_and_noise(pixels)[1]
    empty = ndimage.rotate(pixels, 30, reshape=False, order=0, cval=0.0)
    assert sky_and_noise(empty)[1] == pytest.approx(whole, rel=0.02)


def test_a_recipe_survives_its_card_and_refuses_another_version() -> None:
    assert Preprocess.from_dict(RECIPE.to_dict()) == RECIPE
    with pytest.raises(EncoderFileError):
        Preprocess.from_dict(dataclasses.asdict(RECIPE) | {"colour": 1})


def test_the_sky_of_a_large_image_is_known_from_a_part_of_it() -> None:
    pixels = np.random.default_rng(3).normal(5, 2, (2100, 2100)).astype(np.float32)
    assert sky_and_noise(pixels) == sky_and_noise(pixels[::2, ::2])
    assert sky_and_noise(pixels) == pytest.approx((5, 2), rel=2e-3)


def test_an_image_is_the_same_with_more_sky_around_it_than_is_seen() -> None:
    pixels = double_source(np.random.default_rng(4), size=200)
    around = np.pad(pixels, 400, constant_values=np.nan)
    scale = (1.8, 1.8)
    small, large = (
        Preprocess()(Cutout(some, pixel_scale_arcsec=scale)).image
        for some in (pixels, around)
    )
    np.testing.assert_array_equal(small, large)


@pytest.mark.parametrize("side", [100, 101])
def test_a_centre_without_values_is_told(side: int) -> None:
    pixels = np.zeros((side, side), np.float32)
    pixels[20:24, 40:44] = 1
    recipe = Preprocess(size_px=80)
    told = "the pixels at the centre of the image have no values"
    pixels[side // 2 - 2 : side // 2 + 3, side // 2 - 2 : side // 2 + 3] = np.nan
    assert told in recipe(Cutout(pixels)).notes
    pixels[side // 2, side // 2] = 0
    assert told not in recipe(Cutout(pixels)).notes
