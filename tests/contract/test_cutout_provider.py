"""What every provider must do, by `twinjet.index.cutouts.port.CutoutProvider`."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
import zarr
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from skies import PIXEL_SCALE_ARCSEC, double_source, header_at

from twinjet.index.cutouts.archive import ArchiveProvider
from twinjet.index.cutouts.open import open_provider
from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.errors import (
    CatalogueError,
    CutoutLocationError,
    CutoutUnavailableError,
)
from twinjet.index.folder import catalogue_of_archive
from twinjet.index.source import Source
from twinjet.model.decode import MAX_FILE_BYTES, read_cutout

COUNT = 6
SIDE = 100

Images = NDArray[np.float32]


def images(seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    return np.stack([double_source(rng, size=SIDE) for _ in range(COUNT)])


# They stand in a row, as on the mosaic.
_ROW = WCS(header_at(0.0, 40.0, SIDE * COUNT))
_ROW.wcs.crpix = [SIDE * COUNT / 2 + 0.5, SIDE / 2 + 0.5]


def sources() -> list[Source]:
    found = []
    for number in range(COUNT):
        sky = _ROW.pixel_to_world(SIDE * number + (SIDE - 1) / 2, (SIDE - 1) / 2)
        ra, dec = float(sky.ra.deg), float(sky.dec.deg)
        found.append(Source(f"s{number}", ra, dec, cutout=f"fits/s{number}.fits"))
    return found


def files(stack: Images) -> dict[str, bytes]:
    """FITS of each image by its name."""
    found = {}
    for source, pixels in zip(sources(), stack, strict=True):
        file = io.BytesIO()
        fits.PrimaryHDU(pixels, header_at(source.ra, source.dec)).writeto(file)
        assert source.cutout is not None
        found[source.cutout] = file.getvalue()
    return found


def make_folder(place: Path, stack: Images) -> str:
    for name, data in files(stack).items():
        (place / "sky" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "sky" / name).write_bytes(data)
    return str(place / "sky")


def make_zip(place: Path, stack: Images) -> str:
    with zipfile.ZipFile(place / "sky.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files(stack).items():
            archive.writestr(name, data)
    return str(place / "sky.zip")


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def make_tar(place: Path, stack: Images) -> str:
    with tarfile.open(place / "sky.tar", "w") as archive:
        for name, data in files(stack).items():
            add(archive, f"./{name}", data)
    return str(place / "sky.tar")


def make_stack(place: Path, stack: Images) -> str:
    # HDF5 does not write to a file that the same process reads.
    (place / "sky.h5").unlink(missing_ok=True)
    with h5py.File(place / "sky.h5", "w") as file:
        data = file.create_dataset("images", data=stack, chunks=(2, SIDE, SIDE))
        data.attrs["pixel_scale_arcsec"] = PIXEL_SCALE_ARCSEC
        data.attrs["BUNIT"] = "Jy/beam"
        file["ids"] = [source.cutout for source in sources()]
    return str(place / "sky.h5")


def make_zarr(place: Path, stack: Images, *, version: Literal[2, 3] = 3) -> str:
    group = zarr.open_group(place / "sky.zarr", mode="w", zarr_format=version)
    fill_zarr(group, stack)
    return str(place / "sky.zarr")


def make_zarr_2(place: Path, stack: Images) -> str:
    return make_zarr(place, stack, version=2)


def make_zarr_zip(place: Path, stack: Images) -> str:
    folder = Path(make_zarr(place, stack))
    with zipfile.ZipFile(place / "sky.zarr.zip", "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder))
    return str(place / "sky.zarr.zip")


def fill_zarr(group: zarr.Group, stack: Images) -> None:
    data = group.create_array("images", data=stack, chunks=(2, SIDE, SIDE))
    data.attrs["pixel_scale_arcsec"] = PIXEL_SCALE_ARCSEC
    data.attrs["BUNIT"] = "Jy/beam"
    ids = group.create_array("ids", shape=(COUNT,), dtype=str)
    ids[:] = np.array([source.cutout for source in sources()], object)


def make_mosaic(place: Path, stack: Images) -> str:
    row = np.concatenate(list(stack), axis=1)
    header = _ROW.to_header()
    header["BUNIT"] = "JY/BEAM"
    fits.PrimaryHDU(row, header).writeto(place / "sky.fits", overwrite=True)
    path = str(place / "sky.fits").replace("%", "%25").replace("?", "%3F")
    return f"mosaic:{path}?size_arcsec={SIDE * PIXEL_SCALE_ARCSEC}"


def make_store(place: Path, stack: Images) -> str:
    return f"file://{make_folder(place, stack)}"


@dataclass
class Kind:
    make: Callable[[Path, Images], str]
    """Write images to a folder; the location of them."""
    absent: Source
    reason: str
    """Of the refusal of the absent source."""


NOBODY = Source("nobody", 1.0, 2.0, cutout="fits/nobody.fits")

KINDS = {
    "folder": Kind(make_folder, NOBODY, "No such file"),
    "zip": Kind(make_zip, NOBODY, r"not in sky\.zip"),
    "tar": Kind(make_tar, NOBODY, r"not in sky\.tar"),
    "stack": Kind(make_stack, NOBODY, r"none of the 6 IDs of sky\.h5"),
    "zarr": Kind(make_zarr, NOBODY, r"none of the 6 IDs of sky\.zarr"),
    "zarr 2": Kind(make_zarr_2, NOBODY, r"none of the 6 IDs of sky\.zarr"),
    "zarr zip": Kind(make_zarr_zip, NOBODY, r"none of the 6 IDs of sky\.zarr\.zip"),
    "store": Kind(make_store, NOBODY, "No such file"),
    "mosaic": Kind(make_mosaic, NOBODY, "outside of the 1 tiles"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose name must be written with care."""
    folder = tmp_path / "my sky, 50%?"
    folder.mkdir()
    return folder


@pytest.fixture
def provider(kind: Kind, place: Path) -> CutoutProvider:
    return open_provider(kind.make(place, images()))


def test_the_same_pixels_come_back_where_they_are(provider: CutoutProvider) -> None:
    for source, pixels in zip(sources(), images(), strict=True):
        cutout = read_cutout(provider.read(source))
        np.testing.assert_array_equal(cutout.pixels, pixels)
        assert cutout.unit == "Jy/beam"
        assert cutout.pixel_scale_arcsec == pytest.approx((PIXEL_SCALE_ARCSEC,) * 2)
        offset = cutout.offset_of(source.ra, source.dec)
        assert offset == pytest.approx((0, 0), abs=0.01)


def test_an_absent_source_is_refused_with_the_reason(
    kind: Kind, provider: CutoutProvider
) -> None:
    for ask in (provider.read, provider.digest):
        with pytest.raises(CutoutUnavailableError, match=kind.reason):
            ask(kind.absent)


def test_a_location_makes_the_same_provider(provider: CutoutProvider) -> None:
    again = open_provider(provider.location)
    assert again.location == provider.location
    for source in sources():
        assert again.read(source) == provider.read(source)
        assert again.digest(source) == provider.digest(source)


def test_digests_stay_with_the_pixels_and_change_with_them(
    kind: Kind, provider: CutoutProvider, place: Path
) -> None:
    before = [provider.digest(source) for source in sources()]
    assert len(set(before)) == COUNT
    assert all(len(digest) == 64 for digest in before)
    same = open_provider(kind.make(place, images()))
    assert [same.digest(source) for source in sources()] == before
    changed = images()
    changed[2, 50, 50] += 1
    other = open_provider(kind.make(place, changed))
    after = [other.digest(source) for source in sources()]
    assert [a == b for a, b in zip(after, before, strict=True)] == [
        number != 2 for number in range(COUNT)
    ]


def test_eight_threads_read_at_once(provider: CutoutProvider) -> None:
    alone = open_provider(provider.location)
    wanted = {source.source_id: alone.read(source) for source in sources()}
    many = sources() * 40
    with ThreadPoolExecutor(8) as pool:
        for source, data in zip(many, pool.map(provider.read, many), strict=True):
            assert data == wanted[source.source_id]


# A mosaic knows no names.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mosaic"])
@pytest.mark.parametrize(
    "name", ["../s0.fits", "fits/../../s0.fits", "/etc/passwd", "", "."]
)
def test_a_name_that_leads_out_is_refused(kind: str, name: str, place: Path) -> None:
    provider = open_provider(KINDS[kind].make(place, images()))
    (place / "s0.fits").write_bytes(b"SIMPLE")
    for ask in (provider.read, provider.digest):
        with pytest.raises(CutoutUnavailableError):
            ask(replace(NOBODY, cutout=name))


def test_what_has_gone_is_said_when_it_is_read(kind: Kind, place: Path) -> None:
    location = kind.make(place, images())
    place.rename(place.with_name("elsewhere"))
    provider = open_provider(location)
    with pytest.raises(CutoutUnavailableError, match="No such file"):
        provider.read(sources()[0])
    place.with_name("elsewhere").rename(place)
    assert provider.read(sources()[0])


@pytest.mark.parametrize("kind", ["zip", "tar", "stack", "mosaic"])
def test_one_put_in_its_place_is_opened_anew(kind: str, place: Path) -> None:
    provider = open_provider(KINDS[kind].make(place, images()))
    before = provider.digest(sources()[0])
    other = place / "other"
    other.mkdir()
    KINDS[kind].make(other, images(seed=1))
    new = next(file for file in other.iterdir() if file.is_file())
    new.replace(place / new.name)
    assert provider.digest(sources()[0]) != before


@pytest.mark.parametrize("kind", ["zip", "tar", "stack", "mosaic"])
@pytest.mark.parametrize("keep", [0, 1, 700, -30_000])
def test_a_damaged_file_is_refused(kind: str, keep: int, place: Path) -> None:
    provider = open_provider(KINDS[kind].make(place, images()))
    path = next(place.iterdir())
    path.write_bytes(path.read_bytes()[:keep])
    for source in (sources()[0], sources()[-1]):
        with pytest.raises(CutoutUnavailableError):
            provider.read(source)


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_a_member_that_leads_out_or_is_a_link_is_not_read(
    ending: str, place: Path
) -> None:
    secret = place / "secret.fits"
    secret.write_bytes(b"SIMPLE")
    good = next(iter(files(images()).values()))
    path = place / f"hostile{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../secret.fits", good)
            archive.writestr("/secret.fits", good)
            link = zipfile.ZipInfo("link.fits")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, str(secret))
            archive.writestr("good.fits", good)
    else:
        with tarfile.open(path, "w") as archive:
            add(archive, "../secret.fits", good)
            add(archive, "/secret.fits", good)
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
                info = tarfile.TarInfo("link.fits")
                info.type, info.linkname = kind, str(secret)
                archive.addfile(info)
            add(archive, "good.fits", good)
    provider = ArchiveProvider(path)
    assert provider.names() == ["good.fits"]
    for name in ("../secret.fits", "/secret.fits", "secret.fits", "link.fits"):
        with pytest.raises(
            CutoutUnavailableError, match=r"leads out|not in|files|link"
        ):
            provider.read(replace(NOBODY, cutout=name))
    assert provider.read(replace(NOBODY, cutout="good.fits")) == good


def test_a_bomb_is_unpacked_no_further_than_the_decoder_takes(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.fits", bytes(4 * MAX_FILE_BYTES))
    data = ArchiveProvider(path).read(replace(NOBODY, cutout="bomb.fits"))
    assert len(data) == MAX_FILE_BYTES + 1


@pytest.mark.parametrize("name", ["sky.tar.gz", "sky.TGZ", "sky.tar.bz2", "sky.tar.xz"])
def test_a_compressed_tar_is_refused_and_says_what_to_do(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(CutoutLocationError, match=r"unpack it to a plain \.tar"):
        open_provider(str(tmp_path / name))


def test_a_changed_byte_of_a_member_is_noticed(tmp_path: Path) -> None:
    location = make_zip(tmp_path, images())
    data = bytearray((tmp_path / "sky.zip").read_bytes())
    data[3000] ^= 1
    (tmp_path / "sky.zip").write_bytes(data)
    with pytest.raises(CutoutUnavailableError, match=r"cannot be read from sky\.zip"):
        open_provider(location).read(sources()[0])


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_an_archive_brings_its_catalogue(ending: str, tmp_path: Path) -> None:
    rows = [f"{s.source_id},{s.ra},{s.dec},{s.cutout}" for s in sources()]
    table = "\n".join(["source_id,ra,dec,cutout", *rows]).encode()
    path = tmp_path / f"made{ending}"
    # As `zip -r` and `tar c` of a folder make it.
    members = {f"sky/{name}": data for name, data in files(images()).items()}
    members["sky/catalogue.csv"] = table
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
            archive.writestr("__MACOSX/sky/._s0.fits", b"")
    else:
        with tarfile.open(path, "w") as archive:
            for name, data in members.items():
                add(archive, name, data)
    provider = ArchiveProvider(path)
    catalogue = catalogue_of_archive(provider)
    assert (catalogue.name, len(catalogue.sources)) == ("made", COUNT)
    for source in catalogue.sources:
        assert provider.read(source) == members[f"sky/{source.cutout}"]


def test_an_archive_without_catalogue_goes_by_its_files(tmp_path: Path) -> None:
    catalogue = catalogue_of_archive(
        ArchiveProvider(Path(make_tar(tmp_path, images())))
    )
    for found, wanted in zip(catalogue.sources, sources(), strict=True):
        assert (found.source_id, found.cutout) == (wanted.source_id, wanted.cutout)
        assert (found.ra, found.dec) == pytest.approx((wanted.ra, wanted.dec))


def test_an_empty_archive_has_no_catalogue(tmp_path: Path) -> None:
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    tarfile.open(tmp_path / "empty.tar", "w").close()
    for name in ("empty.zip", "empty.tar"):
        with pytest.raises(CatalogueError, match="no FITS, PNG or JPEG"):
            catalogue_of_archive(ArchiveProvider(tmp_path / name))


def test_of_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        add(archive, "a.fits", b"first")
        add(archive, "./a.fits", b"last")
    provider = ArchiveProvider(tmp_path / "twice.tar")
    assert provider.read(replace(NOBODY, cutout="a.fits")) == b"last"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("gopher:/sky", "'gopher' is not one of"),
        ("mosaic:", "cannot be understood"),
        ("mosaic:/sky?size=3", "size_arcsec"),
        ("mosaic:/sky?size_arcsec=3&size_arcsec=4", "at most once"),
        ("mosaic:/sky?size_arcsec=wide", "must be a number"),
        ("mosaic:/sky?size_arcsec=-1", "positive"),
        ("mosaic:/sky?size_arcsec=nan", "positive"),
        ("stack:/sky.h5?rows=3", "images"),
        (__file__, "mosaic:"),
    ],
)
def test_a_location_that_is_not_understood_is_refused(
    location: str, words: str
) -> None:
    with pytest.raises(CutoutLocationError, match=words):
        open_provider(location)


def stack_of(path: Path, **datasets: object) -> CutoutProvider:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return open_provider(str(path))


def test_images_without_ids_go_by_their_number(tmp_path: Path) -> None:
    provider = stack_of(tmp_path / "a.h5", anything=images()[:, None].astype(float))
    cutout = read_cutout(provider.read(replace(NOBODY, cutout="3")))
    np.testing.assert_array_equal(cutout.pixels, images()[3])
    assert cutout.pixel_scale_arcsec is None
    for name in ("6", "-1", "1.0", "1_0", "٣", "3 "):
        with pytest.raises(CutoutUnavailableError, match="0 to 5"):
            provider.read(replace(NOBODY, cutout=name))


def test_a_number_is_no_guess(tmp_path: Path) -> None:
    """A catalogue that counts from 1 would get its neighbours' images."""
    provider = stack_of(tmp_path / "a.h5", images=images())
    with pytest.raises(CutoutUnavailableError, match="names none"):
        provider.read(Source("1", 0.0, 0.0))


def test_a_source_without_cutout_goes_by_its_id(tmp_path: Path) -> None:
    provider = stack_of(tmp_path / "a.h5", images=images(), id=np.arange(6) * 10)
    cutout = read_cutout(provider.read(Source("50", 0.0, 0.0)))
    np.testing.assert_array_equal(cutout.pixels, images()[5])


def test_datasets_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    unclear = stack_of(path, train=images(), test=images(1), names_=list("abcdef"))
    with pytest.raises(CutoutUnavailableError, match=r"test \(6, 100, 100\), train"):
        unclear.read(replace(NOBODY, cutout="0"))
    provider = open_provider(f"stack:{path}?images=test&ids=names_")
    cutout = read_cutout(provider.read(replace(NOBODY, cutout="b")))
    np.testing.assert_array_equal(cutout.pixels, images(1)[1])
    assert open_provider(provider.location).location == provider.location


@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        ({}, "there are: none"),
        ({"images": np.zeros((3, 4, 4, 3))}, "there are: none"),
        ({"images": np.zeros((3, 4, 4), complex)}, "there are: none"),
        ({"images": images(), "ids": ["a", "b"]}, r"\(2,\) IDs for 6 images"),
        ({"images": images(), "ids": list("abcdea")}, "1 IDs more than once"),
        ({"images": np.zeros((1, 4096, 4096), "i2")}, "an image of"),
    ],
)
def test_an_unusable_stack_is_refused(
    datasets: dict[str, object], words: str, tmp_path: Path
) -> None:
    provider = stack_of(tmp_path / "a.h5", **datasets)
    with pytest.raises(CutoutUnavailableError, match=words):
        provider.read(replace(NOBODY, cutout="0"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pixel_scale_arcsec", 0.0),
        ("pixel_scale_arcsec", "wide"),
        ("pixel_scale_arcsec", [1.8, 2.0]),
        ("BMAJ", []),
        ("BMIN", np.nan),
    ],
)
def test_an_attribute_that_makes_no_sense_is_refused(
    name: str, value: object, tmp_path: Path
) -> None:
    make_stack(tmp_path, images())
    with h5py.File(tmp_path / "sky.h5", "a") as file:
        file["images"].attrs[name] = value
    with pytest.raises(CutoutUnavailableError, match=r"sky\.h5 cannot be read"):
        open_provider(str(tmp_path / "sky.h5")).read(sources()[0])


def test_a_zarr_array_may_be_the_whole_store(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=images())
    provider = open_provider(str(tmp_path / "a.zarr"))
    cutout = read_cutout(provider.read(replace(NOBODY, cutout="3")))
    np.testing.assert_array_equal(cutout.pixels, images()[3])


def test_arrays_of_a_zarr_store_can_be_chosen(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    for seed, name in enumerate(("deep/one", "deep/two")):
        group.create_array(name, data=images(seed), shards=(6, SIDE, SIDE))
    unclear = open_provider(str(tmp_path / "a.zarr"))
    with pytest.raises(CutoutUnavailableError, match=r"deep/one \(6, 100, 100\), deep"):
        unclear.read(replace(NOBODY, cutout="0"))
    provider = open_provider(f"stack:{tmp_path / 'a.zarr'}?images=deep/two")
    cutout = read_cutout(provider.read(replace(NOBODY, cutout="4")))
    np.testing.assert_array_equal(cutout.pixels, images(1)[4])


def test_a_zarr_store_that_runs_code_is_refused(tmp_path: Path) -> None:
    """A pickle does whatever who wrote it wants, when it is read."""
    make_zarr_2(tmp_path, images())
    described = tmp_path / "sky.zarr" / "ids" / ".zarray"
    of = json.loads(described.read_text())
    described.write_text(json.dumps(of | {"filters": [{"id": "pickle"}]}))
    with pytest.raises(
        CutoutUnavailableError, match=r"pickle|sky\.zarr cannot be read"
    ):
        open_provider(str(tmp_path / "sky.zarr")).read(sources()[0])


def test_a_zarr_store_with_links_is_refused(tmp_path: Path) -> None:
    make_zarr(tmp_path, images())
    chunk = tmp_path / "sky.zarr" / "images" / "c" / "0" / "0" / "0"
    chunk.rename(tmp_path / "secret")
    chunk.symlink_to(tmp_path / "secret")
    with pytest.raises(CutoutUnavailableError, match="link"):
        open_provider(str(tmp_path / "sky.zarr")).read(sources()[0])


@pytest.mark.parametrize("name", ["zarr.json", "images/zarr.json", "ids/c/0"])
def test_a_damaged_zarr_store_is_refused(tmp_path: Path, name: str) -> None:
    make_zarr(tmp_path, images())
    (tmp_path / "sky.zarr" / name).write_bytes(b"x")
    with pytest.raises(CutoutUnavailableError, match=r"sky\.zarr"):
        open_provider(str(tmp_path / "sky.zarr")).read(sources()[0])


def test_a_stack_that_points_to_other_files_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(images().tobytes())
    make_stack(tmp_path, images())
    layout = h5py.VirtualLayout((COUNT, SIDE, SIDE), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "sky.h5"), "images", layout.shape)
    with h5py.File(tmp_path / "hostile.h5", "w") as file:
        file.create_dataset(
            "raw", layout.shape, "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        )
        file.create_virtual_dataset("virtual", layout)
        file["link"] = h5py.ExternalLink(str(tmp_path / "sky.h5"), "images")
    for name in ("raw", "virtual", "link"):
        provider = open_provider(f"stack:{tmp_path / 'hostile.h5'}?images={name}")
        with pytest.raises(CutoutUnavailableError, match=r"refused|no dataset"):
            provider.read(replace(NOBODY, cutout="0"))
