"""Trains the network behind `--subject` and `--sky`.

    python benchmarks/focus_masks.py --data DATA --out masks
    python benchmarks/segment_training.py --data DATA --masks masks --out segment.safetensors

Subjects are those of the training of `focus`: photographs with their masks, and subjects cut out and put before other
photographs with other tones and colors. Skies are those of the training of `day-to-night`, in photographs and in drawn
streets. Where one of the two is not known it does not count. The loss is the cross entropy, and for pictures that have
a subject or a sky 1 - the intersection over the union. The features start from those of the weights that `focus`
ships. Seeded; on a CPU it takes half an hour.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Generator

from dnirender.networks.architectures.segment import CLASSES, SegmentNet
from dnirender.networks.checkpoint import load_state_dict
from dnirender.train.data import subjects
from dnirender.train.data.batches import load as load_scenes
from dnirender.train.data.batches import unstacked
from dnirender.train.data.photos import exposure, noise, pick, pictures, read, to_tensor, uniform
from dnirender.train.data.relighting import to_linear, to_srgb
from dnirender.train.data.scenes.photographs import LEFT_OUT, sky_mask
from dnirender.train.recipe import Recipe

REPO = Path(__file__).parents[1]
LONG_SIDE = 512
WINDOWS = ((192, 320), (256, 256), (320, 192))
WINDOW_SHARES = (0.5, 0.8, 1.0)
KINDS = (0.35, 0.65, 0.85, 1.0)  # up to here: photographs with a subject, composites, scenes, drawn streets
DROPPED = ("3534924", "pexels-photo-7266811")  # masks that take a hoop for a subject, and lose legs
LATEST = 0.5  # of the steps: from here on the learning rate falls
STREETS = 120
SEEN = 0.01  # of a picture that something covers at least, for its overlap to count


class Pool:
    """Photographs 5 h w, bytes: RGB, subject, sky; with whether each is known. Streets likewise."""

    def __init__(self, data, masks, held_out, streets):
        self.subjects, self.scenes, self.cutouts, self.streets = [], [], [], []
        folders = [data / "photos" / name for name in ("free", "cid22", "clic")]
        for path in pictures(folders, held_out):
            image = read(path, LONG_SIDE)
            file, knows_sky = masks / f"{path.stem}.png", not path.name.startswith(LEFT_OUT)
            knows_subject = file.exists() and not path.stem.startswith(DROPPED)
            if not (knows_sky or knows_subject):
                continue
            subject = np.zeros(image.shape[:2], np.float32)
            if knows_subject:
                mask = (read(file)[..., 0] * 255).astype(np.uint8)
                subject = F.interpolate(torch.from_numpy(mask)[None, None].float() / 255, subject.shape, mode="area")[
                    0, 0
                ]
                subject = subject.numpy()
            sky = sky_mask(path.name, image)[..., 0] * (1 - subject)
            layers = to_tensor(np.dstack([image, subject, sky]))[0]
            entry = ((layers * 255).round().byte(), torch.tensor([float(knows_subject), float(knows_sky)]))
            (self.subjects if subject.max() > 0 else self.scenes).append(entry)
        self.cutouts = subjects.load(folders, masks, [*held_out, *DROPPED]).cutouts
        for stack in streets:
            scene = unstacked(stack[None])
            layers = torch.cat([scene.picture, torch.zeros_like(scene.sky), scene.sky], 1)
            layers = F.interpolate(layers, (LONG_SIDE * 9 // 16, LONG_SIDE), mode="area")[0]
            self.streets.append(((layers * 255).round().byte(), torch.ones(2)))


def example(pool, window, rng):
    """A picture 3 h w, its subject and sky 2 h w, whether each is known, 2."""
    chance = uniform(rng)
    kind = next(number for number, share in enumerate(KINDS) if chance <= share)
    if kind == 1:
        back, known = pool.scenes[pick(rng, len(pool.scenes))]
        layers = subjects.part_of(back, window, 0.5, rng)
        picture, mask, sky = subjects.toned(layers[:3], rng), torch.zeros(1, *window), layers[4:]
        if uniform(rng) < 0.4:
            picture = subjects.soft(picture, 0.5 + 2 * uniform(rng))
        for _ in range(2 if uniform(rng) < 0.2 else 1):
            layer = subjects.placed(pool.cutouts[pick(rng, len(pool.cutouts))], window, rng)
            picture = torch.lerp(picture, subjects.toned(layer[:3], rng), layer[3:])
            mask = mask + (1 - mask) * layer[3:]
        return picture, torch.cat([mask, sky * (1 - mask)]), torch.tensor([1.0, float(known[1])])
    chosen = (pool.subjects, None, pool.scenes, pool.streets)[kind]
    photo, known = chosen[pick(rng, len(chosen))]
    layers = subjects.part_of(photo, window, 0.6, rng)
    return subjects.toned(layers[:3], rng), layers[3:], known


def batch(pool, size, rng):
    window = WINDOWS[int(np.searchsorted(WINDOW_SHARES, uniform(rng)))]
    examples = [example(pool, window, rng) for _ in range(size)]
    picture, wanted, known = (torch.stack(parts) for parts in zip(*examples, strict=True))
    picture = to_srgb(to_linear(picture) * exposure(size, rng)).clamp(0, 1)
    return torch.stack([(one + noise(one, rng)).clamp(0, 1) for one in picture]), wanted, known


def loss_of(logits, wanted, known):
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((2, 3))
    found = logits.sigmoid()
    overlap = (found * wanted).sum((2, 3)) / (found + wanted - found * wanted).sum((2, 3)).clamp(min=1)
    present = (wanted.mean((2, 3)) > SEEN).float()
    return (known * entropy).mean(), 0.3 * (known * present * (1 - overlap)).mean()


def drawn_streets(photos, cache):
    everything = [""]  # is held out: no photographs, only streets
    return load_scenes([photos], everything, STREETS, cache, 0)[1]


def started(net):
    """The network with the features of `focus` where they have the same names and shapes."""
    old, new = load_state_dict(REPO / "presets/weights/focus/shallow.safetensors").state, net.state_dict()
    same = {name: value for name, value in old.items() if name in new and value.shape == new[name].shape}
    cover = {"weight": old["cover.weight"], "bias": old["cover.bias"]}
    same |= {f"head.{name}": torch.cat([-value, 0.1 * value]) for name, value in cover.items()}
    net.load_state_dict(new | same)


def quantized(state):
    """Weights of convolutions as int8 with a scale for every output, the rest as float16."""
    out = {}
    for name, value in state.items():
        if value.ndim < 4:
            out[name] = value.half()
            continue
        scale = (value.flatten(1).abs().amax(1) / 127).clamp(min=1e-8)
        out[name] = (value / scale.view(-1, 1, 1, 1)).round().to(torch.int8).contiguous()
        out[f"{name}.scale"] = scale
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--masks", type=Path, default=Path("masks"))
    parser.add_argument("--streets", type=Path, default=Path("segment.training/streets.pt"), help="kept there")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("segment.safetensors"))
    given = parser.parse_args()
    torch.manual_seed(0)
    rng = Generator().manual_seed(0)
    recipe = Recipe.load(REPO / "presets/recipes/focus.yaml")
    streets = drawn_streets(given.data / "photos/free", given.streets)
    pool = Pool(given.data, given.masks, recipe.held_out, streets)
    print(*(f"{name} {len(getattr(pool, name))}" for name in ("subjects", "scenes", "cutouts", "streets")), flush=True)
    net = SegmentNet()
    started(net)
    net = net.to(memory_format=torch.channels_last)
    mean = {name: value.clone() for name, value in net.state_dict().items()}
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    log, sums, began = given.out.with_suffix(".jsonl").open("w"), [], time.monotonic()
    for step in range(given.steps):
        rate = 1e-3 * min((step + 1) / 100, 1, max((1 - step / given.steps) / LATEST, 0.01))
        for group in adam.param_groups:
            group["lr"] = rate
        picture, wanted, known = batch(pool, given.batch, rng)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(picture)
        terms = loss_of(logits.float(), wanted, known)
        adam.zero_grad()
        sum(terms).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        keep = min(0.998, (step + 1) / (step + 11))
        with torch.no_grad():
            for name, value in net.state_dict().items():
                mean[name].lerp_(value, 1 - keep)
        sums.append([term.item() for term in terms])
        if (step + 1) % 100 == 0:
            entropy, overlap = np.mean(sums, 0)
            line = {"step": step + 1, "entropy": round(entropy, 5), "overlap": round(overlap, 5)}
            print(json.dumps(line | {"seconds": round(time.monotonic() - began)}), file=log, flush=True)
            sums.clear()
            torch.save(mean, given.out.with_suffix(".pt"))
    metadata = {"architecture": "segment", "classes": ",".join(CLASSES), "license": "MIT"}
    save_file(quantized(mean), given.out, metadata)


if __name__ == "__main__":
    main()
