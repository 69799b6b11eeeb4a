"""Cutouts of public archives, fetched once and kept on disk."""

import json
from collections.abc import Generator, Iterable
from functools import cached_property
from hashlib import sha256
from typing import Protocol

from twinjet.index.cutouts.cache import CutoutCache, Entry
from twinjet.index.cutouts.prefetch import in_order
from twinjet.index.cutouts.remote_settings import (
    FirstSettings,
    Settings,
    Sia2Settings,
    SkyViewSettings,
    read_location,
    write_location,
)
from twinjet.index.errors import CutoutLocationError, CutoutUnavailableError
from twinjet.index.source import Source

# Positions in one such step share a cutout: hundredths of an arcsecond.
_STEPS_PER_DEGREE = 360_000


class Archive(Protocol):
    """Where cutouts can be had by position."""

    def fetch(self, ra: float, dec: float) -> bytes:
        """FITS file about a position in ICRS degrees.

        Raises
        ------
        NoCoverageError, ArchiveTroubleError
            There is none, for good or for now.
        """


class RemoteProvider:
    """Cutouts about the positions of sources.

    Parameters
    ----------
    settings
        What its location says.
    fetch
        False never asks the archive, only the cache.
    """

    def __init__(self, settings: Settings, *, fetch: bool = True) -> None:
        self._settings = settings
        self._fetch = fetch
        self._cache = CutoutCache(settings.cache, expiry_days=settings.expiry_days)

    @cached_property
    def _archive(self) -> Archive:
        # Not before it is asked: what is in the cache is served without it.
        return _archive(self._settings)

    @property
    def location(self) -> str:
        """What `open_remote` makes the same provider from."""
        return write_location(self._settings)

    @property
    def by_name(self) -> bool:
        """Sources are asked for by their positions."""
        return False

    def read(self, source: Source) -> bytes:
        """Bytes as the archive sent them; fetched when they are not there yet.

        Raises
        ------
        NoCoverageError
            There is none at this position.
        ArchiveTroubleError
            The archive could not be asked.
        CutoutUnavailableError
            These two, or the folder cannot be used.
        """
        return self._entry_or_reason(source).data

    def digest(self, source: Source) -> str:
        """SHA-256 of the bytes; fetches and raises as `read` does."""
        return self._entry_or_reason(source).digest

    def prefetch(
        self, sources: Iterable[Source]
    ) -> Generator[str | CutoutUnavailableError]:
        """Digest of each source's cutout in turn, or why there is none.

        Several are fetched at the same time; a run that is ended leaves what it has.

        Raises
        ------
        CutoutLocationError
            The folder cannot be used: no source's fault, and the end of a run.
        """

        def outcome(source: Source) -> str | CutoutUnavailableError:
            try:
                return self._entry(source).digest
            except CutoutUnavailableError as exc:
                return exc
            except OSError as exc:
                msg = f"the folder of fetched cutouts cannot be used: {exc}"
                raise CutoutLocationError(msg, parameter="cache") from exc

        return in_order(outcome, sources, threads=self._settings.concurrency)

    def _entry_or_reason(self, source: Source) -> Entry:
        try:
            return self._entry(source)
        except OSError as exc:
            msg = f"the folder of fetched cutouts cannot be used: {exc}"
            raise CutoutUnavailableError(msg, actual=source.source_id) from exc

    def _entry(self, source: Source) -> Entry:
        # The archive is asked for what the key says: the first of two sources within
        # a step of each other decides nothing.
        ra = round(source.ra * _STEPS_PER_DEGREE) % (360 * _STEPS_PER_DEGREE)
        dec = round(source.dec * _STEPS_PER_DEGREE)
        about = [type(self._settings).__name__, self._settings.pixels(), ra, dec]
        key = sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        if not self._fetch and not self._cache.has(key):
            msg = (
                f"the cutout of {source.source_id} is no longer in "
                f"{self._settings.cache}; indexing again fetches it"
            )
            raise CutoutUnavailableError(msg, actual=source.source_id)
        return self._cache.entry(
            key,
            lambda: self._archive.fetch(
                ra / _STEPS_PER_DEGREE, dec / _STEPS_PER_DEGREE
            ),
        )


def open_remote(location: str, *, fetch: bool = True) -> RemoteProvider:
    """Make the provider that has this location; nothing is asked or written yet.

    Raises
    ------
    CutoutLocationError
        It is none.
    """
    return RemoteProvider(read_location(location), fetch=fetch)


def _archive(settings: Settings) -> Archive:
    # What asks over HTTP is an extra, and a folder of files needs none of it.
    try:
        from twinjet.index.cutouts.exchange import Politeness  # noqa: PLC0415
        from twinjet.index.cutouts.first import FirstArchive  # noqa: PLC0415
        from twinjet.index.cutouts.polite import PoliteClient  # noqa: PLC0415
        from twinjet.index.cutouts.sia2 import Sia2Archive  # noqa: PLC0415
        from twinjet.index.cutouts.skyview import SkyViewArchive  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        msg = f"{exc.name} is needed to ask archives: pip install 'twinjet[archives]'"
        raise CutoutUnavailableError(msg) from exc
    politeness = Politeness(
        rate_per_s=settings.rate_per_s,
        concurrency=settings.concurrency,
        read_s=settings.read_s,
        deadline_s=settings.deadline_s,
        attempts=settings.attempts,
        backoff_s=settings.backoff_s,
        longest_wait_s=settings.longest_wait_s,
    )
    names = (name.strip().lower() for name in settings.hosts.split(","))
    client = PoliteClient(politeness, hosts=frozenset(filter(None, names)))
    match settings:
        case FirstSettings():
            return FirstArchive(
                client, url=settings.url, size_arcsec=settings.size_arcsec
            )
        case SkyViewSettings():
            return SkyViewArchive(
                client,
                url=settings.url,
                survey=settings.survey,
                size_arcsec=settings.size_arcsec,
                pixel_scale_arcsec=settings.pixel_scale_arcsec,
            )
        case Sia2Settings():
            return Sia2Archive(
                client,
                url=settings.url,
                collection=settings.collection,
                size_arcsec=settings.size_arcsec,
            )
        case _:
            msg = f"no archive has {type(settings).__name__}"
            raise TypeError(msg)
