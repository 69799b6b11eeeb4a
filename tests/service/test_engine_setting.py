"""`TWINJET_ENGINE`: what runs the encoder, where it is told, when it is refused."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from commands import TWINJET
from fastapi.testclient import TestClient
from skies import encoder_of_rounding

from twinjet.service.app import create_app
from twinjet.service.config import Config


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_either_engine_searches_an_index_that_torch_made(
    config: Config, sky: Path, engine: str
) -> None:
    chosen = Config(**(config.model_dump() | {"engine": engine}))
    with TestClient(create_app(chosen)) as client:
        assert client.get("/encoders/small").json()["engine"] == engine
        for number in (3, 17, 31):
            cutout = (sky / f"T{number:03d}.fits").read_bytes()
            answer = client.post("/similar", files={"file": cutout}).json()
            first = answer["neighbours"][0]
            assert first["source"]["source_id"] == f"T100+{number:03d}"
            assert first["similarity"] > 1 - 1e-5


def embedded(card: Path, cutout: Path, engine: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TWINJET, "embed", cutout],
        env={**os.environ, "TWINJET_ENCODER": str(card), "TWINJET_ENGINE": engine},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


def test_what_openvino_would_change_is_refused_or_left_to_torch(
    tmp_path: Path, sky: Path
) -> None:
    encoder = encoder_of_rounding()
    encoder.save(tmp_path)
    card, cutout = tmp_path / "small.json", sky / "T003.fits"
    refused = embedded(card, cutout, "openvino")
    assert refused.returncode == 1
    assert refused.stderr.startswith("twinjet: embeddings by OpenVINO")
    assert not refused.stdout
    by_torch = embedded(card, cutout, "torch")
    left = embedded(card, cutout, "auto")
    assert json.loads(left.stdout) == json.loads(by_torch.stdout)
    assert "torch runs the encoder small: embeddings by OpenVINO" in left.stderr
    assert not by_torch.stderr
