"""``twinjet serve``, and ``twinjet up`` which first makes what there is to serve."""

import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

import click
import uvicorn
from uvicorn.config import LOGGING_CONFIG

from twinjet.index.errors import DatabaseDamagedError
from twinjet.index.jobs.request import ReindexRequest
from twinjet.service.app import create_app
from twinjet.service.commands.following import index_catalogue
from twinjet.service.commands.options import (
    HOME,
    PIXEL_SCALE,
    config_of,
    errors,
    store_of,
)
from twinjet.service.config import Config
from twinjet.service.workers import Workers

# Of the demonstration; indexed in about a minute on two cores.
_SIMULATED = 2000

# Running requests get so long at the end.
_GRACE_S = 20

_HOST = click.option("--host", help="Address [TWINJET_HOST].")
_PORT = click.option(
    "--port", type=click.IntRange(0, 65535), help="Port [TWINJET_PORT]."
)


@click.command()
@HOME
@_HOST
@_PORT
def serve(home: Path | None, host: str | None, port: int | None) -> None:
    """Serve the index: the page at /, the API beside it, and a worker for jobs."""
    config = config_of(home, host=host, port=port)
    try:
        store_of(config).close()  # what is wrong with it is one line here
    except DatabaseDamagedError as exc:
        # Servers say so to everybody who asks; there is nothing to work on.
        errors.print(f"twinjet: {exc}", markup=False)
        config = config.model_copy(update={"workers": 0})
    with _workers(config):
        _server(config).run()


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
def up(
    data: Path | None,
    pixel_scale: float | None,
    home: Path | None,
    host: str | None,
    port: int | None,
) -> None:
    """Make or find data, index it, serve it: everything on one machine."""
    config = config_of(home, host=host, port=port)
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
    server = _server(config)
    greeter = threading.Thread(target=_greet, args=(server, started), daemon=True)
    greeter.start()
    with _workers(config):
        server.run()


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


def _server(config: Config) -> uvicorn.Server:
    if config.anonymous is None and _is_loopback(config.host):
        config = config.model_copy(update={"anonymous": "ingest"})
    return uvicorn.Server(
        uvicorn.Config(
            create_app(config),
            host=config.host,
            port=config.port,
            root_path=config.root_path,
            timeout_graceful_shutdown=_GRACE_S,
            # Else it would believe whoever comes from this machine.
            proxy_headers=False,
            log_level="warning",
            log_config=LOGGING_CONFIG if config.log_format == "text" else None,
        )
    )


def _is_loopback(host: str) -> bool:
    """Whether nobody but this machine comes to an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _greet(server: uvicorn.Server, started: float) -> None:
    """Ask the first question, as a user would, and say what to try."""
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.02)
    _say("start", started)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    root = f"http://{host}:{port}"
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
        markup=False,
        soft_wrap=True,
    )


def _get(url: str) -> dict[str, list[dict[str, dict[str, str]]]]:
    # The address is our own server's.
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310
        answer: dict[str, list[dict[str, dict[str, str]]]] = json.load(response)
        return answer


def _say(stage: str, started: float) -> None:
    errors.print(f"{stage} {time.monotonic() - started:.2f} s")
