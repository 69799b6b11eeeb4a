"""What runs an encoder on the processor, and whether it computes what torch does.

torch is the reference. Embeddings of the two engines differ by rounding, some 1e-7, and
are those of the same encoder: an index made by one is searched, and gone on with, by
the other.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from twinjet.model.cutout import Cutout
from twinjet.model.encoder import Encoder, Engine, torch_network
from twinjet.model.errors import CutoutError, EngineError
from twinjet.model.openvino_network import OpenVinoNetwork
from twinjet.model.preprocess import Preprocess
from twinjet.model.simulate import FIRST_LIKE, simulate_images

_log = logging.getLogger(__name__)

Choice = Literal["auto", "torch", "openvino"]

_ENGINES: dict[str, Engine] = {"torch": torch_network, "openvino": OpenVinoNetwork}

MIN_COSINE = 0.9999
"""Of each embedding with the reference's. Over all of MiraBest 32 bits gave 1 - 5e-14;
bfloat16 gave 0.9998 for 32 simulated sources, and other neighbours (November 2026)."""

_NEIGHBOURS = 10

# Enough for ten neighbours to be a choice; they take a third of a second.
_SOURCES = 24
_SEED = 20

# Sources less apart in similarity than this are equally near.
_TIE = 1e-5


@dataclass(frozen=True)
class Agreement:
    """How far embeddings are those of the reference."""

    cosine: float
    """The smallest, over all images."""
    neighbours: float
    """The part of ten nearest that are the reference's, over all images."""

    @property
    def is_enough(self) -> bool:
        """Whether one can stand for the other; no number that is NaN does."""
        return self.cosine >= MIN_COSINE and self.neighbours >= 1.0


def on_engine(encoder: Encoder, wanted: Choice) -> Encoder:
    """An encoder on the engine that is wanted, if that gives the same embeddings.

    Parameters
    ----------
    encoder
        As it was loaded, on torch.
    wanted
        ``"auto"`` is OpenVINO where it is installed and gives the same, which is
        looked at here. On a GPU it is torch, whatever is wanted.

    Raises
    ------
    EngineError
        OpenVINO is wanted by its name and is not installed, does not work or does not
        give the same.
    """
    if wanted == "torch" or encoder.is_on_gpu:
        return encoder
    if wanted == "auto" and find_spec("openvino") is None:
        return encoder
    try:
        return _on_openvino(encoder)
    except EngineError as exc:
        if wanted == "openvino":
            raise
        _log.warning("torch runs the encoder %s: %s", encoder.card.name, exc)
        return encoder


def engine_of(encoder: Encoder) -> str:
    """Name of what runs an encoder.

    Examples
    --------
    >>> from twinjet.model.encoder import default_encoder
    >>> engine_of(default_encoder())
    'torch'
    """
    return next(name for name, one in _ENGINES.items() if one is encoder.engine)


def _on_openvino(encoder: Encoder) -> Encoder:
    try:
        other = encoder.through(OpenVinoNetwork)
    except ModuleNotFoundError as exc:
        msg = "OpenVINO is not installed: pip install 'twinjet[openvino]'"
        raise EngineError(msg) from exc
    except (ImportError, RuntimeError) as exc:
        msg = f"OpenVINO does not work here: {exc}"
        raise EngineError(msg) from exc
    found = agreement(other, encoder)
    if not found.is_enough:
        msg = (
            f"embeddings by OpenVINO are alike torch's by a cosine of "
            f"{found.cosine:.6f} at least, and {found.neighbours:.1%} of their ten "
            f"neighbours are the same; {MIN_COSINE} and all are needed"
        )
        raise EngineError(msg, limit=MIN_COSINE, actual=found.cosine)
    return other


def agreement(encoder: Encoder, reference: Encoder) -> Agreement:
    """Compare embeddings of simulated sources, always the same ones.

    Raises
    ------
    EngineError
        Too few of them can be prepared by the recipe of the encoder.
    """
    images = _images(reference.recipe(invariant=False))
    ours = encoder.embed_images(images, invariant=False)
    with _one_thread():
        theirs = reference.embed_images(images, invariant=False)
    cosine = np.einsum("nd,nd->n", ours, theirs).min()
    return Agreement(float(cosine), _shared_neighbours(ours, theirs))


def _shared_neighbours(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """The part of ten neighbours among these that are theirs, ties counted as theirs.

    Examples
    --------
    >>> vectors = np.eye(12, dtype=np.float32)
    >>> _shared_neighbours(vectors, vectors)
    1.0
    """
    mine, similar = ours @ ours.T, theirs @ theirs.T
    for one in (mine, similar):
        np.fill_diagonal(one, -np.inf)
    chosen = np.argsort(-mine, axis=1)[:, :_NEIGHBOURS]
    tenth = np.sort(similar, axis=1)[:, -_NEIGHBOURS, None]
    near = np.take_along_axis(similar, chosen, axis=1) >= tenth - _TIE
    return float(near.mean())


def _images(recipe: Preprocess) -> NDArray[np.float32]:
    images = []
    for source in _sources():
        with suppress(CutoutError):
            images.append(recipe(source).image)
    if len(images) <= _NEIGHBOURS:
        msg = (
            f"its recipe sees something in {len(images)} of {_SOURCES} simulated "
            f"sources; {_NEIGHBOURS + 1} are needed to compare OpenVINO with torch"
        )
        raise EngineError(msg, limit=_NEIGHBOURS + 1, actual=len(images))
    return np.stack(images)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads of torch wait for each other, long where other processes start, too.

    With a load of 17 on two cores a batch took 1.1 s on two threads, 0.1 s on one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def _sources() -> tuple[Cutout, ...]:
    scale = (FIRST_LIKE.pixel_scale_arcsec,) * 2
    return tuple(
        Cutout(pixels, pixel_scale_arcsec=scale)
        for pixels, _ in simulate_images(_SOURCES, seed=_SEED)
    )
