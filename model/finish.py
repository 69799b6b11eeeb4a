"""From a trained backbone to an encoder: its mean feature, its head, its card."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twinjet.model.augment import Augmentation, turned_and_shifted
from twinjet.model.backbone import Backbone
from twinjet.model.card import EncoderCard
from twinjet.model.distributed import Rank
from twinjet.model.encoder import Encoder, centred
from twinjet.model.metric import MetricHead
from twinjet.model.preprocess import turned_upright
from twinjet.model.presets import Preset
from twinjet.model.training_set import SIMULATED, TrainingSet

# Images whose mean feature is taken off: enough for a hundredth of its spread.
_CENTRED_ON = 2048

# Sources of known kind that a head is fitted to: eight for each feature.
_HEAD_ON = 4096

# An unknown kind, and a chance neighbour, which says nothing of what a source is
# (FR mAP on the development folds 0.825 with it, 0.838 without, November 2026).
_NO_KIND = ("", "blended")


def finished(
    backbone: Backbone,
    preset: Preset,
    data: TrainingSet,
    *,
    name: str,
    rank: Rank,
    seed: int,
    notes: dict[str, Any],
) -> Encoder:
    """The encoder of a trained backbone, with its card.

    Parameters
    ----------
    backbone
        The network.
    preset, data, seed
        What it was trained by.
    name
        Of the encoder.
    rank
        This process and its device.
    notes
        For the card.

    Raises
    ------
    DatasetError
        Fewer than two kinds for the preset's head.
    """
    card = EncoderCard(
        name=name,
        depth=preset.depth,
        width=preset.width,
        peaks=preset.peaks,
        dimension=backbone.dimension,
        preprocess=preset.preprocess,
        views=preset.views,
        weights_sha256="",
        training={
            "method": preset.method if preset.images else "head alone",
            "kinds": list(data.kind_names) if preset.kinds_weight else [],
            "images_in_set": len(data),
            "images_seen": preset.images // preset.batch * preset.batch,
            "batch": preset.batch,
            "seed": seed,
            "augmentation": asdict(preset.augmentation),
            "head": None
            if preset.head is None
            else asdict(preset.head) | {"kinds_of": preset.head_of},
        }
        | notes,
    )
    rows = data.epoch(seed, 0)
    real = rows[data.origins[rows] != SIMULATED]
    central = (real if len(real) else rows)[:_CENTRED_ON]
    encoder = centred(
        card, backbone, _as_served(data, central, preset), device=rank.device
    )
    if preset.head is not None:
        encoder = _with_head(encoder, preset.head, data, preset, central)
    return encoder


def _with_head(
    encoder: Encoder,
    head: MetricHead,
    data: TrainingSet,
    preset: Preset,
    central: NDArray[np.int64],
) -> Encoder:
    """The encoder with a head of the kinds that the preset names.

    Fitted to shifted views: simulated sources lie in the very centre, real ones do not,
    and directions that count on it lose neighbours: of ten, 5.5 stay when the source is
    shifted by up to 5 pixels, with shifted views 6.7, without a head 6.9 (development
    folds, November 2026).
    """
    rows, kinds = of_known_kind(data, preset)

    def features(
        rows: NDArray[np.int64], views: Augmentation | None = None
    ) -> NDArray[np.float32]:
        blocks = [encoder.features(b) for b in _as_served(data, rows, preset, views)]
        found: NDArray[np.float32] = (torch.cat(blocks) - encoder.mean).cpu().numpy()
        return found

    shifted = turned_and_shifted(preset.augmentation.shift_px)

    return encoder.with_head(
        head.fit(features(rows, shifted), kinds, real=features(central))
    )


def of_known_kind(
    data: TrainingSet, preset: Preset
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Rows that a head is fitted to, and their kinds; the first so many.

    Simulated sources have no order; of real ones there are fewer.
    """
    simulated = data.origins == SIMULATED
    of_these = simulated if preset.head_of == "simulated" else ~simulated
    kinds = np.array([*data.kind_names, ""])[data.kinds]  # UNKNOWN is the last
    rows = np.flatnonzero(of_these & ~np.isin(kinds, _NO_KIND))[:_HEAD_ON]
    return rows, kinds[rows]


def _as_served(
    data: TrainingSet,
    rows: NDArray[np.int64],
    preset: Preset,
    views: Augmentation | None = None,
) -> Iterator[NDArray[np.float32]]:
    """The encoder's field of some images or views of them, in blocks, in order."""
    rows = np.sort(rows)
    size, side = preset.preprocess.size_px, data.images.shape[1]
    margin = (side - size) // 2
    generator = torch.Generator().manual_seed(0)
    for start in range(0, len(rows), 256):
        images = data.images[rows[start : start + 256]].astype(np.float32)
        if views is not None:
            wide = views(torch.from_numpy(images).unsqueeze(1), side, generator)
            images = wide.squeeze(1).numpy()
        if preset.preprocess.upright:
            turned = [turned_upright(image, image, size) for image in images]
            yield np.clip(turned, 0.0, 1.0).astype(np.float32)
        else:
            yield images[:, margin : margin + size, margin : margin + size]
