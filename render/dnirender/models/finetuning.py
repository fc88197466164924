"""Fine-tunes a network so that weights between it and another one give the pictures between theirs.

With f(w) the picture under the weights w, A the first network and B the second one, new weights B' are found by Adam
(Kingma & Ba, ICLR 2015) that minimize

    |f((A + B') / 2) - (f(A) + f(B)) / 2|  +  |f(B') - f(B)|,  in units of |f(A) - f(B)|,

means over random crops of pictures. The first term is the path ratio, the second how far B' leaves what B does. A
stays as it is. B' begins at B, or at A: then B is distilled into a copy of A (Hinton et al. 2015), as networks that are
fine-tuned from one another have good paths. Both are tried for a share of the steps, and the better one goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dnirender.decoding.open import open_source
from dnirender.errors import UsageError
from dnirender.frames import Image
from dnirender.media.resize import middle
from dnirender.models.sweep import FAINT, NOISE, picture_side, test_pictures
from dnirender.networks.checkpoint import State
from dnirender.networks.network import Network, to_unit_range

FRAMES = 12  # of a clip that are looked at
HELD_OUT = 4  # every fourth of them is measured on instead
CROP = 64  # side of a crop, at least what the network needs
BATCH = 2
LEARNING_RATE = 1e-3
WARM_UP = 10  # steps
PILOT = 5  # a fifth of the steps is for each place to begin at
MAX_STEPS = 100_000
NOISY = "the networks hardly differ on these pictures: noise was added, in case they remove it"


@dataclass(frozen=True)
class PathQuality:
    """Both terms on pictures: the path ratio, and how far the second network is from what it did."""

    ratio: float
    drift: float

    @property
    def total(self) -> float:
        return self.ratio + self.drift


@dataclass(frozen=True)
class Finetuned:
    """The new weights of the second network, by their names in the module; whether they began at those of the first;
    the quality of the path before and after, on pictures that were not trained on where there are several; notes for
    users."""

    state: dict[str, Tensor]
    from_first: bool
    before: PathQuality
    after: PathQuality
    notes: tuple[str, ...]


def training_pictures(network: Network, on: Path | None) -> list[Image]:
    """Frames of a clip, or a photograph; else one made here. MediaError: `on` cannot be read."""
    if on is None:
        return list(test_pictures(picture_side(network, 1)).values())
    source = open_source(on)
    count = len(source.metadata.pts)
    indices = [0] if source.metadata.still else sorted({round(place) for place in np.linspace(0, count - 1, FRAMES)})
    return [frame.image for frame in source.frames(indices)]


def finetune(
    network: Network,
    first: State,
    second: State,
    pictures: Sequence[Image],
    steps: int,
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Finetuned:
    """Changes the weights `second` of a network, by their names in its module, so that those half-way to `first` give
    the mean of both pictures. `pictures` are of one size and dtype, h w 3; where the networks hardly differ on
    them, noise is added. `progress` is called with the number of each finished step.

    UsageError: `steps` is not 1 to MAX_STEPS.
    """
    check_steps(steps)
    held_out = pictures[HELD_OUT - 1 :: HELD_OUT] or pictures
    trained_on = [picture for n, picture in enumerate(pictures) if (n + 1) % HELD_OUT] or pictures
    run = _Runner(network, first, second)
    shown = [_tensor(middle(picture, picture_side(network, len(held_out)))) for picture in held_out]
    noise = NOISE if run.span(shown) < FAINT else 0.0
    if noise:
        shown = [_noisy(x, noise, torch.Generator().manual_seed(1)) for x in shown]
    before = run.quality(run.second, shown)
    pilot = steps // PILOT
    tried = [_Training(run, begin, trained_on, noise, seed, steps - pilot) for begin in (run.second, run.first)]
    done = 0
    for training in tried:
        for _ in range(pilot):
            training.step()
            progress(done := done + 1)
    qualities = [run.quality(training.found(), shown) for training in tried]
    from_first = qualities[1].total < qualities[0].total
    chosen = tried[from_first]
    for _ in range(steps - 2 * pilot):
        chosen.step()
        progress(done := done + 1)
    notes = (NOISY,) if noise else ()
    return Finetuned({**second, **chosen.found()}, from_first, before, run.quality(chosen.found(), shown), notes)


def check_steps(steps: int) -> None:
    """UsageError: it is not 1 to MAX_STEPS."""
    if not 1 <= steps <= MAX_STEPS:
        raise UsageError(f"finetune={steps}: expected 1 to {MAX_STEPS:,} steps")


class _Runner:
    """The network under weights of its parameters; buffers stay."""

    def __init__(self, network: Network, first: State, second: State) -> None:
        self.network = network
        self._forward = _Forward(network)
        names = [name for name, _ in self._forward.module.named_parameters()]
        self._forward.module.load_state_dict(dict(second))
        self.first, self.second = ({name: state[name].float() for name in names} for state in (first, second))

    def __call__(self, weights: State, x: Tensor) -> Tensor:
        return functional_call(self._forward, {f"module.{name}": tensor for name, tensor in weights.items()}, (x,))

    def terms(self, weights: State, x: Tensor) -> tuple[Tensor, Tensor]:
        """The path ratio and the drift of the second network on n 3 h w."""
        with torch.no_grad():
            one, two = self(self.first, x), self(self.second, x)
            span = (one - two).abs().mean().clamp_min(1e-6)
        middle_weights = {name: (self.first[name] + tensor) / 2 for name, tensor in weights.items()}
        ratio = (self(middle_weights, x) - (one + two) / 2).abs().mean() / span
        return ratio, (self(weights, x) - two).abs().mean() / span

    @torch.no_grad()
    def span(self, pictures: Sequence[Tensor]) -> float:
        """Mean |f(A) - f(B)|."""
        return sum(float((self(self.first, x) - self(self.second, x)).abs().mean()) for x in pictures) / len(pictures)

    @torch.no_grad()
    def quality(self, weights: State, pictures: Sequence[Tensor]) -> PathQuality:
        ratios, drifts = zip(*(self.terms(weights, x) for x in pictures), strict=True)
        return PathQuality(float(sum(ratios)) / len(pictures), float(sum(drifts)) / len(pictures))


class _Training:
    """Adam from `begin`, with a learning rate that falls to 0 over `length` steps."""

    def __init__(
        self, run: _Runner, begin: State, pictures: Sequence[Image], noise: float, seed: int, length: int
    ) -> None:
        self._run, self._pictures, self._noise, self._length = run, pictures, noise, length
        self._weights = {name: tensor.clone().requires_grad_() for name, tensor in begin.items()}
        self._adam = torch.optim.Adam(self._weights.values(), betas=(0.9, 0.99))
        self._draw = torch.Generator().manual_seed(seed)
        self._done = 0

    def step(self) -> None:
        rate = LEARNING_RATE * min(1.0, (self._done + 1) / WARM_UP) * (1 - self._done / self._length)
        for group in self._adam.param_groups:
            group["lr"] = rate
        x = torch.cat([_crop(self._pictures, self._run.network, self._draw) for _ in range(BATCH)])
        x = _noisy(x, self._noise * float(torch.rand((), generator=self._draw)), self._draw)
        ratio, drift = self._run.terms(self._weights, x)
        self._adam.zero_grad()
        (ratio + drift).backward()
        self._adam.step()
        self._done += 1

    def found(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self._weights.items()}


class _Forward(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network
        self.module = copy.deepcopy(network.module).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self._network.forward(self.module, x)


def _tensor(picture: Image) -> Tensor:
    """1 3 h w in 0..1."""
    return to_unit_range(torch.as_tensor(picture))[None].permute(0, 3, 1, 2)


def _crop(pictures: Sequence[Image], network: Network, draw: torch.Generator) -> Tensor:
    """A random part of a random picture, turned over or not: 1 3 h w."""
    picture = pictures[int(torch.randint(len(pictures), (), generator=draw))]
    sides = network.padded_size(CROP, CROP)
    top, left = (
        int(torch.randint(max(1, length - side + 1), (), generator=draw))
        for length, side in zip(picture.shape, sides, strict=False)
    )
    part = _tensor(picture[top : top + sides[0], left : left + sides[1]])
    return part.flip(3) if float(torch.rand((), generator=draw)) < 0.5 else part


def _noisy(x: Tensor, sigma: float, draw: torch.Generator) -> Tensor:
    return (x + sigma * torch.randn(x.shape, generator=draw)).clamp(0, 1) if sigma else x
