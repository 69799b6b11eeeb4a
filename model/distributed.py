"""Several processes that train one encoder, as torchrun starts them.

Without torchrun there is one process and nothing here does anything.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Rank:
    """One process among those that train."""

    number: int
    """0 for the one that writes."""
    count: int
    """Of processes."""
    device: str
    """Where this one computes."""

    @property
    def writes(self) -> bool:
        """Whether files and messages are this process's."""
        return self.number == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def rank_of(device: str) -> Iterator[Rank]:
    """Rank of this process, from torchrun's environment, for as long as it trains.

    Parameters
    ----------
    device
        ``"cpu"`` or ``"cuda"``; each process of a machine gets its own GPU.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Rank(0, 1, device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    # It takes the group there is as the default of its arguments when it is imported,
    # as torch's optimizers and DistributedDataParallel do on their way, and the group's
    # threads would then outlive it: one may end the process by SIGABRT at exit.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Rank(dist.get_rank(), count, device)
    finally:
        dist.destroy_process_group()


def gather_views(tensor: Tensor) -> Tensor:
    """Rows of all processes, all first views before all second ones.

    Parameters
    ----------
    tensor
        Shape (2 B, ...): first views, then second views of the same images.

    Returns
    -------
    Tensor
        Shape (2 B R, ...) of R processes; the tensor itself when there is one.
        Gradients go back to where the rows came from, summed over the processes,
        so that the mean that DistributedDataParallel takes is the gradient of the
        loss over the whole batch.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return tensor
    halves: list[Tensor] = [
        # `apply` of torch's functions has no types.
        _Gather.apply(half)  # type: ignore[no-untyped-call]
        for half in tensor.chunk(2)
    ]
    return torch.cat(halves)


class _Gather(torch.autograd.Function):
    """Rows of all processes in order of their ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ARG004 - torch's own interface
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004 - torch's own interface
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
