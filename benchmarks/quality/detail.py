"""Fidelity and perceptual distance of the detail weights along the path, of a pixel blend of its ends, of bicubic.

    python benchmarks/quality/detail.py --pictures DIR [DIR ...] --features DIR [--preset detail] [--blur 0 0.6 1.2]

A picture, cropped to even sides, is blurred (Gaussian, its standard deviation in pixels) or not, halved (bicubic,
a = -0.5, antialiased, rounded to 8 bits), rendered through the engine in 16 bits, so that no rounding decides, and
compared with the original. PSNR: on Y of BT.601 (16..235), 2 pixels
of border left out, mean over pictures. Perceptual distance: features of SqueezeNet 1.1, each pixel's channels scaled to
length 1, the squared difference summed over channels, averaged over pixels, summed over the six layers: LPIPS (Zhang et
al., CVPR 2018) without its learned weights. The blend mixes the pixels of the two ends by alpha.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from dnirender import Engine, Preset, Timeline, networks
from dnirender.media.image_files import is_still
from dnirender.media.images import read_image
from dnirender.train.features import squeezenet

ALPHAS = [i / 10 for i in range(11)]
BORDER = 2


def tensor(image):
    """h w 3 in 0..255 to 1 3 h w, 0..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def resized(image, height, width):
    """Bicubic, a = -0.5, antialiased; bytes to bytes."""
    x = F.interpolate(tensor(image), (height, width), mode="bicubic", antialias=True)
    return (x.clamp(0, 1) * 255).round().byte()[0].permute(1, 2, 0).numpy()


def blurred(image, sigma):
    """A Gaussian of `sigma` pixels; bytes to bytes."""
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image


def luma(image):
    """Y of BT.601 in 16..235."""
    return 16 + image.astype(float) @ (np.array((65.481, 128.553, 24.966)) / 255)


def psnr(image, original):
    error = (luma(image) - luma(original))[BORDER:-BORDER, BORDER:-BORDER]
    return 10 * np.log10(255**2 / np.square(error).mean())


@torch.inference_mode()
def perceptual_distance(features, image, original):
    """sum_l mean_pixels sum_channels (f / |f| - g / |g|)^2."""
    pairs = zip(features(tensor(image)), features(tensor(original)), strict=True)
    return sum((F.normalize(f) - F.normalize(g)).square().sum(1).mean().item() for f, g in pairs)


def blend(first, last, alpha):
    return (1 - alpha) * first + alpha * last


def measure(engine, endpoints, features, pictures, sigma):
    """Mean PSNR and perceptual distance: of bicubic, 2; of the path and of the blend, 11 2 each."""
    alphas = [Timeline.parse(f"0:{alpha}").resolve(endpoints, [0]).alphas[0] for alpha in ALPHAS]

    def judged(image, original):
        return psnr(image, original), perceptual_distance(features, image, original)

    bicubic, path, blends = [], [], []
    for picture in pictures:
        height, width = (side // 2 * 2 for side in picture.shape[:2])
        original = picture[:height, :width]
        small = resized(blurred(original, sigma), height // 2, width // 2)
        deep = small.astype(np.uint16) * 257
        renders = [engine.render(deep, alpha) / 257 for alpha in alphas]
        bicubic.append(judged(resized(small, height, width), original))
        path.append([judged(render, original) for render in renders])
        blends.append([judged(blend(renders[0], renders[-1], alpha), original) for alpha in ALPHAS])
    return tuple(np.mean(part, axis=0) for part in (bicubic, path, blends))


def monotone(values):
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="folders of lossless pictures")
    parser.add_argument("--features", type=Path, required=True, help="folder of squeezenet1_1.safetensors")
    parser.add_argument(
        "--blur", type=float, nargs="+", default=[0.0], help="of the pictures before halving, in pixels"
    )
    parser.add_argument("--preset", default="detail", help="a shipped preset's name or a file")
    given = parser.parse_args()
    preset = Preset.load(given.preset)
    files = {endpoint.name: endpoint.weights for endpoint in preset.network.endpoints}
    engine = Engine(*networks.load(files), device="cpu", dtype="fp32")
    features = squeezenet(given.features)
    print(f"{engine.network.parameters} parameters; each pair: PSNR in dB, perceptual distance (SqueezeNet)")
    for folder in given.pictures:
        pictures = [read_image(path)[0] for path in sorted(folder.iterdir()) if is_still(path)]
        for sigma in given.blur:
            bicubic, path, blends = measure(engine, preset.endpoints, features, pictures, sigma)
            print(f"{folder.name}, blur {sigma:g}: {len(pictures)} pictures")
            print(f"bicubic {bicubic[0]:.3f} dB, {bicubic[1]:.4f}")
            print("alpha  path: dB, distance  blend: dB, distance")
            for alpha, (dB, apart), (blend_dB, blend_apart) in zip(ALPHAS, path, blends, strict=True):
                print(f"{alpha:5.1f}  {dB:8.3f} {apart:9.4f}  {blend_dB:9.3f} {blend_apart:9.4f}")
            print(f"{preset.endpoints[0]} over bicubic: {path[0, 0] - bicubic[0]:+.2f} dB")
            print(f"monotone: PSNR {monotone(path[:, 0])}, distance {monotone(path[:, 1])}")
            gain, nearer = path[5] - blends[5]
            print(f"midpoint against the blend: {gain:+.3f} dB, distance {nearer:+.4f}")


if __name__ == "__main__":
    main()
