"""Dynamic-Net for style transfer (Shoshan et al., ICCV 2019): a TransformerNet with tuning blocks at three places.

z + level psi(z) before the third residual block, before the first and before the last of the enlarging convolutions.
The dual network has two sets, `tuning_blocks_lower` and `tuning_blocks_higher`. Values are 0..1; inside they are
normalized by the mean and the deviation of ImageNet, as the authors do by default. The names are those of their code.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures import transformer_net
from dnirender.networks.architectures.adapters import TuningBlock
from dnirender.networks.pixel_shuffle import constants

MULTIPLE, MINIMUM = transformer_net.MULTIPLE, transformer_net.MINIMUM
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SETS = ("tuning_blocks", "tuning_blocks_lower", "tuning_blocks_higher")
MAIN = "main."


class DynamicNet(nn.Module):
    """RGB n 3 h w, range 0..1, to the same, not clamped; h and w are multiples of 4. `sets` are of SETS."""

    def __init__(self, main: transformer_net.TransformerNet, sets: tuple[str, ...]) -> None:
        super().__init__()
        self.main, self.sets = main, sets
        quarter, full = main.conv3.conv2d.out_channels, main.conv1.conv2d.out_channels
        for name in sets:
            widths = {"tuning_block0": quarter, "tuning_block1": quarter, "tuning_block2": full}
            blocks = {block: TuningBlock(width, "reflect") for block, width in widths.items()}
            self.add_module(name, nn.ModuleDict(blocks))

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = (constants(values, x).view(3, 1, 1) for values in (MEAN, DEVIATION))
        main, h = self.main, (x - mean) / deviation
        h = F.relu(main.in1(main.conv1(h.to(main.conv1.conv2d.weight.dtype))))
        h = F.relu(main.in2(main.conv2(h)))
        h = F.relu(main.in3(main.conv3(h)))
        for number in range(1, main.blocks + 1):
            h = self._tuned(h, 0) if number == 3 else h
            h = main.get_submodule(f"res{number}")(h)
        h = F.relu(main.in4(main.deconv1(self._tuned(h, 1))))
        h = F.relu(main.in5(main.deconv2(h)))
        return main.deconv3(self._tuned(h, 2)).to(x.dtype) * deviation + mean

    def _tuned(self, z: Tensor, site: int) -> Tensor:
        out = z
        for name in self.sets:
            block = self.get_submodule(f"{name}.tuning_block{site}")
            if isinstance(block, TuningBlock):
                out = out + block.level * block.psi(z)
        return out


def detect(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a DynamicNet."""
    blocks = any(name.startswith(tuple(f"{one}." for one in SETS)) for name in state)
    return blocks and transformer_net.detect(_main(state))


def from_state_dict(state: Mapping[str, Tensor]) -> DynamicNet:
    """Builds the network and loads the weights. RuntimeError, KeyError: names or shapes do not fit."""
    sets = tuple(one for one in SETS if f"{one}.tuning_block0.conv0.weight" in state)
    net = DynamicNet(transformer_net.from_state_dict(_main(state)), sets)
    net.load_state_dict({name: tensor for name, tensor in state.items() if not transformer_net.is_running(name)})
    return net


def _main(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(MAIN): tensor for name, tensor in state.items() if name.startswith(MAIN)}
