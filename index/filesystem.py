"""What kind of filesystem a path is on."""

import os
import re
from pathlib import Path

from twinjet.index.errors import StoreError

# Filesystems of other machines, where SQLite's write-ahead log corrupts: its index is
# memory that processes of one machine share (https://www.sqlite.org/wal.html).
_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "ceph", "lustre"),
    *("glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.rclone", "fuse.s3fs"),
    *("fuse.ceph", "fuse.gcsfuse", "fuse.blobfuse2", "gpfs", "beegfs", "orangefs"),
}

_MOUNTS = Path("/proc/self/mountinfo")


def refuse_network(path: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a place for SQLite that is on another machine.

    Parameters
    ----------
    path
        Of the database; it need not be there yet.
    mounts
        What the kernel says of its mounts; where it says nothing, nothing is refused.

    Raises
    ------
    StoreError
        Naming the kind of filesystem and the settings to change.
    """
    kind = kind_of(path, mounts)
    if kind in _NETWORK:
        msg = (
            f"{path} is on a network filesystem ({kind}), where SQLite loses data: set "
            "TWINJET_HOME to a folder of a local disk, or TWINJET_DATABASE_URL to a "
            "PostgreSQL"
        )
        raise StoreError(msg, parameter="TWINJET_HOME", actual=kind)


def kind_of(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """Kind of the filesystem that a path is or will be on; None where unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    place = os.path.realpath(path)
    found, longest = None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _plain(before.split()[4])
        inside = point in {"/", place} or place.startswith(point + "/")
        # The later of two mounts on one place hides the other.
        if inside and len(point) >= longest:
            found, longest = after.split()[0], len(point)
    return found


def _plain(name: str) -> str:
    """Spaces and the like are written in octal there."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), name)
