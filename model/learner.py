"""Backbone and objectives as one module: what training steps through."""

from typing import Literal

import torch
from torch import Tensor, nn

from twinjet.model.backbone import Backbone
from twinjet.model.objectives.byol import Byol
from twinjet.model.objectives.nnclr import Nnclr
from twinjet.model.objectives.simclr import SimClr
from twinjet.model.objectives.supcon import SupCon
from twinjet.model.objectives.vicreg import Vicreg

Method = Literal["byol", "simclr", "nnclr", "vicreg"]


class Learner(nn.Module):
    """One loss of two views, and if asked a second of the sources' kinds.

    Parameters
    ----------
    backbone
        The network to train.
    method
        What is asked of the views.
    temperature
        Of the contrastive methods.
    kinds_weight
        Of the loss that draws sources of one kind together; 0 has none.

    Examples
    --------
    >>> learner = Learner(Backbone(depth=10, width=0.125), "simclr")
    >>> views = torch.rand(8, 1, 80, 80)
    >>> loss, features = learner(views, torch.full((4,), -1))
    >>> loss.shape, features.shape
    (torch.Size([]), torch.Size([8, 64]))
    """

    def __init__(
        self,
        backbone: Backbone,
        method: Method,
        *,
        temperature: float = 0.2,
        kinds_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        dimension = backbone.dimension
        self.objective: Byol | SimClr | Nnclr | Vicreg
        match method:
            case "byol":
                self.objective = Byol(backbone)
            case "simclr":
                self.objective = SimClr(dimension, temperature=temperature)
            case "nnclr":
                self.objective = Nnclr(dimension, temperature=temperature)
            case "vicreg":
                self.objective = Vicreg(dimension)
        self.kinds = SupCon(dimension) if kinds_weight else None
        self._kinds_weight = kinds_weight

    def forward(self, views: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of 2 B views of B images of these kinds (B,), and the features.

        Returns
        -------
        loss
            Scalar.
        features
            Shape (2 B, D), detached: to watch for collapse.
        """
        features = self.backbone(views)  # (2B, D)
        loss = self.objective(features, views)
        if self.kinds is not None:
            loss = loss + self._kinds_weight * self.kinds(features, kinds)
        return loss, features.detach()

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the target network, where there is one, towards the backbone."""
        if isinstance(self.objective, Byol):
            self.objective.follow(self.backbone, momentum)
