"""Which linear map of the features: judged on the development folds.

    python benchmarks/recipes/heads.py ../shared/data

The features are those of the shipped backbone. A head of simulated kinds never sees a
real label; a head of labels sees those of the folds that do not judge. Fewer
components, whitened ones, the features without the direction of size, a second,
wider field and one scaled to its source are there to compare. The table is
benchmarks/results/heads.md.
"""

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rows import RESULTS
from search import samples_of
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV

from twinjet.model.cutout import Cutout
from twinjet.model.dataset import LabelledFolder
from twinjet.model.decode import read_cutout
from twinjet.model.encoder import Encoder, card_path, load_encoder
from twinjet.model.errors import CutoutError
from twinjet.model.evaluation.intervals import mean_of
from twinjet.model.evaluation.invariance import shift
from twinjet.model.evaluation.methods import unit
from twinjet.model.evaluation.report import show, table
from twinjet.model.evaluation.retrieve import ranked, retrieval
from twinjet.model.evaluation.sample import Sample
from twinjet.model.metric import MetricHead
from twinjet.model.preprocess import Prepared, Preprocess
from twinjet.model.simulate import simulate_images

_SEED = 77  # not that of the training set
_SHRINKAGES = (0.01, 0.05, 0.2, 0.5)
_RESTS = (0.25, 0.5, 1.0, 2.0)
_SHIFT_PX = 5.0  # as in training

# Of the second field, and pixels that a field scaled to its source may have.
_WIDE_ARCSEC = 2.7
_SCALES_ARCSEC = (0.9, 2.7)
_FILLED = 0.7


def main() -> None:
    """Fit, judge, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the catalogues")
    parser.add_argument("--encoder", default="twinjet", help="whose backbone")
    parser.add_argument("--simulated", type=int, default=2500)
    args = parser.parse_args()
    encoder = load_encoder(card_path(args.encoder))
    mean = encoder.mean.numpy()
    names, simulated, shifted = simulated_features(encoder, args.simulated)
    real = [
        (encoder.features(sample.images).numpy() - mean, sample, label)
        for sample, label in samples_of(args.data, encoder)
    ]
    none = [np.eye(simulated.shape[1], dtype=np.float32)] * 8
    rows = [["none", "", "", *cells(none, real)]]
    for name, count, whiten in (
        ("128 principal components", 128, False),
        ("64 principal components, whitened", 64, True),
    ):
        matrices = [
            components(features[split.train], count, whiten=whiten)
            for features, sample, _ in real
            for split in sample.development()
        ]
        rows.append([name, "", "", *cells(matrices, real)])
    sized, sizes = real[0][0], real[0][1].numbers("angular_size_arcsec")
    no_size = [
        without_size(sized[split.train], sizes[split.train])
        for split in real[0][1].development()
    ]
    rows.append(["size direction removed", "", "", *cells(no_size * 2, real)])
    wider = replace(encoder.card.preprocess, pixel_scale_arcsec=_WIDE_ARCSEC)
    double = [
        (
            np.hstack([unit(features), unit(wide_features(encoder, wide, sample))]),
            sample,
            label,
        )
        for (features, sample, label), (wide, _) in zip(
            real, samples_of(args.data, encoder, wider), strict=True
        )
    ]
    both = [np.eye(double[0][0].shape[1], dtype=np.float32)] * 8
    rows.append(["and the field at 2.7 arcsec", "", "", *cells(both, double)])
    fitting = ToSource(**asdict(encoder.card.preprocess))
    scaled = [
        (wide_features(encoder, one, sample), sample, label)
        for (_, sample, label), (one, _) in zip(
            real, samples_of(args.data, encoder, fitting), strict=True
        )
    ]
    rows.append(["field scaled to the source", "", "", *cells(none, scaled)])
    stay = Stay.of(args.data, encoder)
    rows = [[*line, ""] for line in rows]
    rows[0][-1] = stay.under(none[0])
    for some, chosen, values in (
        ("simulated", names != "", simulated),
        ("simulated, not blended", names != "blended", simulated),
        ("the same, shifted", names != "blended", shifted),
    ):
        for head in heads():
            fitted = [
                head.fit(values[chosen], names[chosen], real=features[split.train])
                for features, sample, _ in real
                for split in sample.development()
            ]
            rows.append([*row(some, head, fitted, real), stay.under(fitted[0])])
    for head in heads():
        fitted = [
            head.fit(
                features[split.train],
                sample.column(label)[split.train],
                real=features[split.train],
            )
            for features, sample, label in real
            for split in sample.development()
        ]
        rows.append([*row("labels", head, fitted, real), ""])
    names_of = ["kinds of", "shrinkage", "rest", "FR mAP", "FR P@10"]
    names_of += ["four-class mAP", "four-class P@10", "stay when shifted"]
    text = table(names_of, rows)
    (RESULTS / "heads.md").write_text(text + "\n", encoding="utf-8")
    print(text)


class ToSource(Preprocess):
    """A field that grows and shrinks with what stands out of the noise in a wide one.

    Nine tenths of the light are within `_FILLED` of it, so that no size is left to be
    alike in.
    """

    def __call__(self, cutout: Cutout, **named: Any) -> Prepared:
        """Prepare one cutout."""
        own = Preprocess(**asdict(self))
        light = replace(own, pixel_scale_arcsec=_WIDE_ARCSEC, upright=False)(cutout)
        place = np.arange(self.size_px) - (self.size_px - 1) / 2
        radii = np.hypot(place, place[:, None]).ravel()
        order = np.argsort(radii)
        grown = np.cumsum(light.image.ravel()[order])
        reach_px = radii[order][np.searchsorted(grown, 0.9 * grown[-1])]
        wanted = 2 * reach_px * _WIDE_ARCSEC / (_FILLED * self.size_px)
        scale = float(np.clip(wanted, *_SCALES_ARCSEC))
        return replace(own, pixel_scale_arcsec=scale)(cutout, **named)


def simulated_features(
    encoder: Encoder, count: int
) -> tuple[NDArray[np.str_], NDArray[np.float32], NDArray[np.float32]]:
    """Kinds of simulated sources, their centred features, and those off the centre."""
    rng = np.random.default_rng(_SEED)
    kinds, images, off_centre = [], [], []
    for pixels, truth in simulate_images(count, seed=_SEED):
        cutout = Cutout(pixels, pixel_scale_arcsec=(1.8, 1.8))
        x, y = rng.uniform(-_SHIFT_PX, _SHIFT_PX, 2)
        try:
            image = encoder.card.preprocess(cutout).image
            other = encoder.card.preprocess(cutout, offset_px=(x, y)).image
        except CutoutError:
            continue
        kinds.append(truth["kind"])
        images.append(image)
        off_centre.append(other)
    mean = encoder.mean.numpy()
    here, there = (
        encoder.features(np.stack(part)).numpy() - mean for part in (images, off_centre)
    )
    return np.array(kinds), here, there


@dataclass(frozen=True)
class Stay:
    """Of ten neighbours, the part that stays when the query is shifted."""

    everything: NDArray[np.float32]
    queries: NDArray[np.float32]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, data: Path, encoder: Encoder) -> Self:
        """Features of MiraBest, and of some of its development sources, shifted."""
        folder = LabelledFolder.read(str(data / "mirabest"))
        sample = Sample.read(folder, encoder.card.preprocess)
        rows = np.concatenate(
            [np.flatnonzero(split.judge)[:30] for split in sample.development()]
        )
        rng = np.random.default_rng(0)
        images = [
            encoder.card.preprocess(
                shift(read_cutout(folder.folder / sample.rows[row]["cutout"]), rng)
            ).image
            for row in rows
        ]
        everything = encoder.features(sample.images) - encoder.mean
        queries = encoder.features(np.stack(images)) - encoder.mean
        return cls(everything.numpy(), queries.numpy(), rows)

    def under(self, matrix: NDArray[np.float32]) -> str:
        """With the features mapped so."""
        database = unit(self.everything @ matrix)
        before = ranked(database[self.rows], database, without=self.rows)[:, :10]
        after = ranked(unit(self.queries @ matrix), database, without=self.rows)[:, :10]
        pairs = zip(before.tolist(), after.tolist(), strict=True)
        return show(mean_of([len(set(a) & set(b)) / 10 for a, b in pairs]))


def components(
    features: NDArray[np.float32], count: int, *, whiten: bool = False
) -> NDArray[np.float32]:
    """Matrix (F, count) of principal components."""
    fitted = PCA(count, random_state=0).fit(features)
    scale = np.sqrt(fitted.explained_variance_) if whiten else 1.0
    matrix: NDArray[np.float32] = (fitted.components_.T / scale).astype(np.float32)
    return matrix


def without_size(
    features: NDArray[np.float32], sizes_arcsec: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Matrix (F, F) that takes off the direction along which sizes grow."""
    known = np.isfinite(sizes_arcsec) & (sizes_arcsec > 0)
    fitted = RidgeCV(np.logspace(-4, 2, 7)).fit(
        features[known], np.log(sizes_arcsec[known])
    )
    direction = fitted.coef_ / np.linalg.norm(fitted.coef_)
    return (np.eye(len(direction)) - np.outer(direction, direction)).astype(np.float32)


def wide_features(encoder: Encoder, wide: Sample, like: Sample) -> NDArray[np.float32]:
    """Centred features of the same sources as another recipe has prepared them."""
    known = {row["source_id"] for row in like.rows}
    same = wide.where(np.array([row["source_id"] in known for row in wide.rows]))
    features = encoder.features(same.images).numpy()
    centred: NDArray[np.float32] = features - features.mean(axis=0)
    return centred


def heads() -> list[MetricHead]:
    """All that are tried."""
    return [MetricHead(s, r) for s in _SHRINKAGES for r in _RESTS]


Real = list[tuple[NDArray[np.float32], Sample, str]]


def row(
    some: str, head: MetricHead, fitted: list[NDArray[np.float32]], real: Real
) -> list[str]:
    """A line of the table."""
    print(some, head, file=sys.stderr, flush=True)
    return [some, str(head.shrinkage), str(head.rest), *cells(fitted, real)]


def cells(fitted: list[NDArray[np.float32]], real: Real) -> list[str]:
    """MAP and P@10 of each sample; one matrix for each of its folds, in order."""
    matrices = iter(fitted)
    texts = []
    for features, sample, label in real:
        labels = sample.column(label)
        parts = []
        for split in sample.development():
            vectors = unit(features @ next(matrices))
            ranks = ranked(vectors[split.judge], vectors[split.train])
            found = labels[split.train][ranks] == labels[split.judge][:, None]
            parts.append(retrieval(found))
        texts += [
            show(mean_of(np.concatenate([part[measure] for part in parts])))
            for measure in ("ap", "p10")
        ]
    return texts


if __name__ == "__main__":
    main()
