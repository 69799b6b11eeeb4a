"""Filters: what they mean, on both databases, and how they are refused."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from filters import COLUMNS, FILTERS, SOURCES, VALUES, Tree, held, quoted, written
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from servers import Postgres
from stores import both_stores

from twinjet.index.errors import FilterError
from twinjet.index.store import SourceStore
from twinjet.index.where import parse_where
from twinjet.index.where_grammar import MAX_LENGTH, MAX_LIST, MAX_TERMS


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> Iterator[dict[str, SourceStore]]:
    """SQLite, and a PostgreSQL whose order of text is that of English."""
    folder = tmp_path_factory.mktemp("where")
    with both_stores(folder, postgres.url, SOURCES, COLUMNS) as stores:
        yield stores


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tree=FILTERS)
@example(tree=("compared", "fr", "<", "a"))  # English has a before A before b
@example(tree=("between", "host", False, "A", "Z"))
@example(tree=("like", "fr", False, "fr%"))  # SQLite's LIKE would find FRI
@example(tree=("ilike", "fr", False, "É%"))
@example(tree=("like", "fr", False, r"a\%b"))
@example(tree=("not", ("flag", "bent", True)))
def test_a_filter_means_the_same_everywhere(
    stores: dict[str, SourceStore], tree: Tree
) -> None:
    text = written(tree)
    wanted = [n for n, values in enumerate(VALUES) if held(tree, values) is True]
    for name, store in stores.items():
        assert store.select_rows(1, where=text).tolist() == wanted, (name, text)


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("bent = true AND size>3 or Z IS NULL", "(bent and size > 3) or z is null"),
        ("not bent and wide", "(not bent) and wide"),
        ("size ≥ 3 and size ≤ 30 and z ≠ 1", "size >= 3 and size <= 30 and z != 1"),
        ("size > −1", "size > -1"),  # noqa: RUF001 - as pages write it
        ('fr = "O\'Brien"', "fr = 'O''Brien'"),
        ("size > +.5e0", "size > 0.5"),
        ("fr = 'x''; drop table source; --'", "fr = 'nobody'"),
        ("size not between 1 and 2 and bent", "(size < 1 or size > 2) and bent"),
        ("\n size\t>\n3 ", "size > 3"),
    ],
)
def test_two_ways_to_write_one_filter(
    stores: dict[str, SourceStore], text: str, same_as: str
) -> None:
    for store in stores.values():
        rows = store.select_rows(1, where=text).tolist()
        assert rows == store.select_rows(1, where=same_as).tolist()


def test_pages_are_filtered_alike(stores: dict[str, SourceStore]) -> None:
    for store in stores.values():
        found, _ = store.page(1, where="`in` < 20 and fr ilike 'fr%'", limit=1000)
        assert [s.source_id for s in found] == [
            s.source_id
            for s in SOURCES[:20]
            if str(s.columns["fr"]).upper().startswith("FR")
        ]


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "is empty"),
        ("   ", 3, "is empty"),
        ("size >", 6, "too early.* a number"),
        ("size > > 3", 7, "character 8 is out of place"),
        ("size = 3)", 8, "out of place; there may be and, or, the end"),
        ("siz > 3", 0, "no column 'siz'.* size"),
        ("size > 1 and siz > 3", 13, "no column 'siz'"),
        ("fr = FRII", 5, "quotes: 'FRII'"),
        ("size > 'a'", 7, "number .* text; write it without quotes"),
        ("fr > 3", 5, "text stands in quotes"),
        ("fr > size", 5, "text and cannot be compared with a number"),
        ("bent > true", 5, "order"),
        ("bent between true and false", 0, "order"),
        ("bent = 1", 7, "boolean .* number"),
        ("size is true", 8, "number .* boolean"),
        ("size", 0, "must be compared"),
        ("size like 'a'", 0, "like is for text"),
        ("size in (1, 'a')", 12, "compared with a text"),
        ("size in ()", 9, "a number"),
        ("size between 1", 14, "may go on with and"),
        ("size > 1e999", 7, "too large"),
        ("size > 30 arcsec", 10, "no units"),
        ("size > 30arcsec", 9, "no units"),
        ("z = null", 4, "is null"),
        ("1 < size < 3", 9, "do not chain"),
        ("1 = 1", 0, "must be a column"),
        ("size + 1 > 3", 5, "no arithmetic"),
        ("size > 1 && z > 1", 9, "write and"),
        ("size > 3; drop table source", 8, "no meaning"),
        ("fr = 'abc", 5, "does not end"),
        ("fr = “abc”", 5, "straight quotes"),
        (r"fr like 'a\'", 8, r"ends in \\"),
        ("fr = 'a\0'", 7, r"U\+0000"),
        ("fr = '\ud800'", 6, r"U\+D800"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_where_it_went_wrong(
    text: str, position: int, words: str
) -> None:
    with pytest.raises(FilterError, match=words) as caught:
        parse_where(text, COLUMNS)
    assert caught.value.position == position
    assert caught.value.parameter == "where"


@pytest.mark.parametrize(
    ("text", "limit", "actual"),
    [
        ("size > 1 or " * 2000 + "z > 1", MAX_LENGTH, 24_005),
        ("(" * 17 + "size>1" + ")" * 17, 16, 17),
        ("not " * 3000 + "bent", 16, 3000),
        ("not (" * 9 + "bent" + ")" * 9, 16, 18),
        ("(" * 5000, 16, 5000),
        (" or ".join(["size>1"] * 65), MAX_TERMS, 65),
        (f"size in ({'1,' * MAX_LIST}1)", MAX_LIST, MAX_LIST + 1),
        (f"fr like '{'a' * 201}'", 200, 201),
        (f"fr ilike '{'%a' * 9}'", 8, 9),
    ],
)
def test_a_dear_filter_is_refused_with_limit_and_value(
    text: str, limit: int, actual: int
) -> None:
    with pytest.raises(FilterError, match=str(limit)) as caught:
        parse_where(text, COLUMNS)
    assert (caught.value.limit, caught.value.actual) == (limit, actual)
    assert str(actual) in str(caught.value)


def test_what_is_just_within_the_limits_is_answered(
    stores: dict[str, SourceStore],
) -> None:
    names = ", ".join(quoted(f"J{number:04d}") for number in range(MAX_LIST))
    for text in (
        " or ".join(["size > 1"] * MAX_TERMS),
        "not " * 16 + "bent",
        "(" * 16 + "bent" + ")" * 16,
        f"source_id in ({names})",
        "fr like '" + "%" * 8 + "'",
        "fr like '" + r"\%" * 100 + "'",
    ):
        for store in stores.values():
            store.select_rows(1, where=text)


def test_an_unknown_column_is_told_from_the_known_ones() -> None:
    with pytest.raises(FilterError) as caught:
        parse_where("siez > 3", COLUMNS)
    assert caught.value.nearest == ["size"]
    assert {"ra", "dec", "source_id", "size", "bent"} <= set(caught.value.columns)
    with pytest.raises(FilterError) as caught:
        parse_where("size 3", COLUMNS)
    assert "between" in caught.value.expected
    assert "one of = != < <= > >=" in caught.value.expected


PIECES = [
    *("size", "fr", "bent", "and", "or", "not", "in", "between", "like", "is", "null"),
    *("(", ")", ",", "=", "<", "'a'", "3", "-1e3", "true", "%", "'", "`", "\\"),
]


@settings(max_examples=500, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12),
)
def test_any_text_is_a_filter_or_refused_within_itself(pieces: list[str]) -> None:
    text = " ".join(pieces)
    position: int | None = 0
    try:
        parse_where(text, COLUMNS)
    except FilterError as exc:
        position = exc.position
    assert position is not None
    assert 0 <= position <= len(text)


def test_no_text_of_a_filter_reaches_the_database_as_sql() -> None:
    evil = "'; drop table source; --"
    expression = parse_where(
        f"fr = {quoted(evil)} or host like {quoted(evil)} or host in ({quoted(evil)})",
        COLUMNS,
    )
    for dialect in ("sqlite", "postgresql"):
        url = "postgresql+psycopg://" if dialect == "postgresql" else "sqlite://"
        compiled = expression.compile(dialect=sa.make_url(url).get_dialect()())
        assert "drop" not in str(compiled)
