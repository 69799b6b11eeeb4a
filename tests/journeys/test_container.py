"""The service under the conditions of its container, without one."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import httpx2 as httpx
import pytest
import yaml
from commands import TWINJET, run_twinjet
from processes import server_over
from requirements import require
from servers import free_port
from serving import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# As the image has it.
USER = "10001"

# Of a mount namespace of its own: all is read-only but the home and a small disk.
CONFINED = f"""
mount --bind "$1" /mnt
mount -t tmpfs -o size=512m tmpfs /media
mount -o remount,bind,ro /
shift
exec setpriv --reuid={USER} --regid={USER} --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    needed = (os.geteuid() == 0, shutil.which("unshare"), shutil.which("setpriv"))
    reason = "takes root, unshare and setpriv"
    require("mounts", available=all(needed), reason=reason)
    other = ["setpriv", f"--reuid={USER}", "--clear-groups", str(TWINJET), "--version"]
    done = subprocess.run(other, capture_output=True, text=True, check=False)
    require("mounts", available=done.returncode == 0, reason=done.stderr.strip())
    run_twinjet("simulate", tmp_path / "sky", "--count", 30)
    run_twinjet("index", tmp_path / "sky", home=tmp_path / "home")
    for path in (tmp_path / "home", *(tmp_path / "home").rglob("*")):
        os.chown(path, int(USER), int(USER))
    return tmp_path / "home"


def test_it_serves_as_nobody_on_a_read_only_root(home: Path, tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    api = compose["services"]["api"]
    assert api["read_only"]
    assert api["tmpfs"] == ["/tmp:size=512m"]  # noqa: S108 - of the container
    assert api["cap_drop"] == ["ALL"]
    assert api["security_opt"] == ["no-new-privileges:true"]
    assert api["pids_limit"]
    assert api["mem_limit"]
    assert f"--uid {USER}" in (ROOT / "Dockerfile").read_text()

    port = free_port()
    command = [str(TWINJET), "serve", "--home", "/mnt", "--port", str(port)]
    confined = ["unshare", "--mount", "sh", "-e", "-c", CONFINED, "sh", str(home)]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HOME"},
        "TMPDIR": "/media",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    root = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert process.poll() is None, "the service ended at its start"
        try:
            return httpx.get(f"{root}/readyz", timeout=30).is_success
        except httpx.TransportError:
            return False

    with subprocess.Popen([*confined, *command], env=environment) as process:
        try:
            wait_until(is_ready, patience_s=120)
            server = server_over(Path("/mnt"))
            status = Path(f"/proc/{server}/status").read_text(encoding="ascii")
            told = dict(line.split(":\t", 1) for line in status.splitlines() if line)
            assert told["Uid"].split() == [USER] * 4
            assert int(told["CapEff"], 16) == int(told["CapBnd"], 16) == 0
            assert told["NoNewPrivs"] == "1"
            source = httpx.get(f"{root}/sources?limit=1").json()["sources"][0]
            assert httpx.get(root + source["links"]["similar"]).is_success
            cutout = next((tmp_path / "sky").rglob("*.fits")).read_bytes()
            # Larger than what a form keeps in memory.
            padded = cutout + bytes(2**21)
            for data in (cutout, padded):
                sent = httpx.post(f"{root}/similar", files={"file": data}, timeout=60)
                assert sent.is_success, sent.text
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) in {0, -signal.SIGTERM}
