"""A file or folder that is opened when it is first needed, and once."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from twinjet.index.errors import CutoutUnavailableError

T = TypeVar("T")


class Opened(Generic[T]):
    """What a file holds; opened anew when another has taken its place.

    A provider is made long before its first cutout is read, and a service must
    answer searches where the pixels have gone: opening waits for the first read. A
    failure is remembered as a success is, or a damaged archive of 10⁶ cutouts would
    be read through 10⁶ times.

    Parameters
    ----------
    path
        Of the file or folder.
    open_it
        Makes the value of the path; raises `CutoutUnavailableError`.
    """

    def __init__(self, path: Path, open_it: Callable[[Path], T]) -> None:
        self._path = path
        self._open_it = open_it
        self._lock = Lock()
        self._state: tuple[int, ...] | None = None
        self._value: T | None = None
        self._fault: str | None = None

    def forget(self) -> None:
        """Open anew next time: something within has changed."""
        with self._lock:
            self._state = None

    def get(self) -> T:
        """The value, shared by all threads.

        Raises
        ------
        CutoutUnavailableError
            The path is absent, or what is there cannot be opened.
        """
        try:
            stat = self._path.stat()
        except OSError as exc:
            msg = f"{self._path} cannot be read: {exc.strerror}"
            raise CutoutUnavailableError(msg, actual=str(self._path)) from exc
        state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        with self._lock:
            if state != self._state:
                self._value, self._fault = None, None
                try:
                    self._value = self._open_it(self._path)
                except CutoutUnavailableError as exc:
                    self._fault = str(exc)
                self._state = state
            if self._value is None:
                raise CutoutUnavailableError(self._fault or "", actual=str(self._path))
            return self._value
