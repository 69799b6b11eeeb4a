"""Training state on disk: tensors and plain numbers, never pickled classes."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_checkpoint(
    path: Path,
    *,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    scaler: dict[str, Any],
) -> None:
    """Write a checkpoint; a crash leaves the earlier one whole.

    ``scaler`` is the state of the gradient scaler: plain numbers, or empty.
    """
    tensors = {f"module.{name}": t for name, t in module.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{number}.{name}"] = value
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    state = json.dumps({"step": step, "scaler": scaler})
    half_done = path.with_suffix(".tmp")
    save_file(tensors, half_done, metadata={"state": state})
    with half_done.open("rb") as file:
        os.fsync(file.fileno())
    half_done.replace(path)


def load_checkpoint(
    path: Path, *, module: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any]]:
    """Restore what `save_checkpoint` wrote; returns steps done and the scaler."""
    weights: dict[str, Tensor] = {}
    states: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        plain = json.loads(file.metadata()["state"])
        for name in file.keys():  # noqa: SIM118 - it is not a dictionary
            kind, _, rest = name.partition(".")
            if kind == "module":
                weights[rest] = file.get_tensor(name)
            else:
                number, _, field = rest.partition(".")
                states.setdefault(int(number), {})[field] = file.get_tensor(name)
    module.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
    return int(plain["step"]), plain["scaler"]
