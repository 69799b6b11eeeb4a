"""``twinjet worker``: takes jobs and their shards from the queues."""

import logging
import os
import signal
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import click
import torch

from twinjet.index.jobs.worker import Worker
from twinjet.service import logs
from twinjet.service.commands.options import (
    HOME,
    config_of,
    engine_of,
    errors,
    store_of,
)
from twinjet.service.config import Config
from twinjet.service.encoders import encoder_of
from twinjet.service.workers import Workers

_log = logging.getLogger(__name__)

# A shard that is under way may end, so long, when the worker is asked to stop.
_GRACE_S = 60

# Beside a server that answers people.
_NICE = 10


@click.command()
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Shards that are made at a time on this machine, by a process each.",
)
@click.option(
    "--device", default="cpu", show_default=True, help="cpu, cuda, or cuda:1 and so on."
)
@click.option("--with-parent", is_flag=True, hidden=True)
@HOME
def worker(processes: int, device: str, with_parent: bool, home: Path | None) -> None:
    """Do jobs, until it is stopped.

    Any number of workers, on any machines that see the same home and the same
    PostgreSQL (TWINJET_DATABASE_URL), share the shards of a job. One that dies is
    noticed, and another goes on with what it was at.
    """
    config = config_of(home)
    logs.configure(config.log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if with_parent:
        os.nice(_NICE)
        threading.Thread(target=_wait_for_parent, args=(stop,), daemon=True).start()
    if processes > 1:
        environment = os.environ | {"TWINJET_DEVICE": device}
        # A worker each for some of the cores, not all of them for each.
        share = max(1, (os.cpu_count() or 1) // processes)
        environment.setdefault("OMP_NUM_THREADS", str(share))
        many = Workers(processes, config.home, environment)
        many.start()
        _say(config, f"{processes} workers are ready")
        stop.wait()
        many.stop()
        return
    _work(config, os.environ.get("TWINJET_DEVICE", device), stop)


def _work(config: Config, device: str, stop: threading.Event) -> None:
    if config.threads:
        torch.set_num_threads(config.threads)
    encoder = partial(encoder_of, config, device=device)
    with (
        closing(store_of(config)) as store,
        Worker(
            config.files,
            store,
            config.jobs_url,
            encoder=encoder,
            named=encoder,
            grace_s=_GRACE_S,
            engine=engine_of(config, store),
            keep_generations=config.keep_generations,
        ) as working,
    ):
        _say(config, f"worker {working.name} is ready")
        stop.wait()


def _say(config: Config, text: str) -> None:
    if config.log_format == "json":
        _log.info(text)
    else:
        errors.print(text)


def _wait_for_parent(stop: threading.Event) -> None:
    """The parent's end of the pipe is closed when it ends, whatever ends it."""
    sys.stdin.buffer.read()
    stop.set()
