"""How good the encoders are, beside every baseline, on the sky they never saw.

    python benchmarks/quality ../shared/data --tuning-runs runs/quality

Linear probes and fine-tuning from few labels, retrieval, rare classes, invariance,
two telescopes. The tables are printed; with --write they, the raw figures and the
plots are benchmarks/results/quality.*, and the cards of the encoders have theirs. Runs
of fine-tuning are kept as they end, so that a benchmark that was killed goes on.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
from agreement import agreement
from finetuning import error_by_labels
from imagenet import ImageNet
from plots import plot_labels, plot_rotation
from tables import as_text
from tasks import invariance, rare_classes, two_surveys

from twinjet.model.dataset import LabelledFolder
from twinjet.model.encoder import (
    DEFAULT_ENCODER,
    Encoder,
    load_encoder,
    read_card,
    shipped_cards,
)
from twinjet.model.evaluation.methods import (
    EncoderMethod,
    Method,
    Minkowski,
    PixelPca,
    RandomVectors,
    untrained,
)
from twinjet.model.evaluation.report import judge
from twinjet.model.evaluation.sample import Sample
from twinjet.model.preprocess import Preprocess

RESULTS = Path(__file__).parent.parent / "results"


class Samples:
    """Each catalogue once for each recipe."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._read: dict[tuple[str, Preprocess], Sample] = {}

    def folder(self, name: str) -> LabelledFolder:
        """A catalogue; pictures carry their pixel scale."""
        scales = {"first_labelled": ":1.8", "mgcls": ":0.6"}
        return LabelledFolder.read(str(self._data / name) + scales.get(name, ""))

    def of(self, name: str, recipe: Preprocess) -> Sample:
        """All sources of a catalogue as a recipe prepares them."""
        key = (name, recipe)
        if key not in self._read:
            self._read[key] = Sample.read(self.folder(name), recipe)
        return self._read[key]

    def fr(self, recipe: Preprocess) -> Sample:
        """MiraBest's confident FR I and II."""
        return self.of("mirabest", recipe).labelled(
            "fr_class", where={"confidence": "confident"}, classes=("FRI", "FRII")
        )

    def four(self, recipe: Preprocess) -> Sample:
        """FR I, FR II, bent and compact sources."""
        return self.of("first_labelled", recipe).labelled("morphology")


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the catalogues")
    parser.add_argument("--seeds", type=int, default=10, help="draws of labels")
    parser.add_argument(
        "--encoder", type=Path, action="append", default=[], help="card of one more"
    )
    parser.add_argument(
        "--tuning-runs", type=Path, help="fine-tune too; keep the runs here"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="fine-tuning runs at a time"
    )
    parser.add_argument("--queries", type=int, default=187, help="of each invariance")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--write", action="store_true", help="results and cards")
    parser.add_argument(
        "--tables", action="store_true", help="only draw what quality.json has"
    )
    args = parser.parse_args()
    if args.tables:
        text = (args.out / "quality.json").read_text(encoding="utf-8")
        write_tables(json.loads(text), args.out)
        print(text_of(json.loads(text)))
        return
    started = time.monotonic()
    samples = Samples(args.data)
    cards = [*shipped_cards(), *args.encoder]
    encoders = [load_encoder(path) for path in cards]
    methods = methods_of(encoders, samples)

    report: dict[str, Any] = {
        "machine": (
            f"{platform.machine()}, {torch.get_num_threads()} threads, "
            f"torch {torch.__version__}"
        ),
        "encoders": {e.card.name: e.card.id for e in encoders},
        "fr": judge(
            [(m, samples.fr(m.preprocess)) for m in methods],
            "fr_class",
            seeds=args.seeds,
            progress=say,
        ),
        "four": judge(
            [(m, samples.four(m.preprocess)) for m in methods],
            "morphology",
            seeds=args.seeds,
            progress=say,
        ),
        "agreement": agreement(
            samples.folder("first_labelled"), samples.folder("mirabest")
        ),
        "rare": {},
        "invariance": {},
        "surveys": {},
    }
    for method in methods:
        say(f"rare classes, invariance, surveys: {method.name}")
        everything = samples.of("mirabest", method.preprocess)
        vectors = method.vectors(everything.images)
        report["rare"][method.name] = rare_classes(vectors, everything)
        if method.name != "random":
            report["invariance"][method.name] = invariance(
                method,
                vectors,
                everything,
                samples.folder("mirabest"),
                queries=args.queries,
            )
        report["surveys"][method.name] = two_surveys(
            method,
            samples.folder("frdeep"),
            vectors,
            samples.of("mgcls", method.preprocess).images[: len(vectors)],
        )
    if args.tuning_runs:
        first = encoders[0]
        report["fine_tuning"] = error_by_labels(
            first.card,
            cards[0],
            samples.fr(first.card.preprocess),
            "fr_class",
            runs=args.tuning_runs,
            seeds=args.seeds,
            jobs=args.jobs,
            progress=say,
        )
    report["seconds"] = round(time.monotonic() - started)
    if args.out != RESULTS or args.write:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "quality.json").write_text(
            json.dumps(report, indent=1) + "\n", encoding="utf-8"
        )
        write_tables(report, args.out)
    if args.write:
        for path in shipped_cards():
            write_card(path, report)
    print(text_of(report))


def text_of(report: dict[str, Any]) -> str:
    """The tables of a report, as Markdown."""
    cards = [read_card(path) for path in shipped_cards()]
    saw_labels = [card.name for card in cards if card.training.get("labels")]
    return as_text(report, saw_labels=saw_labels)


def write_tables(report: dict[str, Any], out: Path) -> None:
    """Markdown and plots of a report."""
    (out / "quality.md").write_text(text_of(report), encoding="utf-8")
    plot_labels(report, out / "label-efficiency.png")
    plot_rotation(report, out / "invariance.png")


def write_card(path: Path, report: dict[str, Any]) -> None:
    """Keep an encoder's own figures in its card."""
    card = json.loads(path.read_text(encoding="utf-8"))
    name = card["name"]
    card["quality"] = {
        "command": "make bench-quality TUNE=1",
        **{
            report[task]["task"]: {
                "trained_on": report[task]["trained_on"],
                "judged_on": report[task]["judged_on"],
                **report[task]["methods"][name],
            }
            for task in ("fr", "four")
        },
        **{task: report[task][name] for task in ("rare", "invariance", "surveys")},
    }
    if name == DEFAULT_ENCODER and "fine_tuning" in report:
        card["quality"]["fine_tuning"] = report["fine_tuning"]
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def methods_of(encoders: list[Encoder], samples: Samples) -> list[Method]:
    """Encoders, then what they must beat; all fitted on the training part alone."""
    first = encoders[0]
    recipe = first.card.preprocess
    every = samples.of("mirabest", recipe)
    images = every.images[every.held_out().train]
    return [
        *(EncoderMethod(encoder) for encoder in encoders),
        EncoderMethod(untrained(first, images, seed=0)),
        ImageNet(recipe, images),
        Minkowski(recipe, images),
        PixelPca(recipe, images),
        RandomVectors(recipe, dimension=first.card.dimension, seed=0),
    ]


def say(text: str) -> None:
    """Progress, to the error output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
