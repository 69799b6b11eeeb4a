"""Tables of every kind become the same sources; bad rows are named, good ones kept."""

import gzip
import math
import os
import re
import tracemalloc
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Angle
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from skies import double_source, header_at, write_sky

from twinjet.index.catalogue import angle_of, make_catalogue, read_catalogue
from twinjet.index.catalogue_file import (
    load_catalogue,
    snapshot_name,
    write_catalogue,
)
from twinjet.index.errors import (
    CatalogueColumnError,
    CatalogueError,
    CatalogueFormatError,
    ScratchError,
)
from twinjet.index.folder import catalogue_of_folder
from twinjet.index.sky import healpix_29
from twinjet.index.source import Column, Source
from twinjet.index.spill import Spill

ROWS = """id,RAJ2000,DEJ2000,S_1.4 [mJy],class,bent
a,10.5,-1,3.5,FRI,true
b,0,90,,FRII,false
"""


def write(folder: Path, text: str, name: str = "c.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_format_gives_the_same_sources(tmp_path: Path) -> None:
    table = Table(
        {
            "id": ["a", "b"],
            "RAJ2000": [10.5, 0.0] * u.deg,
            "DEJ2000": [-1.0, 90.0] * u.deg,
            "S_1.4": np.ma.masked_invalid([3.5, np.nan]) * u.mJy,
            "class": ["FRI", "FRII"],
            "bent": [True, False],
        }
    )
    wanted = read_catalogue(write(tmp_path, ROWS))
    sources = list(wanted.sources)
    assert [c.name for c in wanted.columns] == ["s_1_4", "class", "bent"]
    assert [c.unit for c in wanted.columns] == ["mJy", None, None]
    assert [c.kind for c in wanted.columns] == ["number", "text", "boolean"]
    assert sources[1].columns == {"s_1_4": None, "class": "FRII", "bent": False}
    table["S_1.4"].info.name = "S_1.4"
    plain = table.copy()
    for kind, name in (("votable", "c.vot"), ("fits", "c.fits")):
        plain.write(tmp_path / name, format=kind)
        found = read_catalogue(tmp_path / name)
        assert list(found.sources) == sources
        assert [(c.name, c.unit, c.kind) for c in found.columns] == [
            (c.name, c.unit, c.kind) for c in wanted.columns
        ]
    plain["S_1.4"] = [3.5, np.nan]
    plain.write(tmp_path / "c.parquet", format="parquet")
    assert list(read_catalogue(tmp_path / "c.parquet").sources) == sources


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_delimiters_and_compression_are_found(tmp_path: Path, delimiter: str) -> None:
    wanted = list(read_catalogue(write(tmp_path, ROWS)).sources)
    text = "\ufeff" + ROWS.replace(",", delimiter)
    path = tmp_path / "c.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert list(read_catalogue(path).sources) == wanted


def test_units_and_notations_of_positions_are_understood(tmp_path: Path) -> None:
    sexagesimal = "name,ra,dec\na,01:00:00,-30:30:00\n"
    (source,) = read_catalogue(write(tmp_path, sexagesimal)).sources
    assert (source.ra, source.dec) == pytest.approx((15, -30.5))
    table = Table({"name": ["a"], "ra": [1.0] * u.hourangle, "dec": [-0.1] * u.rad})
    table.write(tmp_path / "c.vot", format="votable")
    (source,) = read_catalogue(tmp_path / "c.vot").sources
    assert (source.ra, source.dec) == pytest.approx((15, np.degrees(-0.1)))


def test_bad_rows_are_reported_by_line_and_good_ones_kept(tmp_path: Path) -> None:
    text = (
        'id,ra,dec,note,size\na,1,1,"two\nlines",3\n,1,1,x,3\nb,nan,1,x,3\nc,1,91,x,3\n'
        "a,2,2,x,3\nd,x,1,x,3\ne,360,1,x,inf\nf,1,1\n"
    )
    catalogue = read_catalogue(write(tmp_path, text))
    first, second = catalogue.sources
    assert (first.source_id, second.source_id) == ("a", "e")
    assert second.ra == 0
    assert second.columns["size"] is None
    reasons = {p.line: p.reason for p in catalogue.problems}
    assert sorted(k for k in reasons if k) == [4, 5, 6, 7, 8, 9, 10]
    words_at = {
        4: "no source_id",
        5: "ra is missing",
        6: "91",
        7: "line 2",
        8: "no angle",
        9: "infinite",
        10: "3 values",
    }
    for line, words in words_at.items():
        assert words in reasons[line]


def test_missing_columns_are_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path, "key,right,down\na,1,2\n")
    with pytest.raises(CatalogueColumnError, match="key, right, down"):
        read_catalogue(path)
    mapping = {"source_id": "key", "ra": "right", "dec": "down"}
    assert next(iter(read_catalogue(path, mapping=mapping).sources)).dec == 2
    with pytest.raises(CatalogueColumnError, match="up"):
        read_catalogue(path, mapping=mapping | {"dec": "up"})
    with pytest.raises(CatalogueColumnError, match="colour"):
        read_catalogue(path, mapping=mapping | {"colour": "key"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   \n",
        b"\xff\xfe\x00\x01",
        b"PAR1xxxx",
        b"SIMPLE  = ",
        b"<VOTABLE",
        b"\x1f\x8bxx",
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "c"
    path.write_bytes(data)
    with pytest.raises(CatalogueFormatError, match=str(path)):
        read_catalogue(path)


def test_no_usable_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="ra is missing"):
        read_catalogue(write(tmp_path, "id,ra,dec\na,,1\n"))
    with pytest.raises(CatalogueError, match="no rows"):
        read_catalogue(write(tmp_path, "id,ra,dec\n"))


def test_the_digest_changes_with_any_value_and_only_then(tmp_path: Path) -> None:
    one = read_catalogue(write(tmp_path, ROWS)).digest
    assert read_catalogue(write(tmp_path, ROWS, "other.csv")).digest == one
    assert read_catalogue(write(tmp_path, ROWS.replace("3.5", "3.6"))).digest != one


def test_a_folder_without_catalogue_is_read_by_its_wcs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("x.fits", "deep/x.fits", "y.fits.gz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        fits.PrimaryHDU(double_source(rng), header_at(33.0, -5.0)).writeto(path)
    (tmp_path / "bad.fits").write_text("no FITS")
    fits.PrimaryHDU(double_source(rng)).writeto(tmp_path / "lost.fits")
    catalogue = catalogue_of_folder(tmp_path)
    assert {s.source_id for s in catalogue.sources} == {"x.fits", "deep/x.fits", "y"}
    assert next(iter(catalogue.sources)).ra == pytest.approx(33)
    reasons = {p.source_id: p.reason for p in catalogue.problems}
    assert "neither FITS" in reasons["bad"]
    assert "no WCS" in reasons["lost"]


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    write_sky(tmp_path / "outside", 1)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.fits").symlink_to(tmp_path / "outside" / "T000.fits")
    with pytest.raises(CatalogueError, match="leads out"):
        catalogue_of_folder(inside)


@pytest.mark.parametrize(
    ("folder", "count", "column"),
    [
        ("mirabest", 1091, "redshift"),
        ("first_labelled", 1707, "morphology"),
        ("mgcls", 3057, "size_pixels"),
    ],
)
def test_real_catalogues_are_read_whole(
    shared_data: Path, folder: str, count: int, column: str
) -> None:
    catalogue = catalogue_of_folder(shared_data / folder)
    assert len(catalogue.sources) == count
    assert column in {c.name for c in catalogue.columns}
    assert list(catalogue.problems) == []


def test_repeated_names_of_rgz_are_reported(shared_data: Path) -> None:
    catalogue = read_catalogue(shared_data / "rgz" / "rgz_dr1_extended.csv.gz")
    assert (len(catalogue.sources), len(catalogue.problems)) == (48_774, 2_016)


def peak_of_planning(folder: Path, count: int) -> int:
    """Bytes of Python objects at the most while a catalogue is read, kept and read."""
    path = folder / f"{count}.csv"
    with path.open("w") as table:
        table.write("id,ra,dec,size,note\n")
        table.writelines(f"S{n},{n % 360},{n % 180 - 90},1.5,x\n" for n in range(count))
    tracemalloc.start()
    write_catalogue(folder / "kept.parquet", read_catalogue(path))
    kept = load_catalogue(folder / "kept.parquet")
    assert sum(1 for _ in kept.sources) == len(kept.sources) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_catalogue(tmp_path: Path) -> None:
    peak_of_planning(tmp_path, 10)  # what is imported and remembered at first use
    few, many = (peak_of_planning(tmp_path, count) for count in (9_000, 27_000))
    assert many < 1.2 * few


def test_a_kept_catalogue_is_in_order_on_the_sky_with_its_problems(
    tmp_path: Path,
) -> None:
    text = "id,ra,dec,size\n" + "".join(
        f"S{n},{n * 37 % 360},{n * 17 % 180 - 90},{n}\n" for n in range(9000)
    )
    catalogue = read_catalogue(write(tmp_path, f"{text}S3,1,1,4\nT,x,1,5\nU,1,99,6\n"))
    write_catalogue(tmp_path / "kept.parquet", catalogue)
    kept = load_catalogue(tmp_path / "kept.parquet")
    sources = list(kept.sources)
    cells = healpix_29([s.ra for s in sources], [s.dec for s in sources])
    assert (np.diff(cells) >= 0).all()
    assert sorted(sources, key=lambda s: int(s.source_id[1:])) == list(
        catalogue.sources
    )
    assert list(kept.problems) == list(catalogue.problems)
    assert [p.line for p in kept.problems] == [9002, 9003, 9004]
    assert (kept.digest, kept.columns) == (catalogue.digest, catalogue.columns)
    data = bytearray((tmp_path / "kept.parquet").read_bytes())
    data[len(data) // 3] ^= 1
    (tmp_path / "kept.parquet").write_bytes(data)
    with pytest.raises(CatalogueFormatError, match=r"kept\.parquet"):
        list(load_catalogue(tmp_path / "kept.parquet").sources)


def test_no_value_is_no_number_however_it_is_written(tmp_path: Path) -> None:
    """C prints some NaN with a sign; it is no JSON, and no database takes it."""
    text = "id,ra,dec,flux\na,1,1,-nan\nb,2,2,+NaN\nc,3,3,1.5\nd,-nan,4,2\n"
    catalogue = read_catalogue(write(tmp_path, text))
    assert [c.kind for c in catalogue.columns] == ["number"]
    assert [s.columns["flux"] for s in catalogue.sources] == [None, None, 1.5]
    assert [p.reason for p in catalogue.problems] == ["line 5: ra is missing"]
    sources = [Source("a", 1.0, 1.0, columns={"flux": float("nan")})]
    with pytest.raises(ValueError, match="JSON"):
        make_catalogue("c", sources, [Column("flux")], [])


def test_ids_of_64_bits_keep_their_digits(tmp_path: Path) -> None:
    text = (
        "id,ra,dec,gaia_id,votes,luminosity\n"
        "a,1,1,4295806720123456789,12,1.5\nb,2,2,7,-3,123456789012345678901\n"
    )
    catalogue = read_catalogue(write(tmp_path, text))
    assert [c.kind for c in catalogue.columns] == ["text", "number", "number"]
    first, second = (s.columns for s in catalogue.sources)
    assert (first["gaia_id"], second["gaia_id"]) == ("4295806720123456789", "7")
    assert (second["votes"], second["luminosity"]) == (-3, 123456789012345678901.0)
    table = Table({"id": ["a"], "ra": [1.0], "dec": [1.0], "gaia": [2**62 + 1]})
    table.write(tmp_path / "c.fits", format="fits")
    (source,) = read_catalogue(tmp_path / "c.fits").sources
    assert source.columns["gaia"] == str(2**62 + 1)


def test_nul_is_left_out(tmp_path: Path) -> None:
    catalogue = read_catalogue(write(tmp_path, "id,ra,dec,x\na\0,1,1,b\0c\n"))
    (source,) = catalogue.sources
    assert (source.source_id, source.columns["x"]) == ("a", "bc")


def test_a_file_with_an_impossible_name_is_a_problem_and_no_end(tmp_path: Path) -> None:
    write_sky(tmp_path, 1)
    (tmp_path / "catalogue.csv").unlink()
    data = (tmp_path / "T000.fits").read_bytes()
    for name in (b"b\xff.fits", b"new\nline.fits", b"x" * 210 + b".fits"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(data)
    catalogue = catalogue_of_folder(tmp_path)
    assert [s.source_id for s in catalogue.sources] == ["T000"]
    reasons = " ".join(p.reason for p in catalogue.problems)
    for words in ("not UTF-8", "control characters", "210 characters"):
        assert words in reasons


def test_a_full_disk_of_temporary_files_is_named(tmp_path: Path) -> None:
    spill = Spill("")
    spill._db.execute("PRAGMA max_page_count = 50")

    def fill() -> None:
        for number in range(20_000):
            spill.add(Source(f"S{number}", 1.0, 1.0))

    with pytest.raises(ScratchError, match=r"full.*SQLITE_TMPDIR"):
        fill()


def test_a_snapshot_is_named_by_its_problems_too(tmp_path: Path) -> None:
    bad = read_catalogue(write(tmp_path, ROWS + "c,x,1,,,\n"))
    good = read_catalogue(write(tmp_path, ROWS))
    assert bad.digest == good.digest
    assert snapshot_name(bad) != snapshot_name(good)
    assert snapshot_name(good) == snapshot_name(read_catalogue(tmp_path / "c.csv"))


def fits_table(count: int) -> Table:
    """Of every kind of column that is read."""
    numbers = np.arange(count)
    return Table(
        {
            "id": [f"S{n}" for n in numbers],
            "ra": np.deg2rad(numbers % 360) * u.rad,
            "dec": (numbers % 180 - 90.0) * u.deg,
            "flux": MaskedColumn(numbers / 7, mask=numbers % 3 == 0, unit="mJy"),
            "votes": MaskedColumn(numbers, mask=numbers % 4 == 0, dtype="i8"),
            "peaks": numbers.astype("u2"),
            "bent": numbers % 2 == 0,
            "beam": np.stack([numbers, numbers], axis=1).astype("f4"),
        }
    )


@pytest.mark.parametrize("ending", ["fits", "fits.gz"])
def test_a_fits_table_is_the_same_by_blocks(tmp_path: Path, ending: str) -> None:
    table = fits_table(9000)
    table.write(tmp_path / f"c.{ending}", format="fits")
    table["peaks"] = table["peaks"].astype("i4")  # what a VOTable has
    table.write(tmp_path / "c.vot", format="votable")
    found = read_catalogue(tmp_path / f"c.{ending}")
    wanted = read_catalogue(tmp_path / "c.vot")
    assert [c.name for c in found.columns] == ["flux", "votes", "peaks", "bent", "beam"]
    assert found.columns == wanted.columns
    assert list(found.sources) == list(wanted.sources)
    # Values of any length lie behind the rows: read at once.
    lengths = np.array([np.arange(n) for n in (1, 2, 3)], dtype=object)
    columns = [
        fits.Column("id", "2A", array=["a", "b", "c"]),
        fits.Column("ra", "D", array=[1.0, 2.0, 3.0]),
        fits.Column("dec", "D", array=[1.0, 2.0, 3.0]),
        fits.Column("n", "PJ()", array=lengths),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "heap.fits")
    third = list(read_catalogue(tmp_path / "heap.fits").sources)[2]
    assert third.columns["n"] == "0 1 2"


def test_a_fits_table_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.fits"
    fits_table(20_000).write(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CatalogueFormatError, match="ends before its last row"):
        read_catalogue(path)


@pytest.mark.parametrize("row_bytes", [0, 2**40])
def test_a_fits_table_of_impossible_rows_is_refused(
    tmp_path: Path, row_bytes: int
) -> None:
    path = tmp_path / "c.fits"
    fits_table(3).write(path)
    card = f"NAXIS1  = {row_bytes:>20}".encode()
    data = re.sub(rb"NAXIS1  = +[1-9][0-9]*", card, path.read_bytes(), count=1)
    path.write_bytes(data)
    with pytest.raises(CatalogueFormatError, match=r"c\.fits"):
        list(read_catalogue(path).sources)


@pytest.mark.slow
def test_memory_does_not_grow_with_a_fits_table(tmp_path: Path) -> None:
    peaks = []
    # One block of rows and some, and three.
    for count in (10, 9_000, 27_000):
        fits_table(count).write(tmp_path / f"{count}.fits")
        tracemalloc.start()
        read_catalogue(tmp_path / f"{count}.fits")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


@pytest.mark.parametrize("word", ["ra", "dec"])
@pytest.mark.parametrize(
    "text",
    [
        *("1:02:03.5", "-1:02:03.5", "+01 02 03", "1d2m3s", "-0d30m0.25s", "1h2m3s"),
        *("12h34m56s", "1:2", "1 2", "1:02 03", "12:34:56s"),
        *("1d2m3", "1°2'3\"", "00:00:00", "23:59:59.999"),
    ],
)
def test_sexagesimal_positions_are_those_of_astropy(text: str, word: str) -> None:
    hours = word == "ra" and not re.search("[d°]", text)
    try:
        degrees = Angle(text, unit=u.hourangle if hours else u.deg).deg
    except ValueError:
        degrees = math.nan
    low, high = (0, 360) if word == "ra" else (-90, 90)
    if low <= degrees <= high:
        wrapped = degrees % 360 if word == "ra" else degrees
        assert angle_of(text, word, None) == wrapped
    else:
        with pytest.raises(ValueError, match=word):
            angle_of(text, word, None)


@pytest.mark.parametrize(
    ("unit", "degrees"),
    [
        *(("deg", 10.5), ("Degrees", 10.5), ("DEG", 10.5), ('"d:m:s"', 10.5)),
        *(("h", 157.5), ("hourangle", 157.5), ('"h:m:s"', 157.5), ("hours", 157.5)),
        *(("arcmin", 0.175), ("mag", None), ("km / s", None), ("no.unit^2", None)),
    ],
)
def test_a_number_is_an_angle_by_its_unit_or_none(
    unit: str, degrees: float | None
) -> None:
    if degrees is None:
        with pytest.raises(ValueError, match="no angle in"):
            angle_of(10.5, "ra", unit)
    else:
        assert angle_of(10.5, "ra", unit) == pytest.approx(degrees)
