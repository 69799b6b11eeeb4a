"""Cutouts to embeddings, a shard at a time.

Files are read in threads of their own, some blocks ahead. A block is decoded and
embedded by one thread: those of Python that only decode would hold up the encoder's,
which want the interpreter back after each layer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.cutouts.prefetch import in_order
from twinjet.index.errors import CutoutUnavailableError
from twinjet.index.keys import Item
from twinjet.index.shards import Shard
from twinjet.model.decode import read_cutout
from twinjet.model.encoder import Encoder
from twinjet.model.errors import CutoutError
from twinjet.model.preprocess import Preprocess

# A catalogue's position this far from the image centre is where the source is;
# nearer, the image centre is as good as the position (MiraBest's are rounded to
# 3.6 arcsec) and is what an uploaded copy of the cutout would be centred on.
RECENTRE_ARCSEC = 15.0

# Beside those that decode and embed, which wait for no disk.
_READERS = 2


@dataclass(frozen=True)
class Unread:
    """Sources whose cutout was there and could not be read, for the moment."""

    count: int
    reason: str
    """Of the last one."""


@dataclass(frozen=True)
class _Missing:
    """No cutout to embed."""

    reason: str | None
    """Why it cannot be read; None where it was replaced."""


def embed_items(
    items: Sequence[Item],
    *,
    provider: CutoutProvider,
    encoder: Encoder,
    pixel_scale_arcsec: float | None = None,
    progress: Callable[[int], None] = lambda _count: None,
) -> tuple[Shard, Unread | None]:
    """Embed the cutouts of some sources.

    Parameters
    ----------
    items
        The sources.
    provider
        Where their cutouts are.
    encoder
        Makes the embeddings.
    pixel_scale_arcsec
        Of cutouts without a WCS.
    progress
        Is told how many more are done.

    Returns
    -------
    shard
        Embeddings, and reasons that lie in the pixels and will be the same next time.
    unread
        What is not in it, for its cutout could not be read; None if there is nothing.
        What is another cutout now than the item says is in neither.
    """
    embeddings = np.zeros((len(items), encoder.card.dimension), np.float32)
    reasons: list[str | None] = [None] * len(items)
    missing: dict[int, _Missing] = {}

    read = partial(_read, provider=provider)
    recipe = encoder.card.preprocess
    on_device = nullcontext() if not encoder.is_on_gpu else Lock()

    def embed(block: list[tuple[int, Item, bytes | _Missing]]) -> int:
        good: list[int] = []
        images: list[NDArray[np.float32]] = []
        for row, item, data in block:
            if isinstance(data, _Missing):
                missing[row] = data
                continue
            try:
                images.append(_prepare(item, data, recipe, pixel_scale_arcsec))
                good.append(row)
            except (CutoutError, CutoutUnavailableError) as exc:
                reasons[row] = str(exc)
        if good:
            with on_device:
                embeddings[good] = encoder.embed_images(np.stack(images))
        return len(block)

    with _one_thread_each() as threads:
        size = encoder.at_a_time
        numbered = zip(
            count(),
            items,
            in_order(read, items, threads=_READERS, ahead=size),
            strict=False,
        )
        blocks = iter(lambda: list(islice(numbered, size)), [])
        for done in in_order(embed, blocks, threads=threads, ahead=2):
            progress(done)
    kept = [row for row in range(len(items)) if row not in missing]
    shard = Shard(
        [items[row] for row in kept],
        [items[row].key(pixel_scale_arcsec) for row in kept],
        embeddings[kept],
        [reasons[row] for row in kept],
    )
    unread = [one.reason for one in missing.values() if one.reason is not None]
    return shard, Unread(len(unread), unread[-1]) if unread else None


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """How many blocks to embed at a time, each by one thread.

    Sums that several threads share round otherwise than those of one, and the same
    cutout must get the same vector on every machine of one kind.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _read(item: Item, *, provider: CutoutProvider) -> bytes | _Missing:
    """The bytes of one cutout."""
    try:
        data = provider.read(item.source)
        # Replaced since it was looked at: under its digest it would be found for
        # ever. Looked at after it was read, for it may be replaced just now.
        if item.digest and provider.digest(item.source) != item.digest:
            return _Missing(None)
    except CutoutUnavailableError as exc:
        return _Missing(str(exc))
    return data


def _prepare(
    item: Item,
    data: bytes,
    preprocess: Preprocess,
    pixel_scale_arcsec: float | None,
) -> NDArray[np.float32]:
    """The encoder's input for one source, centred on it."""
    source = item.source
    cutout = read_cutout(data, pixel_scale_arcsec=pixel_scale_arcsec)
    offset = (0.0, 0.0)
    away = cutout.arcsec_from_centre(source.ra, source.dec)
    if away is not None and away > RECENTRE_ARCSEC:
        found = cutout.offset_of(source.ra, source.dec)
        if found is None:
            msg = (
                f"the position {source.ra:.5f} {source.dec:+.5f} of "
                f"{source.source_id} is outside of its cutout {source.cutout!r}"
            )
            raise CutoutUnavailableError(msg, actual=source.source_id)
        offset = found
    return preprocess(cutout, offset_px=offset).image
