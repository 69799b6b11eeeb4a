"""MiraBest from a folder to answers: the main job, on real radio galaxies."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
from astropy.io import fits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(mirabest_server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mirabest_server, timeout=60) as client:
        yield client


def neighbours(
    client: httpx.Client, data: bytes, query: str = ""
) -> list[dict[str, Any]]:
    answer = client.post(f"/similar{query}", files={"file": ("cutout.fits", data)})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["neighbours"]
    return found


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [n["source"]["source_id"] for n in found]


def pixels_and_header(data: bytes) -> tuple[np.ndarray, fits.Header]:
    with fits.open(io.BytesIO(data)) as hdus:
        header = hdus[0].header
        # Tabs in its comments, which astropy reads and will not write.
        for commentary in ("COMMENT", "HISTORY"):
            header.remove(commentary, ignore_missing=True, remove_all=True)
        return hdus[0].data, header


def as_fits(pixels: np.ndarray, header: fits.Header) -> bytes:
    file = io.BytesIO()
    fits.PrimaryHDU(pixels, header).writeto(file)
    return file.getvalue()


def as_int16(pixels: np.ndarray, header: fits.Header) -> bytes:
    low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    hdu = fits.PrimaryHDU(pixels.astype(np.float64), header)
    hdu.scale("int16", bscale=(high - low) / 65000, bzero=(high + low) / 2)
    file = io.BytesIO()
    hdu.writeto(file)
    return file.getvalue()


def with_degenerate_axes(pixels: np.ndarray, header: fits.Header) -> bytes:
    header = header.copy()
    for axis, kind in ((3, "FREQ"), (4, "STOKES")):
        header[f"CTYPE{axis}"] = kind
        for name in ("CRVAL", "CDELT", "CRPIX"):
            header[f"{name}{axis}"] = 1.0
    return as_fits(pixels[None, None], header)


@pytest.fixture(scope="module")
def originals(shared_data: Path) -> dict[str, bytes]:
    """Files as the archive wrote them, of sources that are indexed from copies."""
    files = sorted((shared_data / "mirabest" / "original").glob("*.fits"))
    return {path.stem: path.read_bytes() for path in files}


def test_every_source_is_indexed(client: httpx.Client) -> None:
    assert client.get("/generations").json()["generations"][0]["sources"] == 1091


def test_an_original_finds_its_own_source_first(
    client: httpx.Client, originals: dict[str, bytes]
) -> None:
    assert len(originals) == 28
    for source_id, data in originals.items():
        best = neighbours(client, data)[0]
        assert best["source"]["source_id"] == source_id
        assert best["similarity"] >= 0.99


def test_encodings_of_an_original_get_the_same_ten(
    client: httpx.Client, originals: dict[str, bytes]
) -> None:
    for data in originals.values():
        wanted = ids(neighbours(client, data))
        pixels, header = pixels_and_header(data)
        assert ids(neighbours(client, gzip.compress(data))) == wanted
        assert ids(neighbours(client, with_degenerate_axes(pixels, header))) == wanted
        # Sixteen bits move similarities by some 1e-6: order among equals may differ.
        assert set(ids(neighbours(client, as_int16(pixels, header)))) == set(wanted)


def test_a_quarter_turn_keeps_the_ten(
    client: httpx.Client, originals: dict[str, bytes]
) -> None:
    for data in originals.values():
        wanted = ids(neighbours(client, data))
        pixels, header = pixels_and_header(data)
        turned = as_fits(np.ascontiguousarray(np.rot90(pixels)), header)
        assert len(set(ids(neighbours(client, turned))) & set(wanted)) >= 8
        exact = ids(neighbours(client, data, "?invariant=true"))
        assert ids(neighbours(client, turned, "?invariant=true")) == exact


def test_id_and_position_agree(client: httpx.Client) -> None:
    by_id = client.get("/similar/MB011.019%2B001.031").json()["neighbours"]
    answer = client.get("/similar?ra=11.0195&dec=1.0311&radius_arcsec=20")
    assert ids(answer.json()["neighbours"]) == ids(by_id)


def test_neighbours_share_a_class_more_often_than_chance(client: httpx.Client) -> None:
    """Not a figure of quality, but an index of noise would fail it."""
    right = total = 0
    sources = client.get("/sources?limit=60&where=confidence='confident'").json()
    for item in sources["sources"]:
        answer = client.get(
            item["links"]["similar"], params={"where": "confidence='confident'"}
        )
        for found in answer.json()["neighbours"]:
            right += found["source"]["fr_class"] == item["source"]["fr_class"]
            total += 1
    assert right / total > 0.6
