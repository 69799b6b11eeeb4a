"""The small networks between features and losses."""

from torch import nn


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with batch normalisation between: projector or predictor."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs),
    )
