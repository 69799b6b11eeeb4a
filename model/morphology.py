"""What radio galaxies look like: sums of elliptical Gaussians along jets and tails.

Coordinates are arcsec, x to the east (left in an image) and y to the north, with
the host at the origin and the first jet along +x before the source is turned. The
shapes follow the classes of Fanaroff & Riley (1974, MNRAS 167, 31P): FR I are
brightest near the core and fade outward, FR II end in hot spots.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator


@dataclass(frozen=True)
class Components:
    """Elliptical Gaussians.

    Attributes
    ----------
    x, y
        Centres, arcsec, shape (n,).
    flux
        Integrated flux density, arbitrary unit, shape (n,).
    sigma_along, sigma_across
        Standard deviations, arcsec, shape (n,).
    angle
        Of the long axis from +x towards +y, radians, shape (n,).
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    sigma_along: NDArray[np.float64]
    sigma_across: NDArray[np.float64]
    angle: NDArray[np.float64]

    def turned(self, angle: float) -> "Components":
        """All of it, turned about the origin."""
        cos, sin = np.cos(angle), np.sin(angle)
        return Components(
            cos * self.x - sin * self.y,
            sin * self.x + cos * self.y,
            self.flux,
            self.sigma_along,
            self.sigma_across,
            self.angle + angle,
        )

    def moved(self, x: float, y: float, flux: float = 1.0) -> "Components":
        """All of it, moved by (x, y), its flux multiplied."""
        return Components(
            self.x + x,
            self.y + y,
            self.flux * flux,
            self.sigma_along,
            self.sigma_across,
            self.angle,
        )


def join(*parts: Components) -> Components:
    """Several as one."""
    fields = ("x", "y", "flux", "sigma_along", "sigma_across", "angle")
    return Components(*(np.concatenate([getattr(p, f) for p in parts]) for f in fields))


def blob(x: float, y: float, flux: float, *, along: float, across: float) -> Components:
    """One Gaussian."""
    values = (x, y, flux, along, across, 0.0)
    return Components(*(np.array([float(value)]) for value in values))


def core(rng: Rng, fraction: float) -> Components:
    """The unresolved core, with about this part of a lobe's flux."""
    return blob(0, 0, fraction * rng.lognormal(0, 0.7), along=0.1, across=0.1)


def plume(
    rng: Rng, length: float, *, bend: float = 0.0, wiggle: float = 0.15
) -> Components:
    """An FR I jet that widens and fades outward, curved by `bend` radians in all."""
    n = 24
    t = np.linspace(0.04, 1, n)
    direction = bend * t**1.5 + wiggle * np.sin(2 * np.pi * t + rng.uniform(0, 6.3)) * t
    step = length / n
    x, y = np.cumsum(step * np.cos(direction)), np.cumsum(step * np.sin(direction))
    width = length * (0.02 + rng.uniform(0.08, 0.2) * t)
    fade = np.exp(-t * rng.uniform(1.2, 2.8)) * (1 - np.exp(-t / 0.08))
    knots = rng.lognormal(0, 0.3, n)
    return Components(x, y, fade * knots / n * 2, np.full(n, step), width, direction)


def lobe(rng: Rng, length: float) -> Components:
    """An FR II lobe: hot spot at the end, bridge flowing back, a thin jet."""
    n = 12
    t = np.linspace(rng.uniform(0.25, 0.6), 0.95, n)
    width = length * rng.uniform(0.06, 0.14) * (0.7 + 0.6 * np.sin(np.pi * t))
    bridge = Components(
        length * t,
        length * rng.normal(0, 0.015, n),
        rng.uniform(0.8, 2.5) * t**1.5 / n,
        np.full(n, length * 0.05),
        width,
        np.zeros(n),
    )
    size = length * rng.uniform(0.02, 0.05)
    spot = blob(
        length,
        length * rng.normal(0, 0.03),
        rng.uniform(0.5, 1.2),
        along=size,
        across=size,
    )
    jet = Components(
        length * np.linspace(0.05, 0.9, n),
        np.zeros(n),
        np.full(n, rng.lognormal(-4, 0.8) / n),
        np.full(n, length * 0.05),
        np.full(n, length * 0.01),
        np.zeros(n),
    )
    return join(bridge, spot, jet)


def _boost(rng: Rng, spread: float) -> tuple[float, float]:
    """Fluxes of the two sides: Doppler and the world around them."""
    ratio = rng.lognormal(0, spread)
    return ratio**0.5, ratio**-0.5


def _fr1(rng: Rng, length: float) -> Components:
    near, far = _boost(rng, 0.3)
    first = plume(rng, length * rng.uniform(0.75, 1), bend=rng.normal(0, 0.25))
    second = plume(rng, length * rng.uniform(0.75, 1), bend=rng.normal(0, 0.25))
    return join(
        core(rng, 0.25), first.moved(0, 0, near), second.turned(np.pi).moved(0, 0, far)
    )


def _fr2(rng: Rng, length: float) -> Components:
    near, far = _boost(rng, 0.35)
    bend = rng.normal(0, 0.08)
    second = lobe(rng, length * rng.uniform(0.7, 1)).turned(np.pi + bend)
    return join(
        core(rng, 0.04), lobe(rng, length).moved(0, 0, near), second.moved(0, 0, far)
    )


def _hybrid(rng: Rng, length: float) -> Components:
    near, far = _boost(rng, 0.2)
    second = plume(rng, length * rng.uniform(0.7, 1), bend=rng.normal(0, 0.2))
    return join(
        core(rng, 0.1),
        lobe(rng, length).moved(0, 0, near),
        second.turned(np.pi).moved(0, 0, far),
    )


def _tails(rng: Rng, length: float, half_opening: float, curve: float) -> Components:
    near, far = _boost(rng, 0.25)
    first = plume(rng, length, bend=-curve, wiggle=0.08).turned(half_opening)
    second = plume(rng, length * rng.uniform(0.8, 1), bend=curve, wiggle=0.08)
    return join(
        core(rng, 0.2),
        first.moved(0, 0, near),
        second.turned(-half_opening).moved(0, 0, far),
    )


def _wat(rng: Rng, length: float) -> Components:
    return _tails(rng, length, rng.uniform(0.9, 1.3), rng.uniform(0.3, 0.8))


def _nat(rng: Rng, length: float) -> Components:
    return _tails(rng, 1.6 * length, rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.4))


def _double_double(rng: Rng, length: float) -> Components:
    inner = _fr2(rng, length * rng.uniform(0.25, 0.5)).turned(rng.normal(0, 0.06))
    return join(_fr2(rng, length), inner.moved(0, 0, rng.uniform(0.3, 0.9)))


def _core_jet(rng: Rng, length: float) -> Components:
    jet = plume(rng, length * 1.4, bend=rng.normal(0, 0.2))
    return join(core(rng, 0.8), jet.moved(0, 0, rng.uniform(0.4, 1)))


def _compact(rng: Rng, length: float) -> Components:
    size = min(length, 8.0) * rng.uniform(0.02, 0.25)
    return blob(0, 0, 1, along=size, across=size * rng.uniform(0.4, 1))


def _blended(rng: Rng, length: float) -> Components:
    parts = [_compact(rng, length)]
    for _ in range(int(rng.integers(1, 3))):
        gap, angle = rng.uniform(6, 25), rng.uniform(0, 2 * np.pi)
        other = _compact(rng, length).moved(
            gap * np.cos(angle), gap * np.sin(angle), rng.lognormal(-0.5, 0.7)
        )
        parts.append(other)
    return join(*parts)


# Kind to shape, for a source whose arms are about this long, arcsec.
SHAPES: Mapping[str, Callable[[Rng, float], Components]] = {
    "FRI": _fr1,
    "FRII": _fr2,
    "hybrid": _hybrid,
    "WAT": _wat,
    "NAT": _nat,
    "double-double": _double_double,
    "core-jet": _core_jet,
    "compact": _compact,
    "blended": _blended,
}


def render(
    components: Components,
    *,
    size_px: int,
    pixel_scale_arcsec: float,
    beam_arcsec: float,
) -> NDArray[np.float64]:
    """Brightness per beam, shape (size_px, size_px), origin at the image centre.

    Gaussians convolved with a Gaussian beam are Gaussians: the beam is added to
    their variances, and nothing is sampled before it.
    """
    beam_variance = (beam_arcsec / np.sqrt(8 * np.log(2))) ** 2
    cos, sin = np.cos(components.angle), np.sin(components.angle)
    along, across = components.sigma_along**2, components.sigma_across**2
    xx = along * cos**2 + across * sin**2 + beam_variance
    yy = along * sin**2 + across * cos**2 + beam_variance
    xy = (along - across) * cos * sin
    determinant = xx * yy - xy**2
    peak = components.flux * beam_variance / np.sqrt(determinant)
    axis = (np.arange(size_px) - (size_px - 1) / 2) * pixel_scale_arcsec
    # East is left: x grows towards smaller column numbers.
    dx = -axis[None, :] - components.x[:, None]  # (n, W)
    dy = axis[None, :] - components.y[:, None]  # (n, H)
    # Beyond five standard deviations there is nothing to see.
    reach_x, reach_y = 5 * np.sqrt(xx), 5 * np.sqrt(yy)
    image = np.zeros((size_px, size_px))
    for n in range(len(peak)):
        columns = np.flatnonzero(np.abs(dx[n]) < reach_x[n])
        rows = np.flatnonzero(np.abs(dy[n]) < reach_y[n])
        if len(columns) == 0 or len(rows) == 0:
            continue
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        east, north = dx[n, window[1]][None, :], dy[n, window[0]][:, None]
        exponent = (xx[n] * north**2 - 2 * xy[n] * north * east + yy[n] * east**2) / (
            -2 * determinant[n]
        )
        image[window] += peak[n] * np.exp(exponent)
    return image
