"""Parts of the sky against brute force, and how they are refused."""

import gzip
import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Latitude, Longitude
from hypothesis import given, settings
from hypothesis import strategies as st
from mocpy import MOC
from numpy.typing import NDArray
from servers import Postgres
from stores import both_stores

from twinjet.index.errors import RegionError
from twinjet.index.moc import MAX_RANGES, moc_of_fits, moc_of_json, moc_of_text
from twinjet.index.polygons import MAX_VERTICES, Polygon, box
from twinjet.index.region_text import parse_region
from twinjet.index.regions import Cone, Range, Region
from twinjet.index.sky import healpix_29, merged, unit_vectors
from twinjet.index.source import Source
from twinjet.index.store import SourceStore

Places = NDArray[np.float64]

# RA 0, the poles, the declination of many surveys' edges, and anywhere.
CENTRES = [(0.0, 0.0), (0.0, 64.0), (0.0, 90.0), (0.0, -90.0), (123.0, -40.0)]


def some_sources() -> list[Source]:
    """Around each centre, from 0.4 arcsec to the whole sky away; some on it."""
    rng = np.random.default_rng(5)
    places = []
    for centre in CENTRES:
        away = 10 ** rng.uniform(-4, 2.2, size=(500, 1))
        steps = rng.normal(size=(500, 3)) * np.radians(away)
        places.append(unit_vectors(*centre) + steps)
    vectors = np.concatenate(places)
    ra, dec = degrees(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    exact = [(0.0, 0.0), (360.0, 0.0), (0.0, 90.0), (77.0, 90.0), (350.0, -5.0)]
    everywhere = [*exact, *zip(ra.tolist(), dec.tolist(), strict=True)]
    return [Source(f"s{n}", *place) for n, place in enumerate(everywhere)]


def degrees(vectors: Places) -> tuple[Places, Places]:
    ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    return ra, np.degrees(np.arcsin(np.clip(vectors[:, 2], -1, 1)))


SOURCES = some_sources()
RA = np.array([s.ra for s in SOURCES])
DEC = np.array([s.dec for s in SOURCES])
VECTORS = unit_vectors(RA, DEC)


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> Iterator[dict[str, SourceStore]]:
    folder = tmp_path_factory.mktemp("regions")
    with both_stores(folder, postgres.url, SOURCES) as stores:
        yield stores


def assert_holds(
    stores: dict[str, SourceStore], region: Region, wanted: NDArray[np.int64]
) -> None:
    """Both databases find these rows, with positions at hand or without, and pages."""
    for name, store in stores.items():
        for positions in (None, VECTORS):
            rows = store.select_rows(1, region=region, positions=positions)
            assert rows.tolist() == wanted.tolist(), name
    seen: list[str] = []
    token = None
    while True:
        page, token = stores["sqlite"].page(
            1, region=region, sort="-dec", after=token, limit=700
        )
        seen += [source.source_id for source in page]
        if token is None:
            break
    assert sorted(seen) == sorted(SOURCES[row].source_id for row in wanted)


def frame(ra: float, dec: float) -> tuple[Places, Places, Places]:
    """Centre, east and north."""
    lon = math.radians(ra)
    east = np.array([-math.sin(lon), math.cos(lon), 0.0])
    centre = unit_vectors(ra, dec)[0]
    return centre, east, np.cross(centre, east)


SEEDS = st.integers(0, 2**31)
SIZES = st.floats(-3, math.log10(75)).map(lambda power: 10**power)


@settings(max_examples=60, deadline=None)
@given(
    centre=st.sampled_from(CENTRES), size=SIZES, seed=SEEDS, count=st.integers(3, 40)
)
def test_a_polygon_holds_what_it_winds_around(
    stores: dict[str, SourceStore],
    centre: tuple[float, float],
    size: float,
    seed: int,
    count: int,
) -> None:
    vertices = some_polygon(centre, size, seed, count)
    region = Polygon(tuple(zip(*(c.tolist() for c in degrees(vertices)), strict=True)))
    inside = winding(vertices, VECTORS)
    # On the edge, to rounding, either is right.
    unsure = edge_distance(vertices, VECTORS) < 1e-12
    rows = stores["sqlite"].select_rows(1, region=region)
    assert (np.isin(np.arange(len(SOURCES)), rows) == inside)[~unsure].all()
    assert_holds(stores, region, rows)


def some_polygon(
    centre: tuple[float, float], size: float, seed: int, count: int
) -> Places:
    """A star or a comb about a place: many are far from convex."""
    rng = np.random.default_rng(seed)
    middle, east, north = frame(*centre)
    if seed % 2:
        angles = 2 * np.pi * (np.arange(count) + rng.uniform(0, 0.9, count)) / count
        reach = np.tan(np.radians(size)) * rng.uniform(0.05, 1, count)
        x, y = reach * np.cos(angles), reach * np.sin(angles)
    else:
        teeth = max(2, count // 4)
        width = np.tan(np.radians(size)) / 1.5
        ups = np.tile([0.1, 1.0, 1.0, 0.1], teeth)
        x = np.linspace(-1, 1, 4 * teeth)
        x, y = np.append(x, [1, -1]) * width, np.append(ups, [0, 0]) * width
    vertices = middle + x[:, None] * east + y[:, None] * north
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    return np.asarray(vertices if seed % 3 else vertices[::-1])


def winding(vertices: Places, points: Places) -> NDArray[np.bool_]:
    """Whether the azimuths of the corners, from each point, go once around.

    So they do from the antipodes, too, which are farther than 90 degrees.
    """
    total = np.zeros(len(points))
    for first, second in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        here = first - (points @ first)[:, None] * points
        there = second - (points @ second)[:, None] * points
        turned = np.einsum("nd,nd->n", points, np.cross(here, there))
        total += np.arctan2(turned, np.einsum("nd,nd->n", here, there))
    return np.asarray((np.abs(total) > np.pi) & (points @ vertices.mean(axis=0) > 0))


def edge_distance(vertices: Places, points: Places) -> Places:
    """Of each point to the nearest great circle of a side, radians."""
    normals = np.cross(vertices, np.roll(vertices, -1, axis=0))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(np.abs(points @ normals.T).min(axis=1))


@settings(max_examples=60, deadline=None)
@given(
    bounds=st.tuples(
        st.floats(0, 360), st.floats(0, 360), st.floats(-90, 90), st.floats(-90, 90)
    )
    | st.sampled_from(
        [
            (350.0, 10.0, -5.0, 5.0),
            (350.0, 360.0, -5.0, 5.0),
            (360.0, 10.0, -5.0, 5.0),
            (0.0, 360.0, 64.0, 90.0),
            (0.0, 0.0, 0.0, 0.0),
            (270.0, 90.0, 90.0, 90.0),
        ]
    )
)
def test_a_range_is_between_its_meridians_and_parallels(
    stores: dict[str, SourceStore], bounds: tuple[float, float, float, float]
) -> None:
    west, east, *decs = bounds
    low, high = sorted(decs)
    ra = RA % 360
    if west == 0 and east == 360:
        between = np.ones(len(RA), dtype=bool)
    elif west % 360 <= east % 360 and not (west < 360 == east):
        between = (west % 360 <= ra) & (ra <= east % 360)
    else:
        between = (west % 360 <= ra) | (ra <= east % 360)
    wanted = np.flatnonzero(between & (low <= DEC) & (high >= DEC))
    assert_holds(stores, Range(west, east, low, high), wanted)


@settings(max_examples=40, deadline=None)
@given(centre=st.sampled_from(CENTRES), radius=st.floats(0, 180))
def test_a_cone_is_all_within_its_radius(
    stores: dict[str, SourceStore], centre: tuple[float, float], radius: float
) -> None:
    gaps = ((VECTORS - unit_vectors(*centre)) ** 2).sum(axis=1)
    wanted = np.flatnonzero(
        gaps <= (2 * math.sin(math.radians(radius) / 2)) ** 2 + 1e-30
    )
    assert_holds(stores, Cone(*centre, radius), wanted)


@settings(max_examples=40, deadline=None)
@given(
    centre=st.sampled_from(CENTRES),
    width=st.floats(0.01, 120),
    height=st.floats(0.01, 120),
    angle=st.floats(-360, 360),
)
def test_a_box_is_as_wide_as_it_says(
    stores: dict[str, SourceStore],
    centre: tuple[float, float],
    width: float,
    height: float,
    angle: float,
) -> None:
    middle, east, north = frame(*centre)
    turn = math.radians(angle)
    across = VECTORS @ (math.cos(turn) * east - math.sin(turn) * north)
    along = VECTORS @ (math.sin(turn) * east + math.cos(turn) * north)
    depth = VECTORS @ middle
    # Sides are planes through the Earth, tilted by half of the width.
    half = math.radians(width / 2), math.radians(height / 2)
    gaps = np.stack(
        [
            math.sin(half[0]) * depth - math.cos(half[0]) * np.abs(across),
            math.sin(half[1]) * depth - math.cos(half[1]) * np.abs(along),
        ]
    ).min(axis=0)
    region = box(*centre, width, height, angle)
    rows = stores["sqlite"].select_rows(1, region=region)
    found = np.isin(np.arange(len(SOURCES)), rows)
    unsure = np.abs(gaps) < 1e-12
    assert (found == ((gaps > 0) & (depth > 0)))[~unsure].all()
    assert_holds(stores, region, rows)


@settings(max_examples=40, deadline=None)
@given(
    cells=st.dictionaries(
        st.integers(0, 29), st.lists(SEEDS, min_size=1, max_size=20), min_size=1
    )
)
def test_a_moc_is_its_cells(
    stores: dict[str, SourceStore], cells: dict[int, list[int]]
) -> None:
    by_order: dict[str, list[int]] = {}
    for order in sorted(cells):
        some = {some_cell(order, seed) for seed in cells[order]}
        for above, numbers in by_order.items():  # a MOC has no cell within another
            some -= {c for c in some if c >> 2 * (order - int(above)) in numbers}
        by_order |= {str(order): sorted(some)} if some else {}
    wanted = np.zeros(len(SOURCES), dtype=bool)
    for text, numbers in by_order.items():
        wanted |= np.isin(cells_of(int(text)), numbers)
    assert_holds(stores, moc_of_json(by_order), np.flatnonzero(wanted))


def cells_of(order: int) -> NDArray[np.int64]:
    """Of that order, one for each source."""
    return healpix_29(RA, DEC) >> 2 * (29 - order)


def some_cell(order: int, seed: int) -> int:
    """A source's cell, or any."""
    if seed % 3:
        return int(cells_of(order)[seed % len(SOURCES)])
    return int(seed % (12 * 4**order))


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("radius", [0.01, 1.0, 40.0])
def test_a_moc_is_the_same_in_every_form(
    tmp_path: Path, centre: tuple[float, float], radius: float
) -> None:
    moc = MOC.from_cone(
        Longitude(centre[0], "deg"),
        Latitude(centre[1], "deg"),
        radius=radius * u.deg,
        max_depth={0.01: 17, 1.0: 10, 40.0: 3}[radius],
    )
    moc.save(str(tmp_path / "moc.fits"), format="fits")
    inside = moc.contains_lonlat(RA * u.deg, DEC * u.deg)
    for region in (
        moc_of_fits((tmp_path / "moc.fits").read_bytes()),
        moc_of_text(moc.to_string("ascii")),
        moc_of_text(moc.to_string("json")),
        moc_of_json(json.loads(moc.to_string("json"))),
        parse_region("moc " + moc.to_string("ascii")),
    ):
        np.testing.assert_array_equal(region.contains(VECTORS), inside)


@settings(max_examples=200, deadline=None)
@given(
    ranges=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 100)), min_size=1, max_size=600
    )
)
def test_joined_ranges_lose_no_cell_and_are_few(ranges: list[tuple[int, int]]) -> None:
    firsts = np.array([first for first, _ in ranges])
    lasts = firsts + np.array([length for _, length in ranges])
    joined = merged(firsts, lasts)
    assert len(joined) <= 200
    flat = [bound for pair in joined for bound in pair]
    assert flat == sorted(flat)
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        assert any(start <= first and last <= end for start, end in joined)
    if len(ranges) <= 200:
        size = len(
            {
                cell
                for a, b in zip(firsts, lasts, strict=True)
                for cell in range(a, b + 1)
            }
        )
        assert sum(end - start + 1 for start, end in joined) == size


def test_regions_are_written_as_sia_has_them() -> None:
    assert parse_region(" CIRCLE 1 -2,3 ") == Cone(1, -2, 3)
    assert parse_region("range 350 10 -Inf inf") == Range(350, 10, -90, 90)
    assert parse_region("RANGE -inf +Inf 64 65") == Range(0, 360, 64, 65)
    assert parse_region("Polygon 0 0 2 0 1 1") == Polygon(((0, 0), (2, 0), (1, 1)))
    closed = Polygon(((0, 0), (0, 0), (2, 0), (1, 1), (0, 0)))
    one = parse_region("POLYGON 0 0 2 0 1 1")
    np.testing.assert_array_equal(closed.contains(VECTORS), one.contains(VECTORS))
    assert parse_region("BOX 0 90 2 1") == box(0, 90, 2, 1)


CIRCLE_OF_MANY = " ".join(
    f"{math.cos(t) + 180:.8f} {math.sin(t):.8f}"
    for t in np.linspace(0, 6.28, MAX_VERTICES + 1)
)


@pytest.mark.parametrize(
    ("text", "words", "limit", "actual"),
    [
        ("", "begins with ''", "CIRCLE", ""),
        ("ELLIPSE 1 2 3 4 5", "ELLIPSE", "CIRCLE, RANGE", "ELLIPSE"),
        ("CIRCLE 1 2", "2 numbers.* CIRCLE ra dec radius", "CIRCLE", 2),
        ("CIRCLE 1 2 3 4", "4 numbers", "CIRCLE", 4),
        ("CIRCLE 1 2 x", "'x'.* no number", "CIRCLE", "x"),
        ("CIRCLE 1 2 3deg", "'3deg'", "CIRCLE", "3deg"),
        ("CIRCLE 1 2 nan", "'nan'", None, "nan"),
        ("CIRCLE 1 2 inf", "'inf'", None, "inf"),
        ("CIRCLE 361 0 1", "RA .* 0 to 360 .* 361", "0 to 360", "361.0"),
        ("CIRCLE 1 -91 1", "Dec .* -90 to 90 .* -91", "-90 to 90", "-91.0"),
        ("CIRCLE 1 0 181", "radius", "0 to 180", "181.0"),
        ("RANGE 1 2 5 3", "begins at 5.0 and ends at 3.0", 3.0, 5.0),
        ("RANGE 1 2 nan 3", "nan", None, "nan"),
        ("BOX 1 2 0 3", "width .* more than 0", 0, 0.0),
        ("BOX 1 2 3 121", "height .* 120", "0 to 120", "121.0"),
        ("BOX 1 2 3 4 361", "angle", "-360 to 360", "361.0"),
        ("POLYGON", "0 different vertices; at least 3", 3, 0),
        ("POLYGON 0 0 1 1", "2 different vertices; at least 3", 3, 2),
        ("POLYGON 0 0 1 1 0 0", "2 different", 3, 2),
        ("POLYGON 5 5 5 5 5 5", "0 different", 3, 0),
        ("POLYGON 0 0 1 1 2", "5 numbers: one RA is without its Dec", None, 5),
        ("POLYGON 0 0 1 0 2 0", "no area", None, None),
        ("POLYGON 0 10 0 20 0 30 0 40", "no area", None, None),
        ("POLYGON 0 0 2 2 2 0 0 2", "cross .* near RA 1.000", None, "RA 1.0"),
        ("POLYGON 0 0 2 0 1 1 2 2 0 2 1 1", "cross or touch", None, "RA 1.0"),
        ("POLYGON 0 0 120 0 240 0", "reaches .* at most 80", 80.0, None),
        ("POLYGON 0 -30 120 -30 240 -30 0 80", "reaches|cross", None, None),
        ("POLYGON 0 0 90 85 180 0 270 -85", "reaches", 80.0, None),
        ("POLYGON " + CIRCLE_OF_MANY, "1001 vertices", MAX_VERTICES, 1001),
        ("POLYGON " + "1 2 " * 10**5, "100000 vertices", MAX_VERTICES, 10**5),
        ("POLYGON " + "1 2 " * 10**6, "4000008 characters", 2_000_000, 4_000_008),
        ("MOC", "cannot be read as ascii", None, None),
        ("MOC 3/", "empty", None, None),
        ("MOC 30/1", "order 30; at most 29", 29, "30"),
        ("MOC 999999999999/1", "order 9999", 29, "999999999999"),
        ("MOC 1/99", "cannot be read.*'99'", None, None),
        ("MOC 1/5-2", "5-2 ends before it begins", None, "5-2"),
        ("MOC 1/5 1/5", "overlapping", None, None),
        ("MOC galaxy", "cannot be read", None, None),
        ('MOC {"1": [99]}', "cell '99' of order 1; .* 0 to 47", "47", "99"),
        ('MOC {"1": [-1]}', "cell '-1'", "47", "-1"),
        ('MOC {"1": [true]}', "cell 'True'", "47", "True"),
        ('MOC {"1": [1.5]}', "cell '1.5'", "47", "1.5"),
        ('MOC {"1": 3}', "no list", None, None),
        ('MOC {"x": [3]}', "order 'x'", 29, "x"),
        ('MOC {"30": [3]}', "order '30'", 29, "30"),
        ('MOC {"3": [3}', "not JSON", None, None),
        ("MOC " + '{"3":' * 5000, "not JSON", None, None),
        ("MOC {}", "empty", None, None),
    ],
)
def test_a_region_that_is_none_is_refused(
    text: str, words: str, limit: float | str | None, actual: float | str | None
) -> None:
    with pytest.raises(RegionError, match=words) as caught:
        parse_region(text)
    found = caught.value
    assert found.parameter == "region"
    assert str(found.limit).startswith(str(limit)) or limit is None
    assert str(found.actual).startswith(str(actual)) or actual is None
    assert len(str(found)) < 400


def test_a_polygon_at_its_limits_is_answered(stores: dict[str, SourceStore]) -> None:
    most = parse_region("POLYGON " + CIRCLE_OF_MANY.rsplit(" ", 2)[0])
    assert isinstance(most, Polygon)
    assert len(most.vertices) == MAX_VERTICES
    for region in (
        most,
        box(0, 90, 120, 120),
        box(0, 0, 120, 1e-6),
        Polygon(((0, 11), (120, 11), (240, 11))),
    ):
        wanted = np.flatnonzero(region.contains(VECTORS))
        assert_holds(stores, region, wanted)


def test_a_moc_of_too_many_pieces_is_refused() -> None:
    many = {"12": list(range(0, 2 * MAX_RANGES + 2, 2))}
    with pytest.raises(RegionError, match="100001 separate ranges") as caught:
        moc_of_json(many)
    assert (caught.value.limit, caught.value.actual) == (MAX_RANGES, MAX_RANGES + 1)
    many["12"].pop()
    assert len(moc_of_json(many).ranges) == MAX_RANGES


@pytest.fixture(scope="module")
def moc_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("moc") / "moc.fits"
    MOC.from_string("3/1-3 7/40000").save(str(path), format="fits")
    return path.read_bytes()


def carded(data: bytes, key: bytes, value: bytes) -> bytes:
    """With another value in a card of the table's header."""
    place = data.rindex(key.ljust(8) + b"=") + 10
    return data[:place] + value.rjust(20) + data[place + 20 :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: b"", "no second HDU"),
        (lambda _: b"3/1-3", "no END card"),
        (gzip.compress, "gunzip"),
        (lambda data: data[:2880], "no second HDU"),
        (lambda data: data[:5760], "has 5760 bytes; .* at least 5"),
        (lambda data: carded(data, b"COORDSYS", b"'G'"), "frame COORDSYS = 'G'"),
        (lambda data: carded(data, b"NAXIS2", b"999999999999"), "at least 8000000"),
        (lambda data: carded(data, b"NAXIS1", b"-8"), "NAXIS1 of HDU 1 is -8"),
        (lambda data: carded(data, b"BITPIX", b""), "BITPIX of HDU 1 is ''"),
        # What reads it panics on this, which is no `Exception`.
        (lambda data: carded(data, b"TFIELDS", b""), "cannot be read as fits"),
    ],
)
def test_a_file_that_is_no_moc_is_refused(
    moc_file: bytes, change: Callable[[bytes], bytes], words: str
) -> None:
    assert change(moc_file) != moc_file
    with pytest.raises(RegionError, match=words):
        moc_of_fits(change(moc_file))


@settings(max_examples=300, deadline=None)
@given(
    damage=st.lists(st.tuples(SEEDS, st.integers(0, 255)), max_size=6),
    length=st.integers(0, 8640),
)
def test_a_damaged_moc_is_read_or_refused(
    moc_file: bytes, damage: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(moc_file)
    for place, value in damage:
        data[place % len(data)] = value
    with suppress(RegionError):
        moc_of_fits(bytes(data[:length] if length % 2 else data))


@settings(max_examples=500, deadline=None)
@given(
    word=st.sampled_from(["CIRCLE ", "RANGE ", "BOX ", "POLYGON ", "MOC ", ""]),
    parts=st.lists(
        st.floats().map(repr)
        | st.text(max_size=4)
        | st.sampled_from(
            ["3/1", "29/0-5", "{", "}", '"3":[1]', "360", "-90", "1e-300"]
        ),
        max_size=9,
    ),
)
def test_any_text_is_a_region_or_refused(word: str, parts: list[str]) -> None:
    with suppress(RegionError):
        region = parse_region(word + " ".join(parts))
        assert region.contains(VECTORS[:5]).shape == (5,)
        assert region.condition() is not None


@pytest.mark.parametrize(
    "text", ["CIRCLE 1_0 0 1", "CIRCLE \u0661 0 1", "CIRCLE 0x1 0 1"]
)
def test_numbers_are_plain_ones(text: str) -> None:
    with pytest.raises(RegionError, match="is no number"):
        parse_region(text)


def test_any_blank_is_a_blank() -> None:
    whole = parse_region("CIRCLE 180.5 -20 1e-1")
    assert parse_region(" circle\t180.5,\n-20. .1 ") == whole
