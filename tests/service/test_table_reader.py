"""Tables from strangers: read in a process of its own, as in this one."""

import asyncio
import gzip
import io
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import httpx2 as httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.io.votable import tree
from astropy.table import QTable, Table
from astropy.time import Time
from decoders import ODD, until
from serving import running, wait_until

from twinjet.index.catalogue import MAX_ID_LENGTH
from twinjet.index.errors import (
    CatalogueFormatError,
    InvalidQueryError,
    KnownListError,
    TwinjetIndexError,
)
from twinjet.index.source_tables import MAX_ROWS, Entry, read_batch, read_entries
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.decoding.replies import Listed, Prepared, UnbelievableReplyError
from twinjet.service.decoding.trades import IMAGES, TABLES
from twinjet.service.errors import DecodeFailedError, OverloadedError
from twinjet.service.table_reader import TableReader

_T = TypeVar("_T")


def with_reader(
    use: Callable[[TableReader], Awaitable[_T]], *, deadline_s: float = 60.0
) -> _T:
    """What comes of using a reader that is stopped then."""

    async def used() -> _T:
        reader = TableReader(deadline_s=deadline_s)
        try:
            return await use(reader)
        finally:
            await reader.stop()

    return asyncio.run(used())


def given(data: bytes) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        return data

    return read


async def failure(work: Awaitable[object]) -> Exception:
    refusals = (TwinjetIndexError, DecodeFailedError, OverloadedError)
    with pytest.raises(refusals) as caught:
        await work
    return caught.value


@pytest.fixture
def odd_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder of tables that does what its files say."""
    allowance = replace(TABLES.allowance, wall_s=12.0)
    odd = replace(TABLES, program=ODD, allowance=allowance)
    monkeypatch.setattr("twinjet.service.table_reader.TABLES", odd)


def as_fits(table: Table) -> bytes:
    file = io.BytesIO()
    table.write(file, format="fits")
    return file.getvalue()


def as_votable(table: Table, version: str, form: str) -> bytes:
    """As an archive writes it: with UCDs, a frame, and units of its version."""
    document = tree.VOTableFile.from_table(table)
    document.version = version
    for field, ucd in zip(
        document.get_first_table().fields,
        ("meta.id", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"),
        strict=True,
    ):
        field.ucd = ucd
    frame = tree.CooSys(ID="frame", system="ICRS", equinox="J2000")
    document.resources[0].coordinate_systems.append(frame)
    file = io.BytesIO()
    document.to_xml(file, tabledata_format=form)
    return file.getvalue()


def as_parquet(table: Table, rows: int, **more: pa.Array) -> bytes:
    columns = {name: pa.array(table[name].tolist()) for name in table.colnames}
    file = io.BytesIO()
    pq.write_table(pa.table(columns | more), file, row_group_size=rows)
    return file.getvalue()


def written() -> dict[str, bytes]:
    """The same sources in each of many ways, by its name."""
    names = [f"J{number}" for number in range(900)]
    table = Table({"id": names, "ra": np.linspace(0, 20, 900), "dec": [1.5] * 900})
    table["ra"].unit = table["dec"].unit = "deg"
    described = table.copy()
    described["ra"].description, described.meta["made"] = "of the core", ["by", 1]
    mixed = QTable(table)
    mixed["place"] = SkyCoord(table["ra"], table["dec"])
    mixed["seen"] = Time(np.full(900, 6e4), format="mjd")
    files = {
        "FITS": as_fits(table),
        "FITS with descriptions": as_fits(described),
        "FITS of quantities, times and coordinates": as_fits(mixed),
    }
    for version in ("1.1", "1.3", "1.4", "1.5"):
        for form in ("tabledata", "binary"):
            data = as_votable(table, version, form)
            files[f"VOTable {version} {form}"] = data
    files["VOTable binary2"] = as_votable(table, "1.4", "binary2")
    latin = as_votable(table, "1.4", "tabledata")
    files["VOTable of Latin 1"] = latin.replace(b"utf-8", b"windows-1252", 1)
    times = pa.array([10**18] * 900, pa.timestamp("ns", "Europe/Berlin"))
    files["Parquet"] = as_parquet(table, 900)
    files["Parquet of many groups"] = as_parquet(table, 100)
    files["Parquet with times"] = as_parquet(table, 900, seen=times)
    short = table[:3]
    lines = [f"{a},{b},{c}" for a, b, c in short.iterrows()]
    for code in ("utf-8", "utf-8-sig"):
        files[f"CSV, {code}"] = "\n".join(["id,ra,dec", *lines]).encode(code)
    files["CSV of sexagesimal positions"] = b"id,ra,dec\nJ1,1:02:03.5,-1d2m3s\n"
    files["CSV with faults"] = (
        b"id,ra,dec\nJ1,1h,-3d\nJ2,,\nonly an ID\n" + b"x" * 300 + b",1,2,3\n"
    )
    files["packed CSV"] = gzip.compress(files["CSV, utf-8"])
    return files


def test_each_format_is_read_as_in_this_process() -> None:
    async def use(reader: TableReader) -> None:
        for name, data in written().items():
            batch = await told(reader.batch(name, given(data)))
            assert batch == here(read_batch, name, data), name
            entries = await told(reader.entries(name, given(data)))
            assert entries == here(read_entries, name, data), name
            assert isinstance(batch, list) or "Latin" in name, (name, batch)

    with_reader(use)


async def told(work: Awaitable[object]) -> object:
    """What comes of a table, or the words in which it is refused."""
    try:
        return await work
    except TwinjetIndexError as exc:
        return str(exc)


def here(read: Callable[[str, bytes], object], name: str, data: bytes) -> object:
    try:
        return read(name, data)
    except TwinjetIndexError as exc:
        return str(exc)


def test_many_entries_are_read_whole() -> None:
    names = [f"J{number:0120d}" for number in range(20_000)]
    data = "\n".join(["id", *names]).encode()
    entries = with_reader(lambda reader: reader.entries("a", given(data)))
    assert entries == [Entry(name, None, None) for name in names]


def test_a_refusal_has_its_members() -> None:
    async def use(reader: TableReader) -> list[Exception]:
        many = b"id\n" + b"J1\n" * (MAX_ROWS + 1)
        return [
            await failure(reader.batch("a\nname", given(b"\xff\xfe"))),
            await failure(reader.batch("a", given(many))),
            await failure(reader.entries("a", given(b"colour\nred\n"))),
        ]

    damaged, many, none = with_reader(use)
    assert isinstance(damaged, CatalogueFormatError)
    assert str(damaged).isprintable()
    assert isinstance(many, InvalidQueryError)
    assert (many.parameter, many.actual) == ("file", MAX_ROWS + 1)
    assert isinstance(none, KnownListError)
    assert (none.parameter, none.actual) == ("file", "colour")


@pytest.mark.usefixtures("odd_program")
def test_what_goes_wrong_in_it_costs_that_table_alone() -> None:
    async def use(reader: TableReader) -> list[Exception]:
        deeds = (b"allocate", b"crash", b"white")
        return [await failure(reader.batch("a", given(deed))) for deed in deeds]

    memory, crash, lie = with_reader(use)
    assert all(isinstance(e, DecodeFailedError) for e in (memory, crash, lie))
    assert "384 MiB of memory" in str(memory)
    assert "ended on it" in str(crash)
    assert isinstance(lie, DecodeFailedError)
    assert "an image for a list" in lie.cause


@pytest.mark.usefixtures("odd_program")
def test_who_waits_too_long_or_behind_too_many_is_told_when_to_come_back() -> None:
    async def use(reader: TableReader) -> None:
        stuck = asyncio.create_task(reader.batch("a", given(b"wait")))
        await until(lambda: reader._decoders._living > 0)
        waiting = [
            asyncio.create_task(failure(reader.entries("a", given(b""))))
            for _ in range(17)
        ]
        refusals = await asyncio.gather(*waiting)
        assert all(isinstance(e, OverloadedError) for e in refusals)
        told = [str(e) for e in refusals]
        assert sum("tables wait already" in text for text in told) == 1
        assert sum("in time" in text for text in told) == 16
        stuck.cancel()

    with_reader(use, deadline_s=5.0)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [[[1, "J1", 0.0, 0.0, None]]],
        [[[1, "J1", 0.0, 0.0, None]] * 3],
        [[[1, "J1", 0.0, 0.0, None]], [[1, "J1", 0.0, 0.0]]],
        [[[1, "J1", 0.0, 0.0, None]], [[-1, "J1", 0.0, 0.0, None]]],
        [[[1, "J1", 0.0, 0.0, None]], [["1", "J1", 0.0, 0.0, None]]],
        [[[1, "J1", 0.0, 0.0, None]], [[1, "J" * (MAX_ID_LENGTH + 1), 0, 0, None]]],
        [[[1, "J1", 0.0, 0.0, None]], [[1, "J1", 361.0, 0.0, None]]],
        [[[1, "J1", 0.0, 0.0, None]], [[1, "J1", 0.0, -91.0, None]]],
        [[[1, "J1", 0.0, 0.0, None]], [[1, "J1", float("nan"), 0.0, None]]],
        [[[1, "J1", 0.0, 0.0, None]], [[1, "J1", None, None, "\x1b[31m"]]],
        [[[1, "J1", 0.0, 0.0, None]], {"rows": 1}],
    ],
)
def test_rows_that_no_sound_process_sends_are_not_believed(lines: list[object]) -> None:
    data = "\n".join(map(json.dumps, lines)).encode()
    with pytest.raises(UnbelievableReplyError):
        Listed(kind="listed", count=2).named(data)


def test_each_trade_believes_its_own_answers_alone() -> None:
    listed = Listed(kind="listed", count=0)
    image = Prepared(
        kind="prepared",
        side=1,
        noise=1.0,
        peak_snr=None,
        position=None,
        has_scale=False,
        notes=[],
        preparation_notes=[],
    )
    assert TABLES.believed({}, listed, b"", 0.0) == []
    task = {"recipe": {"size_px": 1}}
    assert IMAGES.believed(task, image, bytes(4), 0.0).prepared.image.shape == (1, 1)
    with pytest.raises(UnbelievableReplyError):
        TABLES.believed({}, image, b"", 0.0)
    with pytest.raises(UnbelievableReplyError):
        IMAGES.believed(task, listed, bytes(4), 0.0)


@pytest.mark.usefixtures("odd_program")
def test_tables_that_wait_take_the_places_of_nobody(config: Config) -> None:
    stuck = {"file": ("a", b"wait")}
    with (
        running(create_app(config.model_copy(update={"reads": 1}))) as server,
        ThreadPoolExecutor(6) as pool,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        tables = [
            pool.submit(client.post, "/similar/batch", files=stuck) for _ in range(6)
        ]
        reader = server.app.state.resources.tables
        wait_until(lambda: reader._waiting == 5)
        answer = client.post("/similar", json={"like": ["T100+003"]})
        assert answer.status_code == 200
        refused = [table.result() for table in tables]
    assert {answer.status_code for answer in refused} == {422, 503}
