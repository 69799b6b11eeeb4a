"""Fuzz one target with atheris: ``python tests/fuzz/fuzz.py TARGET SECONDS [FOLDER]``.

The folder keeps the corpus from run to run; it is filled with the seeds. What crashes
is an exception that is no refusal, more than 10 s, or more than 256 MB at once; the
input is left in the folder's `crashes`, and the command ends with an error.
"""

import hashlib
import resource
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
with atheris.instrument_imports(include=["twinjet", "lark"]):
    from fuzz_targets import TARGETS

_MOST_S = 10
_MOST_MB = 256

# Of the whole process: what traces the code keeps a kilobyte of every run.
_PROCESS_MB = 8192


def main() -> None:
    """Run for so many seconds."""
    name, seconds, *rest = sys.argv[1:]
    folder = Path(rest[0] if rest else f"runs/fuzz/{name}")
    corpus, crashes = folder / "corpus", folder / "crashes"
    for one in (corpus, crashes):
        one.mkdir(parents=True, exist_ok=True)
    target = TARGETS[name]
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
        target.attack(seed)  # what is imported and cached at first is no cost of one

    def attack(data: bytes) -> None:
        most_mb = max(_peak_mb(), _resident_mb() + _MOST_MB)
        try:
            target.attack(data)
            assert _peak_mb() <= most_mb, f"it takes {_peak_mb()} MB"
        except BaseException:  # atheris ends the process, and keeps nothing of it
            (crashes / hashlib.sha256(data).hexdigest()).write_bytes(data)
            raise

    options = [
        *(f"-max_total_time={seconds}", f"-timeout={_MOST_S}"),
        *(f"-rss_limit_mb={_PROCESS_MB}", f"-malloc_limit_mb={_MOST_MB}"),
        *(f"-artifact_prefix={crashes}/", "-max_len=65536", "-print_final_stats=1"),
        "-close_fd_mask=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], attack)
    atheris.Fuzz()


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _resident_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


main()
