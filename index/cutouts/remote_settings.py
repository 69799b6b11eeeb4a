"""What a location of a public archive says.

It reads ``first:?cache=/path&size_arcsec=270``: the kind of archive, and
percent-encoded, as in a URL, whatever differs from the defaults below.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from twinjet.index.errors import CutoutLocationError

_Url = Annotated[
    str, Field(pattern=r"^https?://[^/?#@\s]+([/?][^\s#]*)?$", max_length=2000)
]
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class Settings(BaseModel):
    """What may be said of every kind of archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cache: Path
    """Folder of what was fetched."""
    size_arcsec: float = Field(default=270.0, gt=0, le=7200)
    """Side of the cutouts; 150 pixels of FIRST, as RGZ has them."""
    rate_per_s: float = Field(default=2.0, ge=0.01, le=1000)
    """Requests a second."""
    concurrency: int = Field(default=2, ge=1, le=16)
    """Requests at the same time."""
    read_s: float = Field(default=60.0, gt=0, le=3600)
    """Longest silence of the archive."""
    deadline_s: float = Field(default=120.0, gt=0, le=3600)
    """Longest time of one answer."""
    attempts: int = Field(default=5, ge=1, le=20)
    """Times that a request is made before the archive counts as in trouble."""
    backoff_s: float = Field(default=1.0, ge=0, le=600)
    """Longest wait after the first failure; doubled after each further one."""
    longest_wait_s: float = Field(default=120.0, ge=0, le=3600)
    """That is waited for an archive which asks to be left alone."""
    expiry_days: float = Field(default=30.0, ge=0, le=36500)
    """After which a refusal is asked about again."""
    hosts: str = ""
    """Names, with commas, of other hosts that the archive may send us on to."""

    @field_validator("cache")
    @classmethod
    def _absolute(cls, cache: Path) -> Path:
        """Let it mean the same folder in every process."""
        return cache.absolute()

    def pixels(self) -> dict[str, object]:
        """What an image at a position depends on, rather than how it is got."""
        how = Settings.model_fields.keys() - {"size_arcsec"}
        return self.model_dump(exclude=set(how))


class FirstSettings(Settings):
    """Of the cutout server of FIRST."""

    url: _Url = "https://third.ucllnl.org/cgi-bin/firstcutout"
    """Of the form."""


class SkyViewSettings(Settings):
    """Of SkyView."""

    url: _Url = "https://skyview.gsfc.nasa.gov/current/cgi/runquery.pl"
    """Of its batch query."""
    survey: _Name = "VLA FIRST (1.4 GHz)"
    """As SkyView calls it."""
    pixel_scale_arcsec: float = Field(default=1.8, gt=0, le=3600)
    """Of the image that SkyView makes; take that of the survey."""


class Sia2Settings(Settings):
    """Of an archive with Simple Image Access 2."""

    url: _Url
    """Of its query."""
    collection: _Name | None = None
    """ObsCore's ``obs_collection``; any when absent."""


KINDS: dict[str, type[Settings]] = {
    "first": FirstSettings,
    "skyview": SkyViewSettings,
    "sia2": Sia2Settings,
}


def is_remote(location: str) -> bool:
    """Whether a location is that of an archive, rather than of files.

    Examples
    --------
    >>> is_remote("first:?cache=/data/first"), is_remote("/data/first")
    (True, False)
    """
    kind, colon, _ = location.partition(":?")
    return bool(colon) and kind in KINDS


def read_location(location: str) -> Settings:
    """Settings of a location.

    Raises
    ------
    CutoutLocationError
        An unknown kind, an unknown or repeated name, or a value out of bounds.
    """
    kind, _, query = location.partition(":?")
    if kind not in KINDS:
        msg = f"no archive {kind[:50]!r}; one of {', '.join(KINDS)} and ':?' begins it"
        raise CutoutLocationError(msg, actual=kind[:50])
    pairs = parse_qsl(query, keep_blank_values=True)
    repeated = [
        name for name, count in Counter(n for n, _ in pairs).items() if count > 1
    ]
    if repeated:
        msg = f"{repeated[0]!r} stands more than once in the location {location!r}"
        raise CutoutLocationError(msg, parameter=repeated[0])
    try:
        return KINDS[kind].model_validate(dict(pairs))
    except ValidationError as exc:
        fault = exc.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        msg = f"location of cutouts {location!r}: {name}: {fault['msg']}"
        raise CutoutLocationError(msg, parameter=name) from exc


def write_location(settings: Settings) -> str:
    """Location that gives these settings again.

    Examples
    --------
    >>> write_location(read_location("first:?size_arcsec=90&cache=/data/first&hosts="))
    'first:?cache=%2Fdata%2Ffirst&size_arcsec=90.0'
    """
    kind = next(kind for kind, model in KINDS.items() if type(settings) is model)
    values = settings.model_dump(mode="json", exclude_defaults=True)
    return f"{kind}:?{urlencode(values)}"
