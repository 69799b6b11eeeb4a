"""OpenVINO in torch's place: the same embeddings, or none of its."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skies import encoder_of_rounding, small_encoder

from twinjet.model import openvino_network
from twinjet.model.backbone import Backbone
from twinjet.model.cutout import Cutout
from twinjet.model.encoder import (
    Encoder,
    card_path,
    default_encoder,
    load_encoder,
)
from twinjet.model.engine import agreement, engine_of, on_engine
from twinjet.model.errors import EngineError
from twinjet.model.openvino_network import OpenVinoNetwork
from twinjet.model.simulate import simulate_images


def images_for(encoder: Encoder, count: int = 20) -> NDArray[np.float32]:
    recipe = encoder.card.preprocess
    return np.stack(
        [
            recipe(Cutout(pixels, pixel_scale_arcsec=(1.8, 1.8))).image
            for pixels, _ in simulate_images(count, seed=7)
        ]
    )


@pytest.mark.parametrize("name", ["twinjet", "twinjet-tuned", "twinjet-small"])
def test_openvino_gives_the_embeddings_of_torch(name: str) -> None:
    encoder = load_encoder(card_path(name))
    other = on_engine(encoder, "openvino")
    assert (engine_of(encoder), engine_of(other)) == ("torch", "openvino")
    assert other.card == encoder.card
    images = images_for(encoder, 8)
    ours, theirs = (
        one.embed_images(images, invariant=False) for one in (other, encoder)
    )
    assert ours.dtype == np.float32
    assert np.einsum("nd,nd->n", ours, theirs).min() > 1 - 1e-5
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize(
    ("depth", "width", "peaks"), [(18, 0.25, False), (34, 0.125, True), (10, 1, True)]
)
def test_every_backbone_is_the_same_on_openvino(
    depth: int,
    width: float,
    peaks: bool,  # noqa: FBT001
) -> None:
    torch.manual_seed(1)
    backbone = Backbone(depth=depth, width=width, peaks=peaks).eval()
    with torch.no_grad():
        for name, numbers in backbone.state_dict().items():
            if name.endswith("running_var"):
                numbers.uniform_(0.5, 2)
            elif name.endswith(("running_mean", "bias")):
                numbers.uniform_(-1, 1)
    images = torch.rand(3, 1, 37, 37)
    network = OpenVinoNetwork(backbone.folded(), (3, 1, 37, 37))
    with torch.inference_mode():
        found, wanted = network(images), backbone(images)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


def test_auto_is_openvino_where_it_is_installed() -> None:
    assert engine_of(on_engine(small_encoder(views=1), "auto")) == "openvino"
    assert engine_of(on_engine(small_encoder(views=1), "torch")) == "torch"


def test_an_encoder_that_openvino_computes_otherwise_stays_on_torch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    encoder = encoder_of_rounding()
    found = agreement(encoder.through(OpenVinoNetwork), encoder)
    assert found.cosine < 0.9999
    assert on_engine(encoder, "auto") is encoder
    assert f"cosine of {found.cosine:.6f} at least" in caplog.text
    with pytest.raises(EngineError, match=f"{found.cosine:.6f}") as raised:
        on_engine(encoder, "openvino")
    assert raised.value.limit == 0.9999
    assert raised.value.actual == found.cosine


def test_an_encoder_that_cannot_be_compared_stays_on_torch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    small = small_encoder(views=1)
    blind = replace(small.card.preprocess, clip_sigma=1e6)
    card = replace(small.card, preprocess=blind)
    encoder = Encoder(card, small._backbone, mean=small.mean)
    assert on_engine(encoder, "auto") is encoder
    assert "sees something in 0 of 24 simulated sources" in caplog.text
    with pytest.raises(EngineError) as raised:
        on_engine(encoder, "openvino")
    assert (raised.value.limit, raised.value.actual) == (11, 0)


def test_another_encoder_does_not_agree() -> None:
    found = agreement(small_encoder(1, views=1), small_encoder(2, views=1))
    assert found.neighbours < 0.9
    assert not found.is_enough
    assert agreement(small_encoder(1, views=1), small_encoder(1, views=1)).is_enough


def test_numbers_that_are_none_agree_with_nothing() -> None:
    encoder = small_encoder(views=1)
    spoilt = Encoder(
        encoder.card, encoder._backbone, mean=torch.full_like(encoder.mean, torch.nan)
    )
    assert not agreement(spoilt, encoder).is_enough


def test_the_number_of_threads_changes_no_bit_of_the_features() -> None:
    encoder = default_encoder()
    images = images_for(encoder, 4)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        other = on_engine(encoder, "openvino")
        alone = other.features(images)
        for number in (1, 2):
            torch.set_num_threads(number)
            assert torch.equal(other.features(images), alone)
        torch.set_num_threads(1)
        with ThreadPoolExecutor(3) as pool:  # each in a stream of its own
            together = list(pool.map(other.features, [images] * 6))
        assert all(torch.equal(features, alone) for features in together)
    finally:
        torch.set_num_threads(threads)


def test_importing_openvino_tells_nobody(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from twinjet.model.encoder import default_encoder\n"
        "from twinjet.model.engine import engine_of, on_engine\n"
        "assert engine_of(on_engine(default_encoder(), 'openvino')) == 'openvino'\n"
        "assert 'openvino' in sys.modules\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("CI", None)
    subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env=environment, check=True
    )
    # Where its makers' reporting keeps the number of the machine.
    assert not (tmp_path / "intel").exists()


def test_one_thread_at_a_time_imports_openvino(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    openvino_network._imported.cache_clear()
    calls: list[str] = []

    def slowly(name: str) -> ModuleType:
        calls.append(name)
        time.sleep(0.2)
        return import_module(name)

    monkeypatch.setattr(openvino_network, "import_module", slowly)
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda _: openvino_network.openvino_module(), range(4))
        assert len(set(found)) == 1
    assert calls == ["openvino"]


def test_where_openvino_is_not_installed_torch_runs_the_encoder() -> None:
    script = (
        "import sys\n"
        "sys.modules['openvino'] = None  # as Python has it of what is not there\n"
        "from twinjet.model.encoder import default_encoder\n"
        "from twinjet.model.engine import engine_of, on_engine\n"
        "from twinjet.model.errors import EngineError\n"
        "assert engine_of(on_engine(default_encoder(), 'auto')) == 'torch'\n"
        "try:\n"
        "    on_engine(default_encoder(), 'openvino')\n"
        "except EngineError as exc:\n"
        "    print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        check=True,
        text=True,
    )
    assert "pip install 'twinjet[openvino]'" in done.stdout
    assert not done.stderr
