"""Denoise: the clean picture, from one with noise of a known strength.

x is a photograph with white Gaussian noise of the standard deviation sigma, rounded and clipped to 8 bits as frames
are, y = f(x; theta(a)) and sigma = sum_k a_k sigma_k that of the mixture: the path is linear in sigma. The loss is
C(y - clean), C(d) = sqrt(d^2 + 0.02^2) - 0.02 (Charbonnier et al., ICIP 1994: d^2 / 0.04 where small, |d| where large).
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Generator, Tensor, nn

from dnirender.errors import PresetError
from dnirender.frames import Image, to_uint8
from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.train.data.photos import load_photos, pick, reduced_view
from dnirender.train.family_space import FamilySpace
from dnirender.train.losses import charbonnier
from dnirender.train.recipe import Recipe, adafm_kernel, choose
from dnirender.train.subspace import Mix
from dnirender.train.task import Apply, Space, Task

SETTINGS = {"error": 10.0, "kernel": 1.0}
SMALL_ERROR = 0.02


class Denoise(Task):
    """The training of `kind: denoise`."""

    architecture = "denoise"

    def __init__(self, recipe: Recipe, data: Path) -> None:
        super().__init__(recipe)
        self.settings = choose(recipe.settings, SETTINGS, "denoise")
        crop = recipe.training.crop
        if crop % DenoiseNet.multiple:
            raise PresetError(f"training.crop: expected an even number for kind denoise, got {crop}")
        self._kernel = adafm_kernel(self.settings)
        self._sigmas = [goal.sigma or 0.0 for goal in recipe.endpoints]
        self._photos = load_photos([data / folder for folder in recipe.photos], crop, recipe.held_out)

    def network(self) -> nn.Module:
        return DenoiseNet()

    def space(self, net: nn.Module) -> Space:
        family = self.recipe.family
        return FamilySpace(cast(DenoiseNet, net), family, self._kernel) if family != "dni" else super().space(net)

    def shown(self, image: Image) -> Image:
        """With noise half-way between the first and the last sigma."""
        sigma = (self._sigmas[0] + self._sigmas[-1]) / 2
        clean = torch.from_numpy(to_uint8(image)).permute(2, 0, 1) / 255
        seen = noisy(clean, sigma, Generator().manual_seed(0))
        return (seen * 255).round().byte().permute(1, 2, 0).contiguous().numpy()

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:
        """Noisy images and clean ones, n 3 h w, float 0..1."""
        crop, count = self.recipe.training.crop, self.recipe.training.batch
        clean = torch.stack([reduced_view(self._photos[pick(rng, len(self._photos))], crop, rng) for _ in range(count)])
        sigma = sum(share * sigma for share, sigma in zip(mix, self._sigmas, strict=True))
        return noisy(clean, sigma, rng), clean

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:  # noqa: ARG002
        seen, clean = batch
        return {"error": self.settings["error"] * (charbonnier(apply(seen) - clean, SMALL_ERROR) - SMALL_ERROR)}


def noisy(clean: Tensor, sigma: float, rng: Generator) -> Tensor:
    """Images 0..1 with white Gaussian noise of the standard deviation `sigma` / 255, in steps of 1/255, clipped."""
    noise = torch.randn(clean.shape, generator=rng) * (sigma / 255)
    return ((clean + noise).clamp(0, 1) * 255).round() / 255
