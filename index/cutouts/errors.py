"""What can be wrong with an archive's answer.

::

    CutoutUnavailableError
    ├── NoCoverageError        for good: remembered, not asked again
    └── ArchiveTroubleError    for now: never remembered, asked again next time
"""

from twinjet.index.errors import CutoutUnavailableError


class NoCoverageError(CutoutUnavailableError):
    """The archive has no usable image there, or refuses this request for good."""


class ArchiveTroubleError(CutoutUnavailableError):
    """The archive cannot be asked or does not answer as it should.

    Parameters
    ----------
    message
        Host and what is wrong with it, in plain words.
    again
        Whether asking again within seconds may help.
    refused
        Whether a status says so: the next source will hardly fare better.
    """

    def __init__(
        self, message: str, *, again: bool = False, refused: bool = False
    ) -> None:
        super().__init__(message)
        self.again = again
        self.refused = refused
