"""Many questions at once: each answered as it is alone, each failing alone."""

import io
from pathlib import Path

import pytest
from astropy.table import Table
from searchers import COUNT, DEC, RA, make, some_vectors

from twinjet.index import ranking
from twinjet.index.batch import (
    MAX_NEIGHBOURS,
    similar_to_each,
)
from twinjet.index.errors import (
    CatalogueColumnError,
    CatalogueFormatError,
    InvalidQueryError,
    NoSourceAtPositionError,
    UnknownSourceError,
)
from twinjet.index.options import Options
from twinjet.index.regions import Cone
from twinjet.index.search import Neighbour, Searcher
from twinjet.index.source_tables import MAX_ROWS, Asked, read_batch
from twinjet.index.vectors.faiss_index import FaissIndex


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    return make(tmp_path_factory.mktemp("batch"), some_vectors())


def plain(neighbours: list[Neighbour]) -> list[tuple[int, str]]:
    return [(n.rank, n.source.source_id) for n in neighbours]


@pytest.mark.parametrize(
    "options",
    [
        Options(k=7),
        Options(k=5, offset=9),
        Options(k=5, least=True),
        Options(k=5, where="n < 120"),
        Options(k=5, region=Cone(359.9, 0.0, 70.0)),
        Options(k=20, min_similarity=0.3),
        Options(k=6, diversity=0.4),
        Options(k=6, keep_duplicates=True),
        Options(k=6, exclude=("s3", "s7", "nobody")),
    ],
)
def test_each_row_is_answered_as_it_is_alone(
    searcher: Searcher, options: Options
) -> None:
    names = [f"s{n}" for n in range(0, COUNT, 7)]
    asked = [Asked(row, name) for row, name in enumerate(names, 1)]
    answer = similar_to_each(searcher, asked, options)
    assert answer.exact
    for name, result in zip(names, answer.results, strict=True):
        alone = searcher.similar_to_source(name, options)
        assert result.source == alone.query
        assert plain(result.neighbours) == plain(alone.neighbours)
        mine, theirs = ([n.similarity for n in r.neighbours] for r in (result, alone))
        assert mine == pytest.approx(theirs, abs=1e-6)


def test_rows_are_answered_alike_however_many_fit_in_memory(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [Asked(row, f"s{row}") for row in range(1, 30)]
    whole = similar_to_each(searcher, asked, Options())
    monkeypatch.setattr(ranking, "_SCAN_BYTES", 4 * COUNT * 3)
    monkeypatch.setattr(ranking, "BLOCK_ROWS", 64)
    parts = similar_to_each(searcher, asked, Options())
    for one, other in zip(whole.results, parts.results, strict=True):
        assert plain(one.neighbours) == plain(other.neighbours)


def test_an_index_that_is_not_exact_is_asked_and_said_to_be(
    searcher: Searcher, tmp_path: Path
) -> None:
    again = make(tmp_path, some_vectors())
    assert isinstance(again.generation.index, FaissIndex)
    again.generation.index._scan_from = 0
    asked = [Asked(1, "s1"), Asked(2, "s2")]
    answer = similar_to_each(again, asked, Options(k=5))
    assert not answer.exact
    for result in answer.results:
        assert result.asked.source_id is not None
        alone = again.similar_to_source(result.asked.source_id, Options(k=5))
        assert plain(result.neighbours) == plain(alone.neighbours)
    exact = similar_to_each(again, asked, Options(k=5, exact=True))
    assert exact.exact


def test_a_row_that_cannot_be_answered_fails_alone(searcher: Searcher) -> None:
    asked = [
        Asked(2, "s5"),
        Asked(3, "nobody"),
        Asked(4, position=(RA[6], DEC[6])),
        Asked(5, position=(12.0, -89.0)),
        Asked(6, position=(400.0, 0.0)),
        Asked(7, position=(float("nan"), 0.0)),
        Asked(8, fault="ra 'x' is no angle"),
        Asked(9, "a\0b"),
        Asked(10, "its own name", (RA[7], DEC[7])),
        Asked(11, "s5"),
    ]
    results = similar_to_each(searcher, asked, Options(k=4)).results
    assert [r.asked for r in results] == asked
    errors = [None if r.error is None else type(r.error) for r in results]
    assert errors == [
        *(None, UnknownSourceError, None, NoSourceAtPositionError),
        *(InvalidQueryError, InvalidQueryError, InvalidQueryError, UnknownSourceError),
        *(None, None),
    ]
    found = [r.source.source_id for r in results if r.source is not None]
    assert found == ["s5", "s6", "s7", "s5"]
    assert all(bool(r.neighbours) == (r.error is None) for r in results)
    assert results[0].neighbours == results[-1].neighbours
    assert "ra 'x'" in str(results[6].error)


def test_a_batch_of_nothing_but_errors_is_an_answer(searcher: Searcher) -> None:
    answer = similar_to_each(searcher, [Asked(1, "nobody")], Options())
    assert isinstance(answer.results[0].error, UnknownSourceError)


@pytest.mark.parametrize(
    ("count", "options", "parameter"),
    [
        (0, Options(), "ids"),
        (MAX_ROWS + 1, Options(), "ids"),
        (MAX_ROWS, Options(k=MAX_NEIGHBOURS // MAX_ROWS + 1), "k"),
        (1, Options(k=0), "k"),
    ],
)
def test_too_much_is_refused_before_anything_is_done(
    searcher: Searcher, count: int, options: Options, parameter: str
) -> None:
    asked = [Asked(row, "s1") for row in range(1, count + 1)]
    with pytest.raises(InvalidQueryError) as caught:
        similar_to_each(searcher, asked, options)
    assert caught.value.parameter == parameter


def as_votable(table: Table) -> bytes:
    file = io.BytesIO()
    table.write(file, format="votable")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"source_id\ns1\n\n s2 \n", [Asked(2, "s1"), Asked(4, "s2")]),
        (
            b"id;other\ns1;2\n;3\n",
            [Asked(2, "s1"), Asked(3, None, fault="it has no source_id")],
        ),
        (
            b"RA,DEC\n1.5,-2\n00:06:00,+01:00:00\n",
            [Asked(2, None, (1.5, -2.0)), Asked(3, None, (1.5, 1.0))],
        ),
        (
            b"name,ra,dec\ns1,1,2\ns2,x,2\ns3,1\n",
            [
                Asked(2, "s1", (1.0, 2.0)),
                Asked(3, "s2", None, "ra 'x' is no angle"),
                Asked(4, "s3", None, "2 values, not 3"),
            ],
        ),
        (
            as_votable(Table({"source_id": ["s1", "s2"]})),
            [Asked(1, "s1"), Asked(2, "s2")],
        ),
        (
            as_votable(Table({"ra": [1.5], "dec": [2.0]}, units={"ra": "deg"})),
            [Asked(1, None, (1.5, 2.0))],
        ),
    ],
)
def test_a_table_is_read(data: bytes, rows: list[Asked]) -> None:
    assert read_batch("table", data) == rows


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", CatalogueFormatError),
        (b"\x00\xff\xfe", CatalogueFormatError),
        (b"<?xml version='1.0'?><VOTABLE><oops", CatalogueFormatError),
        (
            as_votable(Table({"source_id": ["s1"] * (MAX_ROWS + 1)})),
            CatalogueFormatError,
        ),
        (
            as_votable(Table({"source_id": ["s1"]})).replace(
                b"<TABLE>", b'<TABLE nrows="1001">'
            ),
            CatalogueFormatError,
        ),
        (b"flux\n1\n", CatalogueColumnError),
        (b"ra\n1\n", CatalogueColumnError),
        (b"source_id\n", InvalidQueryError),
        (b"source_id\n" + b"s1\n" * (MAX_ROWS + 1), InvalidQueryError),
    ],
)
def test_a_table_that_is_none_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_batch("table", data)


def test_the_rows_of_a_votable_are_counted_once_and_of_its_first_table() -> None:
    one = as_votable(Table({"source_id": ["s1"] * 600}))
    told = one.replace(b"<TABLE>", b'<TABLE nrows="600">')
    assert told != one
    start, end = one.index(b"<TABLE>"), one.index(b"</RESOURCE>")
    twice = one[:end] + one[start:end] + one[end:]
    for data in (one, told, twice):
        assert len(read_batch("table", data)) == 600
