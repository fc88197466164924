"""Figures of the focus, on composites of photographs that it was not trained on.

    python benchmarks/focus_masks.py --data DATA --out masks
    python benchmarks/quality/focus.py [--preset FILE.yaml] [--data ../shared/data] [--masks masks] [--json FILE]
        [--sheet FILE.jpg]

A subject is cut out of a photograph and put before another one, so its mask and all that is behind it are known. The
true blur at alpha is that of the background alone, by an exact disc of alpha times the full radius, in linear light
with the shoulder of film undone as in the lens of the network; `--plain` without the shoulder. The subject is put over
it. Of the render half-way, of the crossfade of our ends and of the crossfade of the true ends:

PSNR against the true half blur. Sharpness: mean |gradient| of the luma of the background, further than 4 pixels from
the subject, over the true one's. Edge: the root mean square difference from the true one in the 12 pixels beyond the
subject's edge, in codes of 255. Radius: that of the exact disc whose blur of the background is nearest to the render,
at alpha 1/4, 1/2, 3/4 and 1; it should grow in a line. Found: intersection over union of the mask.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from dnirender.engine.engine import Engine
from dnirender.layout.contact_sheet import sheet as draw_sheet
from dnirender.layout.panels import crossfade
from dnirender.media.images import read_image
from dnirender.networks.architectures.focus import GAMMA, RADIUS, SHOULDER
from dnirender.networks.architectures.gain import unshuffle
from dnirender.networks.loading import load
from dnirender.preset import Preset

SIZE = (360, 640)
COMPOSITES = (  # subject, background, height of the subject in parts of the picture's, middle from left to right
    ("clic/0369d229ba4c", "cid22/pexels-photo-1130297", 0.95, 0.35),
    ("clic/097cb426910b", "cid22/2290070", 0.95, 0.6),
    ("clic/11f2b039b293", "cid22/3705529", 0.9, 0.5),
    ("clic/14ab4af28901", "cid22/2738653", 0.95, 0.5),
    ("clic/1cba10ad9bb4", "cid22/pexels-photo-4352249", 0.95, 0.3),
    ("cid22/pexels-photo-3155588", "cid22/162511", 1.0, 0.6),
    ("cid22/7218572", "cid22/1424246", 0.9, 0.35),
    ("cid22/670530", "cid22/2599868", 0.85, 0.5),
    ("cid22/551991", "cid22/2123337", 0.7, 0.5),
    ("clic/100f17892cf7", "free/road_720p_0017", 0.9, 0.65),
)
QUARTERS = (0.25, 0.5, 0.75, 1.0)
NEAR, BORDER = 12, 4  # pixels


def covering(image, size):
    """The middle of h w 3 at `size`."""
    scale = max(size[0] / image.shape[0], size[1] / image.shape[1])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    y, x = ((image.shape[k] - size[k]) // 2 for k in range(2))
    return image[y : y + size[0], x : x + size[1]]


def layers(data, masks, subject, background, height, middle):
    """Background and subject h w 3, and mask h w 1, float 0..1."""
    back = covering(read_image(data / "photos" / f"{background}.jpg")[0].astype(np.float32) / 255, SIZE)
    image = read_image(data / "photos" / f"{subject}.jpg")[0].astype(np.float32) / 255
    mask = read_image(masks / f"{Path(subject).name}.png")[0][..., 0].astype(np.float32) / 255
    image = cv2.resize(image, mask.shape[::-1], interpolation=cv2.INTER_AREA)
    rows, cols = np.where(mask.max(1) > 0.5)[0], np.where(mask.max(0) > 0.5)[0]
    part = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
    cut = np.concatenate((image, mask[..., None]), 2)[part]
    scale = height * SIZE[0] / cut.shape[0]
    cut = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    y, x = SIZE[0] - cut.shape[0], int(middle * SIZE[1] - cut.shape[1] / 2)
    front = np.zeros((*SIZE, 4), np.float32)
    left, right = max(x, 0), min(x + cut.shape[1], SIZE[1])
    front[y:, left:right] = cut[:, left - x : right - x]
    return back, front[..., :3], front[..., 3:]


def lens(image, radius, shoulder):
    """h w 3, float 0..1, under a disc of `radius` pixels."""
    if radius == 0:
        return image
    light = image.clip(0, 1) ** GAMMA
    light = light / (1 - shoulder * light)
    reach = int(radius + 1)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1).astype(np.float32)
    light = cv2.filter2D(light, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT).clip(0)
    return (light / (1 + shoulder * light)) ** (1 / GAMMA)


def true(parts, alpha, shoulder):
    back, front, mask = parts
    return to_bytes(mask * front + (1 - mask) * lens(back, alpha * RADIUS, shoulder))


def to_bytes(image):
    return (image * 255).round().clip(0, 255).astype(np.uint8)


def psnr(a, b, where=None):
    error = (a.astype(float) - b) ** 2
    return float(10 * np.log10(255**2 / (error if where is None else error[where]).mean()))


def sharpness(image, where):
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    return float(np.hypot(np.gradient(luma, axis=0), np.gradient(luma, axis=1))[where].mean())


def nearest_radii(renders, background, where, shoulder):
    radii = range(int(1.25 * RADIUS) + 1)
    blurred = [to_bytes(lens(background, radius, shoulder))[where].astype(float) for radius in radii]
    return [int(np.argmin([((other - render[where]) ** 2).mean() for other in blurred])) for render in renders]


def found_mask(engine, image):
    """The subject h w, as the network at `shallow` sees it."""
    engine.render(image, (0.0, 1.0))  # writes the weights
    padded = np.pad(image, ((0, -image.shape[0] % 32), (0, -image.shape[1] % 32), (0, 0)), "edge")
    x = torch.from_numpy(padded.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits, _ = engine.network.module.float().find(unshuffle(x))
    subject = torch.nn.functional.pixel_shuffle(logits.permute(0, 3, 1, 2), 2)[0, 0] < 0
    return subject[: image.shape[0], : image.shape[1]].numpy()


def figures(engine, parts, shoulder):
    source, truth = true(parts, 0, shoulder), true(parts, 0.5, shoulder)
    ends = [engine.render(source, end) for end in ((1.0, 0.0), (0.0, 1.0))]
    path = {alpha: engine.render(source, (1 - alpha, alpha)) for alpha in QUARTERS}
    faded = crossfade(ends, (0.5, 0.5))
    ideal = crossfade((source, true(parts, 1, shoulder)), (0.5, 0.5))
    mask = parts[2][..., 0]
    away = cv2.distanceTransform((mask < 0.05).astype(np.uint8), cv2.DIST_L2, 5)
    back, edge = away > BORDER, (away > 0) & (away <= NEAR)
    row = {}
    for name, image in (("path", path[0.5]), ("crossfade", faded), ("true crossfade", ideal), ("source", source)):
        row[name] = {
            "psnr": psnr(image, truth),
            "sharpness": sharpness(image, back) / sharpness(truth, back),
            "edge": float(np.sqrt(((image.astype(float) - truth)[edge] ** 2).mean())),
        }
    row["subject"] = psnr(path[1.0], source, mask > 0.95)
    row["identity"] = float(abs(ends[0].astype(int) - source).max())
    row["radius"] = nearest_radii(path.values(), parts[0], away > 2 * NEAR, shoulder)
    found, real = found_mask(engine, source), mask > 0.5
    row["found"] = float((found & real).sum() / (found | real).sum())
    return row, [ends[0], *path.values(), truth, faded]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="focus")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--masks", type=Path, default=Path("masks"))
    parser.add_argument("--plain", action="store_true", help="the true blur without the shoulder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    preset = Preset.load(given.preset)
    engine = Engine(*load({e.name: e.weights for e in preset.network.endpoints}), backend="torch")
    shoulder = 0.0 if given.plain else SHOULDER
    rows, pictures = zip(
        *(figures(engine, layers(given.data, given.masks, *which), shoulder) for which in COMPOSITES), strict=True
    )
    print(f"{len(rows)} composites, {engine.network.parameters} parameters, {engine.decision}")
    print("half-way            PSNR   sharpness   edge")
    for name in ("path", "crossfade", "true crossfade", "source"):
        means = [float(np.mean([row[name][key] for row in rows])) for key in ("psnr", "sharpness", "edge")]
        print(f"{name:18} {means[0]:5.2f} {means[1]:11.2f} {means[2]:6.1f}")
    gains = [row["path"]["psnr"] - row["crossfade"]["psnr"] for row in rows]
    print("path over crossfade, each: " + " ".join(f"{gain:+.1f}" for gain in gains) + " dB")
    print("found, each: " + " ".join(f"{row['found']:.2f}" for row in rows))
    print("subject at alpha 1, PSNR to the source, each: " + " ".join(f"{row['subject']:.0f}" for row in rows))
    radii = np.mean([row["radius"] for row in rows], 0)
    print("radius at alpha " + ", ".join(f"{a:g}: {r:.1f}" for a, r in zip(QUARTERS, radii, strict=True)) + " pixels")
    print(f"largest difference of alpha 0 from the source: {max(row['identity'] for row in rows):.0f} codes")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    if given.sheet:
        columns = ["deep", *(f"{alpha:g}" for alpha in QUARTERS[:-1]), "shallow", "true half", "crossfade"]
        names = [f"{Path(a).name[:10]}" for a, *_ in COMPOSITES]
        image = draw_sheet(list(pictures), names, columns, "Focus", width=240 * len(columns))
        cv2.imwrite(str(given.sheet), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
