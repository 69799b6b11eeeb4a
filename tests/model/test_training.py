"""Training: what the losses are, and that a killed run goes on as if it had not."""

import dataclasses
import math
import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from skies import double_source
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from twinjet.model.augment import PAPER, Augmentation
from twinjet.model.backbone import Backbone
from twinjet.model.cutout import Cutout
from twinjet.model.dataset import LabelledFolder
from twinjet.model.distributed import Rank
from twinjet.model.encoder import load_encoder
from twinjet.model.errors import DatasetError, EncoderFileError
from twinjet.model.learner import Learner, Method
from twinjet.model.memory import keep_freed_memory
from twinjet.model.metrics import Progress, spread_of
from twinjet.model.objectives.byol import Byol, momentum_at
from twinjet.model.objectives.supcon import UNKNOWN, SupCon
from twinjet.model.preprocess import Preprocess, margin_for
from twinjet.model.presets import PRESETS, Preset
from twinjet.model.split import may_train, sky_fold
from twinjet.model.train import train
from twinjet.model.training_set import TrainingSet, read_training_set

RECIPE = Preprocess(size_px=32)
METHODS: tuple[Method, ...] = ("byol", "simclr", "nnclr", "vicreg")


def small(name: str) -> Preset:
    """A preset in little, without the head that wants many sources."""
    return dataclasses.replace(
        PRESETS[name],
        preprocess=RECIPE,
        depth=10,
        width=0.125,
        batch=8,
        images=8 * 60,
        head=None,
    )


def doubles(count: int) -> NDArray[np.float16]:
    rng = np.random.default_rng(0)
    margin = margin_for(RECIPE.size_px)
    images = [
        RECIPE(
            Cutout(double_source(rng), pixel_scale_arcsec=(1.8, 1.8)), margin_px=margin
        ).image
        for _ in range(count)
    ]
    return np.stack(images).astype(np.float16)


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    """Forty doubles, every second one of a known kind."""
    return TrainingSet.of(doubles(40), ["double", ""] * 20, ["a", "b"] * 20)


@pytest.fixture(scope="module")
def told() -> TrainingSet:
    """Two kinds of simulated sources, two others of real ones, and some of none."""
    kinds = ["one", "two", "tail", "blob", "blended", ""] * 32
    origins = ["simulated", "simulated", "a", "a", "simulated", "a"] * 32
    return TrainingSet.of(doubles(192), kinds, origins)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("name", PRESETS)
def test_a_killed_run_ends_where_an_undisturbed_one_does(
    name: str, data: TrainingSet, tmp_path: Path
) -> None:
    preset = small(name)
    whole = train(preset, data, folder=tmp_path / "whole", name="a")

    def kill(progress: Progress) -> None:
        raise KilledError

    # The report of the fiftieth step kills; forty-nine have been saved.
    with pytest.raises(KilledError):
        train(
            preset,
            data,
            folder=tmp_path / "killed",
            name="a",
            report=kill,
            checkpoint_s=0,
        )
    assert (tmp_path / "killed" / "checkpoint.safetensors").exists()
    again = train(preset, data, folder=tmp_path / "killed", name="a")
    assert again.card.id == whole.card.id
    card = load_encoder(tmp_path / "killed" / "a.json").card
    assert card.training["images_seen"] == 480

    def curve(folder: Path) -> list[list[str]]:
        rows = (folder / "metrics.csv").read_text().splitlines()
        return [row.split(",")[:4] for row in rows]

    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "kinds"), [("shipped", {"one", "two"}), ("tuned", {"tail", "blob"})]
)
def test_a_head_follows_the_kinds_that_its_preset_names(
    name: str, kinds: set[str], told: TrainingSet, tmp_path: Path
) -> None:
    head = PRESETS[name].head
    preset = dataclasses.replace(small(name), images=8, head=head)
    encoder = train(preset, told, folder=tmp_path, name="a")
    bare = train(
        dataclasses.replace(preset, head=None), told, folder=tmp_path / "b", name="b"
    )
    assert encoder.card.dimension == bare.card.dimension + 1  # two kinds: one direction
    assert encoder.card.training["head"]["kinds_of"] == preset.head_of
    names = np.array(told.kind_names)[told.kinds]
    # Of the other kinds it knows nothing.
    some = np.flatnonzero(np.isin(names, list(kinds)) | (told.origins == "a"))
    fewer = TrainingSet.of(
        told.images[some],
        [n if n in kinds else "" for n in names[some]],
        told.origins[some].tolist(),
    )
    again = train(preset, fewer, folder=tmp_path / "fewer", name="a")
    assert again.card.dimension == encoder.card.dimension


@pytest.mark.parametrize("name", ["shipped", "tuned"])
def test_a_head_without_kinds_is_refused_before_hours_of_training(
    name: str, data: TrainingSet, tmp_path: Path
) -> None:
    preset = dataclasses.replace(small(name), head=PRESETS[name].head)
    with pytest.raises(DatasetError, match="two kinds of 30"):
        train(preset, data, folder=tmp_path, name="a", checkpoint_s=0)
    assert not list(tmp_path.glob("*"))


def test_a_head_alone_is_of_the_encoder_it_starts_from(
    told: TrainingSet, tmp_path: Path
) -> None:
    preset = dataclasses.replace(small("tuned"), head=PRESETS["tuned"].head, images=0)
    with pytest.raises(DatasetError, match="no encoder to start from"):
        train(preset, told, folder=tmp_path / "none", name="a")
    plain = train(small("small"), told, folder=tmp_path / "out", name="plain")
    start = tmp_path / "out" / "plain.json"
    # The checkpoint of what was trained there is none of this.
    other = train(preset, told, folder=tmp_path / "out", name="a", start=start)
    images = np.random.default_rng(0).random((3, 32, 32)).astype(np.float32)
    torch.testing.assert_close(other.features(images), plain.features(images))
    assert other.card.training["method"] == "head alone"


def test_metrics_are_kept_as_a_table_and_for_tensorboard(
    data: TrainingSet, tmp_path: Path
) -> None:
    train(small("small"), data, folder=tmp_path, name="a")
    head, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert head.startswith("step,steps,loss,spread")
    assert rows[-1].startswith("60,60,")
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("loss")] == [50, 60]


def test_too_few_images_are_refused(data: TrainingSet, tmp_path: Path) -> None:
    few = TrainingSet.of(data.images[:5])
    with pytest.raises(DatasetError, match="needs at least 8"):
        train(small("small"), few, folder=tmp_path, name="a")


def test_a_collapsed_network_is_called_so(data: TrainingSet, tmp_path: Path) -> None:
    images = np.repeat(data.images[:1], 40, axis=0)
    still = Augmentation(
        zoom=0,
        stretch=0,
        shift_px=0,
        gamma=0,
        brightness=0,
        floor=0,
        blur_probability=0,
        noise_probability=0,
        mask_probability=0,
    )
    # One round source: every view is the same image.
    y, x = np.indices(images.shape[1:]) - (images.shape[1] - 1) / 2
    images[:] = np.exp(-(x**2 + y**2) / 8)
    preset = dataclasses.replace(small("small"), augmentation=still)
    reports: list[Progress] = []
    encoder = train(
        preset,
        TrainingSet.of(images),
        folder=tmp_path,
        name="a",
        report=reports.append,
    )
    assert "collapsed" in reports[-1].warnings[0]
    assert encoder.card.training["collapsed"]


def test_spread_is_one_for_random_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(500, 64, generator=generator)
    assert spread_of(features) == pytest.approx(1, abs=0.02)


def test_training_goes_on_from_another_encoder(
    data: TrainingSet, tmp_path: Path
) -> None:
    first = train(small("small"), data, folder=tmp_path / "one", name="a")
    still = dataclasses.replace(small("shipped"), learning_rate=0.0, images=8)
    train(
        still,
        data,
        folder=tmp_path / "two",
        name="b",
        start=tmp_path / "one" / "a.json",
    )
    weights = [
        load_file(tmp_path / path)["backbone.stages.0.conv1.weight"]
        for path in ("one/a.safetensors", "two/b.safetensors")
    ]
    torch.testing.assert_close(*weights)
    other = dataclasses.replace(small("small"), width=0.25)
    with pytest.raises(EncoderFileError, match="do not fit"):
        train(
            other,
            data,
            folder=tmp_path / "three",
            name="c",
            start=tmp_path / "one" / "a.json",
        )
    assert first.card.name == "a"


@pytest.mark.slow
def test_two_processes_train_what_one_does(data: TrainingSet, tmp_path: Path) -> None:
    """Both end with the same weights, and gradients are those of the whole batch."""
    data.save(tmp_path / "images")
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import dataclasses, os
            from pathlib import Path
            import torch
            import torch.distributed as dist
            from twinjet.model.distributed import gather_views, rank_of
            from twinjet.model.objectives.simclr import SimClr
            from twinjet.model.preprocess import Preprocess
            from twinjet.model.presets import PRESETS
            from twinjet.model.train import train
            from twinjet.model.training_set import TrainingSet
            folder = Path({str(tmp_path)!r})
            preset = dataclasses.replace(
                PRESETS["shipped"], preprocess=Preprocess(size_px=32), width=0.125,
                batch=8, images=80, head=None,
            )
            with rank_of("cpu") as rank:
                # Rows that know where they come from, and gradients that find back.
                views = torch.arange(4.0) + 10 * rank.number
                views.requires_grad_()
                every = gather_views(views)
                assert every.tolist() == [0, 1, 10, 11, 2, 3, 12, 13], every
                (every * torch.arange(8.0)).sum().backward()
                mine = [[0, 1, 4, 5], [2, 3, 6, 7]][rank.number]
                assert views.grad.tolist() == [2 * m for m in mine], views.grad
                encoder = train(
                    preset, TrainingSet.load(folder / "images"),
                    folder=folder / "run", name="a", rank=rank,
                )
                # Batch statistics are each process's own on a CPU.
                parts = encoder._backbone.parameters()
                weights = torch.cat([p.detach().flatten() for p in parts])
                both = [torch.empty_like(weights) for _ in range(2)]
                dist.all_gather(both, weights)
                assert torch.equal(both[0], both[1])
            # A thread that outlives its group can end the process by a signal.
            tasks = Path("/proc/self/task").glob("*/comm")
            assert not [t for t in tasks if "gloo" in t.read_text()]
            """
        )
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            str(script),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 2
    assert load_encoder(tmp_path / "run" / "a.json").card.training["images_seen"] == 80


def test_a_batch_that_processes_cannot_share_is_refused(
    data: TrainingSet, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="3 processes cannot share"):
        train(small("small"), data, folder=tmp_path, name="a", rank=Rank(0, 3, "cpu"))


def views(seed: int = 0, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, count, 1, 32, 32, generator=generator)
    return first, second


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_does_not_mind_which_view_is_first(method: Method) -> None:
    torch.manual_seed(0)
    learner = Learner(Backbone(depth=10, width=0.125), method).eval()
    first, second = views()
    kinds = torch.full((6,), UNKNOWN)
    one, _ = learner(torch.cat([first, second]), kinds)
    other, _ = learner(torch.cat([second, first]), kinds)
    assert one.item() == pytest.approx(other.item(), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_prefers_views_of_one_image(method: Method) -> None:
    torch.manual_seed(0)
    learner = Learner(Backbone(depth=10, width=0.125), method)
    first, second = views(count=16)
    kinds = torch.full((16,), UNKNOWN)
    # NNCLR remembers: its second look at the same images finds them.
    losses = []
    for other in (first + 1e-4 * second, second):
        both = torch.cat([first, other])
        learner(both, kinds)
        loss, _ = learner(both, kinds)
        losses.append(loss.item())
    assert losses[0] < losses[1]


def test_kinds_draw_together_and_the_unknown_do_not_count() -> None:
    torch.manual_seed(0)
    loss = SupCon(8)
    groups = torch.eye(8)[[0, 0, 1, 1]].repeat(2, 1)  # (2B, D) of four sources
    groups = groups + 0.01 * torch.randn(8, 8)
    right = loss(groups, torch.tensor([0, 0, 1, 1]))
    wrong = loss(groups, torch.tensor([0, 1, 0, 1]))
    assert right < wrong
    assert loss(groups, torch.full((4,), UNKNOWN)).item() == 0


def test_the_target_gets_no_gradient_and_follows() -> None:
    torch.manual_seed(0)
    backbone = Backbone(depth=10, width=0.125)
    byol = Byol(backbone)
    both = torch.cat(views())
    loss = byol(backbone(both), both)
    loss.backward()
    assert 0 <= loss.item() <= 8
    assert all(p.grad is None for p in byol.target_backbone.parameters())
    with torch.no_grad():
        for p in backbone.parameters():
            p.add_(1)
    before = next(byol.target_backbone.parameters()).clone()
    byol.follow(backbone, 0.9)
    after = next(byol.target_backbone.parameters())
    torch.testing.assert_close(after, before + 0.1)


def test_an_epoch_shows_every_image_as_often_as_it_weighs(data: TrainingSet) -> None:
    assert sorted(data.epoch(0, 0).tolist()) == list(range(40))
    assert data.epoch(0, 0).tolist() != data.epoch(0, 1).tolist()
    heavy = data.weighted({"a": 0.75})
    seen = np.concatenate([heavy.epoch(0, n) for n in range(20)])
    assert np.mean(seen % 2 == 0) == pytest.approx(0.75, abs=0.02)
    with pytest.raises(DatasetError, match="no images of c"):
        data.weighted({"c": 0.5})
    with pytest.raises(DatasetError, match="at most 1"):
        data.weighted({"a": 0.7, "b": 0.7})


def test_rare_looks_are_seen_more_often_when_balanced(data: TrainingSet) -> None:
    blank = np.zeros_like(data.images[:36])
    images = np.concatenate([data.images[:4], blank])
    balanced = TrainingSet.of(images, (), ["a"] * 40).balanced(seed=0)
    assert balanced.weights[:4].min() > 2 * balanced.weights[4:].max()
    assert balanced.weights.mean() == pytest.approx(1)


def test_a_source_in_two_catalogues_is_one_and_small_ones_can_go(
    tmp_path: Path,
) -> None:
    folders = []
    for name, shift in (("one", 0.0), ("two", 2 / 3600)):
        (tmp_path / name).mkdir()
        lines = ["source_id,cutout,ra_deg,dec_deg,angular_size_arcsec,kind"]
        for number in range(60):
            Image.fromarray(np.pad(np.full((6, 6), 255, "u1"), 20)).save(
                tmp_path / name / f"{number}.png"
            )
            dec = -60 + 2 * number + shift
            kind = "blob" if name == "two" and number % 2 else ""
            lines.append(f"{number},{number}.png,{6 * number},{dec},{number},{kind}")
        (tmp_path / name / "catalogue.csv").write_text("\n".join(lines))
        folders.append(LabelledFolder.read(str(tmp_path / name)))
    alone = read(folders[:1], tmp_path / "a")
    both = read(folders, tmp_path / "b", labels={"two": "kind"})
    assert len(alone) == len(both)
    assert set(both.origins.tolist()) == {"one"}
    assert both.kind_names == ("blob",)
    assert 0.2 < (both.kinds == 0).mean() < 0.8
    large = read(folders, tmp_path / "c", min_size_arcsec=30)
    assert 0 < len(large) < len(both)
    with pytest.raises(DatasetError, match="no images"):
        read([], tmp_path / "d")


def read(folders: list[LabelledFolder], cache: Path, **options: Any) -> TrainingSet:
    return read_training_set(
        folders,
        simulated=0,
        seed=0,
        preprocess=RECIPE,
        cache=cache,
        progress=lambda _: None,
        **options,
    )


def test_the_momentum_rises_to_one() -> None:
    values = [momentum_at(progress, 0.99) for progress in np.linspace(0, 1, 9)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.99, 1)


@pytest.mark.parametrize("augmentation", [Augmentation(), PAPER])
def test_views_are_images_and_the_seed_decides_which(
    augmentation: Augmentation, data: TrainingSet
) -> None:
    batch = torch.from_numpy(data.images[:8].astype(np.float32)).unsqueeze(1)

    def view(seed: int) -> torch.Tensor:
        return augmentation(batch, 32, torch.Generator().manual_seed(seed))

    assert view(0).shape == (8, 1, 32, 32)
    assert torch.isfinite(view(0)).all()
    assert view(0).min() >= 0
    assert view(0).max() <= 1
    assert view(0).flatten(1).amax(dim=1).min() > 0.2
    torch.testing.assert_close(view(0), view(0))
    assert not torch.equal(view(0), view(1))


def test_a_bounded_turn_leaves_an_upright_source_along_an_axis() -> None:
    """Within 0.1 rad of the axes, all four of which are seen."""
    side = 41
    bar = torch.zeros(1, 1, side, side)
    bar[..., side // 2, side // 2 + 4 : side - 6] = 1.0
    still = Augmentation(
        turn=0.1,
        zoom=0,
        stretch=0,
        shift_px=0,
        gamma=0,
        brightness=0,
        floor=0,
        blur_probability=0,
        noise_probability=0,
        mask_probability=0,
    )
    views = still(bar.expand(200, -1, -1, -1), side, torch.Generator().manual_seed(0))
    place = torch.arange(side) - side // 2
    light = views.squeeze(1)
    x = (light * place).sum(dim=(1, 2))
    y = (light * place[:, None]).sum(dim=(1, 2))
    angle = torch.atan2(y, x)
    quarter = torch.round(angle / (math.pi / 2))
    assert (angle - quarter * math.pi / 2).abs().max() < 0.12
    assert len(set((quarter % 4).tolist())) == 4


def test_freed_memory_is_kept_where_there_is_glibc() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


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
