"""Features of pretrained networks, for losses and for figures: VGG19 in a distilled form, VGG19 itself, SqueezeNet.

The weights are not part of this project; their folder is an argument. Distances computed from them are named after
the network ("perceptual distance (SqueezeNet)").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from dnirender.errors import TrainingError
from dnirender.train.losses import relative_error

Features = Callable[[Tensor], list[Tensor]]
"""n 3 h w RGB 0..1 to feature maps, the finest first."""

DISTILLED = "vgg19_distilled16x_relu5_1.safetensors"
VGG19 = "vgg19_normalised_conv3_1.safetensors"
SQUEEZENET = "squeezenet1_1.safetensors"


def distilled_vgg19(folder: Path, device: torch.device | None = None) -> Features:
    """relu1_1, 2_1, 3_1 and 4_1 of VGG19 with a sixteenth of the cost (Wang et al., CVPR 2020, "Collaborative
    distillation for ultra-resolution universal style transfer"): 16, 32, 64 and 128 channels. Zero padding.
    Average pooling, as Gatys et al. advise: max pooling rewards single bright pixels."""
    w = _load(folder / DISTILLED, device)

    def features(x: Tensor) -> list[Tensor]:
        x = F.conv2d(x.contiguous(memory_format=torch.channels_last), w["conv0.weight"], w["conv0.bias"])
        found: list[Tensor] = []
        for layer in ("11", "12", "pool", "21", "22", "pool", "31", "32", "33", "34", "pool", "41"):
            if layer == "pool":
                x = F.avg_pool2d(x, 2)
                continue
            x = F.relu(F.conv2d(x, w[f"conv{layer}.weight"], w[f"conv{layer}.bias"], padding=1))
            if layer.endswith("1"):
                found.append(x)
        return found

    return features


def vgg19(folder: Path, device: torch.device | None = None) -> Features:
    """relu1_1, 2_1 and 3_1 of VGG19 (Simonyan & Zisserman, ICLR 2015) with activations of mean 1."""
    w = _load(folder / VGG19, device)

    def features(x: Tensor) -> list[Tensor]:
        x = F.conv2d(x.contiguous(memory_format=torch.channels_last), w["0.weight"], w["0.bias"])
        found: list[Tensor] = []
        for layer in ("2", "5", "pool", "9", "12", "pool", "16"):
            if layer == "pool":
                x = F.max_pool2d(x, 2)
                continue
            x = F.pad(x, (1, 1, 1, 1), mode="reflect")
            x = F.relu(F.conv2d(x, w[f"{layer}.weight"], w[f"{layer}.bias"]))
            if layer in ("2", "9", "16"):
                found.append(x)
        return found

    return features


def squeezenet(folder: Path) -> Features:
    """SqueezeNet 1.1 (Iandola et al., 2016): the outputs of the first convolution and of fire 3, 5, 7, 8 and 9."""
    w = _load(folder / SQUEEZENET, None)
    mean = torch.tensor((103.939, 116.779, 123.68)).view(1, 3, 1, 1)

    def conv(name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        name = f"features.{name}"
        return F.relu(F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding))

    def features(x: Tensor) -> list[Tensor]:
        x = conv("0", x.flip(1) * 255 - mean, 2)
        found = [x]
        for layer in range(2, 13):
            if layer in (2, 5, 8):
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
                continue
            x = conv(f"{layer}.squeeze", x)
            x = torch.cat([conv(f"{layer}.expand1x1", x), conv(f"{layer}.expand3x3", x, padding=1)], 1)
            if layer in (4, 7, 10, 11, 12):
                found.append(x)
        return found

    return features


def gram(x: Tensor) -> Tensor:
    """The Gram matrix of n c h w features over space, n c c, float32, divided by h w (Gatys et al., CVPR 2016)."""
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n, h * w, c)
    return (rows.transpose(1, 2) @ rows).float() / (h * w)


@dataclass(frozen=True)
class Moments:
    """The statistics over space of n c h w features, float32: `mean` n c and `covariance` n c c."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Moments:
        mean = x.float().mean((2, 3))
        return cls(mean, gram(x.float() - mean[..., None, None]))

    @classmethod
    def pooled(cls, x: Tensor) -> Moments:
        """Over space and over the n images together: 1 c and 1 c c."""
        return cls.of(x.transpose(0, 1).flatten(1)[None, :, None])

    @classmethod
    def mixed(cls, parts: Iterable[tuple[float, Moments]]) -> Moments:
        """sum_k share_k moments_k."""
        means, covariances = zip(*((share * m.mean, share * m.covariance) for share, m in parts), strict=True)
        return cls(
            torch.stack(torch.broadcast_tensors(*means)).sum(0),
            torch.stack(torch.broadcast_tensors(*covariances)).sum(0),
        )

    def distance(self, wanted: Moments) -> Tensor:
        """(|m - m'|^2 / |m'|^2 + |C - C'|^2 / |C'|^2) / 2, the mean over n."""
        return (relative_error(self.mean, wanted.mean) + relative_error(self.covariance, wanted.covariance)) / 2

    @property
    def power(self) -> Tensor:
        """The second moment about zero, n c c."""
        return self.covariance + self.mean[:, :, None] * self.mean[:, None]

    def to(self, device: torch.device) -> Moments:
        return Moments(self.mean.to(device), self.covariance.to(device))


def _load(path: Path, device: torch.device | None) -> dict[str, Tensor]:
    if not path.is_file():
        raise TrainingError(
            f"{path}: the feature network is missing; perceptual losses need it; name its folder (features=DIR)"
        )
    return {name: value.to(device) for name, value in load_file(path).items()}
