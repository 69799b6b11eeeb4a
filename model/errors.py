"""What can be wrong with pixels and encoders.

::

    ModelError
    ├── CutoutError              something about the given cutout
    │   ├── EmptyFileError
    │   ├── UnsupportedFormatError
    │   ├── MalformedFitsError
    │   ├── MalformedImageError
    │   ├── TruncatedFileError
    │   ├── DecompressionLimitError
    │   ├── TooManyHdusError
    │   ├── NoImageError
    │   ├── AmbiguousImageError
    │   ├── ImageTooLargeError
    │   ├── ImageTooSmallError
    │   ├── UnsupportedPixelsError
    │   └── NoUsablePixelsError
    ├── EncoderError
    │   ├── EncoderFileError     weights or card absent, damaged or foreign
    │   └── EngineError          what is to run it is absent, or computes otherwise
    ├── DatasetError             a training or evaluation set that cannot be used
    └── SimulationError          a simulated sky that cannot be made as asked
"""


class ModelError(Exception):
    """Base of all errors of `twinjet.model`.

    Parameters
    ----------
    message
        What was wrong with the input, its value, and what would be right.
    limit
        The bound that was passed, when there is one.
    actual
        The value that passed it.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: float | str | None = None,
        actual: float | str | None = None,
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.actual = actual


class CutoutError(ModelError):
    """Something about the given cutout."""

    parameter: str | None = None
    """Which it was, where several were given."""


class EmptyFileError(CutoutError):
    """The file has no bytes."""


class UnsupportedFormatError(CutoutError):
    """The bytes are not FITS, PNG, JPEG or gzip of FITS."""


class MalformedFitsError(CutoutError):
    """The bytes begin as FITS and break its rules."""


class MalformedImageError(CutoutError):
    """The bytes begin as PNG or JPEG and cannot be decoded."""


class TruncatedFileError(CutoutError):
    """The file ends before its header says it does."""


class DecompressionLimitError(CutoutError):
    """The file expands to more than the limit; `actual` is what had come by then."""


class NoImageError(CutoutError):
    """No HDU holds a two-dimensional image."""


class TooManyHdusError(CutoutError):
    """A FITS file of more HDUs than the limit."""


class AmbiguousImageError(CutoutError):
    """Several HDUs hold an image, and nothing says which is meant.

    Parameters
    ----------
    message
        What would choose one.
    candidates
        The HDUs with an image: number, name and shape in words.
    """

    def __init__(self, message: str, *, candidates: list[str]) -> None:
        super().__init__(message, limit=1, actual=len(candidates))
        self.parameter = "hdu"
        self.candidates = candidates


class ImageTooLargeError(CutoutError):
    """More pixels than the limit."""


class ImageTooSmallError(CutoutError):
    """A side shorter than the limit."""


class UnsupportedPixelsError(CutoutError):
    """Pixels of a kind or size that cannot be held as 32-bit floating point."""


class NoUsablePixelsError(CutoutError):
    """Pixels without content: not finite, or all the same."""


class EncoderError(ModelError):
    """Something about an encoder."""


class EncoderFileError(EncoderError):
    """The encoder's files are absent, damaged or of another format."""


class EngineError(EncoderError):
    """What is to run the encoder is not installed, or does not compute the same."""


class DatasetError(ModelError):
    """A training or evaluation set that cannot be used."""


class SimulationError(ModelError):
    """A simulated sky that cannot be made as asked."""
