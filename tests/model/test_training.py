"""Training: what the losses are, and that a killed run goes on as if it had not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skies import double_source

from twinjet.model.augment import PAPER, Augmentation
from twinjet.model.backbone import Backbone
from twinjet.model.byol import Byol, momentum_at
from twinjet.model.cutout import Cutout
from twinjet.model.dataset import LabelledFolder, margin_for
from twinjet.model.encoder import load_encoder
from twinjet.model.errors import DatasetError
from twinjet.model.evaluate import evaluate, read_task
from twinjet.model.preprocess import Preprocess
from twinjet.model.presets import PRESETS, Preset
from twinjet.model.simclr import SimClr
from twinjet.model.split import may_train, sky_fold
from twinjet.model.train import Progress, train

RECIPE = Preprocess(size_px=32)


def small(name: str) -> Preset:
    return dataclasses.replace(
        PRESETS[name], preprocess=RECIPE, depth=10, width=0.125, batch=8, images=8 * 20
    )


@pytest.fixture(scope="module")
def images() -> NDArray[np.float16]:
    rng = np.random.default_rng(0)
    margin = margin_for(RECIPE.size_px)
    return np.stack(
        [
            RECIPE(
                Cutout(double_source(rng), pixel_scale_arcsec=(1.8, 1.8)),
                margin_px=margin,
            ).image
            for _ in range(40)
        ]
    ).astype(np.float16)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("name", PRESETS)
def test_a_killed_run_ends_where_an_undisturbed_one_does(
    name: str,
    images: NDArray[np.float16],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preset = small(name)
    whole = train(preset, images, folder=tmp_path / "whole", name="a")

    def kill(progress: Progress) -> None:
        raise KilledError

    # Twelve steps are saved, then the report of the twentieth kills.
    shorter = dataclasses.replace(preset)
    with pytest.raises(KilledError):
        train(
            shorter,
            images,
            folder=tmp_path / "killed",
            name="a",
            report=kill,
            checkpoint_s=0,
        )
    assert (tmp_path / "killed" / "checkpoint.safetensors").exists()
    again = train(preset, images, folder=tmp_path / "killed", name="a")
    assert again.card.id == whole.card.id
    assert (
        load_encoder(tmp_path / "killed" / "a.json").card.training["images_seen"] == 160
    )


def test_metrics_are_kept_as_a_table(
    images: NDArray[np.float16], tmp_path: Path
) -> None:
    train(small("small"), images, folder=tmp_path, name="a")
    head, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert head.startswith("step,steps,loss,spread")
    assert rows[-1].startswith("20,20,")


def test_too_few_images_are_refused(
    images: NDArray[np.float16], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="needs at least 8"):
        train(small("small"), images[:5], folder=tmp_path, name="a")


def views(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, 6, 1, 32, 32, generator=generator)
    return first, second


@pytest.mark.parametrize("method", [Byol, SimClr])
def test_a_loss_does_not_mind_which_view_is_first(method: type[Byol | SimClr]) -> None:
    torch.manual_seed(0)
    learner = method(Backbone(depth=10, width=0.125))
    first, second = views()
    one, _ = learner(first, second)
    other, _ = learner(second, first)
    assert one.item() == pytest.approx(other.item(), rel=1e-4)


def test_simclr_prefers_views_of_one_image() -> None:
    torch.manual_seed(0)
    learner = SimClr(Backbone(depth=10, width=0.125))
    first, second = views()
    same, _ = learner(first, first + 1e-4 * second)
    different, _ = learner(first, second)
    assert same < different


def test_the_target_gets_no_gradient_and_follows() -> None:
    torch.manual_seed(0)
    byol = Byol(Backbone(depth=10, width=0.125))
    loss, _ = byol(*views())
    loss.backward()
    assert 0 <= loss.item() <= 8
    assert all(p.grad is None for p in byol.target_backbone.parameters())
    with torch.no_grad():
        for p in byol.backbone.parameters():
            p.add_(1)
    before = next(byol.target_backbone.parameters()).clone()
    byol.follow(0.9)
    after = next(byol.target_backbone.parameters())
    torch.testing.assert_close(after, before + 0.1)


def test_the_momentum_rises_to_one() -> None:
    values = [momentum_at(progress, 0.99) for progress in np.linspace(0, 1, 9)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.99, 1)


@pytest.mark.parametrize("augmentation", [Augmentation(), PAPER])
def test_views_are_images_and_the_seed_decides_which(
    augmentation: Augmentation, images: NDArray[np.float16]
) -> None:
    batch = torch.from_numpy(images[:8].astype(np.float32)).unsqueeze(1)

    def view(seed: int) -> torch.Tensor:
        return augmentation(batch, 32, torch.Generator().manual_seed(seed))

    assert view(0).shape == (8, 1, 32, 32)
    assert torch.isfinite(view(0)).all()
    assert view(0).min() >= 0
    assert view(0).max() <= 1
    assert view(0).flatten(1).amax(dim=1).min() > 0.2
    torch.testing.assert_close(view(0), view(0))
    assert not torch.equal(view(0), view(1))


def test_the_sky_is_split_by_position_alone() -> None:
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 5000), np.degrees(np.arcsin(rng.uniform(-1, 1, 5000)))
    counts = np.bincount(sky_fold(ra, dec), minlength=5)
    assert counts.min() > 500
    assert sky_fold(0, 10) == sky_fold(360, 10)


def test_no_training_source_is_within_30_arcsec_of_a_judged_one() -> None:
    rng = np.random.default_rng(1)
    ra, dec = (
        rng.uniform(0, 360, 200_000),
        np.degrees(np.arcsin(rng.uniform(-0.9, 0.9, 200_000))),
    )
    shift = rng.uniform(-29, 29, (2, len(ra))) / 3600 / np.sqrt(2)
    near_ra, near_dec = ra + shift[0] / np.cos(np.radians(dec)), dec + shift[1]
    judged = sky_fold(near_ra % 360, near_dec) == 0
    border = judged & (sky_fold(ra, dec) != 0)
    assert border.sum() > 10
    assert not may_train(ra[border], dec[border]).any()


def labelled_sky(folder: Path) -> LabelledFolder:
    """Compact and double sources, as PNG, all over the sky."""
    rng = np.random.default_rng(0)
    lines = ["source_id,cutout,ra_deg,dec_deg,kind"]
    folder.mkdir()
    for number in range(160):
        y, x = np.indices((48, 48)) - 23.5
        gap = 8 * (number % 2)
        angle = rng.uniform(0, np.pi)
        pixels = sum(
            np.exp(
                -(
                    (x - s * gap * np.cos(angle)) ** 2
                    + (y - s * gap * np.sin(angle)) ** 2
                )
                / 8
            )
            for s in (-1, 1)
        )
        Image.fromarray((255 * pixels / np.max(pixels)).astype("u1")).save(
            folder / f"{number}.png"
        )
        dec = np.degrees(np.arcsin(rng.uniform(-1, 1)))
        kind = ["one", "two"][number % 2]
        lines.append(f"s{number},{number}.png,{rng.uniform(0, 360)},{dec},{kind}")
    (folder / "catalogue.csv").write_text("\n".join(lines))
    return LabelledFolder.read(str(folder))


def test_figures_come_with_intervals_and_baselines(
    tmp_path: Path, images: NDArray[np.float16]
) -> None:
    encoder = train(small("small"), images, folder=tmp_path / "run", name="a")
    task = read_task(labelled_sky(tmp_path / "sky"), encoder, label="kind")
    report = evaluate(encoder, task)
    assert set(report["methods"]) == {"encoder", "untrained", "pixel PCA"}
    for figures in report["methods"].values():
        for figure in figures.values():
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    # One blob or two is easy for all.
    assert report["methods"]["encoder"]["linear_accuracy"]["value"] > 0.9


def test_a_task_without_labels_is_refused(
    tmp_path: Path, images: NDArray[np.float16]
) -> None:
    encoder = train(small("small"), images, folder=tmp_path / "run", name="a")
    folder = labelled_sky(tmp_path / "sky")
    with pytest.raises(DatasetError, match="colour"):
        read_task(folder, encoder, label="colour")
    few = dataclasses.replace(folder, rows=folder.rows[:3])
    with pytest.raises(DatasetError, match="lacks one of"):
        read_task(few, encoder, label="kind")
