"""Supervised contrast (Khosla et al. 2020, arXiv:2004.11362): kinds together.

Kinds are known of simulated sources, and of real ones where people classified them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from twinjet.model.distributed import gather_views
from twinjet.model.objectives.heads import head

UNKNOWN = -1
"""Kind of a source that nobody has classified."""


class SupCon(nn.Module):
    """Projector and loss.

    Parameters
    ----------
    dimension
        Length D of the features.
    hidden, projection
        Widths of the projector.
    temperature
        Of the softmax over the batch; the paper's is 0.1.

    Examples
    --------
    >>> kinds = torch.tensor([0, 1, 0, UNKNOWN])
    >>> SupCon(64)(torch.rand(8, 64), kinds).shape
    torch.Size([])
    """

    def __init__(
        self,
        dimension: int,
        *,
        hidden: int = 512,
        projection: int = 128,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.projector = head(dimension, hidden, projection)
        self._temperature = temperature

    def forward(self, features: Tensor, kinds: Tensor) -> Tensor:
        """Loss of the features (2 B, D) of images of these kinds (B,): L_out of eq. 2.

        Sources of unknown kind neither attract nor repel; 0 if all are.
        """
        projected = F.normalize(self.projector(features).float(), dim=1)  # (2B, P)
        projected = gather_views(projected)
        kinds = gather_views(kinds.repeat(2))  # (2B,)
        known = kinds != UNKNOWN
        itself = torch.eye(len(kinds), dtype=torch.bool, device=kinds.device)
        logits = projected @ projected.T / self._temperature  # (2B, 2B)
        logits = logits.masked_fill(itself | ~known[None, :], -1e9)
        log_part = logits - torch.logsumexp(logits, dim=1, keepdim=True)
        alike = (kinds[:, None] == kinds[None, :]) & ~itself
        mean = (log_part * alike).sum(dim=1) / alike.sum(dim=1).clamp(min=1)  # (2B,)
        return -(mean * known).sum() / known.sum().clamp(min=1)
