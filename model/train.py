"""Training: one loop, resumable to the same result.

Every draw depends on the seed and the step alone, so a run that was killed goes on
from its last checkpoint as if nothing had happened: to the bit on a CPU, up to the
order of additions on a GPU.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.parallel import DistributedDataParallel

from twinjet.model.backbone import Backbone
from twinjet.model.checkpoint import load_checkpoint, save_checkpoint
from twinjet.model.distributed import Rank
from twinjet.model.encoder import Encoder, load_backbone
from twinjet.model.errors import DatasetError
from twinjet.model.finish import finished, of_known_kind
from twinjet.model.learner import Learner
from twinjet.model.metric import large_kinds
from twinjet.model.metrics import Metrics, Progress
from twinjet.model.objectives.byol import momentum_at
from twinjet.model.preprocess import margin_for
from twinjet.model.presets import Preset
from twinjet.model.training_set import TrainingSet

# Steps between two reports.
_REPORT_EVERY = 50


def train(
    preset: Preset,
    data: TrainingSet,
    *,
    folder: Path,
    name: str,
    seed: int = 0,
    rank: Rank | None = None,
    half: bool = False,
    start: Path | None = None,
    notes: dict[str, Any] | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    checkpoint_s: float = 120.0,
) -> Encoder:
    """Train an encoder and write it to ``folder/<name>.safetensors`` and ``.json``.

    Parameters
    ----------
    preset
        The configuration.
    data
        What to learn from.
    folder
        Holds ``checkpoint.safetensors``, ``metrics.csv`` and, where TensorBoard is
        installed, its events; a run that finds a checkpoint there goes on from it.
    name
        Of the encoder.
    seed
        Of the weights, the order and the views.
    rank
        This process among those that train, and its device; alone on the CPU
        without. The batch is shared out, the loss is that of the whole batch.
    half
        Convolutions in bfloat16 or, on GPUs without it, float16: on a CPU twice as
        fast where it is in hardware (on an AVX-512 BF16 or AMX core, 64 to 137
        images per second, November 2026), thirty times slower where it is not.
    start
        Card of an encoder of the same backbone whose weights to start from.
    notes
        Kept in the card: data and command.
    report
        Called every 50 steps and at the last.
    checkpoint_s
        Seconds between checkpoints.

    Raises
    ------
    DatasetError
        Fewer images than a batch, images of another size, a batch that the processes
        cannot share, fewer than two kinds for a head, or nothing to be learned
        and no encoder to start from.
    EncoderFileError
        The encoder to start from is damaged or of another backbone.
    """
    rank = rank or Rank(0, 1, "cpu")
    _check(preset, data, rank, start)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    learner = _learner(preset, start, rank).train()
    optimizer = _optimizer(preset, learner)
    # float16 underflows without it; bfloat16 has float32's range.
    needed = half and _half_type(rank.device) is torch.float16
    scaler = torch.amp.GradScaler(enabled=needed)
    steps = preset.images // preset.batch
    checkpoint = folder / "checkpoint.safetensors"
    done = 0
    if checkpoint.exists() and steps:
        done, scale = load_checkpoint(checkpoint, module=learner, optimizer=optimizer)
        scaler.load_state_dict(scale if scaler.is_enabled() else {})
    run = _Run(
        preset=preset,
        data=data,
        learner=learner,
        stepped=_shared(learner, rank),
        optimizer=optimizer,
        scaler=scaler,
        rank=rank,
        seed=seed,
        half=half,
    )
    rows = _rows(data, preset.batch, seed, first=done)
    saved_at = time.monotonic()
    with closing(
        Metrics(folder, done=done, steps=steps, active=rank.writes)
    ) as metrics:
        for step in range(done, steps):
            loss, features = _step(run, next(rows), step)
            last = step + 1 == steps
            if (step + 1) % _REPORT_EVERY == 0 or last:
                report(metrics.add(step + 1, preset.batch, float(loss), features))
            if rank.writes and (last or time.monotonic() - saved_at > checkpoint_s):
                save_checkpoint(
                    checkpoint,
                    module=learner,
                    optimizer=optimizer,
                    step=step + 1,
                    scaler=scaler.state_dict(),
                )
                saved_at = time.monotonic()
        notes = (notes or {}) | metrics.summary()
    encoder = finished(
        learner.backbone, preset, data, name=name, rank=rank, seed=seed, notes=notes
    )
    if rank.writes:
        encoder.save(folder)
    return encoder


def _check(preset: Preset, data: TrainingSet, rank: Rank, start: Path | None) -> None:
    side = preset.preprocess.size_px + 2 * margin_for(preset.preprocess.size_px)
    if len(data) < preset.batch or data.images.shape[1:] != (side, side):
        msg = (
            f"{len(data)} images of {data.images.shape[1:]}; the preset needs at least "
            f"{preset.batch} of {(side, side)}"
        )
        raise DatasetError(msg, limit=preset.batch, actual=len(data))
    if preset.batch % rank.count:
        msg = f"{rank.count} processes cannot share batches of {preset.batch}"
        raise DatasetError(msg, limit=preset.batch, actual=rank.count)
    if preset.images < preset.batch and start is None:
        msg = (
            f"{preset.images} images are less than a batch of {preset.batch}: nothing "
            "would be learned, and there is no encoder to start from"
        )
        raise DatasetError(msg, limit=preset.batch, actual=preset.images)
    if preset.head is not None:
        large_kinds(of_known_kind(data, preset)[1])  # now, not after hours


def _learner(preset: Preset, start: Path | None, rank: Rank) -> Learner:
    backbone = Backbone(depth=preset.depth, width=preset.width, peaks=preset.peaks)
    if start is not None:
        load_backbone(start, backbone)
    learner = Learner(
        backbone,
        preset.method,
        temperature=preset.temperature,
        kinds_weight=preset.kinds_weight,
    )
    learner.to(torch.device(rank.device))
    if rank.count > 1 and rank.device != "cpu":
        # Statistics over the whole batch; torch has them on GPUs alone.
        convert: Any = torch.nn.SyncBatchNorm.convert_sync_batchnorm
        learner = convert(learner)
    # In place; `.to` of a module knows of no memory format for its type checker.
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return learner


def _shared(learner: Learner, rank: Rank) -> torch.nn.Module:
    """The learner, its gradients averaged over the processes that there are."""
    return DistributedDataParallel(learner) if rank.count > 1 else learner


def _optimizer(preset: Preset, learner: Learner) -> torch.optim.Optimizer:
    weights = [p for p in learner.parameters() if p.requires_grad]
    decay = preset.weight_decay
    if preset.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=0.0, weight_decay=decay)
    return torch.optim.SGD(weights, lr=0.0, momentum=0.9, weight_decay=decay)


def _half_type(device: str) -> torch.dtype:
    """bfloat16, which needs no scaling of the loss, unless the GPU lacks it."""
    if device != "cpu" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


@dataclass(frozen=True)
class _Run:
    """What stays the same from step to step."""

    preset: Preset
    data: TrainingSet
    learner: Learner
    stepped: torch.nn.Module
    """The learner, or what keeps it equal in all processes."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    rank: Rank
    seed: int
    half: bool


def _step(
    run: _Run, rows: NDArray[np.int64], step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch, two views, one update of both networks."""
    preset, rank = run.preset, run.rank
    device = torch.device(rank.device)
    # Each process draws the views of its own part.
    generator = torch.Generator(device).manual_seed(
        (run.seed * 2**32 + step) * rank.count + rank.number
    )
    progress = step * preset.batch / preset.images
    for group in run.optimizer.param_groups:
        group["lr"] = _learning_rate(preset, progress)
    mine = np.sort(rows[rank.number :: rank.count])
    images = torch.from_numpy(run.data.images[mine].astype(np.float32))
    images = images.unsqueeze(1).to(device)  # (B, 1, P, P)
    kinds = torch.from_numpy(run.data.kinds[mine]).to(device)  # (B,)
    size = preset.preprocess.size_px
    views = torch.cat(
        [preset.augmentation(images, size, generator) for _ in range(2)]
    ).contiguous(memory_format=torch.channels_last)  # (2B, 1, S, S)
    with torch.autocast(device.type, dtype=_half_type(rank.device), enabled=run.half):
        loss, features = run.stepped(views, kinds)
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()
    run.scaler.step(run.optimizer)
    run.scaler.update()
    momentum = preset.momentum
    if not preset.constant_momentum:
        momentum = momentum_at(progress, preset.momentum)
    run.learner.follow(momentum)
    return loss.detach(), features.float()


def _rows(
    data: TrainingSet, batch: int, seed: int, *, first: int
) -> Iterator[NDArray[np.int64]]:
    """Rows of each step from `first` on; an epoch's remainder is left out."""
    step = 0
    for epoch in range(10**9):
        order = data.epoch(seed, epoch)
        for start in range(0, len(order) - batch + 1, batch):
            if step >= first:
                yield order[start : start + batch]
            step += 1


def _learning_rate(preset: Preset, progress: float) -> float:
    """Linear warm-up, then half a cosine down to 0."""
    peak = preset.learning_rate
    if progress < preset.warm_up:
        return peak * progress / preset.warm_up
    rest = (progress - preset.warm_up) / (1 - preset.warm_up)
    return peak * (math.cos(math.pi * rest) + 1) / 2
