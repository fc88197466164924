"""PSNR of the denoise weights along the path, of a pixel blend of its ends, and of the estimate of noise.

    python benchmarks/quality/denoise.py --pictures DIR [--preset denoise] [--every 4]

A picture gets white Gaussian noise of sigma 15 to 50 of 255, is rounded and clipped to 8 bits, and rendered through the
engine in 16 bits, so that no rounding decides. PSNR: of R, G and B together, mean over pictures. `own`: at the number
that sigma has on the path; `best`: at the best of 21 numbers; `blend`: the best of 21 blends of the pixels of both
ends; `measured`: at the number that the noise of each picture is estimated to have.
"""

import argparse
from pathlib import Path

import numpy as np

from dnirender import Engine, Preset
from dnirender.families.loading import load_family
from dnirender.media.image_files import is_still
from dnirender.media.images import read_image
from dnirender.media.noise import estimate_sigma
from dnirender.timeline.keyframes import alpha_along_path

SIGMAS = (15, 20, 25, 30, 35, 40, 45, 50)
NUMBERS = [n / 20 for n in range(21)]
COLUMNS = ("noisy", "own", "best", "best at", "blend", "measured", "sigma measured")


def noisy(picture, sigma, seed):
    """h w 3, uint8, with noise."""
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def psnr(image, original):
    return 10 * np.log10(255**2 / np.square(np.clip(image, 0, 255) - original.astype(float)).mean())


def middle(picture, side):
    """A square from the middle, all of the picture where `side` is 0."""
    y, x = ((size - side) // 2 if side and size > side else 0 for size in picture.shape[:2])
    return picture[y : y + (side or picture.shape[0]), x : x + (side or picture.shape[1])]


def load_pictures(folder, every, side=0):
    paths = sorted(path for path in folder.iterdir() if is_still(path))[::every]
    return [middle(read_image(path)[0], side) for path in paths]


def path_renders(engine, endpoints, image, numbers=NUMBERS):
    """Renders 0..255 at numbers along the path."""
    deep = image.astype(np.uint16) * 257
    return [engine.render(deep, alpha_along_path(number, endpoints)) / 257 for number in numbers]


def measure(engine, endpoints, pictures, low=15, high=50, sigmas=SIGMAS):
    """[sigma, COLUMNS], means over pictures."""
    rows = []
    for sigma in sigmas:
        own, along, blends, before, found, after = [], [], [], [], [], []
        for seed, picture in enumerate(pictures):
            image = noisy(picture, sigma, seed)
            estimate = estimate_sigma([image])
            special = [(level - low) / (high - low) for level in (sigma, min(max(estimate, low), high))]
            *renders, exact, measured = path_renders(engine, endpoints, image, [*NUMBERS, *special])
            before.append(psnr(image, picture))
            own.append(psnr(exact, picture))
            after.append(psnr(measured, picture))
            found.append(estimate)
            along.append([psnr(render, picture) for render in renders])
            ends = renders[0], renders[-1]
            blends.append([psnr((1 - n) * ends[0] + n * ends[1], picture) for n in NUMBERS])
        mean = np.mean(along, axis=0)
        best = int(mean.argmax())
        blend = np.mean(blends, axis=0).max()
        values = np.mean(before), np.mean(own), mean[best], NUMBERS[best], blend, np.mean(after), np.mean(found)
        rows.append(values)
    return np.array(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True, help="a folder of lossless pictures")
    parser.add_argument("--preset", default="denoise", help="a shipped preset's name or a file")
    parser.add_argument("--every", type=int, default=4, help="one picture in so many, by name")
    parser.add_argument("--side", type=int, default=0, help="side of a square from the middle; 0: all")
    given = parser.parse_args()
    preset = Preset.load(given.preset)
    network = preset.network
    engine = Engine(*load_family(network.family, network.files, network.levels), device="cpu", dtype="fp32")
    pictures = load_pictures(given.pictures, given.every, given.side)
    print(f"{len(pictures)} pictures of {given.pictures.name}, {engine.network.parameters} parameters\n")
    print("| sigma | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1))
    for sigma, row in zip(SIGMAS, measure(engine, preset.endpoints, pictures), strict=True):
        print(f"| {sigma} | " + " | ".join(f"{value:.2f}" for value in row) + " |")


if __name__ == "__main__":
    main()
