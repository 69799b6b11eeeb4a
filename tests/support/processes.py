"""Memory of a server's processes, as Linux counts it."""

import re
from pathlib import Path

_PROC = Path("/proc")


def server_over(home: Path) -> int:
    """The process of ``twinjet serve`` over a home."""
    wanted = {b"serve", str(home).encode()}
    (found,) = (
        int(file.parent.name)
        for file in _PROC.glob("[0-9]*/cmdline")
        if wanted <= set(_read(file).split(b"\0"))
    )
    return found


def children_of(process: int) -> set[int]:
    """Those that a process has started and that live."""
    found = set()
    for file in _PROC.glob("[0-9]*/stat"):
        fields = _read(file).rpartition(b")")[2].split()
        if fields and int(fields[1]) == process:
            found.add(int(file.parent.name))
    return found


def decoders_of(server: int) -> set[int]:
    """Those of its children that read what strangers send."""
    return {
        process
        for process in children_of(server)
        if b"twinjet.service.decoding.images"
        in _read(_PROC / str(process) / "cmdline").split(b"\0")
    }


def forget_peak(process: int) -> None:
    """Have the highest memory counted from now on."""
    (_PROC / str(process) / "clear_refs").write_text("5", encoding="ascii")


def resident_bytes(process: int, which: str = "VmRSS") -> int:
    """Memory now (``VmRSS``) or at its highest (``VmHWM``)."""
    text = (_PROC / str(process) / "status").read_text(encoding="ascii")
    found = re.search(rf"{which}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024


class Memory:
    """What a server and its children take for one thing they do.

    Parameters
    ----------
    server
        Its process.
    """

    def __init__(self, server: int) -> None:
        self.server = server
        self._before: dict[int, int] = {}

    def begin(self) -> None:
        """From now on."""
        family = {self.server, *children_of(self.server)}
        for process in family:
            forget_peak(process)
        self._before = {one: resident_bytes(one) for one in family}

    def most_grown(self) -> int:
        """Bytes at most by which one of them was larger than at the beginning."""
        return max(
            resident_bytes(process, "VmHWM") - before
            for process, before in self._before.items()
        )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has just ended
        return b""
