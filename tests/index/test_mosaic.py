"""Cutouts out of mosaics: the right pixels, wherever the source is on the sky."""

import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from skies import Quiet, double_source, header_at, small_encoder

from twinjet.index.catalogue import make_catalogue
from twinjet.index.cutouts.mosaic import MosaicProvider
from twinjet.index.cutouts.open import open_provider
from twinjet.index.database import create_engine, upgrade
from twinjet.index.errors import CutoutUnavailableError
from twinjet.index.generation import open_generation
from twinjet.index.home import Home
from twinjet.index.reindex import Report, Workshop, build
from twinjet.index.source import Source
from twinjet.index.store import SourceStore
from twinjet.model.cutout import Cutout
from twinjet.model.decode import read_cutout

SIDE = 400


def write_tile(
    path: Path,
    ra: float,
    dec: float,
    *,
    pixels: NDArray[np.float32] | None = None,
    size: int = SIDE,
    cards: Mapping[str, object] | None = None,
) -> fits.Header:
    """A tile of noise about a position; returns its header."""
    header = header_at(ra, dec, size)
    header.update(cards or {})
    if pixels is None:
        noise = np.random.default_rng(int(ra + 1000)).normal(size=(size, size))
        pixels = noise.astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(pixels, header).writeto(path, overwrite=True)
    return header


def add_point(path: Path, ra: float, dec: float, value: float = 1000.0) -> None:
    """Brighten the one pixel of a tile that a position is in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more axes in the WCS than in the image
        with fits.open(path, mode="update") as hdus:
            where = WCS(hdus[0].header).celestial.world_to_pixel(
                SkyCoord(ra, dec, unit="deg")
            )
            x, y = (round(float(value)) for value in where)
            hdus[0].data.reshape(hdus[0].data.shape[-2:])[y, x] = value


def cut(path: Path, ra: float, dec: float, size_arcsec: float = 270.0) -> Cutout:
    provider = MosaicProvider(path, size_arcsec=size_arcsec)
    return read_cutout(provider.read(Source("it", ra, dec)))


def peak(cutout: Cutout) -> tuple[float, float]:
    """Offset (dx, dy) of the brightest pixel from the centre."""
    height, width = cutout.pixels.shape
    y, x = np.unravel_index(np.nanargmax(cutout.pixels), cutout.pixels.shape)
    return float(x - (width - 1) / 2), float(y - (height - 1) / 2)


@pytest.mark.parametrize(
    ("tile", "source"),
    [
        ((0.0, 5.0), (359.95, 5.02)),
        ((359.99, -30.0), (0.02, -30.03)),
        ((120.0, 88.0), (121.5, 88.05)),
        ((10.0, 89.95), (190.0, 89.99)),
        ((300.0, -90.0), (77.0, -89.97)),
        ((45.0, 0.0), (45.0, 0.0)),
    ],
)
def test_a_source_is_in_the_middle_wherever_it_is(
    tile: tuple[float, float], source: tuple[float, float], tmp_path: Path
) -> None:
    write_tile(tmp_path / "a.fits", *tile)
    add_point(tmp_path / "a.fits", *source)
    cutout = cut(tmp_path, *source)
    assert cutout.pixels.shape == (150, 150)
    assert max(map(abs, peak(cutout))) <= 0.5
    offset = cutout.offset_of(*source)
    assert offset is not None
    assert max(map(abs, offset)) <= 0.5 + 1e-6


def test_unit_beam_and_pixel_scale_are_kept(tmp_path: Path) -> None:
    cards = {"BMAJ": 6 / 3600, "BMIN": 5 / 3600, "BPA": -30.0, "BUNIT": "mJy/beam"}
    write_tile(tmp_path / "a.fits", 10, 20, cards=cards)
    cutout = cut(tmp_path, 10.01, 20.01)
    assert cutout.beam is not None
    beam = (cutout.beam.major_arcsec, cutout.beam.minor_arcsec, cutout.beam.pa_deg)
    assert beam == pytest.approx((6, 5, -30))
    assert cutout.unit == "Jy/beam"
    assert cutout.pixel_scale_arcsec == pytest.approx((1.8, 1.8))
    assert 0.0005 < float(np.std(cutout.pixels)) < 0.002  # noise of 1 mJy/beam


@pytest.mark.parametrize("shape", [(1, 1, SIDE, SIDE), (1, SIDE, SIDE)])
def test_degenerate_axes_are_squeezed(shape: tuple[int, ...], tmp_path: Path) -> None:
    header = header_at(10, 20, SIDE)
    for axis, kind in ((3, "FREQ"), (4, "STOKES")):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"] = kind, 1.0
        header[f"CRPIX{axis}"], header[f"CDELT{axis}"] = 1.0, 1.0
    pixels = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "casa.fits")
    add_point(tmp_path / "casa.fits", 10.02, 19.98)
    cutout = cut(tmp_path / "casa.fits", 10.02, 19.98)
    assert max(map(abs, peak(cutout))) <= 0.5


def test_scaled_integers_with_blanks(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(-100, 100, (SIDE, SIDE), "i2")
    pixels[190, 190] = -32768
    hdu = fits.PrimaryHDU(pixels, header_at(10, 20, SIDE))
    # Set behind the back of astropy, which would scale the pixels anew.
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 3.0, -32768
    hdu.writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        assert "BSCALE" in hdus[0].header
        wanted = hdus[0].data[125:275, 125:275]
    assert np.isnan(wanted).sum() == 1
    np.testing.assert_allclose(cut(tmp_path, 10, 20).pixels, wanted)


def test_beyond_the_edge_is_blank(tmp_path: Path) -> None:
    header = write_tile(tmp_path / "a.fits", 10, 20)
    sky = WCS(header).pixel_to_world(30.25, 200.25)
    cutout = cut(tmp_path, float(sky.ra.deg), float(sky.dec.deg))
    blank = np.isnan(cutout.pixels)
    # The middle of 150 is between pixels 30 and 31: 44 columns are beyond the edge.
    assert blank[:, :44].all()
    assert not blank[:, 44:].any()
    offset = cutout.offset_of(float(sky.ra.deg), float(sky.dec.deg))
    assert offset == pytest.approx((-0.25, -0.25), abs=1e-6)


def test_of_overlapping_tiles_the_one_that_is_deepest_about_the_source(
    tmp_path: Path,
) -> None:
    # 720 arcsec wide, 540 arcsec apart: the source is 100 arcsec from b's edge.
    for number, dec in enumerate((20.0, 20.15, 20.3)):
        pixels = np.full((SIDE, SIDE), number, np.float32)
        pixels[::2] += 0.25
        write_tile(tmp_path / f"{number}.fits", 10, dec, pixels=pixels)
    for dec, wanted in ((20.0, 0), (20.06, 0), (20.09, 1), (20.15, 1), (20.24, 2)):
        assert np.floor(cut(tmp_path, 10, dec).pixels.max()) == wanted


def test_a_tile_that_is_blank_there_gives_way(tmp_path: Path) -> None:
    blank = np.full((SIDE, SIDE), np.nan, np.float32)
    write_tile(tmp_path / "blank.fits", 10, 20, pixels=blank)
    write_tile(tmp_path / "good.fits", 10, 20.05)
    assert np.isfinite(cut(tmp_path, 10, 20).pixels).all()
    (tmp_path / "good.fits").unlink()
    with pytest.raises(CutoutUnavailableError, match="blank pixels only, of blank"):
        cut(tmp_path, 10, 20)


@pytest.mark.parametrize(
    ("ra", "dec"), [(10.0, 20.2), (11.0, 20.0), (190.0, -20.0), (190.0, 20.0), (0, 90)]
)
def test_outside_of_every_tile_is_said(ra: float, dec: float, tmp_path: Path) -> None:
    write_tile(tmp_path / "a.fits", 10, 20)
    (tmp_path / "b.fits").write_bytes(b"no FITS")
    with pytest.raises(
        CutoutUnavailableError, match=r"outside of the 1 tiles.*b\.fits"
    ):
        cut(tmp_path, ra, dec)


def test_where_the_projection_is_stretched_nothing_is_cut(tmp_path: Path) -> None:
    header = header_at(0, 0, SIDE)
    header["CTYPE1"], header["CTYPE2"] = "RA---CAR", "DEC--CAR"
    header["CDELT1"], header["CDELT2"] = -0.9, 0.9
    pixels = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "whole.fits")
    assert cut(tmp_path, 170.0, 5.0, 3600 * 30).pixels.shape == (33, 33)
    with pytest.raises(CutoutUnavailableError, match="stretched there"):
        cut(tmp_path, 170.0, 60.0, 3600 * 30)


def test_a_galactic_tile_is_cut_by_icrs_positions(tmp_path: Path) -> None:
    header = header_at(30.0, 1.0, SIDE)
    header["CTYPE1"], header["CTYPE2"] = "GLON-TAN", "GLAT-TAN"
    del header["RADESYS"]
    pixels = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "plane.fits")
    there = SkyCoord(30.02, 0.98, unit="deg", frame="galactic").icrs
    add_point(tmp_path / "plane.fits", float(there.ra.deg), float(there.dec.deg))
    cutout = cut(tmp_path, float(there.ra.deg), float(there.dec.deg))
    assert max(map(abs, peak(cutout))) <= 0.5


@pytest.mark.parametrize("kind", ["cube", "no WCS", "gzip", "fpack", "short", "none"])
def test_what_is_no_tile_is_refused_with_the_reason(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    header = header_at(10, 20, SIDE)
    pixels = np.ones((SIDE, SIDE), np.float32)
    words = "no tile of"
    if kind == "cube":
        fits.PrimaryHDU(np.stack([pixels] * 2), header).writeto(path)
        words = "holds no image of two axes"
    elif kind == "no WCS":
        fits.PrimaryHDU(pixels).writeto(path)
        words = "no celestial WCS"
    elif kind == "gzip":
        fits.PrimaryHDU(pixels, header).writeto(tmp_path / "a.fits.gz")
        words = "gunzip it"
    elif kind == "fpack":
        fits.CompImageHDU(pixels, header).writeto(path)
        words = "funpack"
    elif kind == "short":
        fits.PrimaryHDU(pixels, header).writeto(path)
        path.write_bytes(path.read_bytes()[:-300_000])
        words = "its header promises"
    with pytest.raises(CutoutUnavailableError, match=words):
        cut(tmp_path, 10, 20)


def test_a_cutout_that_no_decoder_takes_is_refused(tmp_path: Path) -> None:
    write_tile(tmp_path / "a.fits", 10, 20)
    with pytest.raises(CutoutUnavailableError, match="ask for a smaller one"):
        cut(tmp_path, 10, 20, 4000 * 1.8)


def test_a_tile_rewritten_in_place_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    write_tile(path, 10, 20)
    provider = MosaicProvider(tmp_path)
    here = Source("it", 10.0, 20.0)
    before = read_cutout(provider.read(here)).pixels
    with fits.open(path, mode="update") as hdus:
        hdus[0].data *= 2
        hdus[0].header["HISTORY"] = "calibrated again " * 300
    after = read_cutout(provider.read(here)).pixels
    np.testing.assert_allclose(after, 2 * before)


def test_a_digest_forgets_what_is_far_away(tmp_path: Path) -> None:
    write_tile(tmp_path / "a.fits", 10, 20)
    here = Source("it", 10.0, 20.0)
    before = MosaicProvider(tmp_path).digest(here)
    write_tile(tmp_path / "b.fits", 50, 20)
    add_point(tmp_path / "a.fits", 10.08, 20.0)
    assert MosaicProvider(tmp_path).digest(here) == before
    assert MosaicProvider(tmp_path, size_arcsec=180).digest(here) != before
    add_point(tmp_path / "a.fits", 10.01, 20.0)
    assert MosaicProvider(tmp_path).digest(here) != before


# Two mosaics, a small and a large one, cut in a process of its own: kilobytes that it
# took after the small one, and after 200 places of the large one.
MEASURE = """
import sys
from pathlib import Path
from twinjet.index.cutouts.mosaic import MosaicProvider
from twinjet.index.source import Source

def peak_kb():
    # Not `ru_maxrss`, which a child takes over from the process that started it.
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0])

MosaicProvider(Path(sys.argv[1])).read(Source("first", 10.0, 20.0))
before = peak_kb()
provider = MosaicProvider(Path(sys.argv[2]))
for number in range(200):
    place = Source("it", 8.5 + 0.015 * number, 18.5 + 0.015 * number)
    assert len(provider.read(place)) > 90_000
print(before, peak_kb())
"""


def test_memory_does_not_grow_with_the_mosaic(tmp_path: Path) -> None:
    write_tile(tmp_path / "small.fits", 10, 20)
    size = 7000
    header = fits.PrimaryHDU(
        np.zeros((1, 1), np.float32), header_at(10, 20, size)
    ).header
    header["NAXIS1"] = header["NAXIS2"] = size
    path = tmp_path / "large.fits"
    text = header.tostring()
    with path.open("wb") as file:
        file.write(text.encode())
        # Sparse: zeros that are nowhere on the disk.
        file.truncate(len(text) + -(-4 * size * size // 2880) * 2880)
    assert path.stat().st_size > 190e6
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "small.fits"), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    # A fiftieth of the mosaic.
    assert after - before < 4000


def test_an_index_of_a_mosaic_finds_each_source_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sources = []
    for tile, ra in enumerate((359.9, 0.1)):
        header = header_at(ra, 60, 600)
        pixels = rng.normal(0, 1.5e-4, (600, 600)).astype(np.float32)
        for row in range(3):
            for column in range(3):
                left, bottom = 50 + 180 * column, 50 + 180 * row
                pixels[bottom : bottom + 100, left : left + 100] = double_source(rng)
                sky = WCS(header).pixel_to_world(left + 49.5, bottom + 49.5)
                name = f"t{tile}r{row}c{column}"
                sources.append(Source(name, float(sky.ra.deg), float(sky.dec.deg)))
        write_tile(tmp_path / "tiles" / f"{tile}.fits", ra, 60, pixels=pixels, size=600)
    catalogue = make_catalogue("mosaic", sources, (), ())
    home = Home(tmp_path / "home")
    home.path.mkdir()
    engine = create_engine(home.database_url)
    upgrade(engine)
    store = SourceStore(engine)
    encoder = small_encoder(views=1)

    def index() -> Report:
        return build(
            catalogue,
            Workshop(
                home,
                store,
                encoder,
                open_provider(f"mosaic:{tmp_path / 'tiles'}?size_arcsec=180"),
            ),
            watcher=Quiet(),
        )

    try:
        report = index()
        assert (report.published, report.count, report.problems) == (True, 18, ())
        assert not index().published
        opened = open_generation(home.generations / "g000001")
        provider = open_provider(opened.manifest.cutouts)
        cutouts = [read_cutout(provider.read(source)) for source in sources]
        queries = encoder.embed_images(
            np.stack([encoder.card.preprocess(cutout).image for cutout in cutouts])
        )
        for source, query in zip(sources, queries, strict=True):
            similarities, rows = opened.index.search(query, 2)
            assert store.sources_by_row(1, rows[:1].tolist()) == [source]
            assert similarities[0] > 0.9999 > similarities[1]
    finally:
        store.close()
