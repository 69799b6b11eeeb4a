"""Labelled sources, prepared, and the parts of the sky that they lie in."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twinjet.model.dataset import LabelledFolder
from twinjet.model.errors import DatasetError
from twinjet.model.preprocess import Preprocess
from twinjet.model.split import FOLDS, HELD_OUT, clear_of, sky_fold


@dataclass(frozen=True)
class Split:
    """Rows that train and rows that judge; neither is the border between them."""

    train: NDArray[np.bool_]
    judge: NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """Sources of a folder that can be prepared.

    Attributes
    ----------
    name
        Of the folder.
    images
        Shape (N, S, S), float32, 0 to 1.
    rows
        The catalogue's rows, as text.
    ra, dec
        ICRS degrees, shape (N,).
    """

    name: str
    images: NDArray[np.float32]
    rows: list[dict[str, str]]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of sources."""
        return len(self.rows)

    @classmethod
    def read(
        cls,
        folder: LabelledFolder,
        preprocess: Preprocess,
        *,
        margin_px: int = 0,
    ) -> Self:
        """Prepare all sources of a folder; those with nothing to see are left out.

        Raises
        ------
        DatasetError
            Nothing is left.
        """
        prepared = list(folder.prepared(preprocess, margin_px=margin_px))
        seen = np.array([image is not None for image in prepared], np.bool_)
        if not seen.any():
            msg = f"no image of {folder.folder} can be prepared"
            raise DatasetError(msg, actual=len(prepared))
        ra, dec = (axis[seen] for axis in folder.positions())
        return cls(
            name=folder.name,
            images=np.stack([image for image in prepared if image is not None]),
            rows=[row for row, yes in zip(folder.rows, seen, strict=True) if yes],
            ra=ra,
            dec=dec,
        )

    def column(self, name: str) -> NDArray[np.str_]:
        """Values of a column, empty where a row has none; shape (N,)."""
        return np.array([row.get(name) or "" for row in self.rows], np.str_)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Values of a column as numbers, NaN where a row has none; shape (N,)."""
        return np.array([_number(row.get(name)) for row in self.rows])

    def where(self, chosen: NDArray[np.bool_]) -> Self:
        """Only the chosen rows."""
        rows = [row for row, yes in zip(self.rows, chosen, strict=True) if yes]
        return replace(
            self,
            images=self.images[chosen],
            rows=rows,
            ra=self.ra[chosen],
            dec=self.dec[chosen],
        )

    def labelled(
        self,
        label: str,
        *,
        where: Mapping[str, str] | None = None,
        classes: Sequence[str] = (),
    ) -> Self:
        """Sources with a label, of these classes (all if none), where columns are so.

        Raises
        ------
        DatasetError
            There is none.
        """
        values = self.column(label)
        chosen = np.isin(values, classes) if classes else values != ""
        for column, value in (where or {}).items():
            chosen &= self.column(column) == value
        if not chosen.any():
            wanted = "".join(f", {c}={v}" for c, v in (where or {}).items())
            msg = f"no source of {self.name} has a {label!r}{wanted}"
            raise DatasetError(msg, actual=label)
        return self.where(chosen)

    def held_out(self) -> Split:
        """The sky's held-out fold judges, the rest trains."""
        return self._judged_by(HELD_OUT)

    def development(self) -> list[Split]:
        """The other folds, each judged by the rest of them: to choose a recipe by."""
        held_out = self.held_out()
        splits = []
        for fold in range(FOLDS):
            if fold != HELD_OUT:
                split = self._judged_by(fold)
                # Of the border with the held-out fold neither.
                splits.append(
                    Split(split.train & held_out.train, split.judge & held_out.train)
                )
        return splits

    def _judged_by(self, fold: int) -> Split:
        return Split(
            clear_of(self.ra, self.dec, fold), sky_fold(self.ra, self.dec) == fold
        )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def check_classes(sample: Sample, label: str, split: Split) -> list[str]:
    """Classes of a label, each of which both parts of the split must have.

    Raises
    ------
    DatasetError
        A part lacks one, or there is only one.
    """
    labels = sample.column(label)
    classes = sorted(set(labels.tolist()))
    if len(classes) < 2:  # noqa: PLR2004 - to tell apart
        msg = f"{sample.name}: {label!r} has only the class {', '.join(classes)}"
        raise DatasetError(msg, limit=2, actual=len(classes))
    for part in (split.train, split.judge):
        if set(labels[part].tolist()) != set(classes):
            msg = f"{sample.name}: a part of the sky lacks one of {classes}"
            raise DatasetError(msg)
    return classes
