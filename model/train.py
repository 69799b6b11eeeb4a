"""Self-supervised training: one loop, resumable to the same result.

Every draw depends on the seed and the step alone, so a run that was killed goes on
from its last checkpoint as if nothing had happened.
"""

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twinjet.model.backbone import Backbone
from twinjet.model.byol import Byol, momentum_at
from twinjet.model.card import EncoderCard
from twinjet.model.checkpoint import load_checkpoint, save_checkpoint
from twinjet.model.dataset import margin_for
from twinjet.model.encoder import Encoder
from twinjet.model.errors import DatasetError
from twinjet.model.presets import Preset
from twinjet.model.simclr import SimClr

Learner = Byol | SimClr

# Features of a unit-norm batch that do not vary: below this part of the spread of
# random directions the network answers the same for every image.
_COLLAPSED = 0.05


@dataclass
class Progress:
    """Where a training run is; handed to the caller at every report."""

    step: int
    steps: int
    loss: float
    spread: float
    """Standard deviation of unit-norm features over that of random directions."""
    images_per_second: float
    warnings: list[str] = field(default_factory=list)


def train(
    preset: Preset,
    images: NDArray[np.float16],
    *,
    folder: Path,
    name: str,
    seed: int = 0,
    device: str = "cpu",
    half: bool = False,
    notes: dict[str, Any] | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    checkpoint_s: float = 120.0,
) -> Encoder:
    """Train an encoder and write it to ``folder/<name>.safetensors`` and ``.json``.

    Parameters
    ----------
    preset
        The configuration.
    images
        Shape (N, P, P), float16, 0 to 1, with the margin of `margin_for`.
    folder
        Holds ``checkpoint.safetensors`` and ``metrics.csv``; a run that finds a
        checkpoint there goes on from it.
    name
        Of the encoder.
    seed
        Of the weights, the order and the views.
    device
        ``"cpu"`` or ``"cuda"``.
    half
        Convolutions in bfloat16: twice as fast where the processor has it in
        hardware (on an AVX-512 BF16 or AMX core, 64 to 137 images per second,
        November 2026), thirty times slower where it does not.
    notes
        Kept in the card: data and command.
    report
        Called about every 50 steps.
    checkpoint_s
        Seconds between checkpoints.

    Raises
    ------
    DatasetError
        Fewer images than a batch, or images of another size.
    """
    side = preset.preprocess.size_px + 2 * margin_for(preset.preprocess.size_px)
    if len(images) < preset.batch or images.shape[1:] != (side, side):
        msg = (
            f"{len(images)} images of {images.shape[1:]}; the preset needs at least "
            f"{preset.batch} of {(side, side)}"
        )
        raise DatasetError(msg, limit=preset.batch, actual=len(images))
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    learner = _learner(preset).to(torch.device(device)).train()
    optimizer = _optimizer(preset, learner)
    steps = preset.images // preset.batch
    checkpoint = folder / "checkpoint.safetensors"
    done = 0
    if checkpoint.exists():
        done = load_checkpoint(checkpoint, module=learner, optimizer=optimizer)
    saved_at = reported_at = time.monotonic()
    reported = done
    for step in range(done, steps):
        loss, features = _step(
            learner, optimizer, preset, images, seed=seed, step=step, half=half
        )
        now = time.monotonic()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            rate = (step + 1 - reported) * preset.batch / max(now - reported_at, 1e-9)
            progress = _progress(step + 1, steps, loss, features, rate)
            _append_metrics(folder / "metrics.csv", progress)
            report(progress)
            reported, reported_at = step + 1, now
        if now - saved_at > checkpoint_s or step + 1 == steps:
            save_checkpoint(
                checkpoint, module=learner, optimizer=optimizer, step=step + 1
            )
            saved_at = now
    return _finish(
        learner,
        preset,
        images,
        folder=folder,
        name=name,
        device=device,
        seed=seed,
        notes=notes or {},
    )


def _learner(preset: Preset) -> Learner:
    backbone = Backbone(depth=preset.depth, width=preset.width, peaks=preset.peaks)
    # In place; `.to` of a module knows of no memory format for its type checker.
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Byol(backbone) if preset.method == "byol" else SimClr(backbone)


def _optimizer(preset: Preset, learner: Learner) -> torch.optim.Optimizer:
    weights = [p for p in learner.parameters() if p.requires_grad]
    decay = preset.weight_decay
    if preset.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=0.0, weight_decay=decay)
    return torch.optim.SGD(weights, lr=0.0, momentum=0.9, weight_decay=decay)


def _step(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    preset: Preset,
    images: NDArray[np.float16],
    *,
    seed: int,
    step: int,
    half: bool,
) -> tuple[float, torch.Tensor]:
    """One batch, two views, one update of both networks."""
    device = next(learner.parameters()).device
    generator = torch.Generator().manual_seed(seed * 2**32 + step)
    progress = step * preset.batch / preset.images
    for group in optimizer.param_groups:
        group["lr"] = _learning_rate(preset, progress)
    rows = _batch_rows(len(images), preset.batch, seed, step)
    batch = torch.from_numpy(images[rows].astype(np.float32)).unsqueeze(1).to(device)
    size = preset.preprocess.size_px
    first, second = (
        preset.augmentation(batch, size, generator).contiguous(
            memory_format=torch.channels_last
        )
        for _ in range(2)
    )
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        loss, features = learner(first, second)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    momentum = preset.momentum
    if not preset.constant_momentum:
        momentum = momentum_at(progress, preset.momentum)
    learner.follow(momentum)
    return float(loss.detach()), features.float()


def _batch_rows(count: int, batch: int, seed: int, step: int) -> NDArray[np.int64]:
    """Rows of a step: each epoch is one permutation, the remainder is left out."""
    epoch, part = divmod(step, count // batch)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.sort(order[part * batch : (part + 1) * batch])


def _learning_rate(preset: Preset, progress: float) -> float:
    """Linear warm-up, then half a cosine down to 0."""
    peak = preset.learning_rate
    if progress < preset.warm_up:
        return peak * progress / preset.warm_up
    rest = (progress - preset.warm_up) / (1 - preset.warm_up)
    return peak * (math.cos(math.pi * rest) + 1) / 2


def _progress(
    step: int, steps: int, loss: float, features: torch.Tensor, rate: float
) -> Progress:
    unit = torch.nn.functional.normalize(features, dim=1)
    # Random directions of D dimensions have a standard deviation of 1/sqrt(D).
    spread = float(unit.std(dim=0).mean()) * math.sqrt(features.shape[1])
    warnings = []
    if not math.isfinite(loss):
        warnings.append("the loss is not a finite number")
    if spread < _COLLAPSED:
        warnings.append(f"collapsed: spread of the features {spread:.3f}")
    return Progress(step, steps, loss, spread, rate, warnings)


def _append_metrics(path: Path, progress: Progress) -> None:
    new = not path.exists()
    row = asdict(progress) | {"warnings": "; ".join(progress.warnings)}
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _finish(
    learner: Learner,
    preset: Preset,
    images: NDArray[np.float16],
    *,
    folder: Path,
    name: str,
    device: str,
    seed: int,
    notes: dict[str, Any],
) -> Encoder:
    """Measure the mean feature, write weights and card."""
    card = EncoderCard(
        name=name,
        depth=preset.depth,
        width=preset.width,
        peaks=preset.peaks,
        dimension=learner.backbone.dimension,
        preprocess=preset.preprocess,
        views=preset.views,
        weights_sha256="",
        training={
            "method": preset.method,
            "images_in_set": len(images),
            "images_seen": preset.images // preset.batch * preset.batch,
            "batch": preset.batch,
            "seed": seed,
            "augmentation": asdict(preset.augmentation),
        }
        | notes,
    )
    zero = torch.zeros(card.dimension)
    encoder = Encoder(card, learner.backbone, mean=zero, device=device)
    total, count = torch.zeros(card.dimension, dtype=torch.float64), 0
    for part in _central(images, preset.preprocess.size_px):
        features = encoder.features(part)
        total += features.sum(dim=0).double().cpu()
        count += len(features)
    encoder = Encoder(
        replace(card), learner.backbone, mean=(total / count).float(), device=device
    )
    encoder.save(folder)
    return encoder


def _central(images: NDArray[np.float16], size: int) -> Iterator[NDArray[np.float32]]:
    """The encoder's field of the images, a thousand at a time."""
    margin = (images.shape[1] - size) // 2
    for start in range(0, len(images), 1024):
        part = images[start : start + 1024, margin : margin + size, margin:][..., :size]
        yield part.astype(np.float32)
