"""Odd and hostile files: each gives its pixels or the error that says what is wrong."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import pytest
from oddities import Oddity, galaxy, oddities, plain
from processes import Memory

from twinjet.model.cutout import Cutout
from twinjet.model.decode import read_cutout
from twinjet.model.errors import AmbiguousImageError, CutoutError, NoUsablePixelsError
from twinjet.model.preprocess import Preprocess

_MOST_SECONDS = 10
_MOST_BYTES = 256 * 2**20


def _read(odd: Oddity, data: bytes) -> Cutout | CutoutError:
    """Read and prepared, as for an upload."""
    try:
        cutout = read_cutout(data, hdu=odd.hdu)
    except CutoutError as exc:
        return exc
    with suppress(NoUsablePixelsError):  # of a faint one
        Preprocess(upright=True)(cutout)
    return cutout


def _fault(odd: Oddity, got: Cutout | CutoutError) -> str | None:
    """How what came differs from what was expected."""
    if odd.error is not None:
        right = isinstance(got, odd.error) and str(got).isprintable()
        return None if right else f"{got!r} instead of {odd.error.__name__}"
    if isinstance(got, CutoutError):
        return f"{got!r} instead of pixels"
    if not any(odd.note in note for note in (*got.notes, "")):
        return f"{odd.note!r} is not in {got.notes}"
    return None


def _faults(files: Iterable[Oddity]) -> list[str]:
    faults = []
    memory = Memory(os.getpid())
    for odd in files:
        data = odd.make()
        memory.begin()
        started = time.monotonic()
        got = _read(odd, data)
        fault = _fault(odd, got)
        seconds, grown = time.monotonic() - started, memory.most_grown()
        if seconds > _MOST_SECONDS:
            fault = f"{seconds:.1f} s"
        if grown > _MOST_BYTES:
            fault = f"{grown / 2**20:.0f} MiB"
        if fault is not None:
            faults.append(f"{odd.name}: {fault}")
    return faults


def test_there_are_enough_and_no_two_have_one_name() -> None:
    names = [odd.name for odd in oddities()]
    assert len(names) >= 250
    assert len(set(names)) == len(names)


def test_each_gives_pixels_or_its_error_in_little_memory_and_time() -> None:
    assert not _faults(odd for odd in oddities() if not odd.heavy)


@pytest.mark.slow
def test_so_do_the_heavy_ones() -> None:
    assert not _faults(odd for odd in oddities() if odd.heavy)


def test_a_file_is_the_same_each_time() -> None:
    # FITS made by astropy, cards of our own, PNG and gzip.
    names = {"type_f4_False", "naxis_7", "png_L", "gz_level_9", "tiles_int_RICE_1"}
    some = [odd for odd in oddities() if odd.name in names]
    assert len(some) == len(names)
    assert all(odd.make() == odd.make() for odd in some)


def test_equal_encodings_have_equal_pixels() -> None:
    expected = galaxy()
    different = []
    for odd in oddities():
        # Whole numbers without a unit are the image in other units.
        whole = odd.name.startswith(("tiles_int", "scaled_1e"))
        if odd.same and not whole and not odd.heavy:
            pixels = read_cutout(odd.make(), hdu=odd.hdu).pixels
            finite = np.isfinite(pixels)
            if not np.allclose(pixels[finite], expected[finite], rtol=1e-6, atol=1e-9):
                different.append(odd.name)
    assert not different


def test_an_ambiguous_file_answers_with_its_candidates() -> None:
    (odd,) = (odd for odd in oddities() if odd.name == "two_images")
    with pytest.raises(AmbiguousImageError) as caught:
        read_cutout(odd.make())
    expected = ["1 (A): IMAGE, 100 x 100", "2 (B): IMAGE, 100 x 100"]
    assert caught.value.candidates == expected
    assert (caught.value.limit, caught.value.actual) == (1, 2)


def test_every_beginning_of_a_file_is_refused() -> None:
    data = plain()
    for length in range(0, 42880, 97):
        with pytest.raises(CutoutError):
            read_cutout(data[:length])
