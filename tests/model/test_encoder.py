"""Unit vectors that depend on the source and on nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skies import PIXEL_SCALE_ARCSEC, double_source, small_encoder

from twinjet.model.cutout import Cutout
from twinjet.model.encoder import (
    SHIPPED_ENCODERS,
    card_path,
    default_encoder,
    load_encoder,
    read_card,
    symmetric_views,
)
from twinjet.model.errors import EncoderFileError


def cutouts(count: int, seed: int = 0) -> list[Cutout]:
    rng = np.random.default_rng(seed)
    scale = (PIXEL_SCALE_ARCSEC, PIXEL_SCALE_ARCSEC)
    return [Cutout(double_source(rng), pixel_scale_arcsec=scale) for _ in range(count)]


def test_embeddings_are_float32_of_unit_norm() -> None:
    vectors = small_encoder().embed(cutouts(3))
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 128)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_nothing_gives_nothing() -> None:
    assert small_encoder().embed([]).shape == (0, 128)


def test_company_in_a_batch_does_not_matter() -> None:
    encoder = small_encoder()
    together = encoder.embed(cutouts(70))
    for number in (0, 33, 69):
        alone = encoder.embed([cutouts(70)[number]])[0]
        assert alone @ together[number] > 1 - 1e-5


@pytest.mark.parametrize("views", [1, 8])
def test_an_invariant_embedding_does_not_turn(views: int) -> None:
    encoder = small_encoder(views=views)
    cutout = cutouts(1)[0]
    wanted = encoder.embed([cutout], invariant=True)[0]
    for mirrored in (cutout.pixels, cutout.pixels[:, ::-1]):
        for turns in range(4):
            turned = Cutout(
                np.rot90(mirrored, turns).copy(), pixel_scale_arcsec=(1.8, 1.8)
            )
            found = encoder.embed([turned], invariant=True)[0]
            assert np.abs(found - wanted).max() < 1e-5


def test_the_card_says_how_many_views() -> None:
    cutout = cutouts(1)
    one, eight = small_encoder(views=1), small_encoder(views=8)
    np.testing.assert_array_equal(one.embed(cutout), one.embed(cutout, invariant=False))
    np.testing.assert_array_equal(
        eight.embed(cutout), eight.embed(cutout, invariant=True)
    )


def test_the_eight_views_are_eight() -> None:
    image = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    assert len({view.numpy().tobytes() for view in symmetric_views(image)}) == 8


def test_a_saved_encoder_is_the_same(tmp_path: Path) -> None:
    encoder = small_encoder()
    encoder.save(tmp_path)
    again = load_encoder(tmp_path / "small.json")
    assert again.card == encoder.card
    np.testing.assert_array_equal(again.embed(cutouts(2)), encoder.embed(cutouts(2)))


@pytest.mark.parametrize("name", ["small.json", "small.safetensors"])
def test_a_damaged_encoder_is_refused(tmp_path: Path, name: str) -> None:
    small_encoder().save(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EncoderFileError):
        load_encoder(tmp_path / "small.json")


@pytest.mark.parametrize(
    "change", [{"format": 99}, {"views": 1}, {"depth": 18}, {"id": "0"}]
)
def test_a_card_of_another_encoder_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    small_encoder().save(tmp_path)
    path = tmp_path / "small.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EncoderFileError):
        load_encoder(path)


def test_figures_may_be_added_to_a_card(tmp_path: Path) -> None:
    encoder = small_encoder()
    encoder.save(tmp_path)
    path = tmp_path / "small.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quality": {"a": 1}}))
    assert load_encoder(path).card.id == encoder.card.id


def test_an_absent_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderFileError, match=r"nowhere\.json"):
        load_encoder(tmp_path / "nowhere.json")


def test_a_shipped_encoder_goes_by_its_name_and_another_by_its_card() -> None:
    for name in SHIPPED_ENCODERS:
        assert read_card(card_path(name)).name == name
        assert load_encoder(card_path(Path(name))).card.name == name
    assert default_encoder().card.name == SHIPPED_ENCODERS[0]
    assert card_path("some/card.json") == Path("some/card.json")


def test_the_shipped_encoder_tells_sources_apart() -> None:
    encoder = default_encoder()
    vectors = encoder.embed(cutouts(12))
    similarities = vectors @ vectors.T
    others = similarities[~np.eye(12, dtype=bool)]
    assert np.diag(similarities).min() > 0.9999 > others.max()
    assert encoder.card.quality
