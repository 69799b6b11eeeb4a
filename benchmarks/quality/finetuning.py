"""Fine-tuning against training from scratch, by the number of labels."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from twinjet.model.card import EncoderCard
from twinjet.model.encoder import load_encoder
from twinjet.model.evaluation.classify import draw
from twinjet.model.evaluation.intervals import mean_of
from twinjet.model.evaluation.report import LABEL_COUNTS
from twinjet.model.evaluation.sample import Sample
from twinjet.model.finetune import FineTuning, fine_tune

# Start to learning rate: what did best on two of the folds that train.
RATES = {"fine-tuned": 2e-4, "from scratch": 1e-3}
STARTS = tuple(RATES)


def images_for(labels: int, kind: str) -> int:
    """Images to see: a dozen epochs of all labels, more of few.

    Random weights need more steps, however few the labels: with 1,000 images they
    named one class for all.
    """
    fewest = 1_000 if kind == STARTS[0] else 3_200
    return int(np.clip(16 * labels, fewest, 6_400))


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

    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(
        jobs,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(threads,),
    ) as workers:
        waiting = [
            workers.submit(one_run, runs, start, kind, count, seed)
            for kind, count, seed in wanted
            if not _file(runs, card, kind, count, seed).exists()
        ]
        for done in as_completed(waiting):
            progress(done.result())
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


def one_run(runs: Path, start: Path, kind: str, count: int, seed: int) -> str:
    """Train once, keep for each judged source whether it errs; says how often."""
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
        settings=FineTuning(images=images_for(count, kind), learning_rate=RATES[kind]),
        seed=seed,
        half=True,
    )
    likely = classifier.predict(images[judge].astype(np.float32), half=True)
    wrong = np.array(classifier.classes)[likely.argmax(axis=1)] != labels[judge]
    out = _file(runs, card, kind, count, seed)
    half_done = out.with_suffix(".tmp")
    half_done.write_text(json.dumps(wrong.tolist()), encoding="utf-8")
    half_done.replace(out)
    return f"{kind}, {count} labels, seed {seed}: {wrong.mean():.3f}"
