"""Labelled folders: cutouts with a catalogue.

A folder holds ``catalogue.csv`` with the columns ``cutout`` (a path within the
folder), ``ra_deg`` and ``dec_deg``, and may hold labels. `twinjet simulate` writes
such a folder too.
"""

import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twinjet.model.decode import read_cutout
from twinjet.model.errors import CutoutError, DatasetError
from twinjet.model.preprocess import Preprocess


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

    @property
    def name(self) -> str:
        """Of the folder, without its path."""
        return self.folder.resolve().name

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
