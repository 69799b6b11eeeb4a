"""Decoders of which some do what their files say, and this process beside them."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import odd_decoder
import pytest
from oddities import plain

from twinjet.model.decode import read_cutout
from twinjet.model.errors import CutoutError
from twinjet.model.preprocess import Preprocess
from twinjet.service.decoding.pool import Decoders
from twinjet.service.decoding.replies import Decoded
from twinjet.service.decoding.trades import IMAGES, Trade
from twinjet.service.errors import DecodeFailedError

ODD = (sys.executable, "-P", odd_decoder.__file__)
RECIPE = Preprocess(upright=True)

_T = TypeVar("_T")


def odd(*, program: Sequence[str] = ODD, **allowed: Any) -> Trade[Decoded]:
    """The trade of cutouts with another program, or other limits."""
    allowance = replace(IMAGES.allowance, **allowed)
    return replace(IMAGES, program=program, allowance=allowance)


def with_decoders(
    use: Callable[[Decoders[Decoded]], Awaitable[_T]], count: int = 1, **how: Any
) -> _T:
    """What comes of using some decoders that are closed then."""

    async def used() -> _T:
        decoders = Decoders(count, odd(**how))
        decoders.start()
        try:
            return await use(decoders)
        finally:
            await decoders.close()

    return asyncio.run(used())


async def decode(decoders: Decoders[Decoded], data: bytes) -> Decoded:
    async def read() -> bytes:
        return data

    task = {"recipe": RECIPE.to_dict(), "pixel_scale_arcsec": None, "hdu": None}
    return await decoders.decode(await decoders.next_free(), read, task)


async def failure(decoders: Decoders[Decoded], data: bytes) -> CutoutError:
    with pytest.raises(CutoutError) as caught:
        await decode(decoders, data)
    return caught.value


async def pid(decoders: Decoders[Decoded]) -> int:
    decoder = await decoders.next_free()
    decoders._free.put_nowait(decoder)
    return decoder._process.pid


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - nothing that is waited for tells of itself
            await asyncio.sleep(0)


def after(deed: str, **how: Any) -> DecodeFailedError:
    """What comes of a deed; the next file is answered, by another process."""

    async def use(decoders: Decoders[Decoded]) -> CutoutError:
        first = await pid(decoders)
        error = await failure(decoders, deed.encode())
        assert_as_in_this_process(await decode(decoders, plain()))
        assert await pid(decoders) != first
        assert not is_alive(first)
        return error

    error = with_decoders(use, **how)
    assert isinstance(error, DecodeFailedError)
    assert str(error).isprintable()
    return error


def is_alive(process: int) -> bool:
    """Whether a process runs; one that nobody has asked for its status does not."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return fields.rpartition(")")[2].split()[0] not in {"Z", "X"}


def assert_as_in_this_process(decoded: Decoded) -> None:
    cutout = read_cutout(plain())
    prepared, centre = RECIPE(cutout), cutout.centre()
    assert centre is not None
    assert decoded.prepared.image.tobytes() == prepared.image.tobytes()
    assert decoded.prepared.peak_snr == prepared.peak_snr
    assert decoded.position == (centre.ra.deg, centre.dec.deg)
    assert (decoded.has_scale, decoded.notes) == (True, ())
