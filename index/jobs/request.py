"""What a job is asked to do."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from typing import Any, Self

from twinjet.index.catalogue import Catalogue
from twinjet.index.catalogue_file import load_catalogue
from twinjet.index.checks import MAX_FAILED_FRACTION
from twinjet.index.folder import catalogue_at, name_at
from twinjet.index.home import Home
from twinjet.index.shards import SHARD_SOURCES


@dataclass(frozen=True)
class ReindexRequest:
    """A catalogue to be indexed; plain data, for it waits in a database."""

    cutouts: str
    """Location of the cutouts, as `twinjet.index.cutouts.open.open_provider` takes."""
    catalogue: str | None = None
    """Path of the table; what is with the cutouts when absent."""
    snapshot: str | None = None
    """A catalogue that was read already: file of `twinjet.index.catalogue_file`, its
    path from the home."""
    name: str | None = None
    """Of the catalogue; that of its file or folder when absent."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """Columns of the table under other names, as `read_catalogue` takes."""
    pixel_scale_arcsec: float | None = None
    """Of cutouts without WCS."""
    encoder: str | None = None
    """Name of a shipped encoder or path of a card; that of the worker when absent."""
    max_failed_fraction: float = MAX_FAILED_FRACTION
    """Part of the sources that may fail."""
    max_removed_fraction: float | None = None
    """Part of the earlier generation's sources that may be gone."""
    shard_sources: int = SHARD_SOURCES
    """Cutouts of a shard, which is what a crash costs at most."""
    force: bool = False
    """Whether it is published although checks are not passed."""

    @property
    def catalogue_name(self) -> str:
        """By which no two jobs are at work at a time."""
        return self.name or name_at(self.cutouts, self.catalogue)

    @property
    def digest(self) -> str:
        """Of all of it: the same where the same was asked."""
        return sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def read(self, home: Home | None = None) -> Catalogue:
        """Read the catalogue; one that was read already from a home.

        Raises
        ------
        CatalogueError
            It is at fault.
        """
        if self.snapshot is not None and home is not None:
            catalogue = load_catalogue(home.fetched(home.path / self.snapshot))
            # The same sources may have been read under another name.
            return replace(catalogue, name=self.name or catalogue.name)
        return catalogue_at(
            self.cutouts, self.catalogue, mapping=self.mapping, name=self.name
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; what another version wrote besides is left out."""
        known = {f.name for f in fields(cls)}
        values = {"cutouts": "?"} | {k: v for k, v in data.items() if k in known}
        return cls(**values)
