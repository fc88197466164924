"""Detail: images twice as large, from faithful, for clean pictures, with the smallest error, to crisp, for soft ones.

h is a photograph, t runs from 0 at the first endpoint to 1 at the last, x is h made half as large after it got soft in
proportion to t (`softened`), and y = f(x; theta(t)). With features phi_l of VGG19 and a discriminator D, and with
h_t = h sharpened by t^2 sharpness (`sharpened`),

    loss = (1 - t) fidelity C(y - h)
         + t (pixel |y - h_t| + features sum_l |u_l(y) - u_l(h_t)|^2) + t^2 adversarial A(y, h_t),

C(d) = sqrt(d^2 + 0.02^2) - 0.02 (Charbonnier et al., ICIP 1994: d^2 / 0.04 where small, |d| where large), all averaged;
u_l = phi_l / |phi_l|, every pixel's channels of relu1_1, 2_1 and 3_1 scaled to length 1, as in LPIPS (Zhang et al.,
CVPR 2018) without its learned weights; the features and A see a part of the batch;

    A(y, h) = mean softplus(mean D(h) - D(y)) + mean softplus(D(h) - mean D(y))

while D minimises t^2 A(h, y): the relativistic average discriminator (Jolicoeur-Martineau, ICLR 2019) of ESRGAN (Wang
et al., ECCVW 2018), here of patches (Isola et al., CVPR 2017) and spectrally normalised (Miyato et al., ICLR 2018).
What invents or sharpens grows with t^2, as it costs error: half-way there is a quarter of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from dnirender.errors import PresetError
from dnirender.networks.architectures.compact import CompactNet
from dnirender.timeline.timeline import path_position
from dnirender.train.data.photos import load_photos, pick, reduced_view, uniform
from dnirender.train.features import Features, vgg19
from dnirender.train.losses import charbonnier
from dnirender.train.recipe import Recipe, choose
from dnirender.train.subspace import Mix
from dnirender.train.task import Apply, Task

SETTINGS = {"fidelity": 10.0, "pixel": 0.1, "features": 0.6, "adversarial": 0.03, "sharpness": 0.3}
FEATURES, CONVOLUTIONS = 32, 6  # 2 * 9 * (3 * 32 + 6 * 32 * 32 + 32 * 12) * 640 * 360 = 27.5 GFLOP
SCALE = 2
SMALL_ERROR = 0.02  # with 0.001, nearly |d|, 400 steps of fine-tuning gave 0.06 to 0.09 dB less
BLUR = 0.4, 1.8  # pixels of h, the standard deviation at t = 1
GRAIN = 0.008  # of 0..1, the largest standard deviation at t = 1
COMPRESSED_SHARE = 0.6  # of the images at t > 0
LOSS = 10, 45  # of 100, what the quality of JPEG lacks at t = 1
FEATURE_SUBSET, CRITIC_SUBSET = 4, 2  # one image in so many goes through VGG19, and through the discriminator
DISCRIMINATOR_RATE = 4e-4


class Detail(Task):
    """The training of `kind: detail`."""

    architecture = "compact"

    def __init__(self, recipe: Recipe, data: Path, features: Path) -> None:
        super().__init__(recipe)
        self.settings = choose(recipe.settings, SETTINGS, "detail")
        crop = recipe.training.crop
        if crop % SCALE:
            raise PresetError(f"training.crop: expected a multiple of {SCALE} for kind detail, got {crop}")
        self.photos = load_photos([data / folder for folder in recipe.photos], crop, recipe.held_out)
        self._folder = features
        self._phi: Features = vgg19(features)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.training.seed)
            self._critic = critic()
        self._adam = torch.optim.Adam(self._critic.parameters(), DISCRIMINATOR_RATE, betas=(0.5, 0.99))

    def network(self) -> nn.Module:
        return CompactNet(FEATURES, CONVOLUTIONS, SCALE)

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:
        """Softened and halved images n 3 h w and their originals n 3 2h 2w, float 0..1."""
        crop, count, t = self.recipe.training.crop, self.recipe.training.batch, path_position(mix)
        wide = [reduced_view(self.photos[pick(rng, len(self.photos))], crop, rng) for _ in range(count)]
        return torch.stack([softened(image, t, rng) for image in wide]), torch.stack(wide)

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        x, original = batch
        settings, t = self.settings, path_position(mix)
        out = apply(x)
        terms: dict[str, Tensor] = {}
        if t < 1:
            error = charbonnier(out - original, SMALL_ERROR) - SMALL_ERROR
            terms["fidelity"] = (1 - t) * settings["fidelity"] * error
        if t > 0:
            target = sharpened(original, t * t * settings["sharpness"])
            terms["pixel"] = t * settings["pixel"] * (out - target).abs().mean()
            some = slice(-(-len(x) // FEATURE_SUBSET))
            terms["features"] = t * settings["features"] * self._feature_error(out[some], target[some])
            if settings["adversarial"]:
                some = slice(-(-len(x) // CRITIC_SUBSET))
                adversarial = self._adversarial(out[some], target[some], t * t)
                terms["adversarial"] = t * t * settings["adversarial"] * adversarial
        return terms

    def _feature_error(self, out: Tensor, original: Tensor) -> Tensor:
        """sum_l |u_l(out) - u_l(original)|^2, averaged over pixels."""
        with torch.autocast(out.device.type, torch.bfloat16):
            found = self._phi(out)
            with torch.no_grad():
                wanted = self._phi(original)
        pairs = zip(found, wanted, strict=True)
        errors = [F.normalize(f.float(), dim=1, eps=1e-6) - F.normalize(w.float(), dim=1, eps=1e-6) for f, w in pairs]
        return torch.stack([d.square().sum(1).mean() for d in errors]).sum()

    def _adversarial(self, out: Tensor, original: Tensor, share: float) -> Tensor:
        """One step of the discriminator, its loss weighted by `share`, then A(out, original)."""
        self._adam.zero_grad()
        (share * relativistic(self._scores(original), self._scores(out.detach()))).backward()
        self._adam.step()
        self._critic.requires_grad_(False)
        result = relativistic(self._scores(out), self._scores(original))
        self._critic.requires_grad_(True)
        return result

    def _scores(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return self._critic((images - 0.5).contiguous(memory_format=torch.channels_last)).float()

    def state(self) -> dict[str, Any]:
        return {"critic": self._critic.state_dict(), "adam": self._adam.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self._critic.load_state_dict(state["critic"])
        self._adam.load_state_dict(state["adam"])

    def to(self, device: torch.device) -> None:
        super().to(device)
        self._phi = vgg19(self._folder, device)
        self._critic.to(device)


def critic() -> nn.Sequential:
    """n 3 h w to n 1 h/8 w/8: above 0 where a patch of 38 pixels looks like a photograph."""
    layers: list[nn.Module] = []
    for before, after in ((3, 24), (24, 48), (48, 96)):
        layers += [spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(96, 1, 3, 1, 1)))


def relativistic(more: Tensor, less: Tensor) -> Tensor:
    """Falls as the scores `more` rise above the mean of `less`, and `less` fall below the mean of `more`."""
    return F.softplus(less.mean() - more).mean() + F.softplus(less - more.mean()).mean()


def halved(images: Tensor) -> Tensor:
    """n 3 2h 2w to n 3 h w, 0..1 in steps of 1/255."""
    small = F.interpolate(images, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
    return (small.clamp(0, 1) * 255).round() / 255


def sharpened(images: Tensor, amount: float) -> Tensor:
    """n 3 h w plus `amount` of what a Gaussian of 1 pixel takes away, within what 3x3 pixels had: edges get steeper,
    and nothing rings."""
    if not amount:
        return images
    taps = torch.exp(-torch.arange(-3.0, 4.0, device=images.device).square() / 2)
    taps = (taps / taps.sum()).expand(3, 1, 1, 7)
    wide = F.pad(images, (3, 3, 3, 3), mode="replicate")
    soft = F.conv2d(F.conv2d(wide, taps, groups=3), taps.transpose(2, 3), groups=3)
    highest, lowest = F.max_pool2d(images, 3, 1, 1), -F.max_pool2d(-images, 3, 1, 1)
    return (images + amount * (images - soft)).minimum(highest).maximum(lowest)


def softened(image: Tensor, t: float, rng: Generator) -> Tensor:
    """3 2h 2w, 0..1, to 3 h w, 0..1 in steps of 1/255: halved alone at t = 0, else blurred before, and with grain and,
    for some, the errors of JPEG after, all in proportion to t: what a lens, a sensor and a codec leave of a clip."""
    if not t:
        return halved(image[None])[0]
    low, high = BLUR
    sigma = t * (low + (high - low) * uniform(rng))
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    soft = torch.from_numpy(cv2.GaussianBlur(pixels, (0, 0), sigma)).permute(2, 0, 1)
    small = halved(soft[None])[0]
    grain = t * GRAIN * uniform(rng) * torch.randn(small.shape, generator=rng)
    small = ((small + grain).clamp(0, 1) * 255).round()
    if uniform(rng) > COMPRESSED_SHARE:
        return small / 255
    low, high = LOSS
    quality = round(100 - t * (low + (high - low) * uniform(rng)))
    _, code = cv2.imencode(".jpg", small.permute(1, 2, 0).byte().numpy(), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return torch.from_numpy(cv2.imdecode(code, cv2.IMREAD_COLOR)).permute(2, 0, 1).float() / 255
