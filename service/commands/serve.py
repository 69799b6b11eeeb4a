"""``twinjet serve``, and ``twinjet up`` which first makes what there is to serve."""

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote

import click
import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG

from twinjet.index.errors import DatabaseDamagedError
from twinjet.index.jobs.request import ReindexRequest
from twinjet.service.allocator import keep_libraries
from twinjet.service.commands.following import index_catalogue
from twinjet.service.commands.options import (
    HOME,
    PIXEL_SCALE,
    errors,
    store_of,
)
from twinjet.service.config import Config, configured
from twinjet.service.processes import APPLICATION, STARTING_S, serve_by_many
from twinjet.service.protocol import PatientProtocol
from twinjet.service.workers import Workers

# Of the demonstration; indexed in about a minute on two cores.
_SIMULATED = 2000

# Running requests get so long at the end, after the time that the service says so.
_GRACE_S = 18

_HOST = click.option("--host", help="Address [TWINJET_HOST].")
_PORT = click.option(
    "--port", type=click.IntRange(0, 65535), help="Port [TWINJET_PORT]."
)
_PROCESSES = click.option(
    "--processes",
    type=click.IntRange(1, 256),
    help="Processes that answer, on one port [TWINJET_PROCESSES].",
)


@click.command()
@HOME
@_HOST
@_PORT
@_PROCESSES
def serve(
    home: Path | None, host: str | None, port: int | None, processes: int | None
) -> None:
    """Serve the index: the page at /, the API beside it, and a worker for jobs."""
    options = _given(home=home, host=host, port=port, processes=processes)
    config = configured(**options)
    try:
        store_of(config).close()  # what is wrong with it is one line here
    except DatabaseDamagedError as exc:
        # Servers say so to everybody who asks; there is nothing to work on.
        errors.print(f"twinjet: {exc}")
        config = config.model_copy(update={"workers": 0})
    _serve(config, options)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of cutouts; a simulated sky is made when absent.",
)
@PIXEL_SCALE
@HOME
@_HOST
@_PORT
@_PROCESSES
def up(
    data: Path | None,
    pixel_scale: float | None,
    home: Path | None,
    host: str | None,
    port: int | None,
    processes: int | None,
) -> None:
    """Make or find data, index it, serve it: everything on one machine."""
    options = _given(home=home, host=host, port=port, processes=processes)
    config = configured(**options)
    folder = data
    if folder is None:
        started = time.monotonic()
        folder = _simulated_sky(config)
        _say("data", started)
    started = time.monotonic()
    request = ReindexRequest(
        cutouts=str(folder.absolute()), pixel_scale_arcsec=pixel_scale
    )
    report = index_catalogue(config, request.read(), request)
    _say(f"index ({report['count']} sources)", started)
    started = time.monotonic()
    _serve(config, options, lambda root: _greet(root, started))


@contextmanager
def _workers(config: Config) -> Iterator[None]:
    """The workers of this server, as long as it runs."""
    workers = Workers(config.workers, config.home, os.environ)
    workers.start()
    try:
        yield
    finally:
        workers.stop()


def _simulated_sky(config: Config) -> Path:
    # Here, for a server of real data needs no simulation.
    from twinjet.model.simulate import simulate_sky  # noqa: PLC0415

    folder = config.home / "simulated"
    simulate_sky(folder, _SIMULATED)
    return folder


def _given(**options: Any) -> Mapping[str, Any]:
    """Options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def _serve(
    config: Config,
    options: Mapping[str, Any],
    greet: Callable[[str], None] | None = None,
) -> None:
    """Serve until told to end, with workers; greet with the address once it answers."""
    if config.anonymous is None and _is_loopback(config.host):
        options = {**options, "anonymous": "ingest"}
        config = config.model_copy(update={"anonymous": "ingest"})
    if config.processes == 1:
        # Here, for the first of several processes needs neither.
        from twinjet.service.app import create_app  # noqa: PLC0415
        from twinjet.service.encoders import check_encoder  # noqa: PLC0415

        check_encoder(config)
        server = _settings(config, create_app(config))
        keep_libraries()
    else:
        server = _settings(config)
    with _workers(config), closing(server.bind_socket()) as listener:
        if greet is not None:
            host, port = listener.getsockname()[:2]
            root = f"http://{host}:{port}"
            threading.Thread(target=greet, args=(root,), daemon=True).start()
        if config.processes == 1:
            uvicorn.Server(server).run([listener])
        else:
            serve_by_many(server, listener, config, options)


def _settings(config: Config, app: FastAPI | None = None) -> uvicorn.Config:
    """Of uvicorn; without an application each of several processes makes its own."""
    return uvicorn.Config(
        app or APPLICATION,
        factory=app is None,
        workers=config.processes,
        timeout_worker_healthcheck=STARTING_S,
        host=config.host,
        port=config.port,
        root_path=config.root_path,
        http=PatientProtocol,
        # There are none: who asks to change to one is answered as anybody.
        ws="none",
        # With so many uvicorn refuses what they ask, and we one that is new.
        limit_concurrency=config.connections + 1,
        timeout_keep_alive=config.keep_alive_s,
        timeout_graceful_shutdown=_GRACE_S,
        # Else it would believe whoever comes from this machine.
        proxy_headers=False,
        log_level="warning" if app else "info",
        access_log=False,
        log_config=LOGGING_CONFIG if config.log_format == "text" else None,
    )


def _is_loopback(host: str) -> bool:
    """Whether nobody but this machine comes to an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _greet(root: str, started: float) -> None:
    """Ask the first question, as a user would, and say what to try."""
    while True:
        with suppress(URLError):
            _get(f"{root}/livez")
            break
        time.sleep(0.02)
    _say("start", started)
    started = time.monotonic()
    first = _get(f"{root}/sources?limit=1")["sources"][0]["source"]
    name = quote(first["source_id"], safe="")
    _get(f"{root}/similar/{name}")
    _say("first answer of /similar", started)
    errors.print(
        f"\nTwinjet serves {root}\n"
        f"  {root}/                      the page\n"
        f"  {root}/docs                  the API, to try\n"
        f'  curl "{root}/similar/{name}?k=5"\n'
        f'  curl "{root}/similar?ra={first["ra"]}&dec={first["dec"]}"\n'
        f'  curl -F file=@cutout.fits "{root}/similar"\n',
        soft_wrap=True,
    )


def _get(url: str) -> dict[str, list[dict[str, dict[str, str]]]]:
    # The address is our own server's.
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310  # nosec B310
        answer: dict[str, list[dict[str, dict[str, str]]]] = json.load(response)
        return answer


def _say(stage: str, started: float) -> None:
    errors.print(f"{stage} {time.monotonic() - started:.2f} s")
