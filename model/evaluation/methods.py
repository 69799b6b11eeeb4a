"""What is compared: encoders, and baselines that learn nothing or little."""

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from twinjet.model.encoder import Encoder, backbone_of, centred
from twinjet.model.preprocess import Preprocess

# The authors' application keeps 200 components of its features; of pixels 64 did
# not do worse than 200 and cannot overfit 550 sources.
_PCA_COMPONENTS = 64

# Levels of brightness, of the peak, at which a shape is measured.
_LEVELS = np.linspace(0.02, 0.9, 16)


class Method(Protocol):
    """Prepared images in, unit vectors out."""

    @property
    def name(self) -> str:
        """As the tables call it."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """The recipe of the images that it takes."""
        ...

    def vectors(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of images (N, S, S)."""
        ...


class EncoderMethod:
    """An encoder as it serves.

    Parameters
    ----------
    encoder
        The encoder.
    name
        As the tables call it; the card's name without.
    """

    def __init__(self, encoder: Encoder, *, name: str = "") -> None:
        self.name = name or encoder.card.name
        self.preprocess = encoder.card.preprocess
        self._encoder = encoder

    def vectors(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of images (N, S, S)."""
        return self._encoder.embed_images(images)


def untrained(encoder: Encoder, images: NDArray[np.float32], *, seed: int) -> Encoder:
    """The architecture of an encoder with its initial weights.

    Parameters
    ----------
    encoder
        Whose architecture and recipe are taken.
    images
        Shape (N, S, S): their mean feature is taken off, as the encoder's is.
    seed
        Of the weights.
    """
    torch.manual_seed(seed)
    card = replace(encoder.card, name="untrained", weights_sha256="")
    return centred(card, backbone_of(card), [images])


class RandomVectors:
    """Directions that know nothing of the image."""

    name = "random"

    def __init__(self, preprocess: Preprocess, *, dimension: int, seed: int) -> None:
        self.preprocess = preprocess
        self._dimension = dimension
        self._rng = np.random.default_rng(seed)

    def vectors(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of images (N, S, S)."""
        return unit(self._rng.normal(size=(len(images), self._dimension)))


class PixelPca:
    """Principal components of the pixels.

    Parameters
    ----------
    preprocess
        The recipe of the images.
    images
        Shape (N, S, S): what the components are fitted on.
    """

    name = "pixel PCA"

    def __init__(self, preprocess: Preprocess, images: NDArray[np.float32]) -> None:
        self.preprocess = preprocess
        flat = images.reshape(len(images), -1)
        components = min(_PCA_COMPONENTS, *flat.shape)
        self._pca = PCA(components, random_state=0).fit(flat)

    def vectors(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of images (N, S, S)."""
        return unit(self._pca.transform(images.reshape(len(images), -1)))


class Minkowski:
    """Minkowski functionals of the brightness, as Lines et al. (2024).

    Area, perimeter and Euler characteristic of what is brighter than each of 16
    levels (arXiv:2406.09024), standardised by the images given.

    Parameters
    ----------
    preprocess
        The recipe of the images.
    images
        Shape (N, S, S): what the standardisation is fitted on.
    """

    name = "Minkowski functionals"

    def __init__(self, preprocess: Preprocess, images: NDArray[np.float32]) -> None:
        self.preprocess = preprocess
        values = functionals(images)
        self._mean = values.mean(axis=0)
        self._std = values.std(axis=0) + 1e-6

    def vectors(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of images (N, S, S)."""
        return unit((functionals(images) - self._mean) / self._std)


def functionals(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Area, perimeter and Euler characteristic at each level.

    Pixels are squares; areas and perimeters enter by the logarithm of one more.

    Returns
    -------
    ndarray
        Shape (N, 3 L), float64.

    Examples
    --------
    >>> import numpy as np
    >>> ring = np.pad(np.ones((3, 3), "f4"), 2)
    >>> ring[3, 3] = 0
    >>> functionals(ring[None])[0, 2 * 16]  # one piece with one hole
    np.float64(0.0)
    """
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    areas, perimeters, eulers = [], [], []
    for level in _LEVELS:
        inside = padded > level
        area = inside.sum(axis=(1, 2))
        across = (inside[:, 1:] & inside[:, :-1]).sum(axis=(1, 2))
        along = (inside[:, :, 1:] & inside[:, :, :-1]).sum(axis=(1, 2))
        corners = inside[:, 1:, 1:] | inside[:, 1:, :-1]
        corners = corners | inside[:, :-1, 1:] | inside[:, :-1, :-1]
        perimeter = 4 * area - 2 * (across + along)
        edges = 4 * area - across - along
        areas.append(np.log1p(area))
        perimeters.append(np.log1p(perimeter))
        eulers.append(corners.sum(axis=(1, 2)) - edges + area)
    return np.stack([*areas, *perimeters, *eulers], axis=1).astype(np.float64)


def unit(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows divided by their norm; a row of zeros stays."""
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    vectors: NDArray[np.float32] = (values / np.maximum(norms, 1e-12)).astype(
        np.float32
    )
    return vectors
