"""A catalogue in editions: each has other sources than the one before, other values.

Their cutouts are real files, in one folder beside the encoder that embeds them.
"""

from pathlib import Path

import numpy as np
from homes import COLUMNS, Truth
from skies import small_encoder, write_sky

from twinjet.index.catalogue import Catalogue, make_catalogue
from twinjet.index.sky import healpix_29
from twinjet.index.source import Source
from twinjet.model.decode import read_cutout
from twinjet.model.encoder import load_encoder

COUNT = 15

# Sources that come with an edition, as many as go. More of them would not be published:
# at most a fifth may be gone.
CHANGED = 3


def write_editions(folder: Path, *, last: int) -> Path:
    """Write the cutouts of editions up to one, and an encoder; gives its card."""
    write_sky(folder, CHANGED * last + COUNT)
    small_encoder(views=1).save(folder)
    return folder / "small.json"


def catalogue_of(edition: int) -> Catalogue:
    """As it is read from a table."""
    return make_catalogue("sky", _sources(edition), COLUMNS, ())


def truth_of(edition: int, folder: Path) -> Truth:
    """What a generation of it is made of: each cutout embedded in this process."""
    sources = sorted(
        _sources(edition), key=lambda source: int(healpix_29(source.ra, source.dec)[0])
    )
    cutouts = [read_cutout(folder / str(source.cutout)) for source in sources]
    return Truth(sources, load_encoder(folder / "small.json").embed(cutouts))


def _sources(edition: int) -> list[Source]:
    rng = np.random.default_rng(edition)
    first = CHANGED * edition
    return [
        Source(
            f"J4{n:03d}+0",
            # Where `write_sky` has them.
            (350 + 0.5 * n) % 360,
            -20 + 0.3 * n,
            "survey",
            f"T{n:03d}.fits",
            {"size_arcsec": round(float(rng.uniform(1, 99)), 3), "kind": "ab"[n % 2]},
        )
        for n in range(first, first + COUNT)
    ]
