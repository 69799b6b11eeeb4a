"""Cutouts in any store that fsspec knows: S3, Google Cloud, SSH, WebDAV and others."""

from collections.abc import Generator, Iterable
from hashlib import sha256
from pathlib import Path, PurePosixPath

import fsspec

from twinjet.index.cutouts.prefetch import in_order
from twinjet.index.errors import CutoutLocationError, CutoutUnavailableError
from twinjet.index.source import Source, cutout_name
from twinjet.model.decode import MAX_FILE_BYTES

# A store answers slowly, and many at the same time.
_THREADS = 8


class StoreProvider:
    """Objects below one URL; nothing outside of it is ever read.

    Parameters
    ----------
    url
        Such as ``s3://bucket/cutouts``.

    Raises
    ------
    CutoutLocationError
        No driver of this kind of store is installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self._url)
        except (ImportError, ValueError, OSError) as exc:
            msg = f"the store {url!r} cannot be used: {exc}"
            raise CutoutLocationError(msg, actual=url) from exc

    @property
    def location(self) -> str:
        """URL of the store."""
        return self._url

    @property
    def by_name(self) -> bool:
        """Objects are known by their names alone."""
        return True

    def read(self, source: Source) -> bytes:
        """Bytes of an object below the URL.

        Raises
        ------
        CutoutUnavailableError
            It is absent, unreadable, too large or outside of the URL.
        """
        name = cutout_name(source)
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or self._leads_out(path):
            msg = f"cutout {name!r} leads out of its store"
            raise CutoutUnavailableError(msg, actual=name)
        try:
            # One byte more than the limit: the decoder then says so.
            data: bytes = self._files.cat_file(
                f"{self._root}/{path}", start=0, end=MAX_FILE_BYTES + 1
            )
        except FileNotFoundError as exc:
            msg = f"cutout {name!r} cannot be read: No such file in its store"
            raise CutoutUnavailableError(msg, actual=name) from exc
        except (OSError, ValueError) as exc:
            # Not its words, which may name the store and who may enter.
            msg = f"cutout {name!r} cannot be read: {type(exc).__name__}"
            raise CutoutUnavailableError(msg, actual=name) from exc
        return data

    def _leads_out(self, path: PurePosixPath) -> bool:
        """Whether a link of a local disk leads out of the root."""
        if "file" not in self._files.protocol:
            return False
        root = Path(self._root).resolve()
        return not (root / path).resolve().is_relative_to(root)

    def digest(self, source: Source) -> str:
        """SHA-256 of an object below the URL; raises as `read` does."""
        return sha256(self.read(source)).hexdigest()

    def prefetch(
        self, sources: Iterable[Source]
    ) -> Generator[str | CutoutUnavailableError]:
        """Digest of each source's cutout in turn, some at a time, or why not."""

        def outcome(source: Source) -> str | CutoutUnavailableError:
            try:
                return self.digest(source)
            except CutoutUnavailableError as exc:
                return exc

        yield from in_order(outcome, sources, threads=_THREADS)


def is_store(kind: str, rest: str) -> bool:
    """Whether a location is a URL of a store.

    Examples
    --------
    >>> is_store("s3", "//bucket/sky"), is_store("mosaic", "/sky")
    (True, False)
    """
    return rest.startswith("//") and kind in fsspec.available_protocols()
