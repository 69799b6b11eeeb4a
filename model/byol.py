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


class Byol(nn.Module):
    """Online network, predictor and target network.

    Parameters
    ----------
    backbone
        The network to train, (B, 1, S, S) to (B, D).
    hidden, projection
        Widths of the heads; the paper's are 512 and 256.

    Examples
    --------
    >>> byol = Byol(Backbone(depth=10, width=0.125))
    >>> views = torch.rand(4, 1, 80, 80), torch.rand(4, 1, 80, 80)
    >>> loss, features = byol(*views)
    >>> loss.shape, features.shape
    (torch.Size([]), torch.Size([8, 64]))
    """

    def __init__(
        self, backbone: Backbone, *, hidden: int = 512, projection: int = 256
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = head(backbone.dimension, hidden, projection)
        self.predictor = head(projection, hidden, projection)
        self.target_backbone = copy.deepcopy(backbone).requires_grad_(
            requires_grad=False
        )
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(
            requires_grad=False
        )

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of two views of the same images, and the online features.

        Returns
        -------
        loss
            Scalar, 0 (views agree) to 8: the symmetric one of equation 2.
        features
            Shape (2 B, D), detached: to watch for collapse.
        """
        views = torch.cat([first, second])  # (2B, 1, S, S)
        features = self.backbone(views)  # (2B, D)
        predicted = self.predictor(self.projector(features))  # (2B, P)
        with torch.no_grad():
            projected = self.target_projector(self.target_backbone(views))  # (2B, P)
            wanted = projected.roll(len(first), dims=0)  # the other view's
        cosine = F.cosine_similarity(predicted.float(), wanted.float())  # (2B,)
        return 2 * (2 - 2 * cosine.mean()), features.detach()

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the target towards the online network by ``1 - momentum``."""
        pairs = (
            (self.target_backbone, self.backbone),
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


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with batch normalisation between: projector or predictor."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs),
    )
