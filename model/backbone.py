"""Single-channel residual networks of any depth and width."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Blocks in each of the four stages (He et al. 2015, arXiv:1512.03385, table 1);
# 10 is 18 with half of the blocks.
_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}

# Channels of the stages at width 1.
_CHANNELS = (64, 128, 256, 512)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.shortcut(x))


class Backbone(nn.Module):
    """ResNet for small single-channel images.

    The stem is a 3x3 convolution of stride 1 and a 3x3 max-pooling of stride 2, as
    in the code of Slijepcevic et al. (2023, arXiv:2305.16127).

    Parameters
    ----------
    depth
        10, 18 or 34 layers.
    width
        Multiplies the channels (64, 128, 256, 512) of the stages.
    peaks
        Beside the mean over the field, the maximum: most of a field is empty, and
        the mean of a small source is little more than sky. Doubles the dimension.

    Examples
    --------
    >>> Backbone(depth=10, width=0.5)(torch.zeros(2, 1, 80, 80)).shape
    torch.Size([2, 256])
    """

    def __init__(
        self, *, depth: int = 18, width: float = 1.0, peaks: bool = False
    ) -> None:
        super().__init__()
        if depth not in _BLOCKS:
            msg = f"depth must be one of {sorted(_BLOCKS)}; it was {depth}"
            raise ValueError(msg)
        channels = [max(8, round(c * width)) for c in _CHANNELS]
        self.dimension = channels[-1] * (2 if peaks else 1)
        self.peaks = peaks
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        blocks: list[nn.Module] = []
        inputs = channels[0]
        for stage, (outputs, count) in enumerate(
            zip(channels, _BLOCKS[depth], strict=True)
        ):
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(_BasicBlock(inputs, outputs, stride))
                inputs = outputs
        self.stages = nn.Sequential(*blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of images (B, 1, S, S)."""
        x = self.stem(images)  # (B, C, S/2, S/2)
        x = self.stages(x)  # (B, C, S/16, S/16)
        mean = x.mean(dim=(2, 3))  # (B, C)
        return torch.cat([mean, x.amax(dim=(2, 3))], dim=1) if self.peaks else mean

    def folded(self) -> "Backbone":
        """A copy for inference, each batch norm folded into its convolution.

        The same features but for rounding (1e-6 of them), in two thirds of the time.
        It has no state that `load_state_dict` of another would take.
        """
        copy = deepcopy(self).eval().requires_grad_(requires_grad=False)
        copy.stem[0], copy.stem[1] = _fold(copy.stem[0], copy.stem[1]), nn.Identity()
        for block in copy.stages:
            for number in "12":
                convolution = getattr(block, f"conv{number}")
                norm = getattr(block, f"bn{number}")
                setattr(block, f"conv{number}", _fold(convolution, norm))
                setattr(block, f"bn{number}", nn.Identity())
            if isinstance(block.shortcut, nn.Sequential):
                block.shortcut = _fold(*block.shortcut)
        return copy


def _fold(convolution: nn.Module, norm: nn.Module) -> nn.Module:
    assert isinstance(convolution, nn.Conv2d)  # noqa: S101
    assert isinstance(norm, nn.BatchNorm2d)  # noqa: S101
    return fuse_conv_bn_eval(convolution, norm)
