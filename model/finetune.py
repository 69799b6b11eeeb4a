"""Fine-tuning: a linear probe, then backbone and head together, trained on labels.

From a trained encoder the head starts as the linear probe of its features and the
statistics of batch normalisation stay, so that the first step begins where the probe
ends: a head that starts at random distorts the features before it has learned anything
(Kumar et al. 2022, arXiv:2202.10054). The same loop from random weights is the
supervised baseline.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from twinjet.model.augment import Augmentation
from twinjet.model.backbone import Backbone
from twinjet.model.card import EncoderCard
from twinjet.model.checkpoint import load_checkpoint, save_checkpoint
from twinjet.model.encoder import (
    Encoder,
    backbone_of,
    centred,
    load_backbone,
    symmetric_views,
)
from twinjet.model.errors import DatasetError
from twinjet.model.evaluation.classify import linear_probe

_SAVE_EVERY = 100

# Milder than for self-supervision: the class must survive. Fields that lie upright stay
# so, up to the error of their axis, in all eight symmetries.
_AUGMENTATION = Augmentation(
    turn=0.15,
    zoom=0.1,
    stretch=0.05,
    shift_px=3.0,
    gamma=0.2,
    brightness=0.2,
    floor=0.05,
    blur_probability=0.1,
    noise_probability=0.1,
    mask_probability=0.1,
)


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How to fine-tune.

    Optimiser, weight decay, smoothing and schedule are those of the authors' code
    of arXiv:2305.16127 (AdamW, 0.05, 0.1, cosine).
    """

    images: int = 8_000
    """To be seen in all; each gives one view."""
    batch: int = 32
    """Images a step."""
    learning_rate: float = 2e-4
    """At its peak. From random weights 1e-3 does better."""
    weight_decay: float = 0.05
    """On all weights."""
    smoothing: float = 0.1
    """Of the labels."""


class Classifier(nn.Module):
    """Backbone and linear head.

    Parameters
    ----------
    backbone
        The network, (B, 1, S, S) to (B, D).
    classes
        Names of the C classes.
    """

    def __init__(self, backbone: Backbone, classes: list[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = nn.BatchNorm1d(backbone.dimension)
        self.head = nn.Linear(backbone.dimension, len(classes))
        self.classes = classes

    def forward(self, views: Tensor) -> Tensor:
        """Logits (B, C) of views (B, 1, S, S)."""
        logits: Tensor = self.head(self.norm(self.backbone(views)))
        return logits

    @torch.inference_mode()
    def predict(
        self, images: NDArray[np.float32], *, half: bool = False
    ) -> NDArray[np.float32]:
        """Softmax, averaged over the eight rotations and mirrors.

        Parameters
        ----------
        images
            Shape (N, S, S), 0 to 1.
        half
            As for training.

        Returns
        -------
        ndarray
            Shape (N, C), float32; rows sum to 1.
        """
        self.eval()
        device = self.head.weight.device
        parts = []
        for image in images:
            views = symmetric_views(torch.from_numpy(image)[None, None]).to(device)
            views = views.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                logits = self(views)  # (8, C)
            parts.append(logits.float().softmax(dim=1).mean(dim=0))
        stacked: NDArray[np.float32] = torch.stack(parts).cpu().numpy()
        return stacked


def fine_tune(
    card: EncoderCard,
    images: NDArray[np.floating],
    labels: NDArray[np.str_],
    *,
    start: Path | None,
    settings: FineTuning | None = None,
    seed: int = 0,
    device: str = "cpu",
    half: bool = False,
    folder: Path | None = None,
    report: Callable[[int, int, float], None] = lambda *_: None,
) -> Classifier:
    """Train a classifier.

    Parameters
    ----------
    card
        Architecture and recipe.
    images
        Shape (N, S, S), 0 to 1, as the card's recipe prepares them.
    labels
        Shape (N,), not empty.
    start
        Card of the encoder whose weights to start from, its linear probe the first
        head; random ones without.
    settings
        How; the defaults without.
    seed
        Of the weights, the order and the views.
    device
        ``"cpu"`` or ``"cuda"``.
    half
        As for `train`.
    folder
        Keeps a checkpoint, from which a killed run goes on.
    report
        Called now and then with step, steps and loss.

    Raises
    ------
    DatasetError
        Fewer than two classes.
    """
    settings = settings or FineTuning()
    classes = sorted(set(labels.tolist()))
    if len(classes) < 2:  # noqa: PLR2004 - to tell apart
        msg = f"to classify takes two classes; the labels have {len(classes)}"
        raise DatasetError(msg, limit=2, actual=len(classes))
    torch.manual_seed(seed)
    classifier = Classifier(backbone_of(card), classes)
    checkpoint = folder and folder / "checkpoint.safetensors"
    resumes = checkpoint is not None and checkpoint.exists()
    if start is not None and not resumes:
        load_backbone(start, classifier.backbone)
        _probe_first(classifier, card, images, labels, device)
    classifier.to(torch.device(device))
    # In place; `.to` of a module knows of no memory format for its type checker.
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=0.0, weight_decay=settings.weight_decay
    )
    targets = np.searchsorted(classes, labels)
    steps = settings.images // settings.batch
    done = 0
    if checkpoint and resumes:
        done, _ = load_checkpoint(checkpoint, module=classifier, optimizer=optimizer)
    # What was learned has its own statistics; random weights take each batch's.
    classifier.train(start is None)
    views_of = _augmentation(card)
    for step in range(done, steps):
        generator = torch.Generator(device).manual_seed(seed * 2**32 + step)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step / steps)
        rows = _batch(len(images), settings.batch, seed=seed, step=step)
        batch = torch.from_numpy(images[rows].astype(np.float32)).unsqueeze(1)
        views = views_of(batch.to(device), card.preprocess.size_px, generator)
        views = views.contiguous(memory_format=torch.channels_last)  # (B, 1, S, S)
        with torch.autocast(views.device.type, dtype=torch.bfloat16, enabled=half):
            logits = classifier(views)  # (B, C)
        wanted = torch.from_numpy(targets[rows]).to(device)
        loss = F.cross_entropy(
            logits.float(), wanted, label_smoothing=settings.smoothing
        )
        optimizer.zero_grad(set_to_none=True)
        # Tensor.backward has no types.
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            report(step + 1, steps, float(loss.detach()))
            if checkpoint:
                save_checkpoint(
                    checkpoint,
                    module=classifier,
                    optimizer=optimizer,
                    step=step + 1,
                    scaler={},
                )
    return classifier.eval()


def _probe_first(
    classifier: Classifier,
    card: EncoderCard,
    images: NDArray[np.floating],
    labels: NDArray[np.str_],
    device: str,
) -> None:
    """Standardisation and head of a classifier: the linear probe of its features."""
    block = images.astype(np.float32)
    encoder = centred(card, classifier.backbone, [block[:1]], device=device)
    features = encoder.features(block).cpu().numpy()
    with threadpool_limits(1, user_api="blas"):
        scaler, regression = linear_probe(labels).fit(features, labels)
    weights, bias = regression.coef_, regression.intercept_
    if len(classifier.classes) == 2:  # noqa: PLR2004 - one row tells two classes apart
        weights, bias = (np.concatenate([-v, v]) / 2 for v in (weights, bias))
    norm, head = classifier.norm, classifier.head
    # Batch normalisation divides by a little more than the standard deviation.
    weights = weights * np.sqrt(scaler.var_ + norm.eps) / scaler.scale_
    values = (
        (norm.running_mean, scaler.mean_),
        (norm.running_var, scaler.var_),
        (head.weight, weights),
        (head.bias, bias),
    )
    with torch.no_grad():
        for tensor, value in values:
            if tensor is not None:
                tensor.copy_(torch.from_numpy(value))


def _augmentation(card: EncoderCard) -> Augmentation:
    """Fields that lie at any angle are turned by any."""
    turn = _AUGMENTATION.turn if card.preprocess.upright else math.pi
    return replace(_AUGMENTATION, turn=turn)


def encoder_from(
    classifier: Classifier,
    card: EncoderCard,
    images: NDArray[np.float32],
    *,
    name: str,
    training: dict[str, object],
) -> Encoder:
    """The fine-tuned backbone as an encoder.

    Parameters
    ----------
    classifier
        What `fine_tune` made.
    card
        Of the architecture.
    images
        Shape (N, S, S): their mean feature is taken off.
    name, training
        For the new card.
    """
    fresh = replace(
        card, name=name, weights_sha256="", training=dict(training), quality={}
    )
    device = str(classifier.head.weight.device)
    return centred(fresh, classifier.backbone, [images], device=device)


def _schedule(progress: float) -> float:
    """A tenth of warm-up, then half a cosine down to 0."""
    warm_up = 0.1
    if progress < warm_up:
        return progress / warm_up
    return (math.cos(math.pi * (progress - warm_up) / (1 - warm_up)) + 1) / 2


def _batch(count: int, batch: int, *, seed: int, step: int) -> NDArray[np.int64]:
    """Rows of a step out of epochs laid end to end, each shuffled."""
    first, last = step * batch, (step + 1) * batch
    epochs = range(first // count, (last - 1) // count + 1)
    order = np.concatenate(
        [np.random.default_rng([seed, epoch]).permutation(count) for epoch in epochs]
    )
    start = first - epochs.start * count
    return order[start : start + batch]
