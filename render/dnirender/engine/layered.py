"""Alpha over the picture inside of the network: every layer mixes its own outputs.

y(p) = sum_i a_i(p) (W_i * x)(p) + sum_i a_i(p) b_i in every layer with weights, where the a_i are scaled to the size of
its output. Equal to the reference (`masks/alpha_map.py`) where alpha is constant over the receptive field; where it
varies, features under one mixture are read under another.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.engine.memory import render_errors
from dnirender.engine.torch_model import as_tensor
from dnirender.errors import ModelError, UsageError
from dnirender.frames import Batch, Frame, Image
from dnirender.masks.alpha_map import AlphaMap
from dnirender.networks.network import call_module, pad_reflect
from dnirender.networks.weights import MixedModule

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine


class LayeredRenderer:
    """Renders pictures under maps of mixtures in one pass, in fp32, without tiles: as many convolutions as mixtures.

    UsageError: a network whose output depends on all of the picture, such as one with statistics over it: its layers
    have no mixture of their own in a pixel.
    """

    def __init__(self, engine: Engine) -> None:
        if engine.planner.receptive_radius is None:
            raise UsageError(
                "mask_layers=True: every pixel of this network depends on all of the picture; leave it out, and soft "
                "edges are made of renders"
            )
        self._path, self._device = engine.path, engine.device
        self._network = replace(engine.network, call=call_module, shuffle_factors=None)
        self._variants = list[MixedModule]()
        self._shares = _Shares()
        self._host = self._with_mixing_layers(engine.network.module)

    def __call__(self, frame: Frame, alpha_map: AlphaMap) -> Image:
        """The render of the frame under the map, which has the size of the render."""
        layers = alpha_map.layers
        while len(self._variants) < len(layers):
            self._variants.append(MixedModule(self._path, copy.deepcopy(self._network.module)))
        for variant, layer in zip(self._variants, layers, strict=False):
            variant.write(layer.alpha)
        self._shares.set(self._planes(alpha_map, frame.image))
        batch = Batch((frame,), layers[0].alpha)
        with render_errors(batch, str(self._device)), torch.inference_mode():
            pixels, sums = self._network.render(self._host, as_tensor(frame.image)[None].to(self._device))
        if not bool(sums.isfinite().all()):
            raise ModelError(f"frame {frame.index}: the output of the network is not finite")
        return pixels[0].cpu().numpy()

    def _planes(self, alpha_map: AlphaMap, image: Image) -> Tensor:
        """The shares of the mixtures, n 1 h w, in the size that the network gets."""
        planes = torch.zeros(len(alpha_map.layers), alpha_map.height, alpha_map.width)
        for plane, layer in zip(planes, alpha_map.layers, strict=True):
            plane[layer.rows, layer.columns] = torch.from_numpy(layer.share)
        sized = _resized(planes[:, None], image.shape[0], image.shape[1]).permute(0, 2, 3, 1)
        padded = pad_reflect(sized, *self._network.padded_size(*image.shape[:2]))
        return padded.permute(0, 3, 1, 2).contiguous().to(self._device)

    def _with_mixing_layers(self, module: nn.Module) -> nn.Module:
        """A copy of the module in which all layers with weights mix those of the variants."""
        host = copy.deepcopy(module).eval()
        for name, layer in host.named_modules():
            if any(True for _ in layer.parameters(recurse=False)):
                layer.forward = self._mixing(name, (1, 2) if getattr(layer, "channels_last", False) else (2, 3))
        return host

    def _mixing(self, name: str, sides: tuple[int, int]) -> Callable[..., Any]:
        """The forward of a layer whose output has height and width in the dimensions `sides`."""

        def forward(*inputs: Any, **options: Any) -> Any:
            used = self._variants[: self._shares.count]
            outputs = [variant.module.get_submodule(name)(*inputs, **options) for variant in used]
            if isinstance(outputs[0], tuple):
                return tuple(self._shares.mix(part, sides) for part in zip(*outputs, strict=True))
            return self._shares.mix(outputs, sides)

        return forward


class _Shares:
    """Shares of mixtures in every pixel, at the sizes that layers ask for."""

    def __init__(self) -> None:
        self._planes = torch.zeros(0, 1, 1, 1)
        self._sized = dict[tuple[int, int], Tensor]()

    @property
    def count(self) -> int:
        return len(self._planes)

    def set(self, planes: Tensor) -> None:
        """n 1 h w, in sum 1."""
        self._planes = planes
        self._sized.clear()

    def mix(self, outputs: Sequence[Tensor], sides: tuple[int, int]) -> Tensor:
        """The outputs of a layer, one for each mixture, in their shares. `sides` are its dimensions of height and
        width."""
        shape, (height, width) = outputs[0].shape, self._planes.shape[2:]
        if len(shape) != 4 or shape[sides[0]] * width != shape[sides[1]] * height:
            raise ModelError(
                f"mask_layers=True: a layer makes {list(shape)} of a picture of {width}x{height}, no picture of its "
                "aspect ratio; leave it out"
            )
        shares = self._at(shape[sides[0]], shape[sides[1]])
        shares = shares if sides == (2, 3) else shares.permute(0, 2, 3, 1)
        mixed = shares[0] * outputs[0]
        for share, output in zip(shares[1:], outputs[1:], strict=True):
            mixed.addcmul_(share, output)
        return mixed

    def _at(self, height: int, width: int) -> Tensor:
        if (height, width) not in self._sized:
            self._sized[height, width] = _resized(self._planes, height, width)
        return self._sized[height, width]


def _resized(planes: Tensor, height: int, width: int) -> Tensor:
    """n 1 h w at another size: means where it is smaller."""
    if planes.shape[2:] == (height, width):
        return planes
    if height < planes.shape[2]:
        return F.interpolate(planes, (height, width), mode="area")
    return F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
