"""What can be wrong with catalogues, queries and generations.

::

    TwinjetIndexError
    ├── CatalogueError              a catalogue that cannot be used at all
    │   ├── CatalogueFormatError    not a table that is read
    │   └── CatalogueColumnError    a needed column is missing or unknown
    ├── CutoutUnavailableError      no such cutout, or it cannot be read
    ├── CutoutLocationError         a place of cutouts that cannot be understood
    ├── UnknownSourceError
    ├── UnknownExamplesError        examples that are no sources of this generation
    ├── UnknownGenerationError
    │   └── GenerationGoneError     it was there and is no longer kept
    ├── UnknownEncoderError
    ├── NoSourceAtPositionError
    ├── NotCalibratedError          a generation made before isolation was measured
    ├── InvalidQueryError           a parameter out of bounds
    │   ├── FilterError             a filter that cannot be understood
    │   └── RegionError             a part of the sky that is none, or too dear
    ├── LabelsError                 labels that no probe can be fitted to
    ├── DiscoveryError              a session of discovery, or a list of known sources
    │   ├── UnknownSessionError
    │   ├── UnknownListError
    │   ├── SessionConflictError    somebody else was faster, or the name is taken
    │   ├── SessionLimitError       more than is kept
    │   ├── NoExamplesError         nothing to be like in this generation
    │   ├── NoCandidatesError       all were seen, are known or filtered out
    │   └── KnownListError          a table that is no list of sources
    ├── NoGenerationError           nothing has been published
    ├── GenerationDamagedError      files are not what was published
    │   ├── LaterFormatError        files of a later version of Twinjet
    │   ├── LostVectorsError        an engine has not all that it was loaded with
    │   └── RowsDamagedError        its rows of the metadata are not what was built
    ├── IndexUnavailableError       the engine that has the vectors does not answer
    ├── EncoderMismatchError        index and encoder do not belong together
    ├── BuildInProgressError        another build holds the home
    ├── TooManyFailuresError        most cutouts could not be embedded
    ├── CutoutsUnreadError          cutouts that were there cannot be read now
    ├── ShardDamagedError           embeddings on disk cannot be read any more
    ├── VerificationError           a generation that does not pass is not published
    ├── SharedStoreError            files cannot be shared with other machines
    ├── JobError                    a job that cannot be taken or is not there
    │   ├── UnknownJobError
    │   ├── JobConflictError        another one is at work on the catalogue
    │   ├── JobCancelledError       a step of a job that nobody wants any more
    │   ├── IdempotencyError        a key was used for another request
    │   └── JobFailedError          what a job ended with
    ├── ApiKeyError                 a key that cannot be made
    │   └── UnknownApiKeyError      no key of this prefix
    ├── ScratchError                the folder of temporary files cannot be used
    ├── BackupError                 no backup, or none that can be restored here
    └── StoreError                  the metadata store cannot be used
        ├── DatabaseDamagedError    its file is damaged
        │   └── DatabaseReplacedError   or is not there any more
        └── HomeMismatchError       it belongs to the files of another home
"""

from collections.abc import Sequence

# Unknown examples that a message names; more are a list of another index.
_NAMED = 20


class TwinjetIndexError(Exception):
    """Base of all errors of `twinjet.index`.

    Parameters
    ----------
    message
        What was wrong, its value, and what would be right.
    parameter
        Name of the parameter or column at fault.
    limit
        The bound that was passed, when there is one.
    actual
        The value that passed it.
    """

    def __init__(
        self,
        message: str,
        *,
        parameter: str | None = None,
        limit: float | str | None = None,
        actual: float | str | None = None,
    ) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.limit = limit
        self.actual = actual


class CatalogueError(TwinjetIndexError):
    """A catalogue that cannot be used at all."""


class CatalogueFormatError(CatalogueError):
    """Not a table that is read, or a damaged one."""


class CatalogueColumnError(CatalogueError):
    """A needed column is missing, or a mapped one is not there."""


class CutoutUnavailableError(TwinjetIndexError):
    """No such cutout, or it cannot be read."""


class CutoutLocationError(TwinjetIndexError):
    """A place of cutouts that cannot be understood, or is of no kind that is read."""


class UnknownSourceError(TwinjetIndexError):
    """No such source in this generation."""

    def __init__(self, source_id: str) -> None:
        shown = source_id if len(source_id) <= 100 else source_id[:100] + "…"  # noqa: PLR2004 - a line
        super().__init__(
            f"no source {shown!r} in this index; `GET /sources?name=` finds near ones",
            parameter="source_id",
            actual=shown,
        )


class UnknownExamplesError(TwinjetIndexError):
    """Examples that are no sources of this generation.

    Parameters
    ----------
    source_ids
        All of them.
    parameter
        The list that they were in.
    """

    def __init__(self, source_ids: Sequence[str], *, parameter: str) -> None:
        self.source_ids = list(dict.fromkeys(source_ids))
        shown = ", ".join(repr(name[:100]) for name in self.source_ids[:_NAMED])
        more = len(self.source_ids) - _NAMED
        super().__init__(
            f"not in this index: {shown}"
            + (f" and {more} more" if more > 0 else "")
            + "; `GET /sources?name=` finds near ones",
            parameter=parameter,
            actual=self.source_ids[0][:100],
        )


class UnknownGenerationError(TwinjetIndexError):
    """No generation of this number."""


class GenerationGoneError(UnknownGenerationError):
    """A generation that was there and is no longer kept."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"generation {number} is no longer kept; ask again without `generation`, "
            "and from the first page: the ranking is another one now",
            parameter="generation",
            actual=number,
        )


class UnknownEncoderError(TwinjetIndexError):
    """No encoder of this identity."""


class NoSourceAtPositionError(TwinjetIndexError):
    """No source within the radius of a position."""

    def __init__(self, ra: float, dec: float, radius_arcsec: float) -> None:
        super().__init__(
            f"no source within {radius_arcsec:g} arcsec of RA {ra:.5f}, "
            f"Dec {dec:+.5f}; try a larger radius_arcsec",
            parameter="radius_arcsec",
            actual=radius_arcsec,
        )


class NotCalibratedError(TwinjetIndexError):
    """A generation whose isolation was not measured."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"generation {number} does not know how isolated its sources are: it has "
            "one source, or was made by an earlier version; index again with --force",
            parameter="generation",
            actual=number,
        )


class InvalidQueryError(TwinjetIndexError):
    """A parameter of a search that is out of bounds."""


class FilterError(InvalidQueryError):
    """A filter that cannot be understood.

    Parameters
    ----------
    message
        What was expected.
    position
        Offset of the fault in the text, from 0.
    expected
        What may stand there instead.
    columns
        Names of those that there are, where one is unknown; at most 100.
    nearest
        Those of them that are spelt like it.
    limit, actual
        The bound that was passed and by what.
    """

    def __init__(
        self,
        message: str,
        *,
        position: int | None = None,
        expected: Sequence[str] = (),
        columns: Sequence[str] = (),
        nearest: Sequence[str] = (),
        limit: float | str | None = None,
        actual: float | str | None = None,
    ) -> None:
        super().__init__(message, parameter="where", limit=limit, actual=actual)
        self.position = position
        self.expected = list(expected)
        self.columns = list(columns)
        self.nearest = list(nearest)


class RegionError(InvalidQueryError):
    """A part of the sky that cannot be understood, is none, or is too dear."""

    def __init__(
        self,
        message: str,
        *,
        limit: float | str | None = None,
        actual: float | str | None = None,
    ) -> None:
        super().__init__(message, parameter="region", limit=limit, actual=actual)


class LabelsError(TwinjetIndexError):
    """Labels that no probe can be fitted to, or that are not of this index."""


class DiscoveryError(TwinjetIndexError):
    """Something about a session of discovery, or a list of known sources."""


class UnknownSessionError(DiscoveryError):
    """No session of this ID, or no such round of it."""


class UnknownListError(DiscoveryError):
    """No list of this name."""


class SessionConflictError(DiscoveryError):
    """What was to be changed has been changed by somebody else, or a name is taken."""


class SessionLimitError(DiscoveryError):
    """More than a session or a list may hold."""


class NoExamplesError(DiscoveryError):
    """No source that the candidates should be like is in this generation."""


class NoCandidatesError(DiscoveryError):
    """Every source has been seen, is known, or is filtered out."""


class KnownListError(DiscoveryError):
    """A table that is no list of sources."""


class NoGenerationError(TwinjetIndexError):
    """Nothing has been published yet."""


class GenerationDamagedError(TwinjetIndexError):
    """A generation's files are not what was published."""


class LaterFormatError(GenerationDamagedError):
    """A generation's files are of a format that this version does not know."""


class LostVectorsError(GenerationDamagedError):
    """An engine has not, or not any more, all vectors of a generation."""


class RowsDamagedError(GenerationDamagedError):
    """A generation's rows of the metadata are not those that it was built with."""


class IndexUnavailableError(TwinjetIndexError):
    """The engine that has the vectors is away, not installed or too old."""


class EncoderMismatchError(TwinjetIndexError):
    """The index was made by another encoder than the one that is loaded."""

    def __init__(self, encoder: str, index: str) -> None:
        super().__init__(
            f"the index was made by encoder {index}, this service has {encoder}: "
            "similarities between them mean nothing; re-index or load the other",
            limit=index,
            actual=encoder,
        )


class BuildInProgressError(TwinjetIndexError):
    """Another build is at work in this home."""


class TooManyFailuresError(TwinjetIndexError):
    """More cutouts failed than may."""

    def __init__(self, failed: int, total: int, limit: float, example: str) -> None:
        super().__init__(
            f"{failed} of {total} sources could not be embedded, more than the "
            f"{100 * limit:.0f} % that may fail; the last one: {example}",
            limit=limit,
            actual=failed / total if total else 1.0,
        )


class CutoutsUnreadError(TwinjetIndexError):
    """Cutouts that were there a moment ago cannot be read now."""

    def __init__(self, count: int, reason: str) -> None:
        super().__init__(
            f"{count} cutouts that were there cannot be read; the last one: {reason}",
            actual=count,
        )


class ShardDamagedError(TwinjetIndexError):
    """Embeddings on disk cannot be read any more."""

    def __init__(self, shard: str) -> None:
        super().__init__(
            f"shard {shard} is damaged; its embeddings will be made again by the next "
            "build",
            actual=shard,
        )


class SharedStoreError(TwinjetIndexError):
    """Files cannot be shared with other machines, or fetched from them."""


class VerificationError(TwinjetIndexError):
    """A generation does not pass its checks, and is not published."""


class JobError(TwinjetIndexError):
    """A job that cannot be taken or is not there."""


class UnknownJobError(JobError):
    """No job of this identity."""


class JobConflictError(JobError):
    """Another job is at work on the catalogue."""


class JobCancelledError(JobError):
    """A step of a job that nobody wants any more ends."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} was cancelled", actual=job_id)


class IdempotencyError(JobError):
    """A key was used before for another request."""


class JobFailedError(JobError):
    """What a job ended with."""


class ApiKeyError(TwinjetIndexError):
    """A key that cannot be made as it is asked for."""


class UnknownApiKeyError(ApiKeyError):
    """No key has this prefix."""


class ScratchError(TwinjetIndexError):
    """The folder of temporary files is full or cannot be written."""


class BackupError(TwinjetIndexError):
    """A backup that cannot be made, or cannot be restored here."""


class StoreError(TwinjetIndexError):
    """The metadata store cannot be used."""


class DatabaseDamagedError(StoreError):
    """A database file is damaged: what it says cannot be trusted any more."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"the database {place} is damaged: {reason}; set it aside and restore the "
            "last backup with `twinjet db restore`",
            actual=place,
        )


class DatabaseReplacedError(DatabaseDamagedError):
    """A database file that is open is no longer where it was: writes would be lost."""

    def __init__(self, place: str) -> None:
        StoreError.__init__(
            self,
            f"the database {place} was removed or replaced while it was in use; what "
            "was written now would be lost. Restart the service",
            actual=place,
        )


class HomeMismatchError(StoreError):
    """The metadata store belongs to the files of another home."""
