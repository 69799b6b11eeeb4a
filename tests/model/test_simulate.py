"""A simulated sky: seeded, physically sensible, whole or not at all."""

import csv
from pathlib import Path

import numpy as np
import pytest

from twinjet.model.decode import read_cutout
from twinjet.model.errors import SimulationError
from twinjet.model.morphology import SHAPES, blob, render
from twinjet.model.preprocess import sky_and_noise
from twinjet.model.simulate import (
    FIRST_LIKE,
    KINDS,
    simulate_images,
    simulate_sky,
    simulate_source,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_depends_on_its_seed_alone(kind: str) -> None:
    first, truth = simulate_source(np.random.default_rng(4), kind)
    again, _ = simulate_source(np.random.default_rng(4), kind)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert first.shape == (150, 150)
    assert np.isfinite(first).all()
    assert truth["kind"] == kind
    assert truth["flux_mjy"] >= truth["peak_mjy_beam"] > 0 or kind == "compact"


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(SimulationError, match="donut"):
        simulate_source(np.random.default_rng(0), "donut")


def test_a_point_source_is_the_beam() -> None:
    image = render(
        blob(0, 0, 2.0, along=0, across=0),
        size_px=61,
        pixel_scale_arcsec=0.9,
        beam_arcsec=5.4,
    )
    assert image.max() == pytest.approx(2.0)
    assert image[30, 30 + 3] == pytest.approx(1.0, rel=1e-6)  # half of the width away
    np.testing.assert_allclose(image, image.T, atol=1e-12)


def where_half_the_flux_ends(kind: str, seed: int) -> float:
    """Radius of half of the flux over that of 98 %, of the shape itself."""
    shape = SHAPES[kind](np.random.default_rng(seed), 30.0)
    radius = np.hypot(shape.x, shape.y)
    order = np.argsort(radius)
    part = np.cumsum(shape.flux[order]) / shape.flux.sum()
    return float(
        np.interp(0.5, part, radius[order]) / np.interp(0.98, part, radius[order])
    )


def test_fr_i_are_bright_inside_and_fr_ii_at_their_ends() -> None:
    inside = [where_half_the_flux_ends("FRI", seed) for seed in range(40)]
    outside = [where_half_the_flux_ends("FRII", seed) for seed in range(40)]
    assert np.mean(np.array(inside) < 0.5) > 0.9
    assert np.mean(np.array(outside) > 0.5) > 0.9


def test_narrow_tails_are_narrower_than_wide_ones() -> None:
    def opening(kind: str, seed: int) -> float:
        shape = SHAPES[kind](np.random.default_rng(seed), 30.0)
        weights = shape.flux / shape.flux.sum()
        return float(
            (weights * np.abs(shape.y)).sum() / (weights * np.abs(shape.x)).sum()
        )

    narrow = np.median([opening("NAT", seed) for seed in range(40)])
    wide = np.median([opening("WAT", seed) for seed in range(40)])
    assert narrow < wide


def test_the_noise_is_that_of_the_survey() -> None:
    noises = [
        sky_and_noise(pixels)[1]
        for pixels, _ in simulate_images(20, seed=1, kinds=["compact"])
    ]
    assert np.median(noises) == pytest.approx(FIRST_LIKE.rms_jy_beam, rel=0.1)


def test_a_sky_is_catalogued_where_it_is(tmp_path: Path) -> None:
    simulate_sky(tmp_path / "sky", 60, seed=2)
    with (tmp_path / "sky" / "catalogue.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["source_id"] for row in rows}) == len(rows) >= 60
    assert {row["simulated"] for row in rows} == {"true"}
    for row in rows[:10]:
        cutout = read_cutout(tmp_path / "sky" / row["cutout"])
        centre = cutout.centre()
        assert centre is not None
        assert float(row["ra_deg"]) == pytest.approx(centre.ra.deg, abs=1e-5)
        assert float(row["dec_deg"]) == pytest.approx(centre.dec.deg, abs=1e-5)
        assert -10 <= centre.dec.deg <= 64
        assert (cutout.unit, cutout.beam is not None) == ("Jy/beam", True)


def test_some_sources_are_catalogued_twice(tmp_path: Path) -> None:
    simulate_sky(tmp_path / "sky", 150, seed=0)
    with (tmp_path / "sky" / "catalogue.csv").open(newline="") as file:
        rows = {row["source_id"]: row for row in csv.DictReader(file)}
    twice = [row for row in rows.values() if row["duplicate_of"]]
    assert twice
    for row in twice:
        first = rows[row["duplicate_of"]]
        assert abs(float(row["dec_deg"]) - float(first["dec_deg"])) < 4.1 / 3600


def test_an_interrupted_sky_is_finished_and_a_finished_one_left_alone(
    tmp_path: Path,
) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int) -> None:
        if done == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        simulate_sky(tmp_path / "a", 12, seed=3, progress=stop)
    assert not (tmp_path / "a" / "catalogue.csv").exists()
    simulate_sky(tmp_path / "a", 12, seed=3)
    simulate_sky(tmp_path / "b", 12, seed=3)
    files = sorted(
        path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")
    )
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (
            tmp_path / "b" / name
        ).read_bytes()
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.fits")
    }
    simulate_sky(tmp_path / "a", 12, seed=3)
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(("count", "seed"), [(13, 3), (12, 4)])
def test_another_sky_does_not_go_into_the_same_folder(
    count: int, seed: int, tmp_path: Path
) -> None:
    simulate_sky(tmp_path, 12, seed=3)
    with pytest.raises(SimulationError, match="another simulation"):
        simulate_sky(tmp_path, count, seed=seed)
