"""How good an encoder is, beside a network without training and pixel PCA.

k nearest neighbours and a linear probe on labelled sources, trained on four of the
five parts of the sky and judged on the fifth, which no encoder has seen (see
`twinjet.model.split`). All methods share images, sources, classifiers and folds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegressionCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from twinjet.model.backbone import Backbone
from twinjet.model.dataset import LabelledFolder
from twinjet.model.encoder import Encoder
from twinjet.model.errors import DatasetError
from twinjet.model.split import may_train, sky_fold

# Neighbours that vote; the paper shows eight, users look at ten.
NEIGHBOURS = 10

# Components of the PCA baseline: the authors' application keeps 200 of its
# features; of pixels 64 did not do worse than 200 and cannot overfit 550 sources.
_PCA_COMPONENTS = 64

_RESAMPLES = 2000


@dataclass(frozen=True)
class Task:
    """Labelled, prepared images."""

    name: str
    images: NDArray[np.float32]
    """Shape (N, S, S)."""
    labels: NDArray[np.str_]
    """Shape (N,)."""
    judged: NDArray[np.bool_]
    """Shape (N,): in the part of the sky that judges."""
    trained: NDArray[np.bool_]
    """Shape (N,): in the part that trains; neither is the border between them."""


def read_task(
    folder: LabelledFolder,
    encoder: Encoder,
    *,
    label: str,
    where: Mapping[str, str] | None = None,
    classes: Sequence[str] = (),
) -> Task:
    """Read the sources of a folder that have a label.

    Parameters
    ----------
    folder
        With the column `label`.
    encoder
        Whose recipe prepares the images.
    label
        Name of the column; rows without a value are left out.
    where
        Columns that must have these values.
    classes
        Values of the label to keep; all when empty.

    Raises
    ------
    DatasetError
        The column is missing, or a part of the sky lacks a class.
    """
    wanted = where or {}
    rows = [
        row
        for row in folder.rows
        if row.get(label)
        and (not classes or row[label] in classes)
        and all(row.get(c) == v for c, v in wanted.items())
    ]
    chosen = replace(folder, rows=rows)
    if not rows:
        msg = f"no source of {folder.folder} has a {label!r} where {dict(wanted)}"
        raise DatasetError(msg)
    prepared = list(chosen.prepared(encoder.card.preprocess))
    seen = np.array([image is not None for image in prepared])
    ra, dec = (axis[seen] for axis in chosen.positions())
    task = Task(
        name=f"{folder.folder.resolve().name}: {label}",
        images=np.stack([image for image in prepared if image is not None]),
        labels=np.array([row[label] for row in rows])[seen],
        judged=sky_fold(ra, dec) == 0,
        trained=may_train(ra, dec),
    )
    found = set(task.labels)
    for part in (task.judged, task.trained):
        if set(task.labels[part]) != found:
            msg = f"{task.name}: a part of the sky lacks one of {sorted(found)}"
            raise DatasetError(msg)
    return task


def evaluate(
    encoder: Encoder,
    task: Task,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Figures of an encoder and its baselines on one task.

    Returns
    -------
    dict
        Plain data: sources of each part, and for each method the accuracy of the
        `NEIGHBOURS` nearest and of the linear probe and the precision at 10, each
        with the 95 % interval of a bootstrap over the judged sources.
    """
    methods = {
        "encoder": encoder.embed_images(task.images),
        "untrained": _untrained(encoder, seed).embed_images(task.images),
        "pixel PCA": _pixel_pca(task),
    }
    rng = np.random.default_rng(seed)
    chosen = rng.integers(task.judged.sum(), size=(_RESAMPLES, task.judged.sum()))
    figures: dict[str, Any] = {}
    for name, vectors in methods.items():
        progress(f"{task.name}: {name}")
        right = _correct(vectors, task)
        figures[name] = {
            measure: _with_interval(values, chosen) for measure, values in right.items()
        }
    return {
        "task": task.name,
        "classes": sorted(set(task.labels.tolist())),
        "trained_on": int(task.trained.sum()),
        "judged_on": int(task.judged.sum()),
        "methods": figures,
    }


def _correct(vectors: NDArray[np.float32], task: Task) -> dict[str, NDArray[Any]]:
    """For each judged source, whether each classifier is right."""
    train, judge = vectors[task.trained], vectors[task.judged]
    known, truth = task.labels[task.trained], task.labels[task.judged]
    nearest = KNeighborsClassifier(NEIGHBOURS, metric="cosine").fit(train, known)
    # Five strengths of regularisation, chosen within the training part.
    probe = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=np.logspace(-4, 0, 5).tolist(),
            cv=5,
            scoring="neg_log_loss",
            max_iter=2000,
            l1_ratios=(0.0,),
            use_legacy_attributes=False,
        ),
    ).fit(train, known)
    _, neighbours = nearest.kneighbors(judge)
    return {
        "knn_accuracy": nearest.predict(judge) == truth,
        "linear_accuracy": probe.predict(judge) == truth,
        "precision_at_10": (known[neighbours] == truth[:, None]).mean(axis=1),
    }


def _with_interval(values: NDArray[Any], chosen: NDArray[np.int64]) -> dict[str, float]:
    means = values[chosen].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "value": round(float(values.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def _untrained(encoder: Encoder, seed: int) -> Encoder:
    """The same architecture with its initial weights."""
    torch.manual_seed(seed)
    card = replace(encoder.card, name="untrained", weights_sha256="")
    backbone = Backbone(depth=card.depth, width=card.width, peaks=card.peaks)
    return Encoder(card, backbone, mean=torch.zeros(card.dimension))


def _pixel_pca(task: Task) -> NDArray[np.float32]:
    """Principal components of the pixels, fitted on the training part."""
    pixels = task.images.reshape(len(task.images), -1)
    components = min(_PCA_COMPONENTS, int(task.trained.sum()))
    pca = PCA(components, random_state=0).fit(pixels[task.trained])
    vectors: NDArray[np.float32] = pca.transform(pixels).astype(np.float32)
    return vectors
