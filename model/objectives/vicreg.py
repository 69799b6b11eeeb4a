"""VICReg (Bardes et al. 2022, arXiv:2105.04906): agree, vary, do not repeat."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from twinjet.model.distributed import gather_views
from twinjet.model.objectives.heads import head

# Weights of equation 6 and the constant of equation 1, as published.
_INVARIANCE, _VARIANCE, _COVARIANCE = 25.0, 25.0, 1.0
_EPSILON = 1e-4


class Vicreg(nn.Module):
    """Projector and loss.

    Parameters
    ----------
    dimension
        Length D of the features.
    hidden, projection
        Widths of the projector.

    Examples
    --------
    >>> views = torch.rand(8, 1, 80, 80)
    >>> Vicreg(64)(torch.rand(8, 64), views).shape
    torch.Size([])
    """

    def __init__(
        self, dimension: int, *, hidden: int = 512, projection: int = 256
    ) -> None:
        super().__init__()
        self.projector = head(dimension, hidden, projection)

    def forward(self, features: Tensor, views: Tensor) -> Tensor:  # noqa: ARG002 - the shape that all objectives share
        """Loss of the features (2 B, D): equation 6."""
        projected = gather_views(self.projector(features).float())  # (2B, P)
        first, second = projected.chunk(2)
        invariance = F.mse_loss(first, second)
        variance = (_too_narrow(first) + _too_narrow(second)) / 2
        covariance = _off_diagonal(first) + _off_diagonal(second)
        return (
            _INVARIANCE * invariance + _VARIANCE * variance + _COVARIANCE * covariance
        )


def _too_narrow(projected: Tensor) -> Tensor:
    """How far the standard deviations are below 1 (equation 1)."""
    return F.relu(1 - torch.sqrt(projected.var(dim=0) + _EPSILON)).mean()


def _off_diagonal(projected: Tensor) -> Tensor:
    """Mean square of the covariances between dimensions (equation 4)."""
    centred = projected - projected.mean(dim=0)
    covariance = centred.T @ centred / (len(centred) - 1)  # (P, P)
    diagonal = covariance.diagonal().pow(2).sum()
    return (covariance.pow(2).sum() - diagonal) / projected.shape[1]
