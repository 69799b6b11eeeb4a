"""Two random views of each image, made in batches on the training device.

One affine transform, then changes of brightness that stand for another stretch,
noise level, beam or neighbourhood. All draws come from the given generator.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it


@dataclass(frozen=True)
class Augmentation:
    """How far a view may depart from its image.

    Attributes
    ----------
    turn
        Largest rotation, radians, from the nearest of the four quarter turns, one of
        which is drawn first; pi turns by any angle.
    zoom
        Natural logarithm of the largest magnification or reduction.
    stretch
        Largest relative difference of the magnifications along two axes.
    shift_px
        Largest shift along each axis.
    gamma
        Natural logarithm of the largest exponent applied to the brightness.
    brightness
        Largest relative change of the brightness.
    floor
        Largest part of the peak below which a pixel becomes sky.
    blur_probability, blur_sigma_px
        Gaussian blur: how often and how much at most (least is 0.1).
    noise_probability, noise
        Added noise: how often, and its largest standard deviation.
    mask_probability, mask_radius
        Sky outside a circle: how often, and its smallest radius as a part of half
        of the side. Unrelated neighbours go, as with the authors' mask.
    """

    turn: float = math.pi
    zoom: float = 0.2
    stretch: float = 0.1
    shift_px: float = 5.0
    gamma: float = 0.4
    brightness: float = 0.3
    floor: float = 0.1
    blur_probability: float = 0.3
    blur_sigma_px: float = 1.5
    noise_probability: float = 0.3
    noise: float = 0.05
    mask_probability: float = 0.3
    mask_radius: float = 0.6

    def __call__(self, images: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """One random view of each image.

        Parameters
        ----------
        images
            Shape (B, 1, P, P), 0 to 1, P >= size.
        size
            Side S of the views.
        generator
            Where every draw comes from; on the device of the images.

        Returns
        -------
        Tensor
            Shape (B, 1, S, S), 0 to 1.
        """
        views = self._turn(images, size, generator)
        views = self._relight(views, generator)
        views = self._blur(views, generator)
        views = self._add_noise(views, generator)
        return self._mask(views, generator)

    def _turn(self, images: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Rotation, either mirror, some zoom and shift, in one resampling."""
        count, side = len(images), images.shape[-1]
        angle = _uniform(count, -self.turn, self.turn, generator)
        if self.turn < math.pi:
            quarters = torch.floor(_uniform(count, 0, 4, generator))
            angle = angle + quarters * (math.pi / 2)
        mirror = torch.where(_uniform(count, 0, 1, generator) < 0.5, -1.0, 1.0)  # noqa: PLR2004
        zoom = torch.exp(_uniform(count, -self.zoom, self.zoom, generator))
        aspect = 1 + _uniform(count, -self.stretch, self.stretch, generator)
        cos, sin = torch.cos(angle), torch.sin(angle)
        x = zoom * mirror * aspect
        affine = torch.stack([cos * x, -sin * zoom, sin * x, cos * zoom], dim=1)
        shift = _uniform(2 * count, -self.shift_px, self.shift_px, generator)
        theta = torch.cat(
            [affine.reshape(-1, 2, 2), shift.reshape(-1, 2, 1) * 2 / size], dim=2
        )
        theta = theta * size / side  # a window of size in side
        grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)

    def _relight(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """Another stretch, another clip, another brightness."""
        count = len(views)
        gamma = torch.exp(_uniform(count, -self.gamma, self.gamma, generator))
        floor = _uniform(count, 0, self.floor, generator)
        gain = 1 + _uniform(count, -self.brightness, self.brightness, generator)
        gamma, floor, gain = (v.reshape(-1, 1, 1, 1) for v in (gamma, floor, gain))
        views = ((views - floor) / (1 - floor)).clamp(0, 1)
        # The gradient of a power is infinite at 0; views need none, but NaN must
        # not come of it either.
        return (views.clamp(min=1e-6) ** gamma * gain * (views > 0)).clamp(0, 1)

    def _blur(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian blur with one width for the chosen views of the batch."""
        count = len(views)
        chosen = _uniform(count, 0, 1, generator) < self.blur_probability
        sigma = float(_uniform(1, 0.1, max(0.1, self.blur_sigma_px), generator))
        if self.blur_probability == 0:
            return views
        taps = torch.arange(-3.0, 4.0)
        kernel = torch.exp(-0.5 * (taps / sigma) ** 2).to(views.device)
        kernel /= kernel.sum()
        blurred = F.conv2d(views, kernel.reshape(1, 1, 1, 7), padding=(0, 3))
        blurred = F.conv2d(blurred, kernel.reshape(1, 1, 7, 1), padding=(3, 0))
        return torch.where(chosen.reshape(-1, 1, 1, 1), blurred, views)

    def _add_noise(self, views: Tensor, generator: torch.Generator) -> Tensor:
        count = len(views)
        chosen = _uniform(count, 0, 1, generator) < self.noise_probability
        level = _uniform(count, 0, self.noise, generator) * chosen
        noise = torch.randn(views.shape, generator=generator, device=views.device)
        return (views + noise * level.reshape(-1, 1, 1, 1)).clamp(0, 1)

    def _mask(self, views: Tensor, generator: torch.Generator) -> Tensor:
        count, size = len(views), views.shape[-1]
        chosen = _uniform(count, 0, 1, generator) < self.mask_probability
        radius = _uniform(count, self.mask_radius, 1, generator)
        radius = radius.masked_fill(~chosen, 2.0)  # beyond the corners
        axis = (torch.arange(size, device=views.device) + 0.5) * 2 / size - 1
        distance = torch.hypot(axis[:, None], axis[None, :])  # (S, S)
        return views * (distance <= radius.reshape(-1, 1, 1, 1))


def turned_and_shifted(shift_px: float) -> Augmentation:
    """Any rotation, either mirror and a shift, the light as it is."""
    return Augmentation(
        zoom=0.0,
        stretch=0.0,
        shift_px=shift_px,
        gamma=0.0,
        brightness=0.0,
        floor=0.0,
        blur_probability=0.0,
        noise_probability=0.0,
        mask_probability=0.0,
    )


# The paper's chain in these terms: any rotation, flips, RandomResizedCrop with
# scale 0.8 to 1 and aspect 3/4 to 4/3, brightness and contrast 0.4, blur in 10 %.
PAPER = Augmentation(
    zoom=0.11,
    stretch=0.15,
    shift_px=3.5,
    gamma=0.0,
    brightness=0.4,
    floor=0.0,
    blur_probability=0.1,
    blur_sigma_px=2.0,
    noise_probability=0.0,
    mask_probability=0.0,
)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draws on the generator's device."""
    draws = torch.rand(count, generator=generator, device=generator.device)
    return draws * (high - low) + low
