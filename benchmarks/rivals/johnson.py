"""The style network that most released styles are weights of (Johnson et al. 2016, with instance normalisation): speed
does not depend on the weights, so these are drawn."""

import torch
import torch.nn.functional as F
from torch import nn

from dnirender import WeightPath
from dnirender.networks.network import Network


class Layer(nn.Module):
    """Reflected borders, a convolution, instance normalisation."""

    def __init__(self, inputs, outputs, kernel, stride=1, *, norm=True):
        super().__init__()
        self.border = kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride)
        self.norm = nn.InstanceNorm2d(outputs, affine=True) if norm else nn.Identity()

    def forward(self, x):
        return self.norm(self.conv(F.pad(x, [self.border] * 4, mode="reflect")))


class Johnson(nn.Module):
    """n 3 h w in 0..1 to the same; h and w are multiples of 4."""

    def __init__(self, width=32):
        super().__init__()
        w, w2, w4 = width, 2 * width, 4 * width
        self.down = nn.ModuleList([Layer(3, w, 9), Layer(w, w2, 3, 2), Layer(w2, w4, 3, 2)])
        self.blocks = nn.ModuleList(nn.ModuleList([Layer(w4, w4, 3), Layer(w4, w4, 3)]) for _ in range(5))
        self.up = nn.ModuleList([Layer(w4, w2, 3), Layer(w2, w, 3)])
        self.last = Layer(w, 3, 9, norm=False)

    def forward(self, x):
        h = (x * 255).to(self.last.conv.weight.dtype)
        for layer in self.down:
            h = F.relu(layer(h))
        for first, second in self.blocks:
            h = h + second(F.relu(first(h)))
        for layer in self.up:
            h = F.relu(layer(F.interpolate(h, scale_factor=2.0, mode="nearest")))
        return self.last(h).to(x.dtype) / 255


def loaded():
    """(network, path) as `dnirender.networks.loading.load` gives them, of two ends."""
    ends = {}
    for seed, name in enumerate(("one", "other")):
        torch.manual_seed(seed)
        ends[name] = Johnson().state_dict()
    return Network("Johnson 32-64-128", Johnson(), multiple=4, fp32_input=True), WeightPath(ends)
