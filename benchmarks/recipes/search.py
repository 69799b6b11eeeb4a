"""Which recipe learns most within a budget: every row a hypothesis and a run.

    python benchmarks/recipes/search.py ../shared/data --jobs 2

Each recipe sees the same number of images and is judged on the four folds of the
sky that may train (`Sample.development`), never on the held-out one. A run that was
killed goes on; rows that the table has are not run again. The table is
benchmarks/results/recipes.csv, .md and, quality against images seen of the recipe that
ships, images-seen.png; `--images` makes further points of it, `--judge` adds a finished
encoder.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import earlier_rows, write_table

from twinjet.model.dataset import LabelledFolder
from twinjet.model.encoder import Encoder, card_path, load_encoder
from twinjet.model.evaluation.classify import linear_correct
from twinjet.model.evaluation.intervals import mean_of
from twinjet.model.evaluation.methods import EncoderMethod, Method
from twinjet.model.evaluation.retrieve import ranked, retrieval
from twinjet.model.evaluation.sample import Sample
from twinjet.model.memory import keep_freed_memory
from twinjet.model.preprocess import Preprocess
from twinjet.model.presets import PRESETS, Preset
from twinjet.model.train import train
from twinjet.model.training_set import SIMULATED, TrainingSet, read_training_set

IMAGES = 12_800
SIMULATED_SOURCES = 12_000

REAL = ("mirabest", "frdeep", "first_labelled:1.8", "mgcls:0.6")
FIRST = REAL[:3]

# Fields as they lie: what is upright, as in the shipped encoders, is a row of its own.
SMALL = replace(PRESETS["small"], preprocess=Preprocess())
KINDS = replace(SMALL, kinds_weight=1.0)


@dataclass(frozen=True)
class Recipe:
    """One row."""

    name: str
    hypothesis: str
    preset: Preset
    folders: tuple[str, ...] = REAL
    simulated: int = SIMULATED_SOURCES
    share: float = 0.4
    """Of the simulated images among all that are seen."""
    balanced: bool = False
    simulated_first: bool = False
    """Whether half of the images are simulated ones, seen before the others."""


SHIPPED = "shipped"

RECIPES = [
    Recipe(
        SHIPPED,
        "More images go on helping: what ships, at other budgets.",
        PRESETS["shipped"],
    ),
    Recipe("small", "The reference: SimCLR, ResNet-10 of half width.", SMALL),
    Recipe(
        "kinds",
        "The simulation knows what it drew: its kinds teach morphology without a "
        "human label.",
        KINDS,
    ),
    Recipe(
        "kinds x 4",
        "More weight on the kinds helps more.",
        replace(SMALL, kinds_weight=4.0),
    ),
    Recipe(
        "real only",
        "Simulated sources add looks that real ones lack.",
        SMALL,
        simulated=0,
        share=0,
    ),
    Recipe(
        "simulated, then real",
        "Half of the images simulated, then the other half real.",
        SMALL,
        share=0,
        simulated_first=True,
    ),
    Recipe(
        "no MeerKAT", "Another telescope's images help on FIRST.", SMALL, folders=FIRST
    ),
    Recipe(
        "balanced",
        "Rare looks seen as often as common ones help.",
        SMALL,
        balanced=True,
    ),
    Recipe(
        "ResNet-18/2", "A deeper backbone is worth its time.", replace(SMALL, depth=18)
    ),
    Recipe(
        "ResNet-10", "A wider backbone is worth its time.", replace(SMALL, width=1.0)
    ),
    Recipe(
        "mean pooling",
        "Maxima beside means see small sources.",
        replace(SMALL, peaks=False),
    ),
    Recipe(
        "linear stretch",
        "asinh shows lobes and cores at once.",
        replace(SMALL, preprocess=replace(SMALL.preprocess, softening=0.0)),
    ),
    Recipe(
        "96 px",
        "A wider field (173 arcsec) stops truncating 7 % of MiraBest.",
        replace(SMALL, preprocess=replace(SMALL.preprocess, size_px=96)),
    ),
    Recipe(
        "64 px of 2.7 arcsec",
        "The same field at coarser pixels costs less.",
        replace(
            SMALL,
            preprocess=replace(SMALL.preprocess, size_px=64, pixel_scale_arcsec=2.7),
        ),
    ),
    Recipe(
        "upright",
        "Turned to the source's long axis, no angle is left to be learned.",
        PRESETS["small"],
    ),
    Recipe(
        "zoom 0.5",
        "Views of other sizes remove the direction of size.",
        replace(SMALL, augmentation=replace(SMALL.augmentation, zoom=0.5)),
    ),
    Recipe(
        "masks",
        "Most views masked outside of a small circle: neighbours stop to matter.",
        replace(
            SMALL,
            augmentation=replace(
                SMALL.augmentation, mask_probability=0.8, mask_radius=0.4
            ),
        ),
    ),
    Recipe(
        "no blur, no noise",
        "The beam and the noise must not matter.",
        replace(
            SMALL,
            augmentation=replace(
                SMALL.augmentation, blur_probability=0, noise_probability=0
            ),
        ),
    ),
    Recipe(
        "temperature 0.1", "Harder negatives help.", replace(SMALL, temperature=0.1)
    ),
    Recipe(
        "NNCLR",
        "Neighbours as positives reach across sources.",
        replace(SMALL, method="nnclr"),
    ),
    Recipe("VICReg", "No negatives are needed.", replace(SMALL, method="vicreg")),
    Recipe("BYOL", "As the paper's, in our recipe.", replace(SMALL, method="byol")),
    Recipe(
        "paper",
        "The paper's preset at this budget; batch 256 for want of memory and steps.",
        PRESETS["paper"].with_batch(256),
        folders=FIRST,
        simulated=0,
        share=0,
    ),
]


def main() -> None:
    """Run what is not in the table yet, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the catalogues")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--only", help="one recipe, in this process")
    parser.add_argument(
        "--judge", metavar="CARD", help="a shipped encoder or card, as a row"
    )
    parser.add_argument("--as", dest="row", help="name of that row")
    args = parser.parse_args()
    keep_freed_memory()
    names = [recipe.name for recipe in RECIPES]
    if args.judge:
        judge(args.judge, args.row or args.judge, args.data, args.runs)
        write_table(args.runs, order=names, curve=SHIPPED)
        return
    there = {(row["recipe"], row["images_seen"]) for row in earlier_rows()}
    chosen = [
        recipe
        for recipe in RECIPES
        if args.only in (None, recipe.name)
        and (recipe.name, steps_of(recipe, args.images)) not in there
    ]
    if args.only:
        for recipe in chosen:
            run(recipe, args.data, args.runs, args.images)
        write_table(args.runs, order=names, curve=SHIPPED)
        return
    for recipe in chosen:  # so that no two runs prepare the same images
        training_set(recipe, args.data, args.runs)

    def start(recipe: Recipe) -> None:
        if row_of(recipe, args.runs, args.images).exists():
            return
        share = str(max(1, (os.cpu_count() or 1) // args.jobs))
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", share)}
        command = [sys.executable, __file__, str(args.data), "--only", recipe.name]
        command += ["--runs", str(args.runs), "--images", str(args.images)]
        subprocess.run(command, env=os.environ | threads, check=True)

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(start, chosen))
    write_table(args.runs, order=names, curve=SHIPPED)


def steps_of(recipe: Recipe, images: int) -> int:
    """Images that a recipe really sees, whole batches."""
    return images // recipe.preset.batch * recipe.preset.batch


def row_of(recipe: Recipe, runs: Path, images: int) -> Path:
    """Where the figures of a run are kept."""
    return folder_of(recipe, runs, images) / "row.json"


def folder_of(recipe: Recipe, runs: Path, images: int) -> Path:
    """Where a run is kept."""
    return runs / f"{recipe.name.replace('/', '-').replace(' ', '_')}-{images}"


def training_set(recipe: Recipe, data: Path, runs: Path) -> TrainingSet:
    """Prepared once for all recipes that share it."""
    recipe_of = recipe.preset.preprocess
    key = f"{recipe_of.size_px}-{recipe_of.pixel_scale_arcsec}-{recipe_of.softening}"
    key += f"-{len(recipe.folders)}-{recipe.simulated}"
    return read_training_set(
        [LabelledFolder.read(str(data / name)) for name in recipe.folders],
        simulated=recipe.simulated,
        seed=0,
        preprocess=recipe_of,
        cache=runs / "images" / key,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )


def run(recipe: Recipe, data: Path, runs: Path, images: int) -> None:
    """Train and judge one recipe."""
    folder = folder_of(recipe, runs, images)
    chosen = training_set(recipe, data, runs)
    if recipe.share:
        chosen = chosen.weighted({"simulated": recipe.share})
    if recipe.balanced:
        chosen = chosen.balanced(seed=0)
    preset = replace(recipe.preset, images=images)
    started = time.monotonic()
    start = None
    if recipe.simulated_first:
        preset = replace(preset, images=images // 2)
        train(
            preset,
            chosen.weighted({SIMULATED: 1.0}),
            folder=folder / "first",
            name="encoder",
            half=True,
        )
        chosen, start = chosen.weighted({SIMULATED: 0.0}), folder / "first/encoder.json"
    encoder = train(
        preset, chosen, folder=folder, name="encoder", half=True, start=start
    )
    seconds = time.monotonic() - started
    samples = samples_of(data, encoder)
    row = {
        "recipe": recipe.name,
        "hypothesis": recipe.hypothesis,
        "images_seen": steps_of(recipe, images),
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "dimension": encoder.card.dimension,
    } | development_figures(EncoderMethod(encoder), samples)
    row_of(recipe, runs, images).write_text(json.dumps(row, indent=2))


def judge(name_or_card: str, name: str, data: Path, runs: Path) -> None:
    """A row of an encoder that is there."""
    encoder = load_encoder(card_path(name_or_card))
    samples = samples_of(data, encoder)
    row = {
        "recipe": name,
        "hypothesis": f"The encoder {encoder.card.name} as it is.",
        "images_seen": encoder.card.training.get("images_seen", 0),
        "seconds": 0,
        "threads": torch.get_num_threads(),
        "dimension": encoder.card.dimension,
    } | development_figures(EncoderMethod(encoder), samples)
    folder = runs / f"judged-{name.replace('/', '-').replace(' ', '_')}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "row.json").write_text(json.dumps(row, indent=2))


def samples_of(
    data: Path, encoder: Encoder, recipe: Preprocess | None = None
) -> list[tuple[Sample, str]]:
    """The two labelled sets of FIRST with their labels."""
    recipe = recipe or encoder.card.preprocess
    mirabest = Sample.read(LabelledFolder.read(str(data / "mirabest")), recipe)
    four = Sample.read(LabelledFolder.read(str(data / "first_labelled:1.8")), recipe)
    sure = mirabest.labelled(
        "fr_class", where={"confidence": "confident"}, classes=("FRI", "FRII")
    )
    return [(sure, "fr_class"), (four, "morphology")]


def development_figures(
    method: Method, samples: list[tuple[Sample, str]]
) -> dict[str, Any]:
    """Linear error and mAP over the development folds."""
    figures: dict[str, Any] = {}
    for sample, label in samples:
        vectors, labels = method.vectors(sample.images), sample.column(label)
        wrong, precision, tenth = [], [], []
        for split in sample.development():
            wrong.append(~linear_correct(vectors, labels, split))
            ranks = ranked(vectors[split.judge], vectors[split.train])
            found = labels[split.train][ranks] == labels[split.judge][:, None]
            measures = retrieval(found)
            precision.append(measures["ap"])
            tenth.append(measures["p10"])
        prefix = "fr" if label == "fr_class" else "four"
        figures[f"{prefix}_linear_error"] = mean_of(np.concatenate(wrong))
        figures[f"{prefix}_map"] = mean_of(np.concatenate(precision))
        figures[f"{prefix}_p10"] = mean_of(np.concatenate(tenth))
    return figures


if __name__ == "__main__":
    main()
