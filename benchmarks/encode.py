"""How fast the encoder is on torch, OpenVINO and in int8, and whether it is the same.

    python benchmarks/encode.py ../shared/data [--write]

Two tables. How long the backbone takes for one image and for the batch that the
service uses, on one thread and on all, the engines in turn; and how far the embeddings
of all MiraBest sources are those of torch: differences, ten neighbours, average
precision. int8 is OpenVINO's post-training quantisation (nncf, of the extra `bench`),
calibrated on labelled FIRST images that are not MiraBest's; it is measured, and nothing
else uses it.
With --write the tables are benchmarks/results/encode.md.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twinjet.model.backbone import Backbone
from twinjet.model.dataset import LabelledFolder
from twinjet.model.encoder import Encoder, Engine, Network, default_encoder
from twinjet.model.encoder import torch_network as torch_engine
from twinjet.model.engine import agreement
from twinjet.model.evaluation.intervals import mean_of
from twinjet.model.evaluation.report import show, table
from twinjet.model.evaluation.retrieve import ranked, retrieval
from twinjet.model.evaluation.sample import Sample
from twinjet.model.openvino_network import OpenVinoNetwork, openvino_module

RESULTS = Path(__file__).parent / "results"

SERVICE_BATCH = 8

_CALIBRATION_IMAGES = 296
_NEIGHBOURS = 10

# Of each engine, each number of threads and each batch.
_ROUNDS = 40
_WARM_UP = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the catalogues")
    parser.add_argument("--write", action="store_true", help="benchmarks/results")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    started = start_up()
    encoder = default_encoder()
    recipe = encoder.card.preprocess
    mirabest = Sample.read(LabelledFolder.read(str(args.data / "mirabest")), recipe)
    engines: dict[str, Engine] = {"torch": torch_engine, "OpenVINO": OpenVinoNetwork}
    quantised = int8_engine(args.data, encoder)
    if quantised is not None:
        engines["OpenVINO int8"] = quantised
    about = (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {processor()}, "
        f"torch {torch.__version__}, OpenVINO {version()}, load {load:.1f} before; "
        f"encoder `{encoder.card.name}`, {recipe.size_px} pixels a side. "
        f"`{' '.join(['python', *sys.argv])}`"
    )
    times = speeds(encoder, engines, mirabest.images)
    text = "\n\n".join([about, times, sameness(encoder, engines, mirabest), started])
    print(text)
    if args.write:
        (RESULTS / "encode.md").write_text(text + "\n", encoding="utf-8")


def start_up() -> str:
    """What OpenVINO adds to a start, in this process that has not imported it."""
    encoder = default_encoder()
    marks = [time.perf_counter()]
    openvino_module()
    marks.append(time.perf_counter())
    other = encoder.through(OpenVinoNetwork)
    marks.append(time.perf_counter())
    found = agreement(other, encoder)
    marks.append(time.perf_counter())
    assert found.is_enough
    imported, built, compared = np.diff(marks)
    return (
        f"OpenVINO adds {1e3 * (marks[-1] - marks[0]):.0f} ms to a start: "
        f"{1e3 * imported:.0f} for its import, {1e3 * built:.0f} for the graph, "
        f"{1e3 * compared:.0f} to compile it and compare it with torch."
    )


def int8_engine(data: Path, encoder: Encoder) -> Engine | None:
    """An engine in 8-bit integers; None where nncf is not installed."""
    # With this it tells its makers that it was imported.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import nncf  # noqa: PLC0415 - after the lines above
    except ImportError:
        print("int8 is left out: pip install 'twinjet[bench]'", file=sys.stderr)
        return None
    labelled = Sample.read(
        LabelledFolder.read(f"{data / 'first_labelled'}:1.8"), encoder.card.preprocess
    )
    others = labelled.where(labelled.column("also_in_mirabest_or_frdeep") == "False")
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(others), _CALIBRATION_IMAGES, replace=False)

    images = others.images[chosen].reshape(
        -1, SERVICE_BATCH, 1, *others.images[0].shape
    )
    calibrated: list[Any] = []

    class Int8Network(OpenVinoNetwork):
        """Weights and activations in 8 bits, calibrated once."""

        def __init__(
            self, backbone: Backbone, shape: tuple[int, int, int, int]
        ) -> None:
            if not calibrated:
                super().__init__(backbone, (SERVICE_BATCH, *shape[1:]))
                data = nncf.Dataset(list(images))
                graph = nncf.quantize(self._graph, data, subset_size=len(images))
                calibrated.append(graph)
            super().__init__(backbone, shape)
            self._graph = calibrated[0].clone()
            self._graph.reshape(list(shape))
            self._compiled.clear()

    return Int8Network


def speeds(
    encoder: Encoder, engines: dict[str, Engine], images: NDArray[np.float32]
) -> str:
    """The table of times: medians of many batches, the engines in turn."""
    rows = []
    for batch in (1, SERVICE_BATCH):
        part = torch.from_numpy(images[:batch, None])
        for threads in sorted({1, os.cpu_count() or 1}):
            with torch_threads(threads):
                times = timed(
                    {
                        name: partial(network_of(encoder, engine, batch), part)
                        for name, engine in engines.items()
                    }
                )
            for name, ms in times.items():
                middle = statistics.median(ms)
                rows.append(
                    [
                        *(name, str(batch), str(threads), f"{middle:.2f}"),
                        f"{np.percentile(ms, 95):.2f}",
                        f"{1e3 * batch / middle:.0f}",
                    ]
                )
    heads = ["engine", "batch", "threads", "median ms", "p95 ms", "images/s"]
    return table(heads, rows)


def network_of(encoder: Encoder, engine: Engine, batch: int) -> Network:
    """The backbone of an encoder on an engine, for batches of so many images."""
    made: list[Network] = []

    def keep(backbone: Backbone, shape: tuple[int, int, int, int]) -> Network:
        made.append(engine(backbone, (batch, *shape[1:])))
        return made[0]

    encoder.through(keep)
    return made[0]


@torch.inference_mode()
def timed(calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Milliseconds of each call, one after the other so that all meet the same load."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(_WARM_UP + _ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if number >= _WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - started))
    return times


def sameness(encoder: Encoder, engines: dict[str, Engine], sample: Sample) -> str:
    """The table of differences from torch, over all sources."""
    with torch_threads(1):
        vectors = {
            name: encoder.through(engine).embed_images(sample.images)
            for name, engine in engines.items()
        }
    reference = vectors["torch"]
    precision = {name: average_precision(v, sample) for name, v in vectors.items()}
    rows = []
    for name, found in vectors.items():
        shared = shared_neighbours(found, reference)
        change = precision[name] - precision["torch"]
        rows.append(
            [
                name,
                f"{np.abs(found - reference).max():.1e}",
                f"{1 - cosines(found, reference).min():.1e}",
                f"{100 * shared.mean():.2f}",
                f"{100 * (shared == 1).mean():.1f}",
                show(mean_of(precision[name])),
                show(mean_of(change)),
            ]
        )
    heads = [
        *("engine", "largest difference of a number", "1 - smallest cosine"),
        *("ten neighbours that are torch's, %", "sources with the same ten, %"),
        *("mAP, FR I and II", "mAP less torch's"),
    ]
    return (
        f"Embeddings of all {len(sample)} MiraBest sources beside torch's. mAP is that "
        f"of the held-out part of the sky ({len(precision['torch'])} queries), with "
        "95 % intervals; that of the difference is by query.\n\n" + table(heads, rows)
    )


def cosines(
    found: NDArray[np.float32], reference: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Of each vector with the reference's, to more than their own precision."""
    ours, theirs = found.astype(np.float64), reference.astype(np.float64)
    products = np.einsum("nd,nd->n", ours, theirs)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    quotients: NDArray[np.float64] = products / norms
    return quotients


def shared_neighbours(
    found: NDArray[np.float32], reference: NDArray[np.float32]
) -> NDArray[np.float64]:
    """For each source, the part of its ten neighbours that are the reference's."""
    rows = np.arange(len(reference))
    ours, theirs = (
        ranked(v, v, without=rows)[:, :_NEIGHBOURS] for v in (found, reference)
    )
    return np.array(
        [len(set(a) & set(b)) / _NEIGHBOURS for a, b in zip(ours, theirs, strict=True)]
    )


def average_precision(
    vectors: NDArray[np.float32], sample: Sample
) -> NDArray[np.float64]:
    """Of each confident FR I or II of the held-out sky, among those of the rest."""
    labels = sample.column("fr_class")
    confident = sample.column("confidence") == "confident"
    chosen = confident & np.isin(labels, ["FRI", "FRII"])
    split = sample.held_out()
    train, judge = chosen & split.train, chosen & split.judge
    ranks = ranked(vectors[judge], vectors[train])
    return retrieval(labels[train][ranks] == labels[judge][:, None])["ap"]


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """So many threads for torch, which OpenVINO takes, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def processor() -> str:
    """What the machine calls it, with what OpenVINO could round with."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    pairs = (line.partition(":") for line in lines)
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    name = fields.get("model name", platform.machine())
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    flags = set(fields.get("flags", "").split())
    return ", ".join([name, *(flag for flag in wanted if flag in flags)])


def version() -> str:
    """Of OpenVINO."""
    return str(openvino_module().__version__).split("-")[0]


if __name__ == "__main__":
    main()
