"""Cutouts of a catalogue to shards of embeddings.

Reading and decoding run in threads beside the encoder, a few blocks ahead.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.errors import CutoutUnavailableError
from twinjet.index.shards import (
    SHARD_SOURCES,
    Item,
    Shard,
    read_shard,
    shard_name,
    write_shard,
)
from twinjet.model.decode import read_cutout
from twinjet.model.encoder import Encoder
from twinjet.model.errors import CutoutError
from twinjet.model.preprocess import Preprocess

# A catalogue's position this far from the image centre is where the source is;
# nearer, the image centre is as good as the position (MiraBest's are rounded to
# 3.6 arcsec) and is what an uploaded copy of the cutout would be centred on.
RECENTRE_ARCSEC = 15.0

# Sources prepared at a time: twice what the encoder takes at once.
_BLOCK = 128

_THREADS = 2


def embed_shards(
    items: Sequence[Item],
    *,
    provider: CutoutProvider,
    encoder: Encoder,
    folder: Path,
    pixel_scale_arcsec: float | None = None,
    progress: Callable[[int, bool], None] = lambda _count, _reused: None,
) -> Iterator[Shard]:
    """Yield the shard of each thousand items; made only if it is not there yet.

    Parameters
    ----------
    items
        Sources in the order of the catalogue.
    provider
        Where their cutouts are.
    encoder
        Makes the embeddings.
    folder
        Keeps the shards of this encoder.
    pixel_scale_arcsec
        Of cutouts without a WCS.
    progress
        Is told how many sources are done, and whether they were there already.
    """
    for start in range(0, len(items), SHARD_SOURCES):
        part = items[start : start + SHARD_SOURCES]
        key = f"{encoder.card.id} {pixel_scale_arcsec}"
        path = folder / shard_name(key, part)
        shard = read_shard(path, part)
        if shard is None:
            shard = _embed(part, provider, encoder, pixel_scale_arcsec, progress)
            write_shard(path, shard)
        else:
            progress(len(part), True)  # noqa: FBT003 - the signature names it
        yield shard


def _embed(
    items: Sequence[Item],
    provider: CutoutProvider,
    encoder: Encoder,
    pixel_scale_arcsec: float | None,
    progress: Callable[[int, bool], None],
) -> Shard:
    embeddings = np.zeros((len(items), encoder.card.dimension), np.float32)
    reasons: list[str | None] = [None] * len(items)

    def prepare(item: Item) -> NDArray[np.float32] | str:
        try:
            return _prepare(item, provider, encoder.card.preprocess, pixel_scale_arcsec)
        except (CutoutError, CutoutUnavailableError) as exc:
            return str(exc)

    with ThreadPoolExecutor(_THREADS) as pool:
        prepared = enumerate(pool.map(prepare, items))
        while block := list(islice(prepared, _BLOCK)):
            for row, image in block:
                if isinstance(image, str):
                    reasons[row] = image
            good = [(row, i) for row, i in block if not isinstance(i, str)]
            if good:
                images = np.stack([image for _, image in good])
                embeddings[[row for row, _ in good]] = encoder.embed_images(images)
            progress(len(block), False)  # noqa: FBT003
    return Shard([item.source.source_id for item in items], embeddings, reasons)


def _prepare(
    item: Item,
    provider: CutoutProvider,
    preprocess: Preprocess,
    pixel_scale_arcsec: float | None,
) -> NDArray[np.float32]:
    """The encoder's input for one source, centred on it."""
    source = item.source
    data = provider.read(source)
    cutout = read_cutout(data, pixel_scale_arcsec=pixel_scale_arcsec)
    offset = (0.0, 0.0)
    centre = cutout.centre()
    if centre is not None:
        there = SkyCoord(source.ra, source.dec, unit="deg")
        if centre.separation(there).arcsec > RECENTRE_ARCSEC:
            found = cutout.offset_of(source.ra, source.dec)
            if found is None:
                msg = (
                    f"the position {source.ra:.5f} {source.dec:+.5f} of "
                    f"{source.source_id} is outside of its cutout {source.cutout!r}"
                )
                raise CutoutUnavailableError(msg, actual=source.source_id)
            offset = found
    return preprocess(cutout, offset_px=offset).image
