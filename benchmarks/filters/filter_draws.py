"""Random catalogues and random filters, with what they let through by numpy."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Latitude, Longitude, SkyCoord
from mocpy import MOC
from numpy.typing import NDArray

from twinjet.index.moc import moc_of_text
from twinjet.index.regions import Cone, Range, Region
from twinjet.index.sky import unit_vectors
from twinjet.index.source import Column

Mask = NDArray[np.bool_]

# Of the sources without a redshift, of the bent ones, of filters with a region, of
# these without any other, and of filters with a condition besides the threshold.
MISSING, BENT, REGIONAL, ALONE, CONDITIONAL = 0.4, 0.2, 0.3, 0.3, 0.6

CLASSES = np.array(["FRI", "FRII", "hybrid", "compact"])


@dataclass(frozen=True)
class Sky:
    """A catalogue as arrays: degrees, unit vectors, columns."""

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    places: NDArray[np.float64]
    columns: dict[str, NDArray[Any]]
    kinds: tuple[Column, ...] = (
        Column("angular_size_arcsec"),
        Column("flux_mjy"),
        Column("redshift"),
        Column("fr_class", kind="text"),
        Column("bent", kind="boolean"),
    )

    @cached_property
    def coordinates(self) -> SkyCoord:
        """As astropy has them."""
        return SkyCoord(self.ra * u.deg, self.dec * u.deg)


@dataclass(frozen=True)
class Drawn:
    """A filter, and which sources it lets through."""

    where: str | None
    region: Region | None
    shape: str | None
    mask: Mask


def some_sky(rng: np.random.Generator, count: int) -> Sky:
    """Sources all over the sky, a tenth of them some arcsec from another."""
    ra = rng.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    again = rng.choice(count, count // 10, replace=False)
    first = rng.integers(0, count, len(again))
    angle, gap = rng.uniform(0, 360, len(again)), rng.uniform(0, 15, len(again))
    moved = SkyCoord(ra[first] * u.deg, dec[first] * u.deg).directional_offset_by(
        angle * u.deg, gap * u.arcsec
    )
    ra[again], dec[again] = moved.ra.deg, moved.dec.deg
    redshift = rng.gamma(2, 0.4, count)
    redshift[rng.random(count) < MISSING] = np.nan
    columns = {
        "angular_size_arcsec": rng.lognormal(3, 0.8, count),
        "flux_mjy": rng.pareto(1.2, count) + 1,
        "redshift": redshift,
        "fr_class": rng.choice(CLASSES, count, p=[0.3, 0.4, 0.05, 0.25]),
        "bent": rng.random(count) < BENT,
    }
    return Sky(ra, dec, unit_vectors(ra, dec), columns)


def draw(rng: np.random.Generator, sky: Sky) -> Drawn:
    """A filter of a selectivity of 1e-4 to 1, three in ten of them with a region."""
    target = 10 ** rng.uniform(-4, 0)
    region: Region | None = None
    shape = None
    mask = np.ones(len(sky.ra), dtype=bool)
    if rng.random() < REGIONAL:
        region, shape, mask = _region(rng, sky, target)
        if mask.mean() < target or rng.random() < ALONE:
            return Drawn(None, region, shape, mask)
    text = ""
    if rng.random() < CONDITIONAL:
        text, some = _condition(rng, sky)
        if (mask & some).mean() >= target:
            mask = mask & some
        else:
            text = ""
    # The rest of the way by a threshold on a column, of those that are left.
    name = str(rng.choice(["angular_size_arcsec", "flux_mjy"]))
    values = sky.columns[name]
    kept = max(1, round(target * len(mask)))
    if kept < mask.sum():
        threshold = float(np.sort(values[mask])[-kept])
        part, some = _beyond(rng, name, threshold, values)
        text = part if not text else f"({text}) and {part}"
        mask = mask & some
    elif not text:
        text = f"{name} > 0"
    return Drawn(text, region, shape, mask)


def _beyond(
    rng: np.random.Generator, name: str, threshold: float, values: NDArray[Any]
) -> tuple[str, Mask]:
    at = repr(threshold)
    text = [
        f"{name} >= {at}",
        f"not {name} < {at}",
        f"{name} between {at} and 1e300",
        f"not ({name} < {at} or {name} is null)",
    ][rng.integers(4)]
    return text, values >= threshold


def _condition(rng: np.random.Generator, sky: Sky) -> tuple[str, Mask]:
    """Something of classes, flags and redshifts; numpy knows no null but NaN."""
    z, fr, bent = (sky.columns[name] for name in ("redshift", "fr_class", "bent"))
    low = round(float(rng.uniform(0, 1.5)), 3)
    one, other = rng.choice(CLASSES, 2, replace=False)
    made: list[Callable[[], tuple[str, Mask]]] = [
        lambda: (f"fr_class = '{one}'", fr == one),
        lambda: (f"fr_class in ('{one}', '{other}')", (fr == one) | (fr == other)),
        lambda: (f"fr_class != '{one}' and not bent", (fr != one) & ~bent),
        lambda: ("fr_class like 'FR%'", (fr == "FRI") | (fr == "FRII")),
        lambda: (f"redshift > {low}", z > low),
        lambda: (f"not redshift > {low}", z <= low),
        lambda: ("redshift is null", np.isnan(z)),
        lambda: (f"redshift < {low} or bent", (z < low) | bent),
        lambda: (
            f"(fr_class = '{one}' or redshift is not null) and bent is not true",
            ((fr == one) | ~np.isnan(z)) & ~bent,
        ),
        lambda: (
            "flux_mjy < angular_size_arcsec",
            sky.columns["flux_mjy"] < sky.columns["angular_size_arcsec"],
        ),
    ]
    return made[rng.integers(len(made))]()


def _region(
    rng: np.random.Generator, sky: Sky, target: float
) -> tuple[Region, str, Mask]:
    """A cone, a range over RA 0 or a MOC, of about this part of the sky or more."""
    part = min(1.0, target * 10 ** rng.uniform(0, 1))
    ra = float(rng.choice([0.0, 359.99, rng.uniform(0, 360)]))
    dec = float(rng.choice([90.0, -90.0, 64.0, rng.uniform(-80, 80)]))
    match rng.integers(3):
        case 0:
            radius = float(np.degrees(np.arccos(1 - 2 * part)))
            centre = SkyCoord(ra * u.deg, dec * u.deg)
            gaps = sky.coordinates.separation(centre).deg
            return Cone(ra, dec, radius), "cone", gaps <= radius
        case 1:
            width = 360 * part**0.5
            band = np.sort(
                np.degrees(
                    np.arcsin(np.clip(2 * part**0.5 * np.array([-0.5, 0.5]), -1, 1))
                )
            )
            west, east = (360 - width / 2) % 360, width / 2
            # 180 to 180 would be one meridian.
            if part == 1.0:
                west, east = 0.0, 360.0
            inside = (sky.ra >= west) | (sky.ra <= east)
            inside &= (sky.dec >= band[0]) & (sky.dec <= band[1])
            found = Range(west, east, float(band[0]), float(band[1]))
            return found, "range", inside
        case _:
            order = int(np.clip(np.ceil(np.log(1 / part / 12) / np.log(4)), 0, 8)) + 2
            count = max(1, round(part * 12 * 4**order))
            cells = rng.choice(12 * 4**order, min(count, 20_000), replace=False)
            text = f"{order}/" + " ".join(str(cell) for cell in np.sort(cells))
            moc = MOC.from_string(text, format="ascii")
            inside = moc.contains_lonlat(
                Longitude(sky.ra, unit=u.deg), Latitude(sky.dec, unit=u.deg)
            )
            return moc_of_text(text), "moc", np.asarray(inside)
