"""FAISS multiplies matrices as the processor can."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twinjet.index.vectors.openblas import core_of, for_this_processor

_AVX512 = "avx512f avx512cd avx512bw avx512dq avx512vl"

_LOADED = """
import twinjet.index.vectors.faiss_index
from threadpoolctl import threadpool_info
loaded = [one for one in threadpool_info() if "faiss" in one["filepath"]]
print([one.get("architecture") for one in loaded])
"""


@pytest.mark.parametrize(
    ("flags", "core"),
    [
        (f"flags\t\t: fpu fma avx2 {_AVX512} amx_tile", "SkylakeX"),
        ("flags\t\t: fpu fma avx2 avx512f", "Haswell"),
        ("flags\t\t: fpu sse sse2 avx", None),
        ("Features\t: fp asimd sve", None),
        ("", None),
    ],
)
def test_the_best_that_a_processor_has_is_named(
    tmp_path: Path, flags: str, core: str | None
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{flags}\n")
    assert core_of(cpuinfo) == core
    assert core_of(tmp_path / "none") is None


def test_the_environment_is_as_before_and_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : avx2 fma\n")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    with for_this_processor(cpuinfo):
        assert os.environ["OPENBLAS_CORETYPE"] == "Haswell"
    assert "OPENBLAS_CORETYPE" not in os.environ
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    with for_this_processor(cpuinfo):
        assert os.environ["OPENBLAS_CORETYPE"] == "Nehalem"
    assert os.environ["OPENBLAS_CORETYPE"] == "Nehalem"


@pytest.mark.skipif(
    core_of(Path("/proc/cpuinfo")) is None, reason="no processor with AVX2 here"
)
def test_the_library_is_loaded_with_it() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    said = subprocess.run(
        [sys.executable, "-c", _LOADED],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout
    assert "Prescott" not in said
    assert "'" in said, "FAISS has no library of this kind here"
