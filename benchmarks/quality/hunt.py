"""The hybrid hunt: how many hybrids a session finds, round by round of labels.

    python benchmarks/quality/hunt.py ../shared/data

Some known hybrids of MiraBest are the examples; the rest are to be found among all
other sources. An expert who knows the labels looks at ten candidates a round. How the
ranker is regularised, what the background weighs and how much is explored is chosen by
the same hunt for bent tails on the development sky; of hybrids nothing is chosen.
Writes benchmarks/results/hunt.json and .md.
"""

import argparse
import json
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from hunt_tables import as_text
from hunting import (
    DEPTHS,
    ROUNDS,
    Hunt,
    Scoring,
    generation_of,
    hunted,
    learned,
    likes_minus_dislikes,
    mean_of_examples,
    one_example,
)
from numpy.typing import NDArray

from twinjet.index.discovery.proposals import ranker_of
from twinjet.index.discovery.ranker import BACKGROUND_SHARE, LOSS_WEIGHT
from twinjet.index.discovery.rounds import DEFAULT_COUNT, DEFAULT_EXPLORE
from twinjet.index.generation import OpenGeneration
from twinjet.model.dataset import LabelledFolder
from twinjet.model.encoder import card_path, load_encoder
from twinjet.model.evaluation.intervals import mean_of as interval_of
from twinjet.model.evaluation.methods import EncoderMethod
from twinjet.model.evaluation.sample import Sample

RESULTS = Path(__file__).parent.parent / "results"

# What was tried on the development sky.
WEIGHTS = (1000.0, 3000.0, 10_000.0)
SHARES = (0.0, 0.5, 0.8, 0.95)
EXPLORES = (0.0, 0.3, 0.5)


def main() -> None:
    """Choose, judge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the catalogues")
    parser.add_argument("--encoder", default="twinjet", help="shipped name or card")
    parser.add_argument("--splits", type=int, default=200, help="draws of examples")
    parser.add_argument("--choosing", type=int, default=30, help="draws for a choice")
    parser.add_argument("--examples", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    started = time.monotonic()
    encoder = load_encoder(card_path(args.encoder))
    folder = LabelledFolder.read(str(args.data / "mirabest"))
    sample = Sample.read(folder, encoder.card.preprocess)
    vectors = EncoderMethod(encoder).vectors(sample.images)
    with tempfile.TemporaryDirectory() as place:
        generation = generation_of(Path(place) / "g000001", vectors, sample)
        report = {
            "command": "python benchmarks/quality/hunt.py ../shared/data",
            "encoder": f"{encoder.card.name} {encoder.card.id}",
            "sources": len(sample),
            "examples": args.examples,
            "labels_a_round": DEFAULT_COUNT,
            "choice": choice(generation, sample, args.examples, args.choosing),
            "hunts": judged(generation, sample, args.examples, args.splits),
        }
    report["seconds"] = round(time.monotonic() - started)
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1) + "\n"
    (args.out / "hunt.json").write_text(text, encoding="utf-8")
    (args.out / "hunt.md").write_text(as_text(report), encoding="utf-8")
    print(as_text(report))


def choice(
    generation: OpenGeneration, sample: Sample, examples: int, splits: int
) -> dict[str, Any]:
    """Hunts for tails on the development sky: what was tried, and the best of it."""
    development = sample.held_out().train & (sample.column("fr_class") != "hybrid")
    tails = np.isin(sample.column("morphology"), ["wide-angle tail", "head-tail"])
    tails &= development
    hunt = Hunt(generation, tails, development, np.flatnonzero(tails))
    tried = []
    for weight, share, explore in product(WEIGHTS, SHARES, EXPLORES):
        found = hunted(
            hunt,
            learned(generation, weight, share),
            explore,
            examples=examples,
            splits=splits,
        )
        recalls = [value_of(found["list"], after, 50) for after in range(ROUNDS + 1)]
        tried.append(
            {
                "loss_weight": weight,
                "background_share": share,
                "explore": explore,
                "recall_at_50": recalls,
                "mean": round(sum(recalls) / len(recalls), 4),
            }
        )
        say(f"tails: {tried[-1]}")
    in_force = {
        "loss_weight": LOSS_WEIGHT,
        "background_share": BACKGROUND_SHARE,
        "explore": DEFAULT_EXPLORE,
    }
    return {
        "sought": "tails of the development sky",
        "members": int(tails.sum()),
        "candidates": int(development.sum()) - examples,
        "splits": splits,
        "tried": tried,
        "in_force": next(
            one for one in tried if all(one[k] == v for k, v in in_force.items())
        ),
    }


def judged(
    generation: OpenGeneration, sample: Sample, examples: int, splits: int
) -> dict[str, Any]:
    """Hunts for hybrids, by what was chosen and by what needs no learning."""
    hybrids = sample.column("fr_class") == "hybrid"
    split = sample.held_out()
    everywhere = np.ones(len(sample), np.bool_)
    hunts = {
        "all": Hunt(generation, hybrids, everywhere, np.flatnonzero(hybrids)),
        "held-out sky": Hunt(
            generation, hybrids, split.judge, np.flatnonzero(hybrids & split.train)
        ),
    }
    ways: dict[str, tuple[Scoring | None, float]] = {
        "session": (
            lambda labelled, _, __: ranker_of(generation, labelled),
            DEFAULT_EXPLORE,
        ),
        "likes minus dislikes": (likes_minus_dislikes(generation), 0.0),
        "mean of the examples": (mean_of_examples(generation), 0.0),
        "one example": (one_example(generation), 0.0),
        "random": (None, 0.0),
    }
    report: dict[str, Any] = {}
    for name, hunt in hunts.items():
        report[name] = {
            "known": len(hunt.known),
            "members": int((hunt.sought & hunt.allowed).sum()),
            "candidates": int(hunt.allowed.sum()),
            "splits": splits,
            "ways": {},
        }
        outcomes = {}
        for way, (scoring, explore) in ways.items():
            say(f"hybrids, {name}: {way}")
            outcomes[way] = hunted(
                hunt, scoring, explore, examples=examples, splits=splits
            )
            report[name]["ways"][way] = {
                measure: {
                    f"r{depth}": [
                        interval_of(found[:, number, place])
                        for number in range(ROUNDS + 1)
                    ]
                    for place, depth in enumerate(DEPTHS)
                }
                for measure, found in outcomes[way].items()
            }
        report[name]["gain_at_50"] = {
            way: [
                interval_of(
                    outcomes["session"]["list"][:, number, 1]
                    - outcomes[way]["list"][:, number, 1]
                )
                for number in range(ROUNDS + 1)
            ]
            for way in ways
            if way != "session"
        }
    return report


def value_of(found: NDArray[np.float64], after: int, depth: int) -> float:
    """Mean recall over the members."""
    return round(float(np.nanmean(found[:, after, DEPTHS.index(depth)])), 4)


def say(text: str) -> None:
    """Progress, to the error output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
