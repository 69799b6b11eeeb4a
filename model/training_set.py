"""Images to learn from with their kinds and weights, prepared once, kept on disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from twinjet.model.cutout import Cutout
from twinjet.model.dataset import LabelledFolder
from twinjet.model.errors import CutoutError, DatasetError
from twinjet.model.objectives.supcon import UNKNOWN
from twinjet.model.preprocess import Preprocess, margin_for
from twinjet.model.simulate import simulate_images
from twinjet.model.split import may_train

SIMULATED = "simulated"

# Column that rows get while they are read.
_KIND = "kind to train"

# Components and clusters that `balanced` looks at: enough to tell the compact from
# the extended and the faint from the bright.
_COMPONENTS = 32
_CLUSTERS = 32


@dataclass(frozen=True)
class TrainingSet:
    """Prepared images in order of their catalogues.

    Attributes
    ----------
    images
        Shape (N, P, P), float16, 0 to 1, with the margin of `margin_for`.
    kinds
        Shape (N,), int64: row of `kind_names`, or `UNKNOWN`.
    kind_names
        Names of the kinds that were given to the training.
    origins
        Shape (N,): name of the catalogue, or ``"simulated"``.
    weights
        Shape (N,), mean 1: how often each is seen.
    """

    images: NDArray[np.float16]
    kinds: NDArray[np.int64]
    kind_names: tuple[str, ...]
    origins: NDArray[np.str_]
    weights: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        images: NDArray[np.float16],
        kinds: Sequence[str] = (),
        origins: Sequence[str] = (),
    ) -> Self:
        """A set of these images, equally weighted; an empty kind is unknown."""
        count = len(images)
        names = tuple(sorted({kind for kind in kinds if kind}))
        number = {name: row for row, name in enumerate(names)}
        known = [number.get(kind, UNKNOWN) for kind in kinds] or [UNKNOWN] * count
        return cls(
            images=images,
            kinds=np.array(known, np.int64),
            kind_names=names,
            origins=np.array(list(origins) or [""] * count),
            weights=np.ones(count),
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def save(self, folder: Path) -> None:
        """Write ``images.npy`` and ``rows.npz`` into a folder, the latter last."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "images.npy", self.images)
        half_done = folder / "rows.tmp.npz"
        np.savez(
            half_done,
            kinds=self.kinds,
            kind_names=np.array(self.kind_names, dtype=np.str_),
            origins=self.origins,
            weights=self.weights,
        )
        half_done.replace(folder / "rows.npz")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Inverse of `save`; the images stay on disk until they are read."""
        with np.load(folder / "rows.npz", allow_pickle=False) as rows:
            return cls(
                images=np.load(folder / "images.npy", mmap_mode="r"),
                kinds=rows["kinds"],
                kind_names=tuple(rows["kind_names"].tolist()),
                origins=rows["origins"],
                weights=rows["weights"],
            )

    def weighted(self, shares: Mapping[str, float]) -> Self:
        """The same set, each named catalogue seen for this part of the time.

        Catalogues without a share divide what is left by their sizes.

        Raises
        ------
        DatasetError
            No such catalogue, or shares that pass 1.
        """
        unknown = sorted(set(shares) - set(self.origins.tolist()))
        if unknown:
            msg = f"no images of {', '.join(unknown)}"
            raise DatasetError(msg, actual=", ".join(unknown))
        given = sum(shares.values())
        rest = ~np.isin(self.origins, list(shares))
        if given > 1 + 1e-9 or min(shares.values(), default=0) < 0:
            msg = f"shares must be 0 or more and sum to at most 1; they sum to {given}"
            raise DatasetError(msg, limit=1, actual=given)
        weights = np.zeros(len(self))
        for name, share in shares.items():
            rows = self.origins == name
            weights[rows] = share * self.weights[rows] / self.weights[rows].sum()
        if rest.any():
            weights[rest] = (1 - given) * self.weights[rest] / self.weights[rest].sum()
        return replace(self, weights=weights / weights.mean())

    def balanced(self, *, seed: int) -> Self:
        """The same set, rare looks seen as often as common ones.

        Clusters of k-means over principal components of the pixels; each image
        weighs one over the root of its cluster's size, half way to clusters of
        equal weight (after the curation of DINOv2, Oquab et al. 2023,
        arXiv:2304.07193). Catalogues keep their shares.
        """
        pixels = np.asarray(self.images[:, ::2, ::2], np.float32)
        flat = pixels.reshape(len(self), -1)
        components = min(_COMPONENTS, *flat.shape)
        reduced = PCA(components, random_state=seed).fit_transform(flat)
        clusters = min(_CLUSTERS, len(np.unique(reduced.round(5), axis=0)))
        found = KMeans(clusters, n_init=1, random_state=seed).fit_predict(reduced)
        weights = self.weights / np.sqrt(np.bincount(found)[found])
        for name in set(self.origins.tolist()):
            rows = self.origins == name
            weights[rows] *= self.weights[rows].sum() / weights[rows].sum()
        return replace(self, weights=weights)

    def epoch(self, seed: int, number: int) -> NDArray[np.int64]:
        """Rows of an epoch, shuffled; of a weight of 1.5 one or two by chance."""
        rng = np.random.default_rng([seed, number])
        whole, part = np.divmod(self.weights, 1)
        times = whole.astype(np.int64) + (rng.random(len(self)) < part)
        return rng.permutation(np.repeat(np.arange(len(self)), times))


def read_training_set(
    folders: Sequence[LabelledFolder],
    *,
    simulated: int,
    seed: int,
    preprocess: Preprocess,
    cache: Path,
    labels: Mapping[str, str] | None = None,
    min_size_arcsec: float = 0.0,
    unique_arcsec: float = 5.0,
    progress: Callable[[str], None],
) -> TrainingSet:
    """Images of the training part of the sky and simulated ones.

    Parameters
    ----------
    folders
        Real sources; those of the validation cells are left out.
    simulated
        How many to add; they have no place in the sky, and their kinds are known.
    seed
        Of the simulation.
    preprocess
        The encoder's recipe.
    cache
        Folder to keep the result in; taken as it is when it is there.
    labels
        Of a folder's name, the column that gives its sources' kinds; those of the
        other folders stay unknown.
    min_size_arcsec
        Sources with a smaller ``angular_size_arcsec`` are left out; those without
        the column stay.
    unique_arcsec
        A source as near as this to one of an earlier row or catalogue is left out,
        its kind taken over if the first had none.
    progress
        Is told, in words, what has been read.

    Raises
    ------
    DatasetError
        Nothing is left.
    """
    if (cache / "rows.npz").exists():
        kept = TrainingSet.load(cache)
        progress(f"{len(kept)} images from {cache}")
        return kept
    margin = margin_for(preprocess.size_px)
    images: list[NDArray[np.float16]] = []
    kinds: list[str] = []
    origins: list[str] = []
    for folder in _unique(folders, labels or {}, unique_arcsec):
        allowed = may_train(*folder.positions()) & _large(folder, min_size_arcsec)
        rows = [row for row, yes in zip(folder.rows, allowed, strict=True) if yes]
        prepared = replace(folder, rows=rows).prepared(preprocess, margin_px=margin)
        before = len(images)
        for row, image in zip(rows, prepared, strict=True):
            if image is not None:
                images.append(image.astype(np.float16))
                kinds.append(row[_KIND])
                origins.append(folder.name)
        progress(f"{len(images) - before} images from {folder.name}")
    for pixels, kind in _simulated(simulated, seed, preprocess, margin):
        images.append(pixels)
        kinds.append(kind)
        origins.append(SIMULATED)
        if len(images) % 1000 == 0:
            progress(f"{len(images)} images")
    if not images:
        msg = "no images to train on: name a folder or ask for simulated sources"
        raise DatasetError(msg)
    TrainingSet.of(np.stack(images), kinds, origins).save(cache)
    return TrainingSet.load(cache)


def _unique(
    folders: Sequence[LabelledFolder], labels: Mapping[str, str], within_arcsec: float
) -> Iterator[LabelledFolder]:
    """Each folder without what an earlier row of any has shown."""
    if not folders:
        return
    positions = [folder.positions() for folder in folders]
    ra, dec = (np.concatenate(axis) for axis in zip(*positions, strict=True))
    sky = SkyCoord(ra, dec, unit="deg")
    first = np.arange(len(sky))
    if len(sky) and within_arcsec > 0:
        one, other, _, _ = sky.search_around_sky(sky, within_arcsec * u.arcsec)
        np.minimum.at(first, one, other)
    all_rows = [
        row | {_KIND: row.get(labels.get(folder.name, ""), "")}
        for folder in folders
        for row in folder.rows
    ]
    for row, keeper in zip(all_rows, first, strict=True):
        all_rows[keeper][_KIND] = all_rows[keeper][_KIND] or row[_KIND]
    start = 0
    for folder in folders:
        stop = start + len(folder.rows)
        rows = [all_rows[n] for n in range(start, stop) if first[n] == n]
        yield replace(folder, rows=rows)
        start = stop


def _large(folder: LabelledFolder, least_arcsec: float) -> NDArray[np.bool_]:
    sizes = [row.get("angular_size_arcsec") or "inf" for row in folder.rows]
    try:
        return np.array([float(size) >= least_arcsec for size in sizes], np.bool_)
    except ValueError as exc:
        msg = f"angular_size_arcsec of {folder.name}: {exc}"
        raise DatasetError(msg) from exc


def _simulated(
    count: int, seed: int, preprocess: Preprocess, margin: int
) -> Iterator[tuple[NDArray[np.float16], str]]:
    for pixels, truth in simulate_images(count, seed=seed):
        cutout = Cutout(pixels, pixel_scale_arcsec=(1.8, 1.8))
        try:
            prepared = preprocess(cutout, margin_px=margin)
        except CutoutError:  # fainter than the clip: nothing to learn
            continue
        yield prepared.image.astype(np.float16), truth["kind"]
