"""Sessions of discovery on both databases."""

import gzip
import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hunts import kinds, publish, spread

from twinjet.index.discovery.discovery import Discovery
from twinjet.index.discovery.known import ListStore
from twinjet.index.discovery.labelling import Wanted, create_session, label
from twinjet.index.discovery.rounds import (
    Proposed,
    Wishes,
    candidates_of,
    make_round,
    round_of,
)
from twinjet.index.errors import (
    FilterError,
    InvalidQueryError,
    KnownListError,
    NoCandidatesError,
    NoExamplesError,
    SessionConflictError,
    SessionLimitError,
    UnknownExamplesError,
    UnknownListError,
    UnknownSessionError,
)
from twinjet.index.source import Source
from twinjet.index.source_tables import Entry, read_entries

VECTORS, RARE = kinds()
SOURCES = spread(len(VECTORS))
RARE_IDS = [s.source_id for s, rare in zip(SOURCES, RARE, strict=True) if rare]


@pytest.fixture
def discovery(engine: sa.Engine, tmp_path: Path) -> Discovery:
    return publish(engine, tmp_path, SOURCES, VECTORS)


def begin(discovery: Discovery, name: str = "hunt", **more: object) -> str:
    given = {"examples": RARE_IDS[:4]} | more
    return create_session(discovery, name, **given).session_id  # type: ignore[arg-type]


def ids(proposed: Proposed) -> list[str]:
    return [mark.source_id for mark, _ in proposed.candidates]


def tell(discovery: Discovery, session: str, proposed: Proposed) -> None:
    """Label a round as somebody does who knows."""
    label(
        discovery,
        session,
        [
            Wanted(name, "like" if name in RARE_IDS else "dislike")
            for name in ids(proposed)
        ],
    )


def test_a_hunt_finds_more_of_the_kind_than_chance(discovery: Discovery) -> None:
    session = begin(discovery)
    for number in range(1, 5):
        tell(discovery, session, make_round(discovery, session, number, Wishes()))
    marks = discovery.sessions.with_marks(session)[1]
    liked = [mark for mark in marks if mark.label == "like"]
    # By chance 40 of 196 sources have 3.3 of the 16 others; 10 is beyond any luck.
    assert len(liked) >= 10


def test_no_candidate_is_proposed_twice_until_there_are_none(
    discovery: Discovery,
) -> None:
    session = begin(discovery)
    seen: list[str] = []
    for number in range(1, 21):
        made = make_round(discovery, session, number, Wishes(count=10))
        seen += ids(made)
        if number % 2:
            tell(discovery, session, made)  # others are left as they are
    assert len(seen) == len(set(seen)) == len(SOURCES) - 4
    assert not set(seen) & set(RARE_IDS[:4])
    with pytest.raises(NoCandidatesError, match="seen or is known"):
        make_round(discovery, session, 21, Wishes())


def test_a_round_explores_and_exploits(discovery: Discovery) -> None:
    session = begin(discovery)
    ranked = [c.score for c in candidates_of(discovery, session, count=999)[1]]
    made = make_round(discovery, session, 1, Wishes(count=10, explore=0.4))
    strategies = [mark.strategy for mark, _ in made.candidates]
    assert strategies == ["exploit"] * 6 + ["explore"] * 4
    scores = [mark.score or 0.0 for mark, _ in made.candidates]
    assert scores == ranked[:6] + sorted(ranked[6:], key=abs)[:4]
    assert all(-1 <= (mark.similarity or 2) <= 1 for mark, _ in made.candidates)


def test_what_is_proposed_depends_on_labels_alone(discovery: Discovery) -> None:
    first, second = (
        begin(discovery),
        begin(discovery, "other", examples=RARE_IDS[3::-1]),
    )
    wanted = [Wanted(SOURCES[n].source_id, "dislike") for n in (5, 9, 2)]
    label(discovery, first, wanted)
    for one in wanted[::-1]:
        label(discovery, second, [one])
    label(discovery, second, [Wanted("S150", "like")])
    label(discovery, second, [Wanted("S150", None, version=1)])
    wishes = Wishes(count=20, explore=0.5)
    made = [make_round(discovery, name, 1, wishes) for name in (first, second)]
    assert ids(made[0]) == ids(made[1])
    rows = [[(m.score, m.similarity) for m, _ in one.candidates] for one in made]
    assert rows[0] == rows[1]


def test_a_round_is_made_once(discovery: Discovery) -> None:
    session = begin(discovery)
    first = make_round(discovery, session, 1, Wishes())
    tell(discovery, session, first)
    again = make_round(discovery, session, 1, Wishes())
    assert ids(again) == ids(first)
    assert {mark.label for mark, _ in again.candidates} <= {"like", "dislike"}
    assert again.round == first.round == round_of(discovery, session, 1).round
    with pytest.raises(SessionConflictError, match="count 10, not 5"):
        make_round(discovery, session, 1, Wishes(count=5))
    with pytest.raises(InvalidQueryError, match="1 to 2; it was 3"):
        make_round(discovery, session, 3, Wishes())
    with pytest.raises(UnknownSessionError, match="1 rounds and no round 2"):
        round_of(discovery, session, 2)


def test_two_who_ask_for_a_round_at_once_get_the_same(discovery: Discovery) -> None:
    session = begin(discovery)
    found: list[list[str]] = []
    faults: list[Exception] = []

    def ask() -> None:
        try:
            found.append(ids(make_round(discovery, session, 1, Wishes())))
        except Exception as exc:  # noqa: BLE001 - any fault is one
            faults.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(found) == 4
    assert all(one == found[0] for one in found)


def test_labels_of_many_at_once_are_all_kept(discovery: Discovery) -> None:
    session = begin(discovery)
    names = [s.source_id for s in SOURCES if s.source_id not in RARE_IDS][:40]
    faults: list[Exception] = []

    def tell_some(some: list[str]) -> None:
        try:
            for name in some:
                label(discovery, session, [Wanted(name, "dislike", note=name)])
        except Exception as exc:  # noqa: BLE001 - any fault is one
            faults.append(exc)

    threads = [
        threading.Thread(target=tell_some, args=(names[n::4],)) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    session_now, marks = discovery.sessions.with_marks(session)
    kept = {mark.source_id: mark.note for mark in marks if mark.label == "dislike"}
    assert kept == {name: name for name in names}
    assert session_now.version == 1 + len(names)


def test_of_two_labels_of_one_source_the_later_must_have_seen_the_first(
    discovery: Discovery,
) -> None:
    session = begin(discovery)
    label(discovery, session, [Wanted("S100", "like")])
    with pytest.raises(SessionConflictError, match="labelled like at version 1") as one:
        label(discovery, session, [Wanted("S100", "dislike")])
    assert (one.value.limit, one.value.actual) == (1, 0)
    assert [m.version for m in label(discovery, session, [Wanted("S100", "like")])] == [
        1
    ]
    assert [
        (m.label, m.version)
        for m in label(discovery, session, [Wanted("S100", "dislike", version=1)])
    ] == [("dislike", 2)]
    withdrawn = label(discovery, session, [Wanted("S100", None, version=2)])
    assert [(m.label, m.version) for m in withdrawn] == [(None, 3)]


def test_labels_are_taken_all_or_none(discovery: Discovery) -> None:
    session = begin(discovery)
    label(discovery, session, [Wanted("S100", "like")])
    before = discovery.sessions.with_marks(session)
    with pytest.raises(SessionConflictError):
        label(discovery, session, [Wanted("S101", "like"), Wanted("S100", "dislike")])
    with pytest.raises(UnknownExamplesError, match="'nobody'"):
        label(discovery, session, [Wanted("S101", "like"), Wanted("nobody", "like")])
    with pytest.raises(InvalidQueryError, match="S101 is labelled twice"):
        label(discovery, session, [Wanted("S101", "like"), Wanted("s101", None)])
    assert discovery.sessions.with_marks(session) == before


def test_a_withdrawn_label_counts_no_more(discovery: Discovery) -> None:
    session = begin(discovery)
    before = candidates_of(discovery, session, count=200)[1]
    label(discovery, session, [Wanted(before[0].source.source_id, "dislike")])
    between = candidates_of(discovery, session, count=200)[1]
    assert before[0].source not in [one.source for one in between]
    label(discovery, session, [Wanted(before[0].source.source_id, None, version=1)])
    after = candidates_of(discovery, session, count=200)[1]
    assert [(c.source, c.score) for c in after] == [(c.source, c.score) for c in before]


def test_candidates_are_ranked_with_what_was_seen(discovery: Discovery) -> None:
    session = begin(discovery)
    made = make_round(discovery, session, 1, Wishes(explore=0))
    ranked = candidates_of(discovery, session, count=1000)[1]
    assert len(ranked) == len(SOURCES) - 4
    assert [c.rank for c in ranked] == list(range(1, len(ranked) + 1))
    assert [c.source.source_id for c in ranked[:10]] == ids(made)
    assert [c.mark is not None for c in ranked] == [True] * 10 + [False] * 186
    scores = [c.score for c in ranked]
    assert scores == sorted(scores, reverse=True)


def test_a_filter_narrows_the_candidates(discovery: Discovery) -> None:
    session = begin(discovery)
    where = "kind = 'a' and size_arcsec > 100"
    made = make_round(discovery, session, 1, Wishes(where=where))
    numbers = [int(name[1:]) for name in ids(made)]
    assert all(number > 100 and number % 2 for number in numbers)
    with pytest.raises(NoCandidatesError, match="does not pass the filter"):
        make_round(discovery, session, 2, Wishes(where="size_arcsec > 1e6"))
    with pytest.raises(FilterError):
        make_round(discovery, session, 2, Wishes(where="size_arcsec >"))


def test_known_lists_are_left_out(discovery: Discovery) -> None:
    far = SOURCES[50]
    discovery.lists.put(
        "known",
        [
            Entry("s 010", None, None),  # another spelling is none of this name
            Entry("s011", None, None),
            Entry(None, far.ra, far.dec + 3 / 3600),
            Entry("elsewhere", 1.0, 1.0),
        ],
        radius_arcsec=5.0,
    )
    session = begin(discovery, exclude=["known"])
    left = {c.source.source_id for c in candidates_of(discovery, session, count=999)[1]}
    everything = {s.source_id for s in SOURCES} - set(RARE_IDS[:4])
    assert everything - left == {"S010", "S011", "S050"} - set(RARE_IDS[:4])
    discovery.lists.put("known", [Entry("S012", None, None)], radius_arcsec=5.0)
    left = {c.source.source_id for c in candidates_of(discovery, session, count=999)[1]}
    assert everything - left == {"S012"}
    with pytest.raises(SessionConflictError, match="1 sessions leave out"):
        discovery.lists.delete("known")
    now = discovery.sessions.update(
        session, version=discovery.sessions.get(session).version, exclude=[]
    )
    assert now.exclude == ()
    discovery.lists.delete("known")
    with pytest.raises(UnknownListError):
        discovery.lists.get("known")


def test_a_list_gives_examples(discovery: Discovery) -> None:
    entries = [Entry(None, s.ra, s.dec) for s in SOURCES if s.source_id in RARE_IDS[:3]]
    discovery.lists.put("hybrids", entries, radius_arcsec=1.0)
    session = begin(
        discovery, examples=[], examples_from="hybrids", exclude=["hybrids"]
    )
    marks = discovery.sessions.with_marks(session)[1]
    assert [(m.source_id, m.label) for m in marks] == [
        (name, "example") for name in RARE_IDS[:3]
    ]
    discovery.lists.put("elsewhere", [Entry("x", 0.0, 89.0)], radius_arcsec=1.0)
    with pytest.raises(NoExamplesError, match="no example is in this index"):
        begin(discovery, "b", examples=[], examples_from="elsewhere")
    with pytest.raises(UnknownListError, match="'nothing'"):
        begin(discovery, "b", examples_from="nothing")


@pytest.mark.parametrize("dec", [0.0, 64.0, -89.5])
def test_the_same_object_is_not_proposed_again(
    engine: sa.Engine, tmp_path: Path, dec: float
) -> None:
    """Over RA 0 and near the poles: each source has a twin 4 arcsec away."""
    width = 0.02 / np.cos(np.radians(dec))
    places = [(359.9995 + width * n) % 360 for n in range(60)]
    shift = 4 / 3600 / np.cos(np.radians(dec))
    sources = [Source(f"A{n:02d}", ra, dec) for n, ra in enumerate(places)]
    sources += [
        Source(f"B{n:02d}", (ra + shift) % 360, dec) for n, ra in enumerate(places)
    ]
    vectors, _ = kinds(60)
    discovery = publish(engine, tmp_path, sources, np.concatenate([vectors, vectors]))
    entry = Entry(None, sources[7].ra, sources[7].dec)
    discovery.lists.put("known", [entry], radius_arcsec=0.1)
    session = create_session(
        discovery, "twins", examples=["A00", "B01"], exclude=["known"]
    ).session_id
    objects: list[str] = []
    for number in range(1, 7):
        made = make_round(discovery, session, number, Wishes(count=10, explore=0.5))
        objects += [name[1:] for name in ids(made)]
        tell(discovery, session, made)
    assert len(objects) == len(set(objects)) == 57
    assert set(objects) == {f"{n:02d}" for n in range(60)} - {"00", "01", "07"}


def test_labels_outlast_generations(
    discovery: Discovery, engine: sa.Engine, tmp_path: Path
) -> None:
    """Other rows, another dimension, some sources gone, one of them catalogued anew."""
    session = begin(discovery)
    first = make_round(discovery, session, 1, Wishes())
    tell(discovery, session, first)
    gone = [RARE_IDS[0], ids(first)[0]]
    kept = [s for s in SOURCES[::-1] if s.source_id not in gone]
    lost = next(s for s in SOURCES if s.source_id == RARE_IDS[0])
    renamed = replace(lost, source_id="new name", dec=lost.dec + 2 / 3600)
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(len(kept) + 1, 24))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    later = publish(
        engine,
        tmp_path,
        [*kept, renamed],
        vectors.astype(np.float32),
        encoder_id="another",
    )
    standing = later.standing(session)
    assert {mark.source_id for mark in standing.vanished} == set(gone)
    before = round_of(later, session, 1)
    assert ids(before) == ids(first)
    assert [s is None for _, s in before.candidates] == [True] + [False] * 9
    second = make_round(later, session, 2, Wishes(count=100))
    assert second.round.encoder_id == "another"
    assert second.round.generation == later.number != first.round.generation
    assert second.round.likes + second.round.dislikes == 12
    assert not set(ids(second)) & {*ids(first), *RARE_IDS[:4], "new name"}
    # What has vanished can still be told otherwise.
    label(later, session, [Wanted(gone[0], None, version=1)])
    found = [c.source.source_id for c in candidates_of(later, session, count=999)[1]]
    assert "new name" in found


def test_without_any_like_left_there_is_nothing_to_rank_by(
    discovery: Discovery, engine: sa.Engine, tmp_path: Path
) -> None:
    session = begin(discovery)
    others = [i for i, s in enumerate(SOURCES) if s.source_id not in RARE_IDS[:4]]
    later = publish(engine, tmp_path, [SOURCES[i] for i in others], VECTORS[others])
    with pytest.raises(NoExamplesError, match="none of the 4 examples and likes"):
        make_round(later, session, 1, Wishes())


def test_sessions_are_named_changed_and_forgotten(discovery: Discovery) -> None:
    session = begin(discovery, notes="  first\nthoughts ")
    kept = discovery.sessions.named("hunt")
    assert (kept.session_id, kept.notes) == (session, "first\nthoughts")
    with pytest.raises(SessionConflictError, match="'hunt' already"):
        begin(discovery)
    other = begin(discovery, "other")
    with pytest.raises(SessionConflictError, match="'hunt' already"):
        discovery.sessions.update(other, version=1, name="hunt")
    with pytest.raises(SessionConflictError, match="at version 1, not 7"):
        discovery.sessions.update(other, version=7, notes="x")
    assert discovery.sessions.update(other, version=1, notes="x").version == 2
    assert [s.name for s in discovery.sessions.sessions(limit=9)] == ["other", "hunt"]
    make_round(discovery, other, 1, Wishes())
    discovery.sessions.delete(other)
    with pytest.raises(UnknownSessionError):
        discovery.standing(other)
    with pytest.raises(UnknownSessionError):
        discovery.sessions.delete(other)
    assert discovery.sessions.rounds(other) == []
    assert [s.name for s in discovery.sessions.sessions(limit=9)] == ["hunt"]


def test_unsuitable_sessions_are_refused(discovery: Discovery) -> None:
    for name in ("", "   ", "x" * 201, "a\0b", "a\x1b", "\ud800"):
        with pytest.raises(InvalidQueryError, match="name"):
            begin(discovery, name)
    with pytest.raises(InvalidQueryError, match="notes"):
        begin(discovery, notes="x" * 20_001)
    with pytest.raises(UnknownExamplesError, match="'nobody'"):
        begin(discovery, examples=["S001", "nobody"])
    with pytest.raises(NoExamplesError):
        begin(discovery, examples=[])
    with pytest.raises(UnknownListError):
        begin(discovery, exclude=["nothing\0"])
    with pytest.raises(SessionLimitError, match="at most 20 lists; there were 21"):
        begin(discovery, exclude=[str(n) for n in range(21)])
    assert discovery.sessions.sessions(limit=9) == []
    for name in ("nobody", "\0", ""):
        with pytest.raises(UnknownSessionError):
            discovery.sessions.get(name)


def test_unsuitable_wishes_and_labels_are_refused(discovery: Discovery) -> None:
    session = begin(discovery)
    for wishes in (
        *(Wishes(count=0), Wishes(count=101), Wishes(explore=1.1)),
        Wishes(explore=float("nan")),
    ):
        with pytest.raises(InvalidQueryError, match="must be"):
            make_round(discovery, session, 1, wishes)
    with pytest.raises(InvalidQueryError, match="1 to 1000 labels"):
        label(discovery, session, [])
    with pytest.raises(InvalidQueryError, match="note has 0 to 2000"):
        label(discovery, session, [Wanted("S001", "like", note="x" * 2001)])
    with pytest.raises(UnknownSessionError):
        label(discovery, "nobody", [Wanted("S001", "like")])
    with pytest.raises(UnknownSessionError):
        make_round(discovery, "nobody", 1, Wishes())


def test_lists_are_named_and_replaced(engine: sa.Engine) -> None:
    lists = ListStore(engine)
    entries = [Entry(f"S{n}", None, None) for n in range(2500)]
    first = lists.put("a", entries, radius_arcsec=5.0)
    assert first.entries == 2500
    assert lists.put("a", entries, radius_arcsec=5.0).digest == first.digest
    assert lists.put("a", entries, radius_arcsec=6.0).digest != first.digest
    assert lists.put("a", entries[:1], radius_arcsec=5.0).entries == 1
    lists.put("B", entries[:1], radius_arcsec=0.0)
    assert [one.name for one in lists.lists()] == ["B", "a"]
    for name in ("", "a b", "../a", "x" * 101, "é", "a\0"):
        with pytest.raises(InvalidQueryError, match="a list is named by"):
            lists.put(name, entries, radius_arcsec=5.0)
        with pytest.raises(UnknownListError):
            lists.delete(name)
    for radius in (-1.0, 3601.0, float("nan")):
        with pytest.raises(InvalidQueryError, match="radius_arcsec"):
            lists.put("c", entries, radius_arcsec=radius)


def test_lists_are_read_from_tables() -> None:
    (entry,) = read_entries("a", b"RGZ_Name;RAJ2000;DEJ2000\nJ1;06:00:00;-1:30:00\n")
    assert entry.source_id == "J1"
    assert (entry.ra, entry.dec) == pytest.approx((90, -1.5), abs=1e-9)
    assert read_entries("a", b"id,ra,dec\nJ1,,\nJ2,nan,3\n,4,5\n") == [
        Entry("J1", None, None),
        Entry("J2", None, None),
        Entry(None, 4.0, 5.0),
    ]
    assert (
        read_entries("a", b"\xef\xbb\xbfname\nJ1\n\nJ1\n")
        == [Entry("J1", None, None)] * 2
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"id,ra,dec\n", "has no rows"),
        (b"flux\n1\n", "a column of IDs, or ra and dec; it has: flux"),
        (b"ra\n1\n", "a column of IDs, or ra and dec"),
        (b"id\n  \nJ1\n\x01\n", "control characters"),
        (b"id,ra,dec\n,,\n", "has no rows"),
        (b"id,ra,dec\n,1,nan\n", "line 2 of the list: it has neither"),
        (b"ra,dec\n1,91\n", "line 2 of the list: dec is 91 degrees"),
        (b"ra,dec\n1,2\nx,y\n", "line 3 of the list: ra 'x' is no angle"),
        (b"id,ra,dec\nJ1,2\n", "2 values where there are 3 columns"),
        (b"id\n" + b"x" * 201 + b"\n", "201 characters; at most 200"),
        (b"id\n" + b"J\n" * 200_001, "more than 200000 sources"),
        (b"id\n\xff\xfe\n", "not UTF-8"),
        (b"<?xml version='1.0'?><VOTABLE><RESOURCE/></VOTABLE>", "damaged"),
    ],
)
def test_tables_that_are_no_lists_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(KnownListError, match=message):
        read_entries("list.csv", data)


VOTABLE = """<?xml version="1.0"?>
<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>
<TABLE{nrows}><FIELD name="main_id" datatype="char" arraysize="{size}"/>
<FIELD name="RAJ2000" datatype="double" unit="rad"/>
<FIELD name="DEJ2000" datatype="double" unit="deg"/>
<DATA>{data}</DATA></TABLE></RESOURCE></VOTABLE>"""
ROWS = "<TABLEDATA><TR><TD>J1</TD><TD>1.5</TD><TD>2</TD></TR></TABLEDATA>"


def votable(data: str = ROWS, *, nrows: str = "", size: str = "*") -> bytes:
    return VOTABLE.format(data=data, nrows=nrows, size=size).encode()


def zipped(data: bytes) -> bytes:
    """The same bytes at any time: they are in the names of tests."""
    return gzip.compress(data, mtime=0)


def parquet(count: int) -> bytes:
    """Equal values, which take no room."""
    data = io.BytesIO()
    pq.write_table(pa.table({"id": pa.repeat("J1", count)}), data)
    return data.getvalue()


def test_a_parquet_table_is_read() -> None:
    assert read_entries("a.parquet", parquet(2)) == [Entry("J1", None, None)] * 2


def test_a_votable_is_read_with_its_units() -> None:
    for data in (votable(), gzip.compress(votable())):
        (entry,) = read_entries("a.vot", data)
        assert entry.source_id == "J1"
        assert (entry.ra, entry.dec) == pytest.approx((85.9436692696, 2), abs=1e-9)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            votable('<BINARY><STREAM href="file:///etc/passwd"/></BINARY>'),
            "refers to another file, which is not fetched",
        ),
        (
            votable('<FITS><STREAM actuate=">" href="http://127.0.0.1/"/></FITS>'),
            "holds FITS or Parquet",
        ),
        (
            votable('<BINARY><STREAM actuate=">" href="http://a/"/></BINARY>')
            .decode()
            .encode("utf-16"),
            "not UTF-8",
        ),
        (votable(nrows=' nrows="100000000000"'), "has more than 200000 rows"),
        (votable(size="100000x100000"), "bytes of memory"),
        (
            votable().replace(
                b"<VOTABLE", b'<!DOCTYPE V [<!ENTITY a "aaaa">]><VOTABLE', 1
            ),
            "declares entities",
        ),
        (votable()[:-20], "is damaged"),
        (zipped(b"id\n" + b"J" * (65 << 20)), "unpacks to more than 67108864"),
        (zipped(zipped(b"id\nJ1\n")), "is packed twice"),
        (zipped(b"id\nJ1\n")[:-9], "cannot be read"),
        (b"SIMPLE  =                    T", "is damaged"),
        (b"PAR1", "is damaged"),
        (parquet(2_000_000), "has 2000000 rows"),
    ],
)
def test_tables_that_want_more_than_to_be_read_are_refused(
    data: bytes, message: str
) -> None:
    with pytest.raises(KnownListError, match=message):
        read_entries("list.xml", data)
