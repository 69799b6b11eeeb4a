"""The service under the conditions of its container, without one."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest
import yaml
from commands import TWINJET
from processes import server_over
from requirements import require
from servers import free_port
from serving import wait_until_served

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# As the image has it.
USER = "10001"

# Of a mount namespace of its own: all is read-only but a folder and a small disk.
CONFINED = """
mount --bind "$1" /mnt
mount -t tmpfs -o size=512m tmpfs /media
mount -o remount,bind,ro /
user=$2
shift 2
exec setpriv --reuid=$user --regid=$user --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all "$@"
"""

ENVIRONMENT = os.environ | {
    "HOME": "/home/twinjet",  # which is not there
    "TMPDIR": "/media",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@pytest.fixture
def user() -> str:
    """The one of the image; root where nobody else may run this Python."""
    needed = (os.geteuid() == 0, shutil.which("unshare"), shutil.which("setpriv"))
    reason = "takes root, unshare and setpriv"
    require("mounts", available=all(needed), reason=reason)
    apart = ["unshare", "--mount", "true"]
    alone = subprocess.run(apart, check=False).returncode
    require("mounts", available=alone == 0, reason="nothing can be mounted apart")
    again = "import subprocess, sys; subprocess.run([sys.executable, '-V'], check=True)"
    command = ["setpriv", f"--reuid={USER}", "--clear-groups", sys.executable]
    done = subprocess.run([*command, "-c", again], capture_output=True, check=False)
    return USER if done.returncode == 0 else "0"


def test_it_serves_as_nobody_on_a_read_only_root(user: str, tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    api = compose["services"]["api"]
    assert api["read_only"]
    assert api["tmpfs"] == ["/tmp:size=512m"]  # noqa: S108 - of the container
    assert api["cap_drop"] == ["ALL"]
    assert api["security_opt"] == ["no-new-privileges:true"]
    assert api["pids_limit"]
    assert api["mem_limit"]
    assert f"--uid {USER}" in (ROOT / "Dockerfile").read_text()

    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, int(user), int(user))

    def confined(*arguments: str) -> list[str]:
        begin = [
            "unshare",
            "--mount",
            "sh",
            "-e",
            "-c",
            CONFINED,
            "sh",
            str(data),
            user,
        ]
        return [*begin, str(TWINJET), *arguments]

    for arguments in (
        ("simulate", "/mnt/sky", "--count", "30"),
        ("index", "/mnt/sky", "--home", "/mnt/home"),
    ):
        subprocess.run(confined(*arguments), env=ENVIRONMENT, check=True)
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    command = confined("serve", "--home", "/mnt/home", "--port", str(port))
    with subprocess.Popen(command, env=ENVIRONMENT) as process:
        try:
            wait_until_served(process, root)
            server = server_over(Path("/mnt/home"))
            status = Path(f"/proc/{server}/status").read_text(encoding="ascii")
            told = dict(line.split(":\t", 1) for line in status.splitlines() if line)
            assert told["Uid"].split() == [user] * 4
            assert int(told["CapEff"], 16) == int(told["CapBnd"], 16) == 0
            assert told["NoNewPrivs"] == "1"
            source = httpx.get(f"{root}/sources?limit=1").json()["sources"][0]
            assert httpx.get(root + source["links"]["similar"]).is_success
            cutout = next((data / "sky").rglob("*.fits")).read_bytes()
            # Larger than what a form keeps in memory.
            padded = cutout + bytes(2**21)
            for file in (cutout, padded):
                sent = httpx.post(f"{root}/similar", files={"file": file}, timeout=60)
                assert sent.is_success, sent.text
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(timeout=60) in {0, -signal.SIGTERM}
            finally:
                process.kill()
