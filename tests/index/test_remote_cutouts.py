"""Cutouts of archives: fetched politely, once, whole, whatever the archive does."""

import gzip
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

import pytest
from archives import Archive, fits_file, serve_archive
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from skies import Quiet, small_encoder

from twinjet.index.catalogue import make_catalogue
from twinjet.index.cutouts import gate
from twinjet.index.cutouts.answers import whole_fits
from twinjet.index.cutouts.errors import ArchiveTroubleError, NoCoverageError
from twinjet.index.cutouts.exchange import Politeness
from twinjet.index.cutouts.open import open_provider
from twinjet.index.cutouts.polite import PoliteClient
from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.cutouts.prefetch import Prefetching
from twinjet.index.cutouts.remote import RemoteProvider, open_remote
from twinjet.index.cutouts.remote_settings import KINDS
from twinjet.index.cutouts.votable import read_votable
from twinjet.index.database import create_engine, upgrade
from twinjet.index.errors import CutoutLocationError, CutoutUnavailableError
from twinjet.index.generation import open_generation
from twinjet.index.home import Home
from twinjet.index.reindex import Report, Workshop, build
from twinjet.index.source import Source
from twinjet.index.store import SourceStore
from twinjet.model.decode import read_cutout

# Where the server keeps each kind.
PATHS = {"first": "/firstcutout", "skyview": "/runquery.pl", "sia2": "/sia2"}

# Runs a location in a process of its own, and tells when it is ready.
SCRIPT = """
import sys
from twinjet.index.cutouts.remote import open_remote
from twinjet.index.generation import open_generation
from twinjet.index.home import Home
from twinjet.index.reindex import Report, Workshop, build
from twinjet.index.source import Source
from twinjet.index.store import SourceStore
provider = open_remote(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
sources = [Source(f"S{n}", 10.0 + n, 5.0) for n in range(int(sys.argv[2]))]
print(*provider.prefetch(sources), sep="\\n", flush=True)
"""


@pytest.fixture
def archive() -> Iterator[Archive]:
    with serve_archive() as archive:
        yield archive


def location(archive: Archive, cache: Path, kind: str = "first", **how: object) -> str:
    values = {
        "cache": cache,
        "url": archive.url + PATHS[kind],
        "size_arcsec": 90,
        "rate_per_s": 1000,
        "backoff_s": 0.001,
        **how,
    }
    return f"{kind}:?{urlencode(values)}"


def provider(
    archive: Archive, cache: Path, kind: str = "first", **how: object
) -> RemoteProvider:
    return open_remote(location(archive, cache, kind, **how))


def at(number: int, dec: float = 5.0) -> Source:
    return Source(f"S{number}", 10.0 + number, dec)


def started(place: str, count: int, script: str = SCRIPT) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, place, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_provider_fits_the_port_and_can_prefetch(
    archive: Archive, tmp_path: Path
) -> None:
    made: CutoutProvider = provider(archive, tmp_path)
    assert isinstance(made, Prefetching)


@pytest.mark.parametrize("kind", PATHS)
def test_bytes_are_those_that_were_sent_and_show_the_source(
    archive: Archive, tmp_path: Path, kind: str
) -> None:
    remote = provider(archive, tmp_path, kind)
    source = Source("S", 359.9999, -0.0123)
    data = remote.read(source)
    assert [data] == archive.sent
    assert remote.digest(source) == sha256(data).hexdigest()
    cutout = read_cutout(data)
    assert cutout.pixels.shape == (50, 50)
    centre = cutout.centre()
    assert centre is not None
    there = cutout.offset_of(source.ra, source.dec)
    assert there == pytest.approx((0, 0), abs=0.02)
    assert archive.asked[0].headers["User-Agent"].startswith("twinjet/")


def test_a_datalink_leads_to_the_cutout_service(
    archive: Archive, tmp_path: Path
) -> None:
    url = f"{archive.url}/sia2links"
    provider(archive, tmp_path, "sia2", url=url).read(at(0))
    assert archive.paths == ["/sia2links", "/links", "/soda"]


def test_an_archive_without_cutouts_gives_its_nearest_image(
    archive: Archive, tmp_path: Path
) -> None:
    url = f"{archive.url}/sia2plain"
    provider(archive, tmp_path, "sia2", url=url).read(at(0))
    assert archive.paths == ["/sia2plain", "/whole"]
    assert archive.asked[1].fields == {"ID": "near"}


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize(
    ("dec", "words"),
    [
        (-45, "no coverage by 127.0.0.1: only 0.0 % of the pixels are finite"),
        (-55, "no coverage by 127.0.0.1: every pixel has the same value, 0:"),
        (-65, "it says 'FIRST Sorry, no image here.'"),
        (-75, "(answered 204 No Content|knows no image at RA)"),
    ],
)
def test_what_was_not_observed_is_asked_for_once(
    archive: Archive, tmp_path: Path, kind: str, dec: float, words: str
) -> None:
    with pytest.raises(NoCoverageError, match=words):
        provider(archive, tmp_path, kind).digest(at(0, dec))
    asked = len(archive.asked)
    with pytest.raises(NoCoverageError, match=r"asked on 20\d\d-"):
        provider(archive, tmp_path, kind).read(at(0, dec))
    assert len(archive.asked) == asked


def test_a_refusal_is_asked_about_again_when_it_is_old(
    archive: Archive, tmp_path: Path
) -> None:
    for asked in (1, 1, 2):
        days = 0 if asked > 1 else 30
        with pytest.raises(NoCoverageError, match="no image here"):
            provider(archive, tmp_path, expiry_days=days).digest(at(0, -65))
        assert len(archive.asked) == asked


@pytest.mark.parametrize("fault", ["busy", "down", "cut", "short", "reset"])
def test_a_fault_that_passes_is_asked_through(
    archive: Archive, tmp_path: Path, fault: str
) -> None:
    archive.retry_after = "0"
    archive.faults += [fault, fault]
    assert provider(archive, tmp_path).read(at(0)) == archive.sent[0]
    assert len(archive.asked) == 3


@pytest.mark.parametrize(
    ("fault", "asked", "words"),
    [
        ("down", 2, r"answered 503 .*Back soon.*asked 2 times"),
        ("cut", 2, "broke off"),
        ("short", 2, "5760 bytes of a FITS file of at least"),
        ("reset", 2, "broke off"),
        ("slow", 2, r"took longer than 0\.4 s"),
        ("endless", 1, "larger than 16777216 bytes"),
        ("page", 1, "did not send an image; it says 'Database error 17'"),
        ("forbidden", 1, "answered 403 Forbidden: Blocked"),
        # A form that has moved says so of every source.
        ("missing", 1, "answered 404 Not Found: 404 No such field"),
    ],
)
def test_trouble_is_told_and_never_remembered(
    archive: Archive, tmp_path: Path, fault: str, asked: int, words: str
) -> None:
    archive.always = fault
    # The endless one needs its time for all of the sixteen megabytes.
    deadline_s = 0.4 if fault == "slow" else 10
    remote = provider(archive, tmp_path, attempts=2, deadline_s=deadline_s)
    with pytest.raises(ArchiveTroubleError, match=words):
        remote.digest(at(0))
    assert len(archive.asked) == asked
    archive.always = None
    assert remote.read(at(0)) == archive.sent[0]


@pytest.mark.parametrize(
    "said",
    [
        "No data received from backend, try again later",
        "Error: no image server available",
        "no match for session cookie, please retry",
        "Field not set",
    ],
)
def test_words_of_trouble_are_no_lack_of_coverage(said: str) -> None:
    with pytest.raises(ArchiveTroubleError, match="did not send an image"):
        whole_fits(f"<html>{said}</html>".encode(), "archive")


@pytest.mark.parametrize(
    "said",
    [
        "Sorry, no image here.",
        "No data found at the requested position",
        "there is no coverage for this position",
        "This position has not been observed",
        "outside the survey",
    ],
)
def test_words_of_no_coverage_are_understood(said: str) -> None:
    with pytest.raises(NoCoverageError, match="no coverage by archive"):
        whole_fits(f"<html>{said}</html>".encode(), "archive")


def test_a_moved_archive_is_left_alone_after_some_sources(
    archive: Archive, tmp_path: Path
) -> None:
    archive.always = "missing"
    remote = provider(archive, tmp_path, concurrency=1)
    outcomes = list(remote.prefetch(at(number) for number in range(50)))
    assert all(isinstance(one, ArchiveTroubleError) for one in outcomes)
    assert len(archive.asked) == gate.TROUBLE_LIMIT


def test_a_service_never_waits_for_an_archive(archive: Archive, tmp_path: Path) -> None:
    """What was fetched is there at once, what was not is refused at once."""
    made = provider(archive, tmp_path)
    data = made.read(at(0))
    served = open_provider(made.location, fetch=False)
    asked = len(archive.asked)
    assert served.read(at(0)) == data
    with pytest.raises(CutoutUnavailableError, match="indexing again fetches it"):
        served.read(at(1))
    assert len(archive.asked) == asked


@given(
    st.one_of(
        st.binary(),
        st.tuples(
            st.sampled_from(
                [b"SIMPLE  = ", b"\x1f\x8b", b"<VOTABLE>", b"<![", b"<!--"]
            ),
            st.binary(),
        ).map(b"".join),
    )
)
@example(b"<VOTABLE></VOTABLE>")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_an_answer_or_an_error_of_ours(data: bytes) -> None:
    for read in (whole_fits, read_votable):
        with pytest.raises(CutoutUnavailableError, match="archive"):
            read(data, "archive")


def test_a_packed_page_is_trouble_and_a_packed_image_is_an_image() -> None:
    with pytest.raises(ArchiveTroubleError, match="neither FITS"):
        whole_fits(gzip.compress(b"<h1>Back soon</h1>"), "archive")
    packed = gzip.compress(fits_file(10, 10, 64))
    assert whole_fits(packed, "archive") == packed
    with pytest.raises(ArchiveTroubleError, match="ends early"):
        whole_fits(packed[:-9], "archive")


def test_a_header_may_promise_anything() -> None:
    sizes = {"BITPIX": 64, "NAXIS": 9} | {f"NAXIS{i}": 10**17 for i in range(1, 10)}
    cards = ["SIMPLE  =  T", *(f"{name:8}= {size}" for name, size in sizes.items())]
    header = "".join(card.ljust(80) for card in [*cards, "END"]).ljust(2880)
    with pytest.raises(ArchiveTroubleError, match="2880 bytes of a FITS file of at"):
        whole_fits(header.encode(), "archive")


def test_nobody_listening_is_trouble(tmp_path: Path) -> None:
    with serve_archive() as gone:
        pass
    with pytest.raises(ArchiveTroubleError, match=r"no connection to 127\.0\.0\.1"):
        provider(gone, tmp_path, attempts=2).read(at(0))


def test_a_silent_archive_is_given_up(archive: Archive, tmp_path: Path) -> None:
    archive.hold_from = 0
    with pytest.raises(ArchiveTroubleError, match="silent for too long"):
        provider(archive, tmp_path, attempts=1, read_s=0.1).read(at(0))


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_an_archive_is_left_alone_for_as_long_as_it_asks(
    archive: Archive, tmp_path: Path, form: str
) -> None:
    then = datetime.now(UTC) + timedelta(seconds=2)
    archive.retry_after = (
        "1" if form == "seconds" else format_datetime(then, usegmt=True)
    )
    archive.faults.append("busy")
    provider(archive, tmp_path).read(at(0))
    first, second = archive.asked
    if form == "seconds":
        assert second.at - first.at >= 1
    else:
        # A date has whole seconds.
        assert second.date >= then.replace(microsecond=0) - timedelta(milliseconds=5)


def test_who_asks_for_an_hour_is_not_asked_again_for_any_source(
    archive: Archive, tmp_path: Path
) -> None:
    archive.always, archive.retry_after = "busy", "3600"
    remote = provider(archive, tmp_path, attempts=5)
    for number in range(3):
        with pytest.raises(ArchiveTroubleError, match=r"429 .*not asked again for 3\d"):
            remote.read(at(number))
    assert len(archive.asked) == 1


@pytest.mark.parametrize("header", ["soon", "-5", "", "Wed, 99 Foo 2026"])
def test_a_retry_after_without_sense_is_passed_over(
    archive: Archive, tmp_path: Path, header: str
) -> None:
    archive.retry_after = header
    archive.faults.append("busy")
    assert provider(archive, tmp_path).read(at(0)) == archive.sent[0]


def test_a_dead_archive_is_left_alone_after_some_sources(
    archive: Archive, tmp_path: Path
) -> None:
    archive.always = "down"
    remote = provider(archive, tmp_path, attempts=5, concurrency=1)
    outcomes = list(remote.prefetch(at(number) for number in range(50)))
    assert all(isinstance(one, ArchiveTroubleError) for one in outcomes)
    assert "failed 20 times in a row" in str(outcomes[-1])
    assert len(archive.asked) == gate.TROUBLE_LIMIT


def test_a_redirect_to_another_host_needs_its_name(
    archive: Archive, tmp_path: Path
) -> None:
    archive.elsewhere = archive.url.replace("127.0.0.1", "localhost")
    archive.always = "redirect"
    with pytest.raises(ArchiveTroubleError, match=r"sent us on to 'localhost'"):
        provider(archive, tmp_path).read(at(0))
    assert len(archive.asked) == 1
    archive.always = None
    archive.faults.append("redirect")
    remote = provider(archive, tmp_path, hosts="localhost, example.org")
    assert remote.read(at(0)) == archive.sent[0]
    # The form is sent again, which 307 demands.
    assert archive.asked[-1].fields["Equinox"] == "J2000"
    assert archive.asked[-1].headers["Host"].startswith("localhost")


def test_redirects_in_a_circle_end(archive: Archive, tmp_path: Path) -> None:
    archive.always, archive.elsewhere = "redirect", archive.url
    with pytest.raises(ArchiveTroubleError, match="more than 5 times"):
        provider(archive, tmp_path).read(at(0))


def test_an_encrypted_way_is_never_left() -> None:
    client = PoliteClient(hosts=frozenset({"b.example"}))
    with pytest.raises(ArchiveTroubleError, match="from https to http"):
        client.ask(
            "http://b.example/x",
            lambda data, _host: data,
            sent_by="https://a.example/",
        )


def fetch_by_two(
    archive: Archive,
    tmp_path: Path,
    count: int,
    *,
    concurrency: int,
    rate_per_s: float = 1000,
) -> None:
    """Two providers of one archive, each in a thread and with threads of its own."""

    def fetch(name: str) -> None:
        remote = provider(
            archive, tmp_path / name, concurrency=concurrency, rate_per_s=rate_per_s
        )
        assert len(list(remote.prefetch(map(at, range(count))))) == count

    threads = [threading.Thread(target=fetch, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(archive.asked) == 2 * count


def test_requests_are_spaced_for_all_threads_and_providers_together(
    archive: Archive, tmp_path: Path
) -> None:
    fetch_by_two(archive, tmp_path, 5, rate_per_s=12, concurrency=8)
    times = sorted(one.at for one in archive.asked)
    # Nine gaps; on a busy machine the server notices the first of them late.
    assert times[-1] - times[0] >= 0.7 * 9 / 12


def test_no_more_requests_at_a_time_than_are_allowed(
    archive: Archive, tmp_path: Path
) -> None:
    archive.together = 3
    fetch_by_two(archive, tmp_path, 10, concurrency=3)
    assert archive.most == 3


def test_outcomes_come_in_order_and_failures_among_them(
    archive: Archive, tmp_path: Path
) -> None:
    remote = provider(archive, tmp_path, concurrency=4)
    sources = [at(n, dec=-75.0 if n % 3 == 0 else 5.0) for n in range(20)]
    outcomes = list(remote.prefetch(sources))
    for source, outcome in zip(sources, outcomes, strict=True):
        if isinstance(outcome, str):
            assert outcome == remote.digest(source)
        else:
            assert isinstance(outcome, NoCoverageError)
            assert source.dec == -75
    assert list(remote.prefetch([])) == []


def test_a_prefetch_that_is_left_asks_no_further(
    archive: Archive, tmp_path: Path
) -> None:
    outcomes = provider(archive, tmp_path).prefetch(map(at, range(1000)))
    assert isinstance(next(outcomes), str)
    outcomes.close()
    assert len(archive.asked) < 20


def test_the_same_position_is_fetched_once(archive: Archive, tmp_path: Path) -> None:
    remote = provider(archive, tmp_path, concurrency=8)
    near = [Source(f"S{n}", 10.0 + n * 1e-8, 5.0) for n in range(8)]
    assert len(set(remote.prefetch(near))) == 1
    assert len(archive.asked) == 1


@pytest.mark.parametrize("change", ["size_arcsec", "url", "kind"])
def test_another_size_or_archive_is_another_cutout(
    archive: Archive, tmp_path: Path, change: str
) -> None:
    provider(archive, tmp_path).read(at(0))
    match change:
        case "size_arcsec":
            provider(archive, tmp_path, size_arcsec=180).read(at(0))
        case "url":
            provider(archive, tmp_path, url=f"{archive.url}/firstcutout?v=2").read(
                at(0)
            )
        case _:
            provider(archive, tmp_path, "skyview").read(at(0))
    assert len(archive.asked) == 2


def test_another_pace_is_the_same_cutout(archive: Archive, tmp_path: Path) -> None:
    provider(archive, tmp_path).read(at(0))
    provider(archive, tmp_path, rate_per_s=50, attempts=2).read(at(0))
    assert len(archive.asked) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:100],
        lambda _data: b"",
        lambda data: data.replace(b"JY/BEAM", b"JY/BEEM"),
        lambda data: b"[" * 5000 + data,
        lambda data: b'{"sha256": 1, "fetched": "2026-01-01", "reason": 5}\n' + data,
        lambda data: data.replace(b"null", b'"No"', 1),
    ],
)
def test_a_damaged_cache_is_fetched_anew(
    archive: Archive, tmp_path: Path, damage: object
) -> None:
    assert callable(damage)
    provider(archive, tmp_path).read(at(0))
    (file,) = (path for path in tmp_path.glob("*/*") if path.name != ".lock")
    file.write_bytes(damage(file.read_bytes()))
    assert provider(archive, tmp_path).read(at(0)) == archive.sent[-1]
    assert len(archive.asked) == 2


def test_a_cache_that_cannot_be_used_is_said_so(
    archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    remote = provider(archive, tmp_path / "file")
    with pytest.raises(CutoutUnavailableError, match="folder of fetched cutouts"):
        remote.read(at(0))
    # No source's fault: the run ends instead of asking for all of them in vain.
    with pytest.raises(CutoutLocationError, match="cannot be used"):
        list(remote.prefetch([at(0)]))
    assert not archive.asked


def test_without_the_extra_what_is_cached_is_served_and_the_rest_says_what_is_missing(
    archive: Archive, tmp_path: Path
) -> None:
    place = location(archive, tmp_path)
    digest = open_remote(place).digest(at(0))
    script = f"import sys; sys.modules['httpx2'] = None{SCRIPT}"
    process = started(place, 2, script)
    printed, _ = process.communicate("go\n")
    kept, missing = printed.splitlines()
    assert kept == digest
    assert (
        missing == "httpx2 is needed to ask archives: pip install 'twinjet[archives]'"
    )


def test_two_processes_share_a_cache(archive: Archive, tmp_path: Path) -> None:
    place = location(archive, tmp_path)
    both = [started(place, 10) for _ in range(2)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    first, second = (process.communicate()[0] for process in both)
    assert first == second
    assert first.split() == [sha256(data).hexdigest() for data in _by_place(archive)]
    assert len(archive.asked) == 10


def _by_place(archive: Archive) -> list[bytes]:
    def ra(data: bytes) -> float:
        centre = read_cutout(data).centre()
        assert centre is not None
        return float(centre.ra.deg)

    return sorted(archive.sent, key=ra)


def test_a_killed_fetch_is_resumed(archive: Archive, tmp_path: Path) -> None:
    archive.hold_from = 4
    place = location(archive, tmp_path, concurrency=1)
    process = started(place, 8)
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    assert archive.held.wait(20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    archive.hold_from = None
    archive.released.set()
    outcomes = list(open_remote(place).prefetch(map(at, range(8))))
    assert all(isinstance(outcome, str) for outcome in outcomes)
    times = Counter(one.fields["RA"] for one in archive.asked)
    # Only what was under way when it was killed is asked for twice.
    assert sorted(times.values()) == [1] * 7 + [2]
    assert not list(tmp_path.glob("*/*.tmp"))


def test_an_index_is_built_from_an_archive_and_built_anew_without_it(
    archive: Archive, tmp_path: Path
) -> None:
    sources = [at(n, dec=-65.0 if n == 3 else 5.0) for n in range(8)]
    home = Home(tmp_path / "home")
    home.path.mkdir()
    engine = create_engine(home.database_url)
    upgrade(engine)
    store = SourceStore(engine)

    def built() -> Report:
        return build(
            make_catalogue("sky", sources, [], []),
            Workshop(
                home,
                store,
                small_encoder(views=1),
                provider(archive, tmp_path / "cache"),
            ),
            watcher=Quiet(),
        )

    try:
        first, second = built(), built()
    finally:
        store.close()
    assert first.published
    assert first.count == 7
    assert "no image here" in first.problems[0].reason
    assert not second.published
    assert len(archive.asked) == 8
    kept = open_generation(home.generations / "g000001").manifest.cutouts
    # Two are asked for at a time, so that the first may be sent second.
    data = open_remote(kept).read(at(0))
    assert data in archive.sent
    there = read_cutout(data).offset_of(at(0).ra, at(0).dec)
    assert there == pytest.approx((0, 0), abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_location_gives_the_same_provider_again(tmp_path: Path, kind: str) -> None:
    given = {
        "cache": str(tmp_path / "a&b c"),
        "url": "https://archive.example/q?x=1&y=%20",
        "size_arcsec": "123.456",
        "hosts": "a.example,b.example",
    }
    made = open_remote(f"{kind}:?{urlencode(given)}").location
    assert open_remote(made).location == made
    assert made.startswith(f"{kind}:?")


def test_defaults_are_the_live_archives(tmp_path: Path) -> None:
    made = open_remote(f"first:?cache={tmp_path}")
    assert made.location == f"first:?{urlencode({'cache': tmp_path})}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("vlass:?cache=/c", "no archive 'vlass'"),
        ("first:?", "cache: Field required"),
        ("first:?cache=/c&cache=/d", "'cache' stands more than once"),
        ("first:?cache=/c&size=3", "size: Extra inputs"),
        ("first:?cache=/c&size_arcsec=0", "size_arcsec: Input should be greater"),
        ("first:?cache=/c&size_arcsec=nan", "size_arcsec"),
        ("first:?cache=/c&url=ftp://x/", "url: String should match"),
        ("sia2:?cache=/c", "url: Field required"),
        ("first:?cache=/c&rate_per_s=0", "rate_per_s"),
    ],
)
def test_a_location_that_is_none_is_refused(place: str, words: str) -> None:
    with pytest.raises(CutoutLocationError, match=words.replace("?", r"\?")):
        open_remote(place)


def test_defaults_of_both_places_agree() -> None:
    polite = Politeness()
    for name in Politeness.__dataclass_fields__.keys() & KINDS["first"].model_fields:
        assert KINDS["first"].model_fields[name].default == getattr(polite, name)


def test_the_cache_says_what_it_holds(archive: Archive, tmp_path: Path) -> None:
    provider(archive, tmp_path).read(at(0))
    (file,) = (path for path in tmp_path.glob("*/*") if path.name != ".lock")
    assert file.parent.name == file.name[:2]
    line, _, data = file.read_bytes().partition(b"\n")
    assert json.loads(line)["sha256"] == sha256(data).hexdigest()
    assert data == archive.sent[0]
