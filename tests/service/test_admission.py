"""So many requests are computed at a time; the rest waits a little, or is refused."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi.responses import StreamingResponse
from problems import assert_problem
from serving import Running, read_answer, running, wait_until

from twinjet.service import admission
from twinjet.service.admission import Line
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.errors import OverloadedError
from twinjet.service.scopes import READ

_LONG_S = 60.0


class Held:
    """Requests that are answered when they are let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = threading.Event()

    def wait(self) -> dict[str, str]:
        self.begun += 1
        assert self.go_on.wait(_LONG_S)
        return {}


@contextmanager
def service(
    config: Config, *, places: int = 1, wait_s: float = 0.05
) -> Iterator[tuple[Running, Held]]:
    app = create_app(config.model_copy(update={"reads": places, "read_wait_s": wait_s}))
    held = Held()
    app.get("/held", dependencies=[READ])(held.wait)
    app.post("/held", dependencies=[READ])(held.wait)

    @app.get("/streamed", dependencies=[READ])
    def streamed() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"first"
            held.wait()

        return StreamingResponse(parts())

    with running(app) as served:
        try:
            yield served, held
        finally:
            held.go_on.set()


def get(served: Running, path: str = "/similar/T100%2B003") -> httpx.Response:
    return httpx.get(served.url + path, timeout=_LONG_S)


def batch(served: Running) -> httpx.Response:
    asked = {"ids": ["T100+003"]}
    return httpx.post(f"{served.url}/similar/batch", json=asked, timeout=_LONG_S)


def test_without_a_place_a_request_is_refused_and_others_go_on(
    config: Config, sky: Path
) -> None:
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        first = clients.submit(get, served, "/held")
        wait_until(lambda: held.begun == 1)
        with served.connection() as client:
            for _ in range(3):
                client.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
                status, headers, problem = read_answer(client)
                assert (status, problem["type"]) == (503, "/problems/overloaded")
                assert (problem["limit"], problem["actual"]) == (1, 1)
                assert int(headers["retry-after"]) >= 1
                assert problem["request_id"] == headers["x-request-id"]
            # By the same connection: what says how the service is.
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_answer(client)[0] == 200
        for path in ("/readyz", "/metrics", "/static/style.css"):
            assert get(served, path).status_code in {200, 404}
        assert batch(served).status_code == 200
        cutout = {"file": (sky / "T003.fits").read_bytes()}
        upload = httpx.post(f"{served.url}/similar", files=cutout, timeout=_LONG_S)
        assert upload.status_code == 200
        held.go_on.set()
        assert first.result().status_code == 200
        assert get(served).status_code == 200


def test_bodies_have_a_line_of_their_own_and_uploads_a_third_one(
    config: Config, sky: Path
) -> None:
    cutout = {"file": (sky / "T003.fits").read_bytes()}
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        first = clients.submit(httpx.post, f"{served.url}/held", timeout=_LONG_S)
        wait_until(lambda: held.begun == 1)
        assert_problem(batch(served), 503, "overloaded")
        assert get(served).status_code == 200
        for path in ("/similar", "/embeddings"):
            upload = httpx.post(served.url + path, files=cutout, timeout=_LONG_S)
            assert upload.status_code == 200
        held.go_on.set()
        assert first.result().status_code == 200
        assert batch(served).status_code == 200


def test_a_table_that_is_sent_has_a_place_too(config: Config) -> None:
    table = {"file": ("t.csv", "source_id\nT100+003\n")}
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        url = f"{served.url}/similar/batch"
        assert httpx.post(url, files=table, timeout=_LONG_S).status_code == 200
        first = clients.submit(httpx.post, f"{served.url}/held", timeout=_LONG_S)
        wait_until(lambda: held.begun == 1)
        answer = httpx.post(url, files=table, timeout=_LONG_S)
        assert_problem(answer, 503, "overloaded")
        held.go_on.set()
        assert first.result().status_code == 200


def test_who_is_refused_anyway_takes_no_place(config: Config) -> None:
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        first = clients.submit(get, served, "/held")
        wait_until(lambda: held.begun == 1)
        wrong = {"Authorization": "Bearer of nothing"}
        answer = httpx.get(f"{served.url}/held", headers=wrong, timeout=_LONG_S)
        assert_problem(answer, 401, "unauthorized")
        held.go_on.set()
        assert first.result().status_code == 200


def test_a_burst_waits_for_its_turn(config: Config) -> None:
    with (
        service(config, wait_s=_LONG_S) as (served, held),
        ThreadPoolExecutor(8) as clients,
    ):
        all_of_them = [clients.submit(get, served, "/held") for _ in range(8)]
        wait_until(lambda: held.begun == 1)
        held.go_on.set()
        assert [one.result().status_code for one in all_of_them] == [200] * 8


def test_an_answer_that_has_begun_has_no_place(config: Config) -> None:
    with service(config) as (served, held), served.connection() as client:
        client.sendall(b"GET /streamed HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: held.begun == 1)
        assert get(served).status_code == 200


def test_a_body_that_is_still_to_come_has_no_place(config: Config) -> None:
    with service(config) as (served, _), served.connection() as client:
        client.sendall(
            b"POST /similar/batch HTTP/1.1\r\nHost: a\r\nContent-Length: 22\r\n"
            b"Content-Type: application/json\r\n\r\n"
        )
        assert batch(served).status_code == 200
        client.sendall(b'{"ids": ["T100+003"] }')
        assert read_answer(client)[0] == 200
        assert batch(served).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_claims_a_body_that_nobody_takes_waits_for_a_place_too(
    config: Config, method: str
) -> None:
    paths = {
        "GET": ["/held", "/similar/T100%2B003"],
        "POST": ["/held"],
        "DELETE": ["/lists/none"],
    }
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        kind = "GET" if method == "GET" else "POST"
        first = clients.submit(
            httpx.request, kind, f"{served.url}/held", timeout=_LONG_S
        )
        wait_until(lambda: held.begun == 1)
        for path in paths[method]:
            refused = httpx.request(method, served.url + path, content=b"x", timeout=5)
            assert_problem(refused, 503, "overloaded")
        held.go_on.set()
        assert first.result().status_code == 200


def test_a_form_of_ids_alone_and_a_read_that_is_called_a_form_have_places_too(
    config: Config,
) -> None:
    url, form = "/similar", {"Content-Type": "multipart/form-data; boundary=a"}
    ids = {"like": (None, "T100+003")}
    with service(config) as (served, held), ThreadPoolExecutor(2) as clients:
        asked = httpx.post(served.url + url, files=ids, timeout=_LONG_S)
        assert asked.status_code == 200
        for kind in ("GET", "POST"):
            clients.submit(httpx.request, kind, f"{served.url}/held", timeout=_LONG_S)
        wait_until(lambda: held.begun == 2)
        asked = httpx.post(served.url + url, files=ids, timeout=_LONG_S)
        assert_problem(asked, 503, "overloaded")
        read = f"{served.url}/similar/T100%2B003"
        assert_problem(httpx.get(read, headers=form), 503, "overloaded")
        held.go_on.set()


def test_waiting_for_a_turn_is_part_of_the_time(config: Config) -> None:
    with (
        service(config, wait_s=_LONG_S) as (served, held),
        ThreadPoolExecutor(2) as clients,
    ):
        clients.submit(get, served, "/held")
        wait_until(lambda: held.begun == 1)
        waits = clients.submit(get, served)
        time.sleep(0.2)
        held.go_on.set()
        timing = waits.result().headers["server-timing"]
        parts = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
        assert float(parts["queue"]) > 0


def test_a_failed_request_gives_its_place_back(config: Config) -> None:
    with service(config) as (served, _):
        for _ in range(3):
            assert_problem(get(served, "/similar/nobody"), 404, "unknown-source")
            assert get(served, "/nowhere").status_code == 404
            assert get(served).status_code == 200


def test_at_many_times_capacity_each_is_answered_or_refused(config: Config) -> None:
    with service(config, places=2) as (served, held):
        with httpx.Client(base_url=served.url, timeout=_LONG_S) as client:

            def ask(number: int) -> httpx.Response:
                return client.get(f"/similar/T100%2B{number % 40:03d}")

            with ThreadPoolExecutor(32) as clients:
                two = [clients.submit(get, served, "/held") for _ in range(2)]
                wait_until(lambda: held.begun == 2)
                refused = list(clients.map(ask, range(64)))
                held.go_on.set()
                assert {one.result().status_code for one in two} == {200}
                answers = list(clients.map(ask, range(400)))
        for answer in refused:
            assert_problem(answer, 503, "overloaded")
        assert {one.status_code for one in answers} <= {200, 503}
        for number, answer in enumerate(answers):
            if answer.status_code == 200:
                asked = answer.json()["query"]["source"]["source_id"]
                assert asked == f"T100+{number % 40:03d}"
        assert get(served).status_code == 200


def test_refusals_are_summed_up_in_the_log(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        clients.submit(get, served, "/held")
        wait_until(lambda: held.begun == 1)
        for _ in range(10):
            assert get(served).status_code == 503
        held.go_on.set()
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len([one for one in warnings if "refused" in one.getMessage()]) == 1
    assert not any("GET" in one.getMessage() for one in warnings)


def test_who_waits_for_a_place_has_sent_its_body(config: Config) -> None:
    """It came in time; that it is not answered soon is no fault of its client's."""
    asked = b'{"ids": ["T100+003"]}'
    head = (
        b"POST /similar/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(asked)
    )
    slow = config.model_copy(update={"body_stall_s": 0.5})
    with (
        service(slow, wait_s=_LONG_S) as (served, held),
        ThreadPoolExecutor(1) as clients,
        served.connection() as client,
    ):
        first = clients.submit(httpx.post, f"{served.url}/held", timeout=_LONG_S)
        wait_until(lambda: held.begun == 1)
        client.sendall(head + asked)
        time.sleep(1)  # twice as long as a body may stall
        held.go_on.set()
        assert read_answer(client)[0] == 200
        assert first.result().status_code == 200


def test_a_turn_that_falls_to_one_who_has_just_gone_is_the_next_ones() -> None:
    async def main() -> tuple[int, int]:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        gone, other = (asyncio.create_task(line.take()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        line.leave()  # before the other task knows
        with pytest.raises(asyncio.CancelledError):
            await gone
        await other
        held = line.taken
        line.leave()
        return held, line.taken

    assert asyncio.run(main()) == (1, 0)


def test_turns_are_given_in_order() -> None:
    async def main() -> list[int]:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        served: list[int] = []

        async def one(number: int) -> None:
            await line.take()
            served.append(number)
            line.leave()

        waiting = [asyncio.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert line.waiting == 5
        line.leave()
        await asyncio.gather(*waiting)
        assert (line.taken, line.waiting) == (0, 0)
        return served

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


class Clock:
    """What `Line` looks at, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


async def filled(line: Line) -> list[asyncio.Task[None]]:
    """As many as may wait, besides those that do."""
    waiting: list[asyncio.Task[None]] = []
    while True:
        task = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        if task.done():
            assert isinstance(task.exception(), OverloadedError)
            return waiting
        waiting.append(task)


async def turns(line: Line, clock: Clock, *, each_s: float, number: int) -> None:
    """So many, at equal distances; whoever had one is followed by another."""
    for _ in range(number):
        clock.now += each_s
        follower = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        line.leave()
        await asyncio.sleep(0)
        assert not follower.done()


@pytest.mark.parametrize("places", [1, 3])
def test_nobody_waits_who_would_have_no_turn_in_time(
    monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    monkeypatch.setattr(admission, "time", clock := Clock())

    async def main() -> tuple[int, int]:
        line = Line(places, wait_s=_LONG_S)
        for _ in range(places):
            await line.take()
        tasks = await filled(line)
        unknown = len(tasks)
        for one in tasks[1:]:
            one.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        # Ten seconds between two turns: six of them in the minute that one may wait.
        await turns(line, clock, each_s=10, number=5)
        await filled(line)
        return unknown, line.waiting

    assert asyncio.run(main()) == (16 * places, 6)


@pytest.mark.parametrize(("idle_s", "room"), [(2, 6), (3600, 16)])
def test_a_line_that_has_been_empty_has_room_again_and_forgets(
    monkeypatch: pytest.MonkeyPatch, idle_s: float, room: int
) -> None:
    monkeypatch.setattr(admission, "time", clock := Clock())
    monkeypatch.setattr(admission, "_OF_A_BROWSER", 1)

    async def main() -> int:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        first = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        await turns(line, clock, each_s=10, number=6)
        clock.now += 10
        # More than one would wait for longer than is of use to anybody.
        assert (line.waiting, await filled(line)) == (1, [])
        line.leave()
        assert first.done()
        assert line.waiting == 0
        # What there was no turn in does not count as time between two.
        clock.now += idle_s
        return len(await filled(line))

    assert asyncio.run(main()) == room


def test_a_line_that_is_kept_short_stays_so_though_it_empties_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "time", clock := Clock())
    monkeypatch.setattr(admission, "_OF_A_BROWSER", 1)

    async def main() -> list[int]:
        line = Line(1, wait_s=60)
        await line.take()
        waiting = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        await turns(line, clock, each_s=10, number=6)
        clock.now += 10
        room = []
        for pause_s in (0.01, 0.01, 1.0):
            line.leave()
            await asyncio.sleep(0)
            assert line.waiting == 0
            clock.now += pause_s
            room.append(len(await filled(line)))
            for _ in range(room[-1] - 1):
                line.leave()
                await asyncio.sleep(0)
        await waiting
        return room

    *short, after_a_second = asyncio.run(main())
    assert short == [1, 1]
    assert after_a_second >= 6


@pytest.mark.parametrize("places", [1, 2, 8])
def test_six_connections_are_never_refused_however_long_they_ask(
    monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    monkeypatch.setattr(admission, "time", clock := Clock())

    async def main() -> None:
        line = Line(places, wait_s=0.25)

        async def ask(number: int) -> None:
            for _ in range(20):
                await line.take()
                clock.now += 0.1 + number / 1000
                await asyncio.sleep(0)
                line.leave()

        await asyncio.gather(*map(ask, range(6)))
        assert (line.taken, line.waiting) == (0, 0)

    asyncio.run(main())


def test_requests_that_never_wait_make_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "time", clock := Clock())

    async def main() -> int:
        line = Line(1, wait_s=1)
        for _ in range(1000):
            await line.take()
            clock.now += 0.004
            line.leave()
            clock.now += 0.004
        await line.take()
        return len(await filled(line))

    assert asyncio.run(main()) == 16


def test_a_line_has_an_end() -> None:
    async def main() -> None:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        waiting = []
        while True:
            task = asyncio.create_task(line.take())
            await asyncio.sleep(0)
            if task.done():
                break
            waiting.append(task)
        with pytest.raises(OverloadedError) as refused:
            task.result()
        assert refused.value.actual == 1 + len(waiting) == 1 + line.waiting
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        line.leave()
        assert (line.taken, line.waiting) == (0, 0)

    asyncio.run(main())


def test_a_place_given_to_one_who_is_cancelled_goes_to_the_next() -> None:
    async def main() -> None:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        gone, next_one = (asyncio.create_task(line.take()) for _ in range(2))
        await asyncio.sleep(0)
        line.leave()  # to the first, which is cancelled before it knows
        gone.cancel()
        await next_one
        assert gone.cancelled()
        line.leave()
        assert (line.taken, line.waiting) == (0, 0)

    asyncio.run(main())
