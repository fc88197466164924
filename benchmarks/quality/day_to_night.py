"""Figures of the day-to-night weights, or of others with the same ends, measured through the engine.

    python benchmarks/quality/day_to_night.py [--preset FILE.yaml] [--data ../shared/data] [--json FILE]

Pictures are `daynight` (web-cams of AMOS), at most 640 wide. The control is a plain grade of the same pictures: linear
light times a strength and a tint. How each figure is measured stands in `judges.py`.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from judges import (
    Array,
    CameraJudges,
    Look,
    flicker,
    frechet,
    gram_distance,
    look,
    motion,
    probability,
    structure,
)

from dnirender.decoding.open import open_source
from dnirender.engine.engine import Engine
from dnirender.frames import Image
from dnirender.media.image_files import is_still
from dnirender.media.images import read_image
from dnirender.media.resize import limit_width
from dnirender.networks.loading import load
from dnirender.preset import Preset
from dnirender.timeline.timeline import Timeline
from dnirender.train.features import Features, squeezenet

WIDTH = 640
ALPHAS = [i / 10 for i in range(11)]
MARKS = (1 / 3, 0.5, 2 / 3, 1.0)
STRENGTHS = (0.25, 0.125, 0.0625, 0.03, 0.015)
TINTS = {"blue": (0.6, 0.9, 1.6), "neutral": (1.0, 1.0, 1.0)}  # factors of linear light
CONTROLS = (0.25, 0.03)
EVERY = 7  # of the day pictures, those that bf16 is measured on
PARTS = tuple((part, kind) for part in ("training", "test") for kind in ("day", "night"))

Figures = dict[str, Any]


@dataclass(frozen=True)
class Photos:
    """Pictures of one folder, at most 640 wide, with their cameras, which their sizes on disk identify."""

    names: list[str]
    cameras: list[str]
    images: list[Image]


@dataclass(frozen=True)
class Walk:
    """The day pictures rendered over ALPHAS. `pooled` (11 n d) are their features, `luminance` (11 n) their means in
    0..1, `ends` the renders at alpha 0 and 1, and `night` how the latter look."""

    pooled: Array
    luminance: Array
    ends: tuple[list[Image], list[Image]]
    night: Look


def photos(folder: Path) -> Photos:
    paths = [path for path in sorted(folder.iterdir()) if is_still(path)]
    images = [read_image(path)[0] for path in paths]
    cameras = [f"{image.shape[1]}x{image.shape[0]}" for image in images]
    return Photos([path.name for path in paths], cameras, [limit_width(image, WIDTH) for image in images])


def grade(image: Image, strength: float, tint: Sequence[float] = TINTS["blue"]) -> Image:
    """The control: linear light times `strength` and `tint`, coded as sRGB again."""
    coded = np.arange(256) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    light = np.clip(linear[:, None] * strength * np.array(tint), 0, 1)
    table = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    codes = np.rint(table * 255).astype(np.uint8)
    return np.stack([codes[image[..., c], c] for c in range(3)], -1)


class Renderer:
    """Renders pictures of the preset at a place 0..1 of its path."""

    def __init__(self, preset: Preset, dtype: str) -> None:
        files = {endpoint.name: endpoint.weights for endpoint in preset.network.endpoints}
        self._engine = Engine(*load(files), device="cpu", dtype=dtype)
        self._endpoints = preset.endpoints
        self.parameters = self._engine.network.parameters

    def __call__(self, images: Sequence[Image], value: float) -> list[Image]:
        alpha = Timeline.parse(f"0:{value}").resolve(self._endpoints, [0]).alphas[0]
        return [self._engine.render(image, alpha) for image in images]


def walk(render: Renderer, features: Features, images: Sequence[Image]) -> Walk:
    """Goes along the path once, keeping the pictures of the ends only."""
    looks: list[Look] = []
    means: list[list[float]] = []
    ends: list[list[Image]] = []
    for value in ALPHAS:
        rendered = render(images, value)
        looks.append(look(features, rendered))
        means.append([picture.mean() / 255 for picture in rendered])
        if value in (0, 1):
            ends.append(rendered)
    return Walk(np.stack([x.pooled for x in looks]), np.array(means), (ends[0], ends[1]), looks[-1])


class Bench:
    """The pictures and how they look, loaded once; each method gives one group of figures."""

    def __init__(self, preset: Preset, data: Path) -> None:
        self._features = squeezenet(data / "perceptual")
        self.sets = {key: photos(data / "daynight" / key[0] / key[1]) for key in PARTS}
        self.looks = {key: look(self._features, found.images) for key, found in self.sets.items()}
        self.day = self.sets["test", "day"]
        self.render = Renderer(preset, "fp32")
        self.walk = walk(self.render, self._features, self.day.images)
        self.grades = {
            f"{strength} {name}": look(self._features, [grade(x, strength, tint) for x in self.day.images])
            for name, tint in TINTS.items()
            for strength in STRENGTHS
        }

    def judge(self) -> Figures:
        """The judge on real pictures, then on renders and grades."""
        seen = PARTS[:2]
        pooled = np.vstack([self.looks[key].pooled for key in seen])
        cameras = [camera for key in seen for camera in self.sets[key].cameras]
        night = np.concatenate([np.full(len(self.sets[key].images), key[1] == "night") for key in seen])
        judges = CameraJudges(pooled, night, np.array(cameras))
        dark, light = (
            judges.score(self.looks["test", kind].pooled, self.sets["test", kind].cameras) for kind in ("night", "day")
        )
        scores = np.stack([judges.score(x, self.day.cameras) for x in self.walk.pooled])
        mean = scores.mean(1)
        return {
            "real right": {
                "training": float(((judges.score(pooled, cameras) > 0) == night).mean()),
                "test day": float((light < 0).mean()),
                "test night": float((dark > 0).mean()),
            },
            "real logits": {"test day": float(light.mean()), "test night": float(dark.mean())},
            "day at alpha 0": float((scores[0] < 0).mean()),
            "night at alpha 1": float((scores[-1] > 0).mean()),
            "night probability": probability(scores).mean(1).tolist(),
            "logit": mean.tolist(),
            "logit rises": bool((np.diff(mean) > 0).all()),
            "grade night": {
                name: float((judges.score(x.pooled, self.day.cameras) > 0).mean()) for name, x in self.grades.items()
            },
            "logits at alpha 1": dict(zip(self.day.names, scores[-1].tolist(), strict=True)),
        }

    def distance(self, measure: Callable[[Look, Look], float]) -> Figures:
        """How far renders and grades are from real nights, and the gain over the best grade of each tint."""
        real = self.looks["test", "night"]
        grades = {name: measure(x, real) for name, x in self.grades.items()}
        best = {tint: min((name for name in grades if name.endswith(tint)), key=grades.__getitem__) for tint in TINTS}
        render = measure(self.walk.night, real)
        return {
            "render": render,
            "grades": grades,
            "below best grade": {name: 1 - render / grades[name] for name in best.values()},
            "day itself": measure(self.looks["test", "day"], real),
            "other real nights": measure(self.looks["training", "night"], real),
        }

    def structure(self) -> Figures:
        """Mean gradient correlation with the source at alpha 1, of luma and of its logarithm; the grades' beside it."""
        clips = {"render": self.walk.ends[1]} | {
            f"grade {s} blue": [grade(x, s) for x in self.day.images] for s in CONTROLS
        }
        return {name: kept(images, self.day.images) for name, images in clips.items()}

    def levels(self) -> Figures:
        """The day end's error, and how evenly the luminance falls."""
        pairs = zip(self.walk.ends[0], self.day.images, strict=True)
        errors = [abs(a.astype(float) - b).mean() for a, b in pairs]
        steps = -np.diff(self.walk.luminance, axis=0)
        mean = steps.mean(1)
        return {
            "day error of 255": {"mean": float(np.mean(errors)), "worst": float(max(errors))},
            "luminance": self.walk.luminance.mean(1).tolist(),
            "largest step over mean step": {
                "mean": float(mean.max() / mean.mean()),
                "worst": float((steps.max(0) / abs(steps.mean(0))).max()),
            },
            "falls": bool((mean > 0).all()),
            "pictures that rise at some step": int((steps <= 0).any(0).sum()),
        }


def kept(renders: Sequence[Image], images: Sequence[Image]) -> Figures:
    pairs = list(zip(renders, images, strict=True))
    return {
        name: float(np.mean([structure(render, image, logarithmic) for render, image in pairs]))
        for name, logarithmic in (("luma", False), ("log luma", True))
    }


def bf16_errors(fp32: Renderer, bf16: Renderer, images: Sequence[Image]) -> Figures:
    """Mean |bf16 - fp32| in 1/255: over the pictures, and of the worst."""
    found: Figures = {}
    for value in MARKS:
        pairs = zip(fp32(images, value), bf16(images, value), strict=True)
        apart = [abs(a.astype(float) - b).mean() for a, b in pairs]
        found[f"{value:.3f}"] = {"mean": float(np.mean(apart)), "worst": float(max(apart))}
    return found


def unsteadiness(render: Renderer, frames: Sequence[Image]) -> Figures:
    """`Flicker` of renders and of the grades, which are as steady as a curve can be."""
    moved = motion(frames)
    clips = {f"{value:.3f}": render(frames, value) for value in MARKS}
    clips |= {f"grade {strength} blue": [grade(frame, strength) for frame in frames] for strength in CONTROLS}
    return {name: asdict(flicker(clip, frames, moved)) for name, clip in clips.items()}


def measure(preset: Preset, data: Path, num_frames: int) -> Figures:
    bench = Bench(preset, data)
    source = open_source(data / "clips" / "road.mp4")
    frames = [limit_width(frame.image, WIDTH) for frame in source.frames(range(num_frames))]
    return {
        "preset": preset.name,
        "parameters": bench.render.parameters,
        "judge": bench.judge(),
        "frechet": bench.distance(lambda a, b: frechet(a.top, b.top)),
        "gram": bench.distance(gram_distance),
        "structure": bench.structure(),
        "levels": bench.levels(),
        "bf16": bf16_errors(bench.render, Renderer(preset, "bf16"), bench.day.images[::EVERY]),
        "flicker": unsteadiness(bench.render, frames),
    }


def table(found: Figures) -> str:
    """The figures as text, with the targets."""
    parts = [
        [f"{found['preset']}: {found['parameters']} parameters"],
        judge_lines(found["judge"]),
        distance_lines("Frechet", found["frechet"], 0),
        distance_lines("Gram", found["gram"], 3),
        ["gradient correlation with the source at alpha 1"]
        + [line(k, f"luma {v['luma']:.3f}, log luma {v['log luma']:.3f}") for k, v in found["structure"].items()],
        level_lines(found["levels"]),
        ["bf16 against fp32, of 255"]
        + [line(f"alpha {k}", f"mean {v['mean']:.2f}, worst {v['worst']:.2f}") for k, v in found["bf16"].items()],
        ["flicker on the road clip: error along the motion over the source's (contrast matched: at most 1.1)"]
        + [
            line(k, f"contrast matched {v['matched']:.2f}, spread matched {v['spread']:.2f}, raw {v['raw']:.2f}")
            for k, v in found["flicker"].items()
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def judge_lines(found: Figures) -> list[str]:
    real, logits = found["real right"], found["real logits"]
    return [
        "day/night judge that never saw the picture's camera",
        line("right on real pictures", ", ".join(f"{k} {v:.1%}" for k, v in real.items())),
        line("mean logit of real pictures", ", ".join(f"{k} {v:.2f}" for k, v in logits.items())),
        line("renders called night, alpha 1", f"{found['night at alpha 1']:.1%} (at least 95%)"),
        line("renders called day, alpha 0", f"{found['day at alpha 0']:.1%} (at least 95%)"),
        line("mean night probability", f"{row(found['night probability'])} over 11 alphas"),
        line("mean logit", f"{row(found['logit'], 2)}; rises at every step: {found['logit rises']}"),
        *(line(f"grade {k} called night", f"{v:.1%}") for k, v in found["grade night"].items()),
    ]


def distance_lines(title: str, found: Figures, digits: int) -> list[str]:
    gains = ", ".join(f"{gain:.1%} below the best, {name}" for name, gain in found["below best grade"].items())
    return [
        f"{title} distance from real nights (SqueezeNet)",
        line("renders", f"{found['render']:.{digits}f}; {gains} (at least 25% below blue)"),
        *(line(f"grade {k}", f"{v:.{digits}f}") for k, v in found["grades"].items()),
        line("day pictures themselves", f"{found['day itself']:.{digits}f}"),
        line("real nights of training", f"{found['other real nights']:.{digits}f}"),
    ]


def level_lines(found: Figures) -> list[str]:
    error, step = found["day error of 255"], found["largest step over mean step"]
    rising = found["pictures that rise at some step"]
    return [
        "evenness",
        line("day end error", f"mean {error['mean']:.3f}, worst {error['worst']:.3f} of 255 (at most 1)"),
        line("luminance, 11 alphas", f"{row(found['luminance'])}; falls at every step: {found['falls']}"),
        line("largest step over mean step", f"{step['mean']:.2f} (at most 2), worst picture {step['worst']:.2f}"),
        line("pictures that rise at a step", str(rising)),
    ]


def line(name: str, text: str) -> str:
    return f"  {name:<35}{text}"


def row(values: Sequence[float], digits: int = 3) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="day-to-night", help="a shipped preset's name or a YAML file")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="holds daynight, perceptual and clips"
    )
    parser.add_argument("--frames", type=int, default=30, help="frames of clips/road.mp4 for the flicker")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures there too, with the logit of every picture")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = measure(Preset.load(given.preset), given.data, given.frames)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
