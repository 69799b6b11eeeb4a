"""The encoder: preprocess, backbone, centring, a linear head if any, unit norm."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from twinjet.model.backbone import Backbone
from twinjet.model.card import EncoderCard
from twinjet.model.cutout import Cutout
from twinjet.model.errors import EncoderFileError
from twinjet.model.preprocess import Preprocess

# The only batch shape that reaches torch, whose memory grows with each new one. It is
# one source in its eight views, and on two cores as quick as any (727 images a
# second; 812 with 32, 699 with 64; November 2026).
_BATCH = 8
_BATCH_ON_GPU = 512

# Few enough for progress to be told every second or two, on the slowest of machines.
_LEAST_AT_A_TIME = 16

# The dihedral group of the square.
SYMMETRIES = 8

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT_ENCODER = "twinjet"

SHIPPED_ENCODERS = (DEFAULT_ENCODER, "twinjet-tuned", "twinjet-small")
"""Names, the default first."""

Network = Callable[[Tensor], Tensor]
"""Features (B, F) of images (B, 1, S, S), both float32; B and S are always the same."""

Engine = Callable[[Backbone, tuple[int, int, int, int]], Network]
"""Makes a network of a backbone, batch norms folded, and the shape of every batch."""


def torch_network(backbone: Backbone, _shape: tuple[int, int, int, int]) -> Network:
    """The backbone as torch runs it: the reference for every other engine."""
    # In place; the type of `to` of a module knows of no memory format.
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return backbone


class Encoder:
    """Cutouts in, unit vectors out.

    Parameters
    ----------
    card
        What the encoder is; its recipe and views are used.
    backbone
        The network, of the card's depth and width.
    mean
        Shape (D,): mean feature over the training images, taken off before the
        norm so that similarities spread over their whole range.
    head
        Shape (F, D): linear map of centred features, F of the backbone, to the D of
        the card; without one the features themselves are the embedding.
    device
        Where to run: ``"cpu"`` or ``"cuda"``.
    engine
        What runs the backbone; called in several threads at a time.
    """

    def __init__(
        self,
        card: EncoderCard,
        backbone: Backbone,
        *,
        mean: Tensor,
        head: Tensor | None = None,
        device: str = "cpu",
        engine: Engine = torch_network,
    ) -> None:
        self.card = card
        self.engine = engine
        self._device = torch.device(device)
        self._backbone = backbone.eval().to(self._device)
        side = card.preprocess.size_px
        self._network = engine(backbone.folded(), (self._batch, 1, side, side))
        self.mean = mean.to(self._device)
        self._head = None if head is None else head.to(self._device)

    def embed(
        self, cutouts: Sequence[Cutout], *, invariant: bool | None = None
    ) -> NDArray[np.float32]:
        """Embed cutouts, each centred on its image centre.

        Parameters
        ----------
        cutouts
            N of them, of any shape and scale.
        invariant
            True averages over the eight rotations and mirrors, False takes the
            image as it lies, None does what the card says, as the index did.

        Returns
        -------
        ndarray
            Shape (N, D), float32, unit norm.

        Raises
        ------
        NoUsablePixelsError
            Nothing in a cutout stands out of the noise.
        """
        recipe = self.recipe(invariant=invariant)
        images = [recipe(cutout).image for cutout in cutouts]
        side = self.card.preprocess.size_px
        stack = np.stack(images) if images else np.empty((0, side, side), np.float32)
        return self.embed_images(stack, invariant=invariant)

    @property
    def at_a_time(self) -> int:
        """Cutouts that keep the device busy when they come together."""
        return max(_LEAST_AT_A_TIME, self._batch // self.card.views)

    def in_one_batch(self, *, invariant: bool | None = None) -> int:
        """Cutouts that pass through the network in the time of one."""
        return max(1, self._batch // self._views(invariant))

    @property
    def is_on_gpu(self) -> bool:
        """Whether one batch keeps all of the device busy."""
        return self._device.type != "cpu"

    def recipe(self, *, invariant: bool | None = None) -> Preprocess:
        """How cutouts are prepared; never turned upright when `invariant` is False."""
        recipe = self.card.preprocess
        return replace(recipe, upright=False) if invariant is False else recipe

    def embed_images(
        self, images: NDArray[np.float32], *, invariant: bool | None = None
    ) -> NDArray[np.float32]:
        """Embed images that `Preprocess` has made.

        Parameters
        ----------
        images
            Shape (N, S, S), float32, 0 to 1.
        invariant
            As for `embed`.

        Returns
        -------
        ndarray
            Shape (N, D), float32, unit norm.
        """
        features = self.features(images, invariant=invariant) - self.mean
        if self._head is not None:
            # One at a time: a product of many rows rounds otherwise than that of one,
            # and an upload must get the very vector that the index has of it.
            features = torch.stack([row @ self._head for row in features])
        vectors = torch.nn.functional.normalize(features, dim=1)
        return vectors.cpu().numpy().astype(np.float32, copy=False)

    @torch.inference_mode()
    def features(
        self, images: NDArray[np.float32], *, invariant: bool | None = None
    ) -> Tensor:
        """What the backbone gives, before centring, head and norm: (N, F) float32.

        Parameters are those of `embed_images`.
        """
        views = self._views(invariant)
        batch = torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1)
        if views == SYMMETRIES:
            batch = symmetric_views(batch)  # (8 N, 1, S, S)
        features = self._run(batch)
        return features.reshape(-1, views, features.shape[1]).mean(dim=1)

    def _run(self, images: Tensor) -> Tensor:
        """Backbone over (N, 1, S, S), in batches of one fixed shape."""
        device = self._device
        size = self._batch
        done: list[Tensor] = [torch.empty(0, self._backbone.dimension, device=device)]
        for start in range(0, len(images), size):
            part = images[start : start + size]
            missing = size - len(part)
            if missing:
                part = torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
            part = part.to(device).contiguous(memory_format=torch.channels_last)
            done.append(self._network(part)[: size - missing])
        return torch.cat(done)

    @property
    def _batch(self) -> int:
        return _BATCH if self._device.type == "cpu" else _BATCH_ON_GPU

    def _views(self, invariant: bool | None) -> int:  # noqa: FBT001
        if invariant is None:
            return self.card.views
        return SYMMETRIES if invariant else 1

    def through(self, engine: Engine) -> "Encoder":
        """The same encoder, its backbone run by another engine."""
        return Encoder(
            self.card,
            self._backbone,
            mean=self.mean,
            head=self._head,
            device=str(self._device),
            engine=engine,
        )

    def with_head(self, head: NDArray[np.float32]) -> "Encoder":
        """The same encoder, its centred features mapped by a matrix (F, D)."""
        return Encoder(
            replace(self.card, dimension=head.shape[1], weights_sha256=""),
            self._backbone,
            mean=self.mean,
            head=torch.from_numpy(head),
            device=str(self._device),
        )

    def save(self, folder: Path) -> None:
        """Write ``<name>.safetensors`` and ``<name>.json`` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"backbone.{name}": value.cpu().contiguous()
            for name, value in self._backbone.state_dict().items()
        }
        tensors["mean"] = self.mean.cpu()
        if self._head is not None:
            tensors["head"] = self._head.cpu().contiguous()
        data = save_tensors(tensors)
        self.card = replace(self.card, weights_sha256=sha256(data).hexdigest())
        text = json.dumps(self.card.to_dict(), indent=2) + "\n"
        (folder / f"{self.card.name}.safetensors").write_bytes(data)
        (folder / f"{self.card.name}.json").write_text(text, encoding="utf-8")


def load_encoder(path: Path, *, device: str = "cpu") -> Encoder:
    """Load an encoder from its card, with the weights beside it.

    Raises
    ------
    EncoderFileError
        A file is absent, of another format, or the weights are not those that the
        card was written for.
    """
    card, tensors = _read(path)
    backbone = backbone_of(card)
    mean, head = tensors.pop("mean"), tensors.pop("head", None)
    _fill(backbone, tensors, path)
    wide = backbone.dimension if head is None else head.shape[1]
    fits = head is None or head.shape[0] == backbone.dimension
    if wide != card.dimension or not fits:
        msg = f"the weights beside {path} make {wide} numbers, not the card's"
        raise EncoderFileError(msg, limit=card.dimension, actual=wide)
    return Encoder(card, backbone, mean=mean, head=head, device=device)


def backbone_of(card: EncoderCard) -> Backbone:
    """The network that a card describes, its weights random."""
    return Backbone(depth=card.depth, width=card.width, peaks=card.peaks)


def centred(
    card: EncoderCard,
    backbone: Backbone,
    images: Iterable[NDArray[np.float32]],
    *,
    device: str = "cpu",
) -> Encoder:
    """An encoder without a head, the mean feature of some images taken off.

    Parameters
    ----------
    card
        What it is to be; its dimension becomes the backbone's.
    backbone
        The network.
    images
        Blocks of shape (N, S, S), as the card's recipe prepares them.
    device
        Where to run.
    """
    card = replace(card, dimension=backbone.dimension)
    raw = Encoder(card, backbone, mean=torch.zeros(card.dimension), device=device)
    features = torch.cat([raw.features(block) for block in images])
    mean = features.double().mean(dim=0).float()
    return Encoder(card, backbone, mean=mean, device=device)


def load_backbone(path: Path, backbone: Backbone) -> None:
    """Fill a backbone with an encoder's weights, to train it further.

    Raises
    ------
    EncoderFileError
        As for `load_encoder`, or the encoder's backbone is another.
    """
    _, tensors = _read(path)
    tensors.pop("mean")
    tensors.pop("head", None)
    _fill(backbone, tensors, path)


def _read(path: Path) -> tuple[EncoderCard, dict[str, Tensor]]:
    """Card and tensors, the mean feature among them."""
    card = read_card(path)
    try:
        data = path.with_suffix(".safetensors").read_bytes()
    except OSError as exc:
        msg = f"no weights beside {path}: {exc}"
        raise EncoderFileError(msg) from exc
    digest = sha256(data).hexdigest()
    if digest != card.weights_sha256:
        msg = f"the weights beside {path} are not those of the card"
        raise EncoderFileError(msg, limit=card.weights_sha256, actual=digest)
    try:
        tensors = load_tensors(data)
    except SafetensorError as exc:
        msg = f"the weights beside {path} are damaged"
        raise EncoderFileError(msg) from exc
    if "mean" not in tensors:
        msg = f"the weights beside {path} lack the mean feature"
        raise EncoderFileError(msg)
    return card, tensors


def _fill(backbone: Backbone, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        backbone.load_state_dict(
            {name.removeprefix("backbone."): t for name, t in tensors.items()}
        )
    except RuntimeError as exc:
        msg = f"the weights beside {path} do not fit its backbone"
        raise EncoderFileError(msg) from exc


def shipped_cards() -> list[Path]:
    """Cards of the encoders that are shipped with Twinjet, the default first."""
    return [WEIGHTS / f"{name}.json" for name in SHIPPED_ENCODERS]


def card_path(name: str | Path) -> Path:
    """Where the card of an encoder is.

    Parameters
    ----------
    name
        Of a shipped encoder, or the path of a card.
    """
    return WEIGHTS / f"{name}.json" if str(name) in SHIPPED_ENCODERS else Path(name)


def read_card(path: Path) -> EncoderCard:
    """Read a card without its weights.

    Raises
    ------
    EncoderFileError
        It is absent or not a card.
    """
    try:
        return EncoderCard.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as exc:
        msg = f"no encoder at {path}: {exc}"
        raise EncoderFileError(msg) from exc


@cache
def default_encoder() -> Encoder:
    """The encoder that is shipped with Twinjet; loaded once."""
    return load_encoder(card_path(DEFAULT_ENCODER))


def symmetric_views(images: Tensor) -> Tensor:
    """The eight rotations and mirrors of each image.

    Parameters
    ----------
    images
        Shape (N, 1, S, S).

    Returns
    -------
    Tensor
        Shape (8 N, 1, S, S); the views of an image follow one another.

    Examples
    --------
    >>> symmetric_views(torch.zeros(3, 1, 4, 4)).shape
    torch.Size([24, 1, 4, 4])
    """
    mirrored = images.flip(-1)
    views = [
        torch.rot90(image, turns, (-2, -1))
        for image in (images, mirrored)
        for turns in range(4)
    ]
    return torch.stack(views, dim=1).flatten(0, 1)
