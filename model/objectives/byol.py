"""Bootstrap Your Own Latent (Grill et al. 2020, arXiv:2006.07733).

The online network predicts, from one view, what the target network makes of the
other; the target follows the online network as a moving average and gets no
gradient. The heads are those of Slijepcevic et al. (2023, arXiv:2305.16127).
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from twinjet.model.backbone import Backbone
from twinjet.model.objectives.heads import head


class Byol(nn.Module):
    """Projector, predictor and target network.

    Parameters
    ----------
    backbone
        The network to train, (B, 1, S, S) to (B, D); the target starts as its copy.
    hidden, projection
        Widths of the heads; the paper's are 512 and 256.

    Examples
    --------
    >>> backbone = Backbone(depth=10, width=0.125)
    >>> views = torch.rand(8, 1, 80, 80)
    >>> Byol(backbone)(backbone(views), views).shape
    torch.Size([])
    """

    def __init__(
        self, backbone: Backbone, *, hidden: int = 512, projection: int = 256
    ) -> None:
        super().__init__()
        self.projector = head(backbone.dimension, hidden, projection)
        self.predictor = head(projection, hidden, projection)
        self.target_backbone = copy.deepcopy(backbone).requires_grad_(
            requires_grad=False
        )
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(
            requires_grad=False
        )

    def forward(self, features: Tensor, views: Tensor) -> Tensor:
        """Loss of the views (2 B, 1, S, S) and their features (2 B, D).

        Returns
        -------
        Tensor
            Scalar, 0 (views agree) to 8: the symmetric one of equation 2.
        """
        predicted = self.predictor(self.projector(features))  # (2B, P)
        with torch.no_grad():
            projected = self.target_projector(self.target_backbone(views))  # (2B, P)
            wanted = projected.roll(len(views) // 2, dims=0)  # the other view's
        cosine = F.cosine_similarity(predicted.float(), wanted.float())  # (2B,)
        return 2 * (2 - 2 * cosine.mean())

    @torch.no_grad()
    def follow(self, backbone: nn.Module, momentum: float) -> None:
        """Move the target towards the online network by ``1 - momentum``."""
        pairs = (
            (self.target_backbone, backbone),
            (self.target_projector, self.projector),
        )
        for target, online in pairs:
            ours: list[Tensor] = list(target.parameters())
            theirs: list[Tensor] = list(online.parameters())
            torch._foreach_lerp_(ours, theirs, 1 - momentum)


def momentum_at(progress: float, start: float) -> float:
    """Momentum of the target: `start`, and 1 at the end, by half a cosine.

    Grill et al. (2020), section 3.3; `progress` goes from 0 to 1.

    Examples
    --------
    >>> momentum_at(0, 0.996), momentum_at(1, 0.996)
    (0.996, 1.0)
    """
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
