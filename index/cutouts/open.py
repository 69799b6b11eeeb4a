"""The provider of a location, as a generation's manifest names it."""

from pathlib import Path

from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.cutouts.port import CutoutProvider


def open_provider(location: str) -> CutoutProvider:
    """Make the provider that has this location."""
    return FolderProvider(Path(location))
