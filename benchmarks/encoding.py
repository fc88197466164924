"""Size, time and quality of settings of x264 on rendered clips: the reasons for the defaults.

    python benchmarks/encoding.py [--data ../shared/data] [--out benchmarks/results/encoding.md]

Each preset renders lossless clips; then every setting encodes the same frames, in alternation.
The table has geometric means over the clips of size and CPU time relative to medium at crf 18, and the mean
difference of PSNR and SSIM (Wang et al. 2004, Gaussian windows of 11x11) of luma.
"""

import argparse
import io
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from dnirender import Preset, render

WIDTHS = {"painters": 640, "day-to-night": 640, "sketchbook": 640, "detail": 480}
CLIPS = ("road.mp4", "flower.mp4")
SETTINGS = (("medium", 18), ("faster", 18), ("veryfast", 18), ("veryfast", 17), ("veryfast", 16), ("superfast", 18))
FRAMES, EVERY, ROUNDS = 90, 6, 3


def films(data, folder):
    """(name, frames) of every preset on every clip."""
    for name, width in WIDTHS.items():
        for clip in CLIPS:
            target = folder / "film.mkv"
            preset = Preset.load(name).override({"layout": {"width": width}, "encoding": {"codec": "ffv1"}})
            render(data / "clips" / clip, target, preset=preset, end=FRAMES, device="cpu", overwrite=True)
            with av.open(str(target)) as container:
                yield f"{name}, {clip}", [frame.reformat(format="yuv420p") for frame in container.decode(video=0)]


def encoded(frames, preset, crf):
    """(file, CPU seconds of all threads)."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": preset, "crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        began = time.process_time()
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 25), 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        spent = time.process_time() - began
    return file, spent


def likeness(frames, file):
    """(PSNR of the mean error, mean SSIM)."""
    file.seek(0)
    errors, likenesses = [], []
    with av.open(file) as container:
        for number, (wanted, found) in enumerate(zip(frames, container.decode(video=0), strict=True)):
            if number % EVERY == 0:
                a, b = (frame.to_ndarray()[: frame.height].astype(np.float32) for frame in (wanted, found))
                errors.append(np.mean((a - b) ** 2))
                likenesses.append(ssim(a, b))
    return 10 * np.log10(255**2 / np.mean(errors)), np.mean(likenesses)


def ssim(a, b):
    def window(x):
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    mean_a, mean_b = window(a), window(b)
    var_a, var_b = window(a * a) - mean_a**2, window(b * b) - mean_b**2
    both = window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def figures(frames):
    """[settings, (size, CPU, PSNR, SSIM)], the first two as logarithms, all against the first setting."""
    spent = np.array([[encoded(frames, *setting)[1] for setting in SETTINGS] for _ in range(ROUNDS)])
    rows = []
    for setting, seconds in zip(SETTINGS, np.median(spent, axis=0), strict=True):
        file, _ = encoded(frames, *setting)
        rows.append([np.log(file.getbuffer().nbytes), np.log(seconds), *likeness(frames, file)])
    return np.array(rows) - np.array(rows[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name, frames in films(given.data, Path(folder)):
            found.append(figures(frames))
            print(name, "done", flush=True)
    means, worst = np.mean(found, axis=0), np.min(found, axis=0)
    lines = ["| x264 | size | CPU time | PSNR, dB | worst film | SSIM |", "|---|---|---|---|---|---|"]
    for (preset, crf), (size, spent, psnr, likeness_), low in zip(SETTINGS, means, worst, strict=True):
        row = f"{np.exp(size):.2f} | {np.exp(spent):.2f} | {psnr:+.2f} | {low[2]:+.2f} | {likeness_:+.4f}"
        lines.append(f"| {preset}, crf {crf} | {row} |")
    table = "\n".join(lines)
    print(table)
    if given.out:
        given.out.write_text(f"`python benchmarks/encoding.py`, {len(found)} films of {FRAMES} frames\n\n{table}\n")


if __name__ == "__main__":
    main()
