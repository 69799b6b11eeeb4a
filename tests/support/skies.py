"""Small skies and a small encoder for tests: real files, real weights, no training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from numpy.typing import NDArray

from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.database import create_engine, upgrade
from twinjet.index.folder import catalogue_of_folder
from twinjet.index.home import Home
from twinjet.index.reindex import Report, Workshop, build
from twinjet.index.store import SourceStore
from twinjet.index.vectors.engine import VectorEngine
from twinjet.model.backbone import Backbone
from twinjet.model.card import EncoderCard
from twinjet.model.cutout import Cutout
from twinjet.model.encoder import Encoder, centred
from twinjet.model.preprocess import Preprocess

PIXEL_SCALE_ARCSEC = 1.8


def double_source(
    rng: np.random.Generator, *, size: int = 100, snr: float = 200.0
) -> NDArray[np.float32]:
    """A core and two unequal lobes at random, on noise of 0.15 mJy/beam."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    pixels = rng.normal(0, 1.5e-4, (size, size))
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(4, 14)
    for place, flux in (
        (0.0, rng.uniform(0, 1)),
        (1.0, 1.0),
        (-1.0, rng.uniform(0.2, 1)),
    ):
        dx = x - place * length * np.cos(angle)
        dy = y - place * length * np.sin(angle)
        width = rng.uniform(1.3, 3.0)
        pixels += snr * 1.5e-4 * flux * np.exp(-(dx**2 + dy**2) / (2 * width**2))
    return pixels.astype(np.float32)


def header_at(ra: float, dec: float, size: int = 100) -> fits.Header:
    """TAN projection about an ICRS position in degrees, as FIRST has it."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CRPIX1"] = header["CRPIX2"] = (size + 1) / 2
    header["CDELT1"], header["CDELT2"] = (
        -PIXEL_SCALE_ARCSEC / 3600,
        PIXEL_SCALE_ARCSEC / 3600,
    )
    header["BUNIT"], header["RADESYS"] = "JY/BEAM", "ICRS"
    return header


def write_sky(folder: Path, count: int, *, seed: int = 0) -> None:
    """A folder of FITS with catalogue.csv: IDs ``T100+000`` and on, at RA 10 and on."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["source_id,cutout,ra_deg,dec_deg,redshift,fr_class,tailed"]
    for number in range(count):
        ra, dec = (350 + 0.5 * number) % 360, -20 + 0.3 * number
        pixels = double_source(rng)
        name = f"T{number:03d}.fits"
        fits.PrimaryHDU(pixels, header_at(ra, dec)).writeto(folder / name)
        redshift = "" if number % 4 == 0 else f"{number / count:.3f}"
        fr_class = "FRI" if number % 2 else "FRII"
        lines.append(
            f"T100+{number:03d},{name},{ra},{dec},{redshift},{fr_class},"
            f"{number % 3 == 0}"
        )
    (folder / "catalogue.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def small_encoder(seed: int = 0, *, views: int = 8) -> Encoder:
    """An encoder of untrained weights: what it finds is alike, if not wise."""
    torch.manual_seed(seed)
    backbone = Backbone(depth=10, width=0.125, peaks=True)
    card = EncoderCard(
        name="small",
        depth=10,
        width=0.125,
        peaks=True,
        dimension=backbone.dimension,
        preprocess=Preprocess(size_px=48),
        views=views,
        weights_sha256=f"seed {seed}",
    )
    # Untrained features are nearly the same for all; their mean leaves with this.
    rng = np.random.default_rng(1)
    prepared = [card.preprocess(_cutout(double_source(rng))).image for _ in range(64)]
    return centred(card, backbone, [np.stack(prepared)])


def encoder_of_rounding() -> Encoder:
    """Its features are a million and a little: what tells sources apart is rounding.

    Whatever sums in another order has other embeddings.
    """
    small = small_encoder(views=1)
    torch.manual_seed(0)
    backbone = Backbone(depth=10, width=0.125, peaks=True)
    with torch.no_grad():
        bias = backbone.stages[-1].get_parameter("bn2.bias")
        bias.add_(1e6)
    rng = np.random.default_rng(1)
    recipe = small.card.preprocess
    prepared = [recipe(_cutout(double_source(rng))).image for _ in range(16)]
    return centred(small.card, backbone, [np.stack(prepared)])


def _cutout(pixels: NDArray[np.float32]) -> Cutout:
    return Cutout(pixels, pixel_scale_arcsec=(PIXEL_SCALE_ARCSEC, PIXEL_SCALE_ARCSEC))


@dataclass
class Quiet:
    """A watcher that only counts."""

    stages: tuple[str, ...] = ()

    def stage(self, name: str, total: int | None) -> None:  # noqa: ARG002
        self.stages += (name,)

    def advance(self, count: int) -> None:
        pass


def index_sky(
    folder: Path,
    home: Path,
    encoder: Encoder,
    *,
    force: bool = False,
    database_url: str | None = None,
    engine: VectorEngine | None = None,
) -> Report:
    """Build and publish a folder: what a job does in steps, in one go."""
    home.mkdir(parents=True, exist_ok=True)
    files = Home(home)
    database = create_engine(database_url or files.database_url)
    upgrade(database)
    store = SourceStore(database)
    try:
        return build(
            catalogue_of_folder(folder),
            Workshop(files, store, encoder, FolderProvider(folder), engine=engine),
            watcher=Quiet(),
            force=force,
        )
    finally:
        store.close()
