"""What scores of a generation mean: similarity by chance, and how isolated sources are.

`twinjet.index.calibrate` makes it with each generation, from its own vectors.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from twinjet.index.errors import GenerationDamagedError
from twinjet.index.vectors.port import Rows, Vectors


@dataclass(frozen=True)
class CalibrationInfo:
    """How a calibration was made; kept in the manifest."""

    neighbours: int
    """Nearest sources whose mean distance is the isolation."""
    references: int
    """Sources, each another object of the sky, that all were compared with."""
    sampled: bool
    """Whether they are a random sample of all."""
    object_radius_arcsec: float
    """Sources closer than this are one object, and are not compared."""
    pairs: int
    """Comparisons, of which the tail is."""
    tail_from: float
    """Similarity at which the tail begins."""


@dataclass(frozen=True)
class Isolation:
    """How far a source is from what is most like it."""

    distance: float
    """Mean of 1 - cosine to the nearest reference sources."""
    rank: int
    """1 for the most isolated of all sources."""
    percentile: float
    """Percentage of sources that are less isolated."""


@dataclass(frozen=True)
class Calibration:
    """A generation's calibration, opened.

    Attributes
    ----------
    info
        How it was made.
    isolation
        Shape (N,), float32, memory-mapped; NaN where there is no other object.
    tail
        Shape (B,), int64: comparisons no farther than the upper edge of each bin.
    """

    info: CalibrationInfo
    isolation: NDArray[np.float32]
    tail: NDArray[np.int64]

    @classmethod
    def read(cls, folder: Path, info: dict[str, Any]) -> Self:
        """Read the files of a generation, which have been checked.

        Raises
        ------
        GenerationDamagedError
            The manifest does not describe them.
        """
        isolation = np.load(folder / "isolation.npy", mmap_mode="r")
        try:
            known = CalibrationInfo(**info)
        except TypeError as exc:
            msg = f"the calibration in {folder}/manifest.json is not understood: {exc}"
            raise GenerationDamagedError(msg) from exc
        return cls(known, isolation, np.load(folder / "tail.npy"))

    @cached_property
    def order(self) -> Rows:
        """Rows of all that have an isolation, the most isolated first."""
        return self.sorted(np.arange(len(self.isolation)))

    def sorted(self, rows: Rows) -> Rows:
        """Rows, given ascending, by isolation, the largest first; without NaN."""
        values = self.isolation[rows]
        known = np.flatnonzero(~np.isnan(values))
        ordered: Rows = rows[known[np.argsort(-values[known], kind="stable")]]
        return ordered

    def isolation_of(self, row: int) -> Isolation | None:
        """Of one source; None where there is no other object."""
        value = self.isolation[row]
        if np.isnan(value):
            return None
        return Isolation(
            distance=float(value),
            rank=1 + int(np.count_nonzero(self.isolation > value)),
            percentile=100.0
            * int(np.count_nonzero(self.isolation < value))
            / len(self.isolation),
        )

    def exceedance(self, similarity: float, background: Vectors) -> float:
        """Estimate of the part of random pairs that are at least so similar.

        Parameters
        ----------
        similarity
            Cosine.
        background
            Sorted similarities of random pairs, float32.

        Returns
        -------
        float
            Never 0: with n of m pairs it is (n + 1) / (m + 1).

        Notes
        -----
        Below the tail by the random pairs, within it by all comparisons. One is added
        as in tests by permutation (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol.
        9, 39), so that what was never seen is not called impossible: beyond the most
        similar comparison nothing is extrapolated, and the estimate stays at the
        reciprocal of their number. Where references are a sample, few alike sources
        may by chance be in it or not: of a tail that n references make, the standard
        error is about one part in the square root of n.
        """
        chord = chord_between(similarity)
        width = chord_between(self.info.tail_from) / len(self.tail)
        within = min(int(chord / width), len(self.tail) - 1)
        in_tail = float(self.tail[within] + 1) / (self.info.pairs + 1)
        if similarity >= self.info.tail_from:
            return in_tail
        above = len(background) - np.searchsorted(background, np.float32(similarity))
        # The two samples meet where the tail begins, but for their noise.
        return max(in_tail, float(above + 1) / (len(background) + 1))


def files_of(info: dict[str, Any] | None) -> tuple[str, ...]:
    """Names of the files of a calibration; none without one."""
    return () if info is None else ("isolation.npy", "tail.npy")


def chord_between(similarity: float) -> float:
    """Distance between unit vectors of this cosine."""
    return float(np.sqrt(max(0.0, 2.0 * (1.0 - similarity))))
