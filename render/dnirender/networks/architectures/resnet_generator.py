"""The ResNet generator of CycleGAN (Zhu et al. 2017), as pytorch-CycleGAN-and-pix2pix stores it; any number of blocks.

7x7 convolution, two of stride 2, residual blocks, two transposed convolutions, 7x7 convolution, tanh; values are -1..1.
Its normalization is over each image: instance normalization without weights, or batch normalization with statistics
of the batch, which at test time is one image.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dnirender.networks.architectures.paint import InstanceNorm

MULTIPLE = 4
MINIMUM = 8  # the blocks reflect one pixel at a quarter of the size
_BLOCK = re.compile(r"model\.(\d+)\.conv_block\.(\d+)\.weight")
_RUNNING = (".running_mean", ".running_var", ".num_batches_tracked")


class ResnetBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))) with reflection padding. `second` is the index of the second convolution: 5,
    or 6 in networks that were trained with dropout."""

    def __init__(self, channels: int, affine: bool, bias: bool, second: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            InstanceNorm(channels, affine=affine),
            nn.ReLU(),
            *[nn.Identity() for _ in range(second - 5)],
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            InstanceNorm(channels, affine=affine),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    """RGB n 3 h w, range -1..1, to the same; h and w are multiples of 4. `width` are the channels at full size.
    Convolutions run in the dtype of the weights; the output has the dtype of the input."""

    def __init__(
        self, width: int = 64, blocks: int = 9, *, affine: bool = False, bias: bool = True, second: int = 5
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7, bias=bias)]
        layers += [InstanceNorm(width, affine=affine), nn.ReLU()]
        for inputs in (width, 2 * width):
            layers += [nn.Conv2d(inputs, 2 * inputs, 3, 2, 1, bias=bias), InstanceNorm(2 * inputs, affine=affine)]
            layers.append(nn.ReLU())
        layers += [ResnetBlock(4 * width, affine, bias, second) for _ in range(blocks)]
        for outputs in (2 * width, width):
            layers.append(nn.ConvTranspose2d(2 * outputs, outputs, 3, 2, 1, 1, bias=bias))
            layers += [InstanceNorm(outputs, affine=affine), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.model(x.to(self.model[1].weight.dtype)).to(x.dtype))  # pyright: ignore


def detect(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a ResNet generator of RGB images."""
    first = state.get("model.1.weight")
    if first is None or first.shape[1:] != (3, 7, 7) or "model.7.weight" not in state:
        return False
    return "model.10.conv_block.1.weight" in state


def from_state_dict(state: Mapping[str, Tensor]) -> ResnetGenerator:
    """Builds the network and loads the weights. Running statistics are left out, as the generator does not use them.
    KeyError, RuntimeError: names or shapes do not fit."""
    places = [(int(found[1]), int(found[2])) for name in state if (found := _BLOCK.fullmatch(name))]
    net = ResnetGenerator(
        state["model.1.weight"].shape[0],
        len({place for place, _ in places}),
        affine="model.2.weight" in state,
        bias="model.1.bias" in state,
        second=6 if any(index == 6 and state[_block(place)].ndim == 4 for place, index in places) else 5,
    )
    net.load_state_dict({name: tensor for name, tensor in state.items() if not name.endswith(_RUNNING)})
    return net


def _block(place: int) -> str:
    return f"model.{place}.conv_block.6.weight"
