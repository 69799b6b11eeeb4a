"""SimCLR (Chen et al. 2020, arXiv:2002.05709): tell the other view from the rest.

It needs no target network and learns from far fewer images than BYOL.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from twinjet.model.distributed import gather_views
from twinjet.model.objectives.heads import head


class SimClr(nn.Module):
    """Projector and loss.

    Parameters
    ----------
    dimension
        Length D of the features.
    hidden, projection
        Widths of the projector.
    temperature
        Of the softmax over the batch (tau of equation 1).

    Examples
    --------
    >>> views = torch.rand(8, 1, 80, 80)
    >>> SimClr(64)(torch.rand(8, 64), views).shape
    torch.Size([])
    """

    def __init__(
        self,
        dimension: int,
        *,
        hidden: int = 512,
        projection: int = 256,
        temperature: float = 0.2,
    ) -> None:
        super().__init__()
        self.projector = head(dimension, hidden, projection)
        self._temperature = temperature

    def forward(self, features: Tensor, views: Tensor) -> Tensor:  # noqa: ARG002 - the shape that all objectives share
        """Loss of the features (2 B, D): the mean over all views of equation 1."""
        projected = F.normalize(self.projector(features).float(), dim=1)  # (2B, P)
        projected = gather_views(projected)  # of all ranks
        logits = projected @ projected.T / self._temperature  # (2B, 2B)
        # A view is no answer to itself.
        logits = logits.fill_diagonal_(float("-inf"))
        other = torch.arange(len(logits), device=logits.device).roll(len(logits) // 2)
        return F.cross_entropy(logits, other)
