"""The backbone as OpenVINO runs it: the same weights and sums, in other kernels."""

import sys
from functools import cache
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twinjet.model.backbone import Backbone

# Its reporting of usage, which sends at the mere import, unless it is not there.
_TELEMETRY = "openvino_telemetry"

_IMPORTING = Lock()


class OpenVinoNetwork:
    """Features of images, from OpenVINO on the processor.

    Takes as many threads as torch would where it is called: a part of those that
    torch had when this was made leaves room for others to call at the same time.

    Parameters
    ----------
    backbone
        With its batch norms folded.
    shape
        (B, 1, S, S) of every batch.

    Raises
    ------
    ImportError
        OpenVINO is not installed.
    RuntimeError
        It cannot compile for this processor.

    Notes
    -----
    The graph is built here, of five operations, and not by `openvino.convert_model`:
    that traces with what torch has deprecated, takes seconds, and reports its use.
    """

    def __init__(self, backbone: Backbone, shape: tuple[int, int, int, int]) -> None:
        openvino = openvino_module()
        self._core = openvino.Core()
        self._graph = openvino.Model(*_graph(openvino.opset8, backbone, shape))
        self._threads = torch.get_num_threads()
        self._compiled: dict[int, Any] = {}
        self._lock = Lock()
        self._with_threads(self._threads)

    def __call__(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, 1, S, S), float32."""
        request = self._with_threads(torch.get_num_threads()).create_infer_request()
        return torch.from_numpy(request.infer([images.numpy()])[0])

    def _with_threads(self, threads: int) -> Any:
        """The graph, compiled for calls of so many threads each."""
        with self._lock:
            if threads not in self._compiled:
                at_a_time = max(1, self._threads // threads)
                self._compiled[threads] = self._core.compile_model(
                    self._graph,
                    "CPU",
                    {
                        # Else it is bfloat16 where the processor knows that.
                        "INFERENCE_PRECISION_HINT": "f32",
                        "NUM_STREAMS": at_a_time,
                        "INFERENCE_NUM_THREADS": at_a_time * threads,
                        # Or all processes take the first core.
                        "ENABLE_CPU_PINNING": False,
                    },
                )
            return self._compiled[threads]


def openvino_module() -> ModuleType:
    """OpenVINO, without what tells its makers that it was imported.

    Raises
    ------
    ImportError
        It is not installed.
    """
    with _IMPORTING:  # of two threads each would put back what the other had
        return _imported()


@cache
def _imported() -> ModuleType:
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment] # cannot be imported
    try:
        return import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]
        if before is not None:
            sys.modules[_TELEMETRY] = before


def _graph(
    op: ModuleType, backbone: Backbone, shape: tuple[int, int, int, int]
) -> tuple[list[Any], list[Any], str]:
    """Results, parameters and name of a graph that is `Backbone.forward`."""
    images = op.parameter(shape, np.float32)
    stem, pool = backbone.stem[0], backbone.stem[3]
    x = op.relu(_convolution(op, images, stem))
    x = op.max_pool(
        x,
        strides=[pool.stride] * 2,
        dilations=[1, 1],
        pads_begin=[pool.padding] * 2,
        pads_end=[pool.padding] * 2,
        kernel_shape=[pool.kernel_size] * 2,
    ).output(0)
    for block in backbone.stages:
        y = op.relu(_convolution(op, x, block.conv1))
        y = _convolution(op, y, block.conv2)
        x = op.relu(op.add(y, _convolution(op, x, block.shortcut)))
    features = op.reduce_mean(x, np.array([2, 3]))
    if backbone.peaks:
        features = op.concat([features, op.reduce_max(x, np.array([2, 3]))], 1)
    return [features], [images], "backbone"


def _convolution(op: ModuleType, x: Any, layer: Tensor | nn.Module) -> Any:
    """A convolution with its bias; a shortcut that is none passes on what comes."""
    if isinstance(layer, nn.Identity):
        return x
    assert isinstance(layer, nn.Conv2d)  # noqa: S101 - no other layer is in a backbone
    assert layer.bias is not None  # noqa: S101 - of the folded batch norm
    padding = list(layer.padding)
    sums = op.convolution(
        x, _numbers(layer.weight), list(layer.stride), padding, padding, [1, 1]
    )
    return op.add(sums, _numbers(layer.bias.reshape(1, -1, 1, 1)))


def _numbers(weights: Tensor) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = weights.detach().contiguous().numpy()
    return numbers
