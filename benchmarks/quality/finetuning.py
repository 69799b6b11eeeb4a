"""Fine-tuning against training from scratch, by the number of labels."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinjet.model.card import EncoderCard
from twinjet.model.encoder import load_encoder
from twinjet.model.evaluation.classify import draw
from twinjet.model.evaluation.intervals import mean_of
from twinjet.model.evaluation.report import LABEL_COUNTS
from twinjet.model.evaluation.sample import Sample
from twinjet.model.finetune import FineTuning, fine_tune

STARTS = ("fine-tuned", "from scratch")


def images_for(labels: int) -> int:
    """Images to see: some tens of epochs, more would only repeat the few.

    The same for both starts. Chosen on the development folds (`--development`).
    """
    return int(np.clip(24 * labels, 1_600, 12_800))


def error_by_labels(
    card: EncoderCard,
    start: Path,
    sample: Sample,
    label: str,
    *,
    runs: Path,
    seeds: int,
    jobs: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Error on the held-out sky by labels, both starts, each draw its own run.

    Every seed draws its labels and its weights anew; all labels are one draw, and
    the seeds differ in the weights and the order.
    """
    split = sample.held_out()
    labels = sample.column(label)
    pool = int(split.train.sum())
    runs.mkdir(parents=True, exist_ok=True)
    np.savez(
        runs / "sample.npz",
        images=sample.images.astype(np.float16),
        labels=labels,
        train=split.train,
        judge=split.judge,
    )
    wanted = [
        (kind, count, seed)
        for count in sorted({min(count, pool) for count in LABEL_COUNTS})
        for seed in range(seeds)
        for kind in STARTS
    ]

    def run(job: tuple[str, int, int]) -> None:
        kind, count, seed = job
        out = _file(runs, card, kind, count, seed)
        if not out.exists():
            threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
            command = [
                sys.executable,
                __file__,
                str(runs),
                str(start),
                kind,
                str(count),
                str(seed),
                str(out),
            ]
            subprocess.run(command, env=os.environ | threads, check=True)
            error = np.mean(json.loads(out.read_text()))
            progress(f"{kind}, {count} labels, seed {seed}: {error:.3f}")

    with ThreadPoolExecutor(jobs) as pool_of_jobs:
        list(pool_of_jobs.map(run, wanted))
    result: dict[str, Any] = {kind: {} for kind in STARTS}
    for kind in STARTS:
        for count in sorted({count for _, count, _ in wanted}):
            errors = [
                json.loads(_file(runs, card, kind, count, seed).read_text())
                for seed in range(seeds)
            ]
            figure = mean_of(np.mean(errors, axis=0))
            spread = float(np.std([np.mean(e) for e in errors]))
            result[kind][str(count)] = dict(figure) | {"std_of_seeds": round(spread, 4)}
    return result


def _file(runs: Path, card: EncoderCard, kind: str, count: int, seed: int) -> Path:
    return runs / f"{card.id}-{kind.replace(' ', '-')}-{count}-{seed}.json"


def one_run(runs: Path, start: Path, kind: str, count: int, seed: int) -> list[bool]:
    """For each judged source whether one run errs."""
    with np.load(runs / "sample.npz") as data:
        images, labels = data["images"], data["labels"]
        train, judge = data["train"], data["judge"]
    card = load_encoder(start).card
    chosen = draw(labels, train, count, seed=seed)
    classifier = fine_tune(
        card,
        images[chosen],
        labels[chosen],
        start=start if kind == STARTS[0] else None,
        settings=FineTuning(images=images_for(count)),
        seed=seed,
        half=True,
    )
    margin = (images.shape[1] - card.preprocess.size_px) // 2
    inner: NDArray[np.float32] = images[judge][
        :, margin:-margin, margin:-margin
    ].astype(np.float32)
    guessed = np.array(classifier.classes)[
        classifier.predict(inner, half=True).argmax(axis=1)
    ]
    return [bool(wrong) for wrong in guessed != labels[judge]]


if __name__ == "__main__":
    runs_, start_, kind_, count_, seed_, out_ = sys.argv[1:]
    errs = one_run(Path(runs_), Path(start_), kind_, int(count_), int(seed_))
    half_done = Path(out_).with_suffix(".tmp")
    half_done.write_text(json.dumps(errs), encoding="utf-8")
    half_done.replace(out_)
