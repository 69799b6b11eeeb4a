"""The hybrid hunt: how many hybrids a session finds, round by round of labels.

    twinjet index ../shared/data/mirabest --home HOME
    python benchmarks/quality/hunt.py HOME

Some known hybrids of MiraBest are the examples; the rest are to be found among all
other sources. An expert who knows the labels looks at ten candidates a round. How the
ranker is regularised, what the background weighs and how much is explored was chosen by
the same hunt for bent tails on the development sky; by hybrids nothing was chosen.
Writes benchmarks/results/hunt.json and .md.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from hunt_tables import as_text
from hunting import (
    DEPTHS,
    ROUNDS,
    Galaxies,
    Hunt,
    Scoring,
    galaxies_of,
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
from twinjet.model.evaluation.intervals import mean_of as interval_of
from twinjet.model.split import HELD_OUT, clear_of, sky_fold

RESULTS = Path(__file__).parent.parent / "results"

# What was tried on the development sky.
WEIGHTS = (300.0, 1000.0, 10_000.0, 30_000.0)
SHARES = (0.0, 0.5, 0.95)
EXPLORES = (0.0, 0.5)


def main() -> None:
    """Judge, see what else might have been chosen, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="of an index of MiraBest")
    parser.add_argument("--splits", type=int, default=100, help="draws of examples")
    parser.add_argument("--choosing", type=int, default=20, help="draws for a choice")
    parser.add_argument("--examples", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    started = time.process_time()
    galaxies = galaxies_of(args.home)
    manifest = galaxies.generation.manifest
    report = {
        "commands": [
            "twinjet index ../shared/data/mirabest --home HOME",
            (
                "python benchmarks/quality/hunt.py HOME "
                f"--splits {args.splits} --choosing {args.choosing}"
            ),
        ],
        "encoder": f"{manifest.encoder_name} {manifest.encoder_id}",
        "sources": manifest.count,
        "examples": args.examples,
        "labels_a_round": DEFAULT_COUNT,
        "hunts": judged(galaxies, args.examples, args.splits),
        "choice": choice(galaxies, args.examples, args.choosing),
    }
    report["cpu_seconds"] = round(time.process_time() - started)
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1) + "\n"
    (args.out / "hunt.json").write_text(text, encoding="utf-8")
    (args.out / "hunt.md").write_text(as_text(report), encoding="utf-8")
    print(as_text(report))


def choice(galaxies: Galaxies, examples: int, splits: int) -> dict[str, Any]:
    """Hunts for tails on the development sky, each number varied by itself."""
    development = clear_of(galaxies.ra, galaxies.dec, HELD_OUT)
    development &= galaxies.fr_class != "hybrid"
    tails = np.isin(galaxies.morphology, ["wide-angle tail", "head-tail"])
    tails &= development
    hunt = Hunt(galaxies.generation, tails, development, np.flatnonzero(tails))
    in_force = (LOSS_WEIGHT, BACKGROUND_SHARE, DEFAULT_EXPLORE)
    settings = [
        in_force,
        *((weight, *in_force[1:]) for weight in WEIGHTS),
        *((in_force[0], share, in_force[2]) for share in SHARES),
        *((*in_force[:2], explore) for explore in EXPLORES),
    ]
    tried = []
    for weight, share, explore in dict.fromkeys(settings):
        scoring = learned(galaxies.generation, weight, share)
        found = hunted(hunt, scoring, explore, examples=examples, splits=splits)
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
    return {
        "members": int(tails.sum()),
        "candidates": int(development.sum()) - examples,
        "splits": splits,
        "tried": tried,
    }


def judged(galaxies: Galaxies, examples: int, splits: int) -> dict[str, Any]:
    """Hunts for hybrids, by what was chosen and by what needs no learning."""
    generation = galaxies.generation
    hybrids = galaxies.fr_class == "hybrid"
    development = clear_of(galaxies.ra, galaxies.dec, HELD_OUT)
    held_out = sky_fold(galaxies.ra, galaxies.dec) == HELD_OUT
    everywhere = np.ones(len(hybrids), np.bool_)
    hunts = {
        "all": Hunt(generation, hybrids, everywhere, np.flatnonzero(hybrids)),
        "held-out sky": Hunt(
            generation, hybrids, held_out, np.flatnonzero(hybrids & development)
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
