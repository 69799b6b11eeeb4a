"""Decoders: what a file may do to one, and that it costs that file alone."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from shutil import which

import numpy as np
import odd_decoder
import pytest
from decoders import (
    ODD,
    after,
    assert_as_in_this_process,
    decode,
    failure,
    is_alive,
    odd,
    pid,
    until,
    with_decoders,
)
from oddities import plain
from serving import wait_until

from twinjet.model.errors import CutoutError, MalformedFitsError
from twinjet.service.decoding.pool import Decoders
from twinjet.service.decoding.replies import Decoded
from twinjet.service.decoding.sandbox import IMAGE
from twinjet.service.errors import DecodeFailedError, OverloadedError


def test_a_file_is_decoded_as_in_this_process() -> None:
    assert_as_in_this_process(with_decoders(lambda d: decode(d, plain())))


def test_a_refusal_has_its_members() -> None:
    error = with_decoders(lambda d: failure(d, plain(np.ones((20, 8), "f4"))))
    assert type(error).__name__ == "ImageTooSmallError"
    assert (error.limit, error.actual) == (16, 8)
    assert "8 x 20" in str(error)


def test_a_refusal_replaces_nobody() -> None:
    async def use(decoders: Decoders[Decoded]) -> tuple[int, int]:
        before = await pid(decoders)
        await failure(decoders, b"SIMPLE")
        return before, await pid(decoders)

    before, now = with_decoders(use)
    assert before == now


def test_processor_time_is_limited() -> None:
    error = after("burn", wall_s=60.0)  # on a busy machine 5 s may take longer
    assert (error.limit, "5 s of processor time" in str(error)) == (5, True)


def test_the_time_by_the_wall_is_limited() -> None:
    error = after("wait", wall_s=2.0)
    assert (error.limit, "more than 2 s" in str(error)) == (2.0, True)


def test_memory_is_limited() -> None:
    error = after("allocate")
    assert (error.limit, "256 MiB" in str(error)) == (IMAGE.room_bytes, True)


@pytest.mark.parametrize(
    ("deed", "cause"),
    [
        ("raise", "ZeroDivisionError"),
        ("end", "status 7"),
        ("crash", "SIGSEGV"),
        ("close", "SIGKILL"),
    ],
)
def test_a_decoder_that_comes_to_grief_is_replaced(deed: str, cause: str) -> None:
    error = after(deed)
    assert cause in error.cause
    assert "bytes of the file" not in error.cause
    assert error.limit is None


@pytest.mark.parametrize("lie", odd_decoder.LIES)
def test_a_reply_that_makes_no_sense_is_not_believed(lie: str) -> None:
    error = after(lie)
    assert "of no sense" in error.cause
    assert not Path("/tmp/odd").exists()  # noqa: S108


def test_the_others_go_on_when_one_comes_to_grief() -> None:
    async def use(decoders: Decoders[Decoded]) -> None:
        stuck = asyncio.create_task(failure(decoders, b"wait"))
        for _ in range(3):
            assert_as_in_this_process(await decode(decoders, plain()))
        assert not stuck.done()
        assert isinstance(await stuck, DecodeFailedError)

    with_decoders(use, count=2, wall_s=5.0)


def test_one_that_is_killed_at_its_work_costs_that_file() -> None:
    async def use(decoders: Decoders[Decoded]) -> CutoutError:
        process = await pid(decoders)
        error = asyncio.create_task(failure(decoders, b"wait"))
        await until(lambda: bool(decoders._at_work))
        os.kill(process, signal.SIGKILL)
        assert_as_in_this_process(await decode(decoders, plain()))
        return await error

    error = with_decoders(use)
    assert isinstance(error, DecodeFailedError)
    assert "SIGKILL" in error.cause


def test_one_that_is_being_ended_is_ended_when_nobody_waits_for_it() -> None:
    async def use(decoders: Decoders[Decoded]) -> subprocess.Popen[bytes]:
        decoder = await decoders.next_free()
        ending = asyncio.create_task(decoder.end(0.5))
        await asyncio.sleep(0.1)
        ending.cancel()
        return decoder._process

    # Its exit status was asked for: without that it stays among the processes.
    assert with_decoders(use).returncode == -signal.SIGKILL


def test_one_that_dies_while_it_waits_costs_no_file() -> None:
    async def use(decoders: Decoders[Decoded]) -> Decoded:
        await decode(decoders, plain())
        decoder = await decoders.next_free()
        decoders._free.put_nowait(decoder)
        os.kill(decoder._process.pid, signal.SIGKILL)
        await decoder.ended()
        return await decode(decoders, plain())

    assert_as_in_this_process(with_decoders(use))


def test_a_file_whose_client_has_gone_is_finished_and_the_decoder_is_kept() -> None:
    async def use(decoders: Decoders[Decoded]) -> tuple[int, int]:
        before = await pid(decoders)
        work = asyncio.create_task(decode(decoders, plain()))
        await until(lambda: bool(decoders._at_work))
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await decode(decoders, plain())
        return before, await pid(decoders)

    before, now = with_decoders(use)
    assert before == now


def test_none_that_can_be_started_is_said_at_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def use(decoders: Decoders[Decoded]) -> None:
        await until(lambda: decoders._retry_at is not None)
        with pytest.raises(OverloadedError) as caught:
            decoders.check()
        assert caught.value.headers is not None
        assert int(caught.value.headers["Retry-After"]) >= 1
        decoders._trade = odd()  # the machine has room again
        assert_as_in_this_process(await decode(decoders, plain()))
        decoders.check()

    with_decoders(use, program=(*ODD, "--never"))
    with_decoders(use, program=("/nowhere/python",))
    assert "it ended with status 3" in caplog.text
    assert "No such file" in caplog.text


def test_closing_ends_those_at_work_too() -> None:
    pids = []

    async def use(decoders: Decoders[Decoded]) -> None:
        pids.append(await pid(decoders))
        work = asyncio.create_task(decode(decoders, b"wait"))
        await until(lambda: bool(decoders._at_work))
        await decoders.close()
        with pytest.raises(asyncio.CancelledError):
            await work

    with_decoders(use)
    assert not is_alive(pids[0])


_PARENT = """
import asyncio, sys
from twinjet.service.app import create_app
from twinjet.service.config import Config
from dataclasses import replace
from twinjet.service.decoding.pool import Decoders
from twinjet.service.decoding.trades import IMAGES

async def main():
    decoders = Decoders(1, replace(IMAGES, program=sys.argv[1:]))
    decoders.start()
    decoder = await decoders.next_free()
    print(decoder._process.pid, flush=True)
    await decoder._send({}, b"wait")
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_decoder_ends_with_the_service_whatever_ends_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, *ODD], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    # It is at work and does not look at its line: the kernel ends it.
    wait_until(lambda: not is_alive(child))


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is of Linux")
def test_it_has_no_network_no_files_no_processes_and_no_signals() -> None:
    error = with_decoders(lambda d: failure(d, b"reach out"))
    assert isinstance(error, MalformedFitsError)
    assert json.loads(str(error)) == []


_CONFINED = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[1])
import test_decoding as tests
try:
    pathlib.Path("/written").touch()
except OSError as exc:
    print(exc.strerror)
print(*[line for line in open("/proc/self/status") if line.startswith("CapEff")])
tests.test_a_file_is_decoded_as_in_this_process()
tests.test_memory_is_limited()
tests.test_it_has_no_network_no_files_no_processes_and_no_signals()
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not (which("unshare") and which("setpriv")),
    reason="takes root, unshare and setpriv",
)
def test_it_works_on_a_read_only_root_without_capabilities(
    pytestconfig: pytest.Config,
) -> None:
    bare = "exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs"
    script = f'mount -o remount,bind,ro / && {bare} "$@"'
    support = pytestconfig.rootpath / "tests/support"
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", script, "sh"),
            *(sys.executable, "-c", _CONFINED, Path(__file__).parent),
        ],
        env=os.environ | {"PYTHONPATH": str(support), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Read-only file system" in done.stdout
    assert re.search(r"CapEff:\s+0+\n", done.stdout)


def test_it_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINJET_ADMIN_KEY", "0123456789abcdef")
    monkeypatch.setenv("TWINJET_DATABASE_URL", "postgresql://user:password@host/")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "0123456789abcdef")
    error = with_decoders(lambda d: failure(d, b"environment"))
    names = str(error).split()
    assert "PATH" in names
    assert not [n for n in names if re.search("TWINJET|AWS|KEY|SECRET|URL", n)]


def test_interrupts_are_the_services_and_its_share_of_the_processor_theirs() -> None:
    async def use(decoders: Decoders[Decoded]) -> tuple[int, int, int]:
        number = await pid(decoders)
        return number, os.getpgid(number), os.getsid(number)

    number, group, session = with_decoders(use)
    # A terminal interrupts a group; a scheduler shares a core out among sessions.
    assert (group, session) == (number, os.getsid(0))


@pytest.mark.parametrize("trade", ["images", "tables"])
def test_it_loads_neither_torch_nor_what_serves(trade: str) -> None:
    program = f"import sys, twinjet.service.decoding.{trade}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    strangers = {"torch", "faiss", "sqlalchemy", "fastapi", "starlette", "pydantic"}
    assert "astropy" in loaded
    assert not loaded & strangers
