"""Images to learn from, prepared once and kept on disk.

A folder holds ``catalogue.csv`` with the columns ``cutout`` (a path within the
folder), ``ra_deg`` and ``dec_deg``, and may hold labels. `twinjet simulate` writes
such a folder too.
"""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twinjet.model.cutout import Cutout
from twinjet.model.decode import read_cutout
from twinjet.model.errors import CutoutError, DatasetError
from twinjet.model.preprocess import Preprocess
from twinjet.model.simulate import simulate_images
from twinjet.model.split import may_train


@dataclass(frozen=True)
class LabelledFolder:
    """A folder of cutouts with its catalogue's rows."""

    folder: Path
    """Where the paths of the rows start."""
    rows: list[dict[str, str]]
    """One dictionary a source, as text."""
    pixel_scale_arcsec: float | None = None
    """For pictures, which have none of their own."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``FOLDER`` or ``FOLDER:PIXEL_SCALE``.

        Raises
        ------
        DatasetError
            There is no catalogue or it lacks a column.
        """
        path, _, scale = text.rpartition(":")
        try:
            pixel_scale = float(scale) if path else None
        except ValueError:
            path, pixel_scale = "", None
        folder = Path(path or text)
        try:
            with (folder / "catalogue.csv").open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except OSError as exc:
            msg = f"no catalogue.csv in {folder}: {exc.strerror}"
            raise DatasetError(msg) from exc
        missing = {"cutout", "ra_deg", "dec_deg"} - set(rows[0] if rows else ())
        if missing:
            msg = f"{folder / 'catalogue.csv'} lacks {', '.join(sorted(missing))}"
            raise DatasetError(msg)
        return cls(folder, rows, pixel_scale)

    def positions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """RA and Dec of the rows, ICRS degrees."""
        ra = np.array([float(row["ra_deg"]) for row in self.rows])
        dec = np.array([float(row["dec_deg"]) for row in self.rows])
        return ra, dec

    def prepared(
        self, preprocess: Preprocess, *, margin_px: int = 0
    ) -> Iterator[NDArray[np.float32] | None]:
        """Image of each row, in order; None where there is nothing to see."""

        def prepare(row: dict[str, str]) -> NDArray[np.float32] | None:
            path = self.folder / row["cutout"]
            try:
                cutout = read_cutout(path, pixel_scale_arcsec=self.pixel_scale_arcsec)
                return preprocess(cutout, margin_px=margin_px).image
            except (CutoutError, OSError):
                return None

        with ThreadPoolExecutor(2) as pool:
            yield from pool.map(prepare, self.rows)


def margin_for(size_px: int) -> int:
    """Margin with which any rotation stays within the image.

    Examples
    --------
    >>> margin_for(80)
    17
    """
    return math.ceil(size_px * (math.sqrt(2) - 1) / 2)


def training_images(
    folders: Sequence[LabelledFolder],
    *,
    simulated: int,
    seed: int,
    preprocess: Preprocess,
    cache: Path,
    progress: Callable[[str], None],
) -> NDArray[np.float16]:
    """Images of the training part of the sky and simulated ones.

    Parameters
    ----------
    folders
        Real sources; those of the validation cells are left out.
    simulated
        How many to add; they have no place in the sky.
    seed
        Of the simulation.
    preprocess
        The encoder's recipe.
    cache
        File to keep the result in; taken as it is when it is there.
    progress
        Is told, in words, what has been read.

    Returns
    -------
    ndarray
        Shape (N, P, P), float16, 0 to 1, with the margin that rotations need.
    """
    if cache.exists():
        images: NDArray[np.float16] = np.load(cache, mmap_mode="r")
        progress(f"{len(images)} images from {cache}")
        return images
    margin = margin_for(preprocess.size_px)
    parts: list[NDArray[np.float16]] = []
    for folder in folders:
        allowed = may_train(*folder.positions())
        rows = [row for row, yes in zip(folder.rows, allowed, strict=True) if yes]
        part = LabelledFolder(folder.folder, rows, folder.pixel_scale_arcsec)
        prepared = part.prepared(preprocess, margin_px=margin)
        real = [image.astype(np.float16) for image in prepared if image is not None]
        progress(f"{len(real)} of {len(folder.rows)} images from {folder.folder.name}")
        parts.extend(image[None] for image in real)
    for image in _simulated(simulated, seed, preprocess, margin):
        parts.append(image[None])
        if len(parts) % 1000 == 0:
            progress(f"{len(parts)} images")
    if not parts:
        msg = "no images to train on: name a folder or ask for simulated sources"
        raise DatasetError(msg)
    images = np.concatenate(parts)
    cache.parent.mkdir(parents=True, exist_ok=True)
    half_done = cache.with_suffix(".tmp.npy")
    np.save(half_done, images)
    half_done.replace(cache)
    return images


def _simulated(
    count: int, seed: int, preprocess: Preprocess, margin: int
) -> Iterator[NDArray[np.float16]]:
    for pixels, _ in simulate_images(count, seed=seed):
        cutout = Cutout(pixels, pixel_scale_arcsec=(1.8, 1.8))
        try:
            yield preprocess(cutout, margin_px=margin).image.astype(np.float16)
        except CutoutError:  # fainter than the clip: nothing to learn
            continue
