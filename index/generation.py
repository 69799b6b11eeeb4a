"""One immutable build of the index, as a folder of files.

::

    g000007/
        manifest.json    what it is, with size and SHA-256 of the other files
        vectors.npy      (N, D) float32, unit norm
        index.faiss      one-bit codes of the same rows
        positions.npy    (N, 3) float64 unit vectors, ICRS
        background.npy   sorted similarities of random pairs, float32
        isolation.npy    (N,) float32, see `twinjet.index.calibrate`
        tail.npy         (B,) int64, of the most similar pairs

The last two came later: a generation without them is served as it is.
Row numbers are those of the metadata store's sources of this generation.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from twinjet.index.calibrate import background_of, calibrate
from twinjet.index.calibration import Calibration, files_of
from twinjet.index.durable import READ_ONLY, file_digest, publish_folder
from twinjet.index.errors import GenerationDamagedError, LaterFormatError
from twinjet.index.vectors.engine import VectorEngine
from twinjet.index.vectors.faiss_index import FaissIndex, build_index, index_kind
from twinjet.index.vectors.port import VectorIndex, Vectors

FORMAT = 1

_FILES = ("vectors.npy", "index.faiss", "positions.npy", "background.npy")

# What is looked at to see whether a generation is as it was when it was checked; the
# last one says that somebody found it damaged.
WATCHED = (*_FILES, "isolation.npy", "tail.npy", "manifest.json")
MARK = "damaged.json"

Stamp = tuple[int, int, int] | None
"""Size, time of change in ns, and inode; None where there is no file.

Not the time at which the inode changed: a snapshot by hard links would have all read
again.
"""

# Sources whose own vector must come back first, and over which recall is measured.
_CANARIES = 64


@dataclass(frozen=True)
class Manifest:
    """What a generation is; stored as JSON beside its files."""

    number: int
    encoder_id: str
    encoder_name: str
    catalogue_name: str
    catalogue_digest: str
    """Of the catalogue's contents and of every cutout."""
    cutouts: str
    """Where the cutouts are."""
    count: int
    dimension: int
    recall_at_10: float
    """Of the index against exact search, over the canaries."""
    failed: int
    """Sources of the catalogue that could not be embedded."""
    pixel_scale_arcsec: float | None = None
    """That was given for cutouts without WCS."""
    calibration: dict[str, Any] | None = None
    """How what scores mean was measured; None where it was not."""
    index_kind: str = "IVF1,RaBitQfs"
    """Of index.faiss; that of the first versions when absent."""
    metric: str = "cosine"
    format: int = FORMAT
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Size in bytes and SHA-256 of each file."""

    @property
    def digest(self) -> str:
        """Of its files, 64 hexadecimal digits: the same where all vectors are."""
        whole = sha256()
        for name in sorted(self.files):
            whole.update(f"{name} {self.files[name]['sha256']}\n".encode())
        return whole.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of a generation's folder.

        Raises
        ------
        GenerationDamagedError
            It is absent or damaged.
        LaterFormatError
            It is of another format.
        """
        path = folder / "manifest.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.get("format") != FORMAT:
                msg = f"{path}: format {data.get('format')!r}, not {FORMAT}"
                raise LaterFormatError(msg)
            return cls(**data)
        except (OSError, ValueError, TypeError, AttributeError) as exc:
            msg = f"{path} cannot be read: {exc}"
            raise GenerationDamagedError(msg) from exc


@dataclass(frozen=True)
class OpenGeneration:
    """A generation that has been checked and is ready to search."""

    manifest: Manifest
    index: VectorIndex
    vectors: Vectors
    """Shape (N, D), float32, memory-mapped."""
    positions: NDArray[np.float64]
    """Shape (N, 3), unit vectors."""
    background: NDArray[np.float32]
    """Sorted similarities of random pairs."""
    calibration: Calibration | None = None
    """None where there is nothing to compare, or of a generation made before."""
    lease: "Lease | None" = None
    """Keeps the folder from being removed as long as this is in use."""
    folder: Path | None = None
    stamps: tuple[Stamp, ...] = ()
    """Of its files, from before they were checked."""

    def is_as_checked(self) -> bool:
        """Whether no file has another size, time or inode since it was checked.

        The vectors are read where they lie: what changes there changes answers.
        """
        return self.folder is None or stamps_of(self.folder) == self.stamps

    def percentile(self, similarity: float) -> float | None:
        """Percentage of random pairs that are less similar; None below 2 sources."""
        if len(self.background) == 0:
            return None
        below = np.searchsorted(self.background, np.float32(similarity))
        return 100.0 * float(below) / len(self.background)

    def expected_by_chance(
        self, similarity: float, searched: int, *, references: int = 1
    ) -> float | None:
        """How many sources would be at least so similar to one drawn at random.

        Parameters
        ----------
        similarity
            Cosine to the nearest reference.
        searched
            Sources that were compared.
        references
            Examples to which they were; of several this is an upper bound.

        Returns
        -------
        float or None
            Up to `searched`, never 0; None without a calibration.
        """
        if self.calibration is None:
            return None
        part = self.calibration.exceedance(similarity, self.background)
        return searched * min(1.0, references * part)


def stamps_of(folder: Path, *, marked: bool = True) -> tuple[Stamp, ...]:
    """Size, time of change and inode of each file; None where there is none.

    The mark of a damaged generation is one of them, unless `marked` is false.
    """
    names = (*WATCHED, MARK) if marked else WATCHED
    return tuple(map(_stamp, (folder / name for name in names)))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def folder_name(number: int) -> str:
    """Name of a generation's folder.

    Examples
    --------
    >>> folder_name(7)
    'g000007'
    """
    return f"g{number:06d}"


def index_name(number: int, digest: str) -> str:
    """Name of a generation in an engine: of its number and all that is in it.

    Examples
    --------
    >>> index_name(7, "c0ffee" * 10)
    'g000007_c0ffeec0ffee'
    """
    return f"{folder_name(number)}_{digest[:12]}"


def write_generation(
    folder: Path,
    manifest: Manifest,
    blocks: Iterable[tuple[Vectors, NDArray[np.float64]]],
) -> Manifest:
    """Write, check and give its name to a generation.

    Parameters
    ----------
    folder
        Its final name; the work is done beside it under a temporary one.
    manifest
        `recall_at_10`, `index_kind` and `files` are filled in here.
    blocks
        Vectors, shape (n, D), float32, unit norm, and positions, shape (n, 3), unit
        vectors, of some sources after the other, `manifest.count` in all.

    Raises
    ------
    GenerationDamagedError
        What was written does not find its own vectors.
    """
    half_done = folder.with_name(f"tmp-{folder.name}")
    shutil.rmtree(half_done, ignore_errors=True)
    half_done.mkdir(parents=True)
    _write_arrays(half_done, manifest, blocks)
    vectors = np.load(half_done / "vectors.npy", mmap_mode="r")
    positions = np.load(half_done / "positions.npy", mmap_mode="r")
    background = background_of(vectors, positions)
    np.save(half_done / "background.npy", background)
    calibration = calibrate(half_done, vectors, positions, background)
    build_index(vectors, half_done / "index.faiss")
    files = {
        name: {
            "size": (half_done / name).stat().st_size,
            "sha256": file_digest(half_done / name),
        }
        for name in (*_FILES, *files_of(calibration))
    }
    # The codes are scanned whatever the size, for the recall to be that of a scan.
    index = FaissIndex(half_done / "index.faiss", vectors, scan_from=0)
    recall = recall_of(index, vectors)
    complete = manifest.to_dict() | {
        "files": files,
        "recall_at_10": recall,
        "calibration": calibration,
        "index_kind": index_kind(len(vectors)),
    }
    text = json.dumps(complete, indent=2) + "\n"
    (half_done / "manifest.json").write_text(text, encoding="utf-8")
    for name in files:
        (half_done / name).chmod(READ_ONLY)
    publish_folder(half_done, folder)
    return Manifest(**complete)


def _write_arrays(
    folder: Path,
    manifest: Manifest,
    blocks: Iterable[tuple[Vectors, NDArray[np.float64]]],
) -> None:
    """Vectors and positions, some at a time: they may be more than fit in memory."""
    shapes = (manifest.count, manifest.dimension), (manifest.count, 3)
    make = np.lib.format.open_memmap
    vectors = make(folder / "vectors.npy", "w+", np.float32, shapes[0])
    positions = make(folder / "positions.npy", "w+", np.float64, shapes[1])
    done = 0
    for some, places in blocks:
        vectors[done : done + len(some)] = some
        positions[done : done + len(some)] = places
        done += len(some)
    if done != manifest.count:
        msg = f"{folder}: {done} vectors came, not {manifest.count}"
        raise GenerationDamagedError(msg, limit=manifest.count, actual=done)
    vectors.flush()
    positions.flush()


class Lease:
    """A shared lock on a generation, which the system takes back from the dead.

    Raises
    ------
    GenerationDamagedError
        There is no manifest to lock, or the generation is just being removed.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        path = folder / "manifest.json"
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as exc:
            msg = f"{path} cannot be read: {exc}"
            raise GenerationDamagedError(msg) from exc

    def __del__(self) -> None:
        """Give the lock back: nobody refers to the generation any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody has a generation open; while this lasts, nobody can open it."""
    try:
        # For writing: some network file systems lock nothing else against others.
        lock = (folder / "manifest.json").open("r+b")
    except FileNotFoundError:
        yield True
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def load_generation(folder: Path, engine: VectorEngine) -> None:
    """Have an engine hold the vectors of a generation, whose files are checked first.

    Raises
    ------
    GenerationDamagedError
        A file is absent or not what the manifest says.
    IndexUnavailableError
        The engine does not answer, or cannot take them.
    """
    opened = open_generation(folder)
    manifest = opened.manifest
    engine.load(index_name(manifest.number, manifest.digest), opened.vectors)


def open_generation(folder: Path, engine: VectorEngine | None = None) -> OpenGeneration:
    """Check every file of a generation against its manifest, then open it.

    As long as what it returns is in use the files are not removed.

    Parameters
    ----------
    folder
        Of its files.
    engine
        What its vectors are searched by; FAISS in this process when None.

    Raises
    ------
    GenerationDamagedError
        A file is absent or not what the manifest says, or the engine does not have
        all vectors.
    IndexUnavailableError
        The engine does not answer.
    """
    lease = Lease(folder)
    stamps = stamps_of(folder)
    manifest = Manifest.read(folder)
    for name in (*_FILES, *files_of(manifest.calibration)):
        path, wanted = folder / name, manifest.files.get(name, {})
        try:
            size = path.stat().st_size
            damaged = (
                size != wanted.get("size") or file_digest(path) != wanted["sha256"]
            )
        except (OSError, KeyError) as exc:
            msg = f"{path} cannot be read: {exc}"
            raise GenerationDamagedError(msg) from exc
        if damaged:
            msg = f"{path} is not the file that was published: its checksum differs"
            raise GenerationDamagedError(msg)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    positions = np.load(folder / "positions.npy", mmap_mode="r")
    shapes = vectors.shape == (manifest.count, manifest.dimension)
    if not shapes or positions.shape != (manifest.count, 3):
        msg = f"{folder}: arrays of {vectors.shape} and {positions.shape} do not fit"
        raise GenerationDamagedError(msg)
    index: VectorIndex | None = None
    if engine is not None:
        name = index_name(manifest.number, manifest.digest)
        index = engine.open(name, manifest.count, vectors)
    if index is None:
        index = FaissIndex(folder / "index.faiss", vectors)
    return OpenGeneration(
        manifest=manifest,
        index=index,
        vectors=vectors,
        positions=positions,
        background=np.load(folder / "background.npy"),
        calibration=None
        if manifest.calibration is None
        else Calibration.read(folder, manifest.calibration),
        lease=lease,
        folder=folder,
        stamps=stamps,
    )


def check_engine(opened: OpenGeneration, engine: VectorEngine | None) -> None:
    """See whether the engine that searches a generation still has all of it.

    Raises
    ------
    GenerationDamagedError
        It is gone from there, or rows of it are.
    IndexUnavailableError
        The engine does not answer.
    """
    if engine is not None and not isinstance(opened.index, FaissIndex):
        manifest = opened.manifest
        engine.check(index_name(manifest.number, manifest.digest), manifest.count)


def canary_rows(count: int) -> NDArray[np.int64]:
    """Rows of the sources that must find themselves, spread over all."""
    return np.unique(np.linspace(0, count - 1, _CANARIES).astype(np.int64))


def recall_of(index: VectorIndex, vectors: Vectors) -> float:
    """Recall at 10 against exact search over the canaries.

    Raises
    ------
    GenerationDamagedError
        One of them does not find itself.
    """
    shared = total = 0
    for row in canary_rows(len(vectors)):
        query = np.asarray(vectors[row])
        best, found = index.search(query, 10)
        least, wanted = index.search(query, 10, exact=True)
        # Two sources may have the very same cutout: then either may come first.
        if best[0] < least[0] - 1e-5 or least[0] < 1 - 1e-4:
            msg = f"row {row} does not find itself: similarity {best[0]:.6f}"
            raise GenerationDamagedError(msg)
        shared += len(np.intersect1d(found, wanted))
        total += len(wanted)
    return shared / total
