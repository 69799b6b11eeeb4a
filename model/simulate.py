"""A simulated sky: radio galaxies as a survey would see them, their truth known.

It makes the demonstration, the tests' catalogues and training images without end.
It is always labelled as simulated. Not modelled: polarisation, spectra, redshift
and luminosity functions, real uv coverage.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.typing import NDArray

from twinjet.model.errors import SimulationError
from twinjet.model.morphology import SHAPES, Components, Rng, join, render

KINDS = tuple(SHAPES)

# Of this recipe: another number, other pixels for the same seed.
VERSION = 2

# Lengths of arms, arcsec: those of MiraBest's sources, whose angular sizes have
# quartiles of 24, 43 and 81 arcsec.
_MEDIAN_ARM_ARCSEC = 20.0
_ARM_SPREAD = 0.8
_ARM_RANGE_ARCSEC = (3.0, 80.0)

# Peak over noise: faintest that a person would classify, brightest of a survey.
_SNR_RANGE = (8.0, 1000.0)

_TWICE_CATALOGUED = 0.02


@dataclass(frozen=True)
class Survey:
    """What an image owes to the telescope."""

    name: str
    pixel_scale_arcsec: float = 1.8
    beam_arcsec: float = 5.4
    """Full width at half maximum, circular."""
    rms_jy_beam: float = 1.5e-4
    size_px: int = 150


FIRST_LIKE = Survey("SIM-FIRST")


def simulate_source(
    rng: Rng, kind: str, survey: Survey = FIRST_LIKE
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """One source at the centre of its field.

    Returns
    -------
    pixels
        Shape (S, S), float32, Jy/beam.
    truth
        ``kind``, ``angular_size_arcsec`` (above 3 times the noise), ``flux_mjy``,
        ``peak_mjy_beam`` and ``position_angle_deg`` (north through east).

    Raises
    ------
    SimulationError
        No such kind.
    """
    if kind not in SHAPES:
        msg = f"no kind {kind!r}; there are {', '.join(KINDS)}"
        raise SimulationError(msg, actual=kind)
    sky, truth = _source_on_sky(rng, kind, survey)
    return _observed(rng, sky, survey), truth


def simulate_images(
    n: int, *, seed: int, survey: Survey = FIRST_LIKE, kinds: Sequence[str] = KINDS
) -> Iterator[tuple[NDArray[np.float32], dict[str, Any]]]:
    """Yield n sources of random kinds; the i-th depends on the seed and i alone."""
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        yield simulate_source(rng, str(rng.choice(list(kinds))), survey)


def _source_on_sky(
    rng: Rng, kind: str, survey: Survey
) -> tuple[Components, dict[str, Any]]:
    """Components in Jy, and what is true of them."""
    arm = float(
        np.clip(
            rng.lognormal(np.log(_MEDIAN_ARM_ARCSEC), _ARM_SPREAD), *_ARM_RANGE_ARCSEC
        )
    )
    angle = rng.uniform(0, 2 * np.pi)
    source = SHAPES[kind](rng, arm).turned(angle)
    image = _rendered(source, survey)
    snr = float(np.exp(rng.uniform(*np.log(_SNR_RANGE))))
    scale = snr * survey.rms_jy_beam / float(image.max())
    source = source.moved(0, 0, scale)
    truth = {
        "kind": kind,
        "angular_size_arcsec": round(_angular_size(scale * image, survey), 2),
        "flux_mjy": round(1e3 * float(source.flux.sum()), 3),
        "peak_mjy_beam": round(1e3 * float(scale * image.max()), 3),
        # x is east and y north, so the position angle is a quarter turn less.
        "position_angle_deg": round(float(90 - np.degrees(angle)) % 180, 2),
    }
    return join(source, *_neighbours(rng, survey)), truth


def _angular_size(image: NDArray[np.float64], survey: Survey) -> float:
    """Largest extent above 3 times the noise less the beam, as catalogues have it.

    Arcsec; of a source that leaves the field, the part within.
    """
    y, x = np.nonzero(image > 3 * survey.rms_jy_beam)
    angles = np.radians(np.arange(0, 180, 5))[:, None]
    along = x * np.cos(angles) + y * np.sin(angles)  # (angles, pixels)
    extent = float(np.ptp(along, axis=1).max()) * survey.pixel_scale_arcsec
    return max(extent - survey.beam_arcsec, survey.beam_arcsec / 2)


def _neighbours(rng: Rng, survey: Survey) -> list[Components]:
    """Unrelated sources in the field, mostly compact, away from the centre."""
    half = survey.size_px * survey.pixel_scale_arcsec / 2
    found = []
    for _ in range(int(rng.poisson(0.5))):
        x, y = rng.uniform(-half, half, 2)
        if np.hypot(x, y) < 0.3 * half:
            continue
        kind = "compact" if rng.uniform() < 0.8 else str(rng.choice(KINDS))  # noqa: PLR2004
        other = SHAPES[kind](rng, rng.uniform(3, 15)).turned(rng.uniform(0, 2 * np.pi))
        flux = survey.rms_jy_beam * rng.lognormal(2.5, 1.0) / other.flux.sum()
        found.append(other.moved(x, y, flux))
    return found


def _rendered(sky: Components, survey: Survey) -> NDArray[np.float64]:
    return render(
        sky,
        size_px=survey.size_px,
        pixel_scale_arcsec=survey.pixel_scale_arcsec,
        beam_arcsec=survey.beam_arcsec,
    )


def _observed(rng: Rng, sky: Components, survey: Survey) -> NDArray[np.float32]:
    """Through the beam, with artefacts and noise, Jy/beam."""
    image = _rendered(sky, survey)
    image += _artefacts(rng, image, survey)
    return (image + _noise(rng, survey)).astype(np.float32)


def _noise(rng: Rng, survey: Survey) -> NDArray[np.float64]:
    """Noise that the beam has correlated, of the survey's rms."""
    sigma_px = survey.beam_arcsec / survey.pixel_scale_arcsec / np.sqrt(8 * np.log(2))
    frequency = np.fft.fftfreq(survey.size_px)
    radius2 = frequency[:, None] ** 2 + frequency[None, :] ** 2
    beam = np.exp(-2 * (np.pi * sigma_px) ** 2 * radius2)
    white = rng.normal(size=(survey.size_px, survey.size_px))
    noise = np.fft.ifft2(np.fft.fft2(white) * beam).real
    # Parseval: the variance that is left is the mean power of the filter.
    scaled: NDArray[np.float64] = noise * (
        survey.rms_jy_beam / np.sqrt(np.mean(beam**2))
    )
    return scaled


def _artefacts(
    rng: Rng, image: NDArray[np.float64], survey: Survey
) -> NDArray[np.float64]:
    """Now and then rings or stripes about the brightest pixel, up to 2 % of it."""
    draw = rng.uniform()
    if draw > 0.15:  # noqa: PLR2004 - in one field of seven
        return np.zeros_like(image)
    row, column = np.unravel_index(int(image.argmax()), image.shape)
    y, x = np.indices(image.shape)
    dy, dx = y - row, x - column
    level = rng.uniform(0.003, 0.02) * image.max()
    period = rng.uniform(3, 8) * survey.beam_arcsec / survey.pixel_scale_arcsec
    if draw < 0.07:  # noqa: PLR2004 - half of them
        radius = np.hypot(dx, dy)
        rings: NDArray[np.float64] = (
            level * np.cos(2 * np.pi * radius / period) * np.exp(-radius / (3 * period))
        )
        return rings
    angle = rng.uniform(0, np.pi)
    across = dx * np.cos(angle) + dy * np.sin(angle)
    stripes: NDArray[np.float64] = 0.5 * level * np.cos(2 * np.pi * across / period)
    return stripes


_COLUMNS = [
    "source_id",
    "cutout",
    "ra_deg",
    "dec_deg",
    "survey",
    "morphology",
    "angular_size_arcsec",
    "flux_mjy",
    "peak_mjy_beam",
    "position_angle_deg",
    "duplicate_of",
    "simulated",
]


def simulate_sky(
    folder: Path,
    n: int,
    *,
    seed: int = 0,
    survey: Survey = FIRST_LIKE,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a sky: ``fits/*.fits`` and, last, ``catalogue.csv``.

    Sources lie uniformly between Dec -10 and +64 degrees, as FIRST's do, across RA
    0 too. About 2 % are catalogued a second time, some arcsec off. Interrupted, the
    same call goes on; finished, it does nothing.

    Raises
    ------
    SimulationError
        The folder holds another simulation.
    """
    recipe = {"version": VERSION, "n": n, "seed": seed, "survey": asdict(survey)}
    note = folder / "simulation.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) != recipe:
        msg = f"{folder} holds another simulation ({note}); choose another folder"
        raise SimulationError(msg, actual=str(folder))
    if (folder / "catalogue.csv").exists():
        if note.exists():
            return
        msg = f"{folder} holds a catalogue that is not of a simulation"
        raise SimulationError(msg, actual=str(folder))
    (folder / "fits").mkdir(parents=True, exist_ok=True)
    _write(note, json.dumps(recipe, indent=2).encode())
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    for i in range(n):
        rows += _write_source(folder, seed, i, survey, taken)
        if progress is not None:
            progress(i + 1)
    half_done = folder / "catalogue.tmp"
    with half_done.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    half_done.replace(folder / "catalogue.csv")


def _write_source(
    folder: Path, seed: int, i: int, survey: Survey, taken: set[str]
) -> list[dict[str, Any]]:
    """Write the files of the i-th source; returns its rows of the catalogue."""
    rng = np.random.default_rng([seed, i])
    kind = str(rng.choice(KINDS))
    sky, truth = _source_on_sky(rng, kind, survey)
    about: dict[str, Any] = {"truth": truth, "survey": survey, "taken": taken}
    low, high = np.sin(np.radians([-10, 64]))
    here = SkyCoord(
        rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(low, high))), unit="deg"
    )
    rows = [_row(folder, here, _observed(rng, sky, survey), **about)]
    if rng.uniform() < _TWICE_CATALOGUED:
        angle, gap = rng.uniform(0, 360) * u.deg, rng.uniform(2, 4) * u.arcsec
        there = here.directional_offset_by(angle, gap)
        east, north = (gap.value * f(angle.to_value(u.rad)) for f in (np.sin, np.cos))
        again = _observed(rng, sky.moved(-east, -north), survey)
        row = _row(folder, there, again, **about)
        rows.append(row | {"duplicate_of": rows[0]["source_id"]})
    return rows


def _row(
    folder: Path,
    here: SkyCoord,
    pixels: NDArray[np.float32],
    *,
    truth: dict[str, Any],
    survey: Survey,
    taken: set[str],
) -> dict[str, Any]:
    name = iau_name(here)
    while name in taken:
        name += "b"
    taken.add(name)
    path = folder / "fits" / f"{name}.fits"
    if not path.exists():
        _write(path, _fits(pixels, here, name, survey))
    return {
        "source_id": name,
        "cutout": f"fits/{path.name}",
        "ra_deg": round(float(here.ra.deg), 6),
        "dec_deg": round(float(here.dec.deg), 6),
        "survey": survey.name,
        "morphology": truth["kind"],
        **{key: value for key, value in truth.items() if key != "kind"},
        "duplicate_of": "",
        "simulated": "true",
    }


def iau_name(here: SkyCoord) -> str:
    """Name from a position, its digits truncated and never rounded.

    Examples
    --------
    >>> iau_name(SkyCoord(150.00001, 2.9999, unit="deg"))
    'SIMJ100000.00+025959.6'
    """
    # Hundredths of a second and tenths of an arcsec, as whole numbers.
    ra = int(here.ra.hour * 3600 * 100 + 1e-6)
    dec = int(abs(here.dec.deg) * 3600 * 10 + 1e-6)
    sign = "-" if here.dec.deg < 0 else "+"
    hours, ra = divmod(ra, 360_000)
    minutes, ra = divmod(ra, 6000)
    degrees, dec = divmod(dec, 36_000)
    arcmin, dec = divmod(dec, 600)
    return (
        f"SIMJ{hours:02d}{minutes:02d}{ra // 100:02d}.{ra % 100:02d}"
        f"{sign}{degrees:02d}{arcmin:02d}{dec // 10:02d}.{dec % 10}"
    )


def _fits(
    pixels: NDArray[np.float32], here: SkyCoord, name: str, survey: Survey
) -> bytes:
    header = fits.Header()
    header["OBJECT"] = name
    header["TELESCOP"] = "simulated"
    header["BUNIT"] = "Jy/beam"
    header["BMAJ"] = header["BMIN"] = survey.beam_arcsec / 3600
    header["BPA"] = 0.0
    header["RADESYS"] = "ICRS"
    for axis, kind, value, sign in (
        (1, "RA---TAN", here.ra.deg, -1),
        (2, "DEC--TAN", here.dec.deg, 1),
    ):
        header[f"CTYPE{axis}"] = kind
        header[f"CRVAL{axis}"] = float(value)
        header[f"CRPIX{axis}"] = (survey.size_px + 1) / 2
        header[f"CDELT{axis}"] = sign * survey.pixel_scale_arcsec / 3600
        header[f"CUNIT{axis}"] = "deg"
    header["COMMENT"] = "SIMULATED: no telescope has seen this source."
    file = io.BytesIO()
    fits.PrimaryHDU(pixels, header).writeto(file)
    return file.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Write a file: whole, or not at all."""
    half_done = path.with_name(f".{path.name}.tmp")
    with half_done.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    half_done.replace(path)
