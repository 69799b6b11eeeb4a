"""NNCLR (Dwibedi et al. 2021, arXiv:2104.14548): agree with the other's neighbour.

The positive of a view is not the other view but what lies nearest to it among the
views of the last steps; All4One (Estepa et al. 2023) builds on the same idea.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from twinjet.model.distributed import gather_views
from twinjet.model.objectives.heads import head


class Nnclr(nn.Module):
    """Projector, predictor and the memory of earlier views.

    Parameters
    ----------
    dimension
        Length D of the features.
    hidden, projection
        Widths of the heads.
    temperature
        Of the softmax over the batch; the paper's is 0.1.
    memory
        Views that are remembered.

    Examples
    --------
    >>> views = torch.rand(8, 1, 80, 80)
    >>> Nnclr(64, memory=32)(torch.rand(8, 64), views).shape
    torch.Size([])
    """

    support: Tensor

    def __init__(
        self,
        dimension: int,
        *,
        hidden: int = 512,
        projection: int = 256,
        temperature: float = 0.1,
        memory: int = 4096,
    ) -> None:
        super().__init__()
        self.projector = head(dimension, hidden, projection)
        self.predictor = head(projection, hidden, projection)
        self._temperature = temperature
        random = F.normalize(torch.randn(memory, projection), dim=1)
        self.register_buffer("support", random)  # (Q, P), oldest first

    def forward(self, features: Tensor, views: Tensor) -> Tensor:  # noqa: ARG002 - the shape that all objectives share
        """Loss of the features (2 B, D): equation 2, both ways."""
        projected = self.projector(features)  # (2B, P)
        predicted = gather_views(F.normalize(self.predictor(projected).float(), dim=1))
        anchors = gather_views(F.normalize(projected.float(), dim=1).detach())
        nearest = self.support[(anchors @ self.support.T).argmax(dim=1)]  # (2B, P)
        half = len(nearest) // 2
        losses = [
            F.cross_entropy(
                wanted @ given.T / self._temperature,
                torch.arange(half, device=given.device),
            )
            for wanted, given in (
                (nearest[:half], predicted[half:]),
                (nearest[half:], predicted[:half]),
            )
        ]
        if self.training:
            new = anchors[:half]
            self.support.copy_(torch.cat([self.support, new])[-len(self.support) :])
        return torch.stack(losses).mean()
