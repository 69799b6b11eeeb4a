"""A disk whose power is cut while builds are published on it.

::

    outer.img          a file
      outer/           ext4 on it; stopped for as long as the disk is copied
        disk.img       the disk: blocks that ext4 has sent to it, and no others
          disk/        ext4 on it, with the home

What a program writes is in memory until the file system sends it to the disk, by itself
or when it is told to. A copy of the disk is therefore what a power loss leaves, if it
is of one moment: the outer file system is frozen for it, so that the disk takes no
block, though the inner one goes on to send some.
"""

import fcntl
import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal, Self

import numpy as np
from homes import Truth
from requirements import require
from skies import Quiet, write_sky

from twinjet.index import database
from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.folder import catalogue_of_folder
from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.index.reindex import Workshop, build
from twinjet.model.decode import read_cutout
from twinjet.model.encoder import Encoder, load_encoder

Careless = Literal["never", "files", "database"]
"""Of what a builder does not wait for the disk."""

SOURCES = 10

# Of a disk, and of the file system that it lies on, which needs some more.
_DISK_BYTES = 64 * 2**20
_OUTER_BYTES = 96 * 2**20

# Of Linux, for any file system: linux/fs.h.
_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878


class Disk:
    """A disk that is mounted, of which copies can be made.

    Skips the test where nothing can be mounted.

    Parameters
    ----------
    folder
        For its files; it need not be there.
    commit_s
        How often the file system brings to the disk what nobody asked it to.
    """

    def __init__(self, folder: Path, *, commit_s: int) -> None:
        self._folder = folder
        self._commit_s = commit_s
        self._mounts = ExitStack()

    @property
    def path(self) -> Path:
        """Where it is mounted."""
        return self._folder / "disk"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        outer = self._folder / "outer.img"
        self._refuse_unable()
        with ExitStack() as mounts:
            _format(outer, _OUTER_BYTES)
            try:
                mounts.enter_context(mounted(outer, self._folder / "outer"))
            except subprocess.CalledProcessError as exc:
                require("mounts", available=False, reason=exc.stderr.splitlines()[0])
            _format(self._image, _DISK_BYTES)
            options = f"commit={self._commit_s}"
            mounts.enter_context(mounted(self._image, self.path, options))
            self._mounts = mounts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._mounts.close()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have the disk take no more blocks; who waits for it goes on afterwards."""
        descriptor = os.open(self._folder / "outer", os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _FIFREEZE, 0)
            try:
                yield
            finally:
                fcntl.ioctl(descriptor, _FITHAW, 0)
        finally:
            os.close(descriptor)

    def copy(self, image: Path) -> None:
        """Copy what has reached it; while it is stopped."""
        shutil.copyfile(self._image, image)

    @property
    def _image(self) -> Path:
        return self._folder / "outer" / "disk.img"

    @staticmethod
    def _refuse_unable() -> None:
        needed = partial(require, "mounts")
        needed(available=sys.platform == "linux", reason="this is not Linux")
        needed(available=os.geteuid() == 0, reason="only root can mount a disk")
        for program in ("mkfs.ext4", "mount", "umount"):
            found = shutil.which(program) is not None
            needed(available=found, reason=f"{program} is not on PATH")


def _format(image: Path, size: int) -> None:
    with image.open("wb") as file:
        file.truncate(size)
    _run("mkfs.ext4", "-q", "-F", str(image))


@contextmanager
def mounted(image: Path, point: Path, options: str = "commit=5") -> Iterator[Path]:
    """Mount a disk; its journal is played back first, as after any power loss."""
    point.mkdir(exist_ok=True)
    _run("mount", "-o", f"loop,{options}", str(image), str(point))
    try:
        yield point
    finally:
        # What is still mapped into memory, or open, would keep it from going.
        gc.collect()
        try:
            _run("umount", str(point))
        except subprocess.CalledProcessError:
            _run("umount", "--lazy", str(point))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


class Builder:
    """A process that publishes one generation after the other, until it is killed.

    Generation 7 is of the folder ``sky7``.

    Parameters
    ----------
    home
        On the disk.
    skies
        Folder for the catalogues, on another disk.
    card
        Of the encoder.
    first
        Number of the first generation.
    careless
        Of what it does not wait for the disk.
    """

    def __init__(
        self,
        home: Path,
        skies: Path,
        card: Path,
        *,
        first: int,
        careless: Careless = "never",
    ) -> None:
        self._first = first
        self._said = skies / f"said-{first}.txt"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, __file__, home, skies, card, str(first), careless],
                stdout=said,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    @property
    def acknowledged(self) -> int:
        """The last generation of which it knows that it is published."""
        assert self._process.poll() is None, "the builder has ended"
        return max([self._first - 1, *map(int, self._said.read_text().split())])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have it do nothing for a while."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(timeout=60)


def write_catalogue(folder: Path, seed: int) -> None:
    """A sky with the columns that `homes.faults_of` asks for, all of its own."""
    write_sky(folder, SOURCES, seed=seed)
    path = folder / "catalogue.csv"
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    rng = np.random.default_rng(seed)
    rows = [
        f"{line},{rng.uniform(1, 99):.3f},{'ab'[n % 2]}" for n, line in enumerate(lines)
    ]
    text = "\n".join([f"{header},size_arcsec,kind", *rows]) + "\n"
    path.write_text(text, encoding="utf-8")


def publish(home: Home, sky: Path, encoder: Encoder) -> int:
    """Build and publish a generation, what a job does in steps; gives its number."""
    with closing(open_store(home, home.database_url)) as store:
        report = build(
            catalogue_of_folder(sky),
            Workshop(home, store, encoder, FolderProvider(sky)),
            watcher=Quiet(),
        )
    assert report.published
    assert (report.count, report.problems) == (SOURCES, ())
    return report.number


def truth_of(sky: Path, encoder: Encoder) -> Truth:
    """What a generation of a sky has to answer from."""
    sources = list(catalogue_of_folder(sky).sources.on_the_sky())
    cutouts = [
        read_cutout((sky / str(source.cutout)).read_bytes()) for source in sources
    ]
    return Truth(sources, encoder.embed(cutouts))


def _build_for_ever(home: Home, skies: Path, encoder: Encoder, first: int) -> None:
    for number in count(first):
        sky = skies / f"sky{number}"
        write_catalogue(sky, number)
        assert publish(home, sky, encoder) == number
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def _forget(fd: object) -> None:
    """Say that a file is on the disk."""


def _become_careless(careless: str) -> None:
    if careless == "files":
        os.fsync = _forget
    if careless == "database":
        configure = database._configure

        def unsafe(
            busy_s: float, connection: sqlite3.Connection, _record: object
        ) -> None:
            configure(busy_s, connection, None)
            connection.execute("PRAGMA synchronous = OFF")

        database._configure = unsafe


if __name__ == "__main__":
    _become_careless(sys.argv[5])
    _build_for_ever(
        Home(Path(sys.argv[1])),
        Path(sys.argv[2]),
        load_encoder(Path(sys.argv[3])),
        int(sys.argv[4]),
    )
