"""What a training run tells of itself: a table, TensorBoard, warnings."""

import csv
import importlib.util
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

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


class Metrics:
    """``metrics.csv`` and TensorBoard events of one run.

    Parameters
    ----------
    folder
        Of the run.
    done
        Steps of the checkpoint that the run goes on from; what a killed run told
        of later ones is taken back.
    steps
        Of the whole run.
    active
        False for a process that leaves writing to another.
    """

    def __init__(self, folder: Path, *, done: int, steps: int, active: bool) -> None:
        self._path = folder / "metrics.csv"
        self._steps = steps
        self._active = active
        self._step, self._at = done, time.monotonic()
        self._last: Progress | None = None
        self._collapsed = False
        self._board: SummaryWriter | None = None
        if active:
            _keep_until(self._path, done)
            self._board = _tensorboard(folder, done)

    def add(
        self, step: int, batch: int, loss: float, features: torch.Tensor
    ) -> Progress:
        """Write down how things are after a step; features are (N, D)."""
        now = time.monotonic()
        rate = (step - self._step) * batch / max(now - self._at, 1e-9)
        self._step, self._at = step, now
        spread = spread_of(features)
        warnings = []
        if not math.isfinite(loss):
            warnings.append("the loss is not a finite number")
        if spread < _COLLAPSED:
            self._collapsed = True
            warnings.append(
                f"collapsed: the features vary {spread:.3f} times as much as random "
                f"directions; {_COLLAPSED} is the least of a network that sees"
            )
        self._last = Progress(step, self._steps, loss, spread, rate, warnings)
        if self._active:
            _append(self._path, self._last)
        if self._board is not None:
            for name in ("loss", "spread", "images_per_second"):
                self._board.add_scalar(name, getattr(self._last, name), step)
        return self._last

    def summary(self) -> dict[str, Any]:
        """Last figures, for the encoder's card."""
        if self._last is None:
            return {}
        return {
            "final_loss": round(self._last.loss, 4),
            "final_spread": round(self._last.spread, 3),
            "collapsed": self._collapsed,
        }

    def close(self) -> None:
        """Write what TensorBoard still holds."""
        if self._board is not None:
            self._board.close()


def spread_of(features: torch.Tensor) -> float:
    """Standard deviation of unit-norm features over that of random directions.

    Examples
    --------
    >>> spread_of(torch.ones(8, 4))
    0.0
    """
    unit = torch.nn.functional.normalize(features, dim=1)
    # Random directions of D dimensions have a standard deviation of 1/sqrt(D).
    return float(unit.std(dim=0).mean()) * math.sqrt(features.shape[1])


def _keep_until(path: Path, step: int) -> None:
    if not path.exists():
        return
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if int(row.partition(",")[0]) <= step]
    path.write_text("\n".join([head, *kept, ""]), encoding="utf-8")


def _append(path: Path, progress: Progress) -> None:
    new = not path.exists()
    row = asdict(progress) | {"warnings": "; ".join(progress.warnings)}
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _tensorboard(folder: Path, done: int) -> "SummaryWriter | None":
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

    return SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
