"""The network in PyTorch, on any device and in any dtype, with weights that can be changed."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from dnirender.frames import Alpha, Image
from dnirender.networks.network import Network
from dnirender.networks.weights import MixedModule, WeightPath

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchModel:
    """A `Model` (see executor.py): a copy of the network's module under weights of its own, in `dtype`, a key of
    DTYPES, on the device of `path`."""

    def __init__(self, network: Network, path: WeightPath, dtype: str) -> None:
        self.network = network
        self.path = path
        self.dtype = dtype
        self._mixed = MixedModule(path, copy.deepcopy(network.module), DTYPES[dtype])

    def clone(self) -> TorchModel:
        """Another model with separate weights, to be run at the same time by another thread."""
        return TorchModel(self.network, self.path, self.dtype)

    @property
    def weights(self) -> tuple[MixedModule]:
        return (self._mixed,)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, alpha: Alpha) -> tuple[Tensor, Tensor]:
        self._mixed.write(alpha)
        return self.network.render(self._mixed.module, pixels, self._mixed.flat.dtype)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] to [n, 3, scale*h, scale*w], float32, not clamped, under the weights written last."""
        return self.network.forward(self._mixed.module, x, self._mixed.flat.dtype)


def as_tensor(image: Image) -> Tensor:
    """The image as a tensor of the same shape. It shares the image's memory, but for images that are not contiguous or
    not writable, which PyTorch cannot share: those are copied."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"]))
