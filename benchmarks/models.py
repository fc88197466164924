"""Pairs of third-party networks: how their mixtures look, what helps, and what other tools do with the same files.

    python benchmarks/models.py --data DATA [--rows pairs,statistics,noise,rivals,speed] [--pairs NAME,...]
                                [--steps 300] [--out benchmarks/results/models.md] [--pictures FOLDER]

pairs       what `dnirender model check` says on its test picture and on two photographs of BSDS500; then, half-way on
            six photographs that were not used for anything, the path ratio and how far brightness and contrast are from
            the mean of those of the ends, added, in 255ths: as it is, with `--repair`, aligned, both, and fine-tuned
statistics  `--repair` in all layers, by the statistics of the mixed network, beside the closed form of the paper, by
            those of the ends and the correlation of their activations
noise       PSNR of DnCNN for noise 15 and 50 at noise 25, along the path, on pictures and over a clip that is rendered
rivals      the same files, and some that are made here, through the rules of chaiNNer and traiNNer
speed       seconds of a check; what tracks of layers and `--repair` add to a frame, measured in alternation

With `--out` the rows are put into that file, in place of those of an earlier run.
"""

import argparse
import copy
import functools
import platform
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import av
import cv2
import numpy as np
import torch
from rivals import checkpoints

from dnirender import Engine, ModelError, Preset, render
from dnirender.decoding.open import open_source
from dnirender.layout.contact_sheet import sheet
from dnirender.media.images import write_png
from dnirender.media.resize import middle
from dnirender.models.aligning import align
from dnirender.models.combining import mix
from dnirender.models.compatibility import check
from dnirender.models.family import Family
from dnirender.models.files import DTYPES, write_checkpoint
from dnirender.networks import load, repair
from dnirender.networks.network import LUMA
from dnirender.networks.weights import MixedModule, MixedWeights

TESTS = Path(__file__).parents[1] / "tests"
PAIRS = {
    "realesr": ("realesr_general_x4v3", "realesr_general_wdn_x4v3"),
    "dncnn-10-15": ("dncnn_color_sigma10", "dncnn_color_sigma15"),
    "dncnn-15-50": ("dncnn_color_sigma15", "dncnn_color_sigma50"),
    "la_muse-matta": ("fast_style_la_muse", "fast_style_matta"),
    "gray-15-25": ("dncnn_gray_sigma15", "dncnn_gray_sigma25"),
    "candy-mosaic": ("fast_style16_candy", "fast_style16_mosaic"),
}
SIGMA = {"dncnn-10-15": 12, "dncnn-15-50": 25, "gray-15-25": 20}  # of the noise that they are shown, of 255
STATISTICS = ("candy-mosaic", "gray-15-25", "dncnn-15-50")
REPAIRED = "candy-mosaic"
TUNED = ("la_muse-matta", "gray-15-25", "candy-mosaic")  # the others need it not
PHOTOS, CHECKED = 6, 2
MEASURED = 4  # photographs that `--repair` sees
SIDE, SIDE_4X = 128, 64
NOISE, FRAMES, FILM = 25, 3, 25
ALPHAS = (0, 0.25, 0.5, 0.75, 1)
ROUNDS = 15
MAX_GAIN = 10.0


def files_of(data, name):
    return [data / "models" / f"{file}.pth" for file in PAIRS[name]]


# --- half-way, on photographs


def photographs(data, name, count, skip):
    """uint8 n h w 3, the middles of photographs, with the noise that the pair is for."""
    side = SIDE_4X if name == "realesr" else SIDE
    chosen = sorted((data / "photos/free").glob("*.jpg"))[skip::7][:count]
    clean = torch.from_numpy(np.stack([middle(cv2.imread(str(path))[:, :, ::-1], side) for path in chosen]))
    channels = 1 if "gray" in name else 3
    noise = torch.randn((*clean.shape[:3], channels), generator=torch.Generator().manual_seed(skip))
    return (clean + SIGMA.get(name, 0) * noise).clamp(0, 255).round().to(torch.uint8), clean


@torch.inference_mode()
def rendered(network, path, x, alpha, change=None):
    """n 3 h w in 0..1, clamped; `change` may change the module first."""
    mixed = MixedModule(path, copy.deepcopy(network.module))
    mixed.write((1 - alpha, alpha))
    if change:
        change(mixed.module)
    return network.forward(mixed.module, x.permute(0, 3, 1, 2) / 255).clamp(0, 1)


def quality(network, path, x, of_b=None, change=None):
    """Half-way: (path ratio, how far brightness and contrast are off, in 255ths); and the picture of B. `of_b` is what
    the second network made before it was fine-tuned."""
    one, half = rendered(network, path, x, 0), rendered(network, path, x, 0.5, change)
    two = rendered(network, path, x, 1) if of_b is None else of_b
    lumas = [(y * torch.tensor(LUMA)[:, None, None]).sum(1).flatten(1) for y in (one, half, two)]
    looks = [torch.stack([luma.mean(1), luma.std(1)]) for luma in lumas]
    off = (looks[1] - (looks[0] + looks[2]) / 2).abs().sum(0).mean()
    ratio = (half - (one + two) / 2).abs().mean() / (one - two).abs().mean()
    return float(ratio), 255 * float(off), two


def shown(ratio, off):
    return f"{ratio:.2f}, {off:.1f}"


def pairs(data, arguments):
    columns = ["pair", "architecture", "correlation", "path ratio: test picture, photographs", "verdict"]
    columns += ["half-way: ratio, off by", "repaired", "aligned: correlation, ratio, off by", "aligned and repaired"]
    yield f"| {' | '.join([*columns, 'fine-tuned: ratio, off by, B moved'])} |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    pictures = sorted((data / "photos/bsds").rglob("*.jpg"))[:: 400 // CHECKED][:CHECKED]
    for name in arguments.pairs:
        files = files_of(data, name)
        found = check(files)
        ratios = [check(files, picture).pairs[0].ratio for picture in pictures]
        pair = found.pairs[0]
        cells = [name, found.architecture, f"{pair.correlation:.2f}", f"{pair.ratio:.2f}, {np.mean(ratios):.2f}"]
        cells += [found.verdict, *halves(data, name, files)]
        with tempfile.TemporaryDirectory() as folder:
            other = Path(folder) / "aligned.pth"
            aligned = align(*files)
            write_checkpoint(other, aligned.state)
            half, repaired = halves(data, name, [files[0], other])
            cells += [f"{aligned.correlation[1]:.2f}, {half}", repaired]
            cells.append(tuned(data, name, files, Path(folder), arguments.steps) if name in TUNED else "not needed")
        yield f"| {' | '.join(cells)} |"


def halves(data, name, files):
    """As it is, and repaired."""
    network, path = load(dict(zip("ab", files, strict=True)))
    x, _ = photographs(data, name, 2 if network.scale > 1 else PHOTOS, 3)
    ratio, off, _ = quality(network, path, x)
    seen, _ = photographs(data, name, 2 if network.scale > 1 else MEASURED, 0)
    path.repair = found = repair.measure_repair(network, path, list(seen), [(0, 1)])
    if not found.layers:
        return shown(ratio, off), "all layers are normalized"
    if found.pairs[0, 1].corrections is None:
        return shown(ratio, off), "not needed" if found.pairs[0, 1].before <= repair.VISIBLE else "no: not halved"
    return shown(ratio, off), shown(*quality(network, path, x)[:2])


def tuned(data, name, files, folder, steps):
    """Fine-tuned on a clip, measured on the photographs."""
    found = align(*files, steps=steps, on=data / "clips/flower.mp4")
    write_checkpoint(folder / "tuned.pth", found.state)
    x, _ = photographs(data, name, PHOTOS, 3)
    network, before = load({"a": files[0], "b": files[1]})
    of_b = rendered(network, before, x, 1)
    network, path = load({"a": files[0], "b": folder / "tuned.pth"})
    ratio, off, _ = quality(network, path, x, of_b)
    moved = (rendered(network, path, x, 1) - of_b).abs().mean() / (rendered(network, path, x, 0) - of_b).abs().mean()
    begin = "A" if found.finetuned.from_first else "B"
    return f"{shown(ratio, off)}, {moved:.2f} (from {begin})"


# --- the statistics of REPAIR


def statistics_(data, _):
    """All layers corrected half-way, by the closed form and by what the mixed network does."""
    yield "| pair | as it is: ratio, off by | closed form | measured on the mixed network |"
    yield "|---|---|---|---|"
    for name in STATISTICS:
        network, path = load(dict(zip("ab", files_of(data, name), strict=True)))
        x, _ = photographs(data, name, PHOTOS, 3)
        seen, _ = photographs(data, name, MEASURED, 0)
        cells = [shown(*quality(network, path, x)[:2])]
        cells.append(shown(*quality(network, path, x, change=closed_form(network, path, seen))[:2]))
        with mock.patch.multiple(repair, VISIBLE=-1.0, _choose=lambda tried: tried[0]):
            path.repair = repair.measure_repair(network, path, list(seen), [(0, 1)])
        cells.append(shown(*quality(network, path, x)[:2]))
        yield f"| {' | '.join([name, *cells])} |"


def closed_form(network, path, x):
    """A function that corrects the module half-way: s^2 = (s_1^2 + s_2^2 + 2 s_1 s_2 rho) / 4 is expected, and
    (s_1 + s_2) / 2 wanted, for every channel of every convolution."""
    ends = []
    for alpha in (0, 1):
        seen = {}

        def watch(module, seen=seen):
            for name, layer in convolutions(module):
                layer.register_forward_hook(functools.partial(keep, seen, name))

        rendered(network, path, x, alpha, watch)
        ends.append({name: y.flatten(1) for name, y in seen.items()})

    def change(module):
        for name, layer in convolutions(module):
            one, two = (end[name] for end in ends)
            (s_1, m_1), (s_2, m_2) = (torch.std_mean(y, 1, correction=0) for y in (one, two))
            covariance = ((one - m_1[:, None]) * (two - m_2[:, None])).mean(1)
            expected = ((s_1.square() + s_2.square() + 2 * covariance) / 4).clamp_min(1e-16).sqrt()
            gain = ((s_1 + s_2) / 2 / expected).clamp(1 / MAX_GAIN, MAX_GAIN)
            middle_mean = (m_1 + m_2) / 2
            axis = 1 if isinstance(layer, torch.nn.ConvTranspose2d) else 0
            layer.weight.mul_(gain.reshape([-1 if k == axis else 1 for k in range(4)]))
            layer.bias.mul_(gain).add_(middle_mean - gain * middle_mean)

    return change


def keep(seen, name, _layer, _inputs, output):
    seen[name] = output.transpose(0, 1)


def convolutions(module):
    kinds = torch.nn.Conv2d | torch.nn.ConvTranspose2d
    return [(n, layer) for n, layer in module.named_modules() if isinstance(layer, kinds) and layer.bias is not None]


# --- noise


def noise(data, arguments):
    files = dict(zip(("sigma15", "sigma50"), files_of(data, "dncnn-15-50"), strict=True))
    engine = Engine(*load(files), device="cpu", dtype="fp32")
    cbsd = [cv2.imread(str(path))[:, :, ::-1] for path in sorted((data / "eval/cbsd68").glob("*.png"))[::14]]
    sets = {
        "`stream_of_water.mp4`": frames_of(data / "clips/stream_of_water.mp4"),
        "CBSD68, every 14th": cbsd,
        "`road.mp4` (smooth)": frames_of(data / "clips/road.mp4"),
    }
    yield f"PSNR in dB at noise of sigma {NOISE}, on the middle {SIDE}x{SIDE} of pictures:"
    yield ""
    yield "| pictures | " + " | ".join(f"alpha {alpha:g}" for alpha in ALPHAS) + " |"
    yield "|---|" + "---|" * len(ALPHAS)
    rng = np.random.default_rng(0)
    for name, images in sets.items():
        clean = [np.ascontiguousarray(middle(image, SIDE)) for image in images]
        noisy = [with_noise(image, rng) for image in clean]
        rows = [[engine.render(image, alpha) for image in noisy] for alpha in ALPHAS]
        found = [np.mean([psnr(x, y) for x, y in zip(row, clean, strict=True)]) for row in rows]
        yield f"| {name}, {len(clean)} | " + " | ".join(f"{value:.1f}" for value in found) + " |"
        if name.startswith("`stream"):
            fades = [np.mean([psnr((1 - t) * a + t * b, y) for a, b, y in zip(rows[0], rows[-1], clean, strict=True)])
                     for t in ALPHAS]  # fmt: skip
            yield "| the same, crossfade of the ends | " + " | ".join(f"{value:.1f}" for value in fades) + " |"
    yield ""
    yield from film(data, files, arguments.pictures)


def film(data, files, pictures):
    """A noisy clip, rendered from one end to the other."""
    source = open_source(data / "clips/stream_of_water.mp4")
    clean = [middle(frame.image, 2 * SIDE) for frame in source.frames(list(range(FILM)))]
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        clip, target = Path(name) / "noisy.mkv", Path(name) / "film.mkv"
        noisy = [with_noise(image, rng) for image in clean]
        write_clip(clip, noisy)
        end = {"keyframes": f"0:0, {FILM - 1}:1", "codec": "ffv1", "device": "cpu"}
        render(clip, target, preset=preset_of(files), **end)
        with av.open(str(target)) as container:
            found = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    values = [psnr(x, y) for x, y in zip(found, clean, strict=True)]
    places = [round(alpha * (FILM - 1)) for alpha in ALPHAS]
    listed = ", ".join(f"{values[place]:.1f}" for place in places)
    yield (
        f"{FILM} frames of {2 * SIDE}x{2 * SIDE} of `stream_of_water.mp4` under this noise, rendered from alpha 0 to 1:"
        f" {psnr(noisy[0], clean[0]):.1f} dB before; at alpha {', '.join(map(str, ALPHAS))}: {listed} dB."
    )
    if pictures:
        row = [noisy[places[2]], *(found[place] for place in places), clean[places[2]]]
        labels = ["noise 25", *(f"{alpha:g}: {values[p]:.1f} dB" for alpha, p in zip(ALPHAS, places, strict=True))]
        image = sheet([row], [""], [*labels, "clean"], "DnCNN, noise 15 to 50", 1500)
        write_png(pictures / "models_denoise.png", image)


def preset_of(files):
    ends = [{"name": name, "weights": file} for name, file in files.items()]
    return Preset.checked({"name": "pair", "network": {"endpoints": ends}}, "pair")


def write_clip(path, images):
    """Lossless, as the noise would not survive otherwise."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25, width=images[0].shape[1], height=images[0].shape[0], pix_fmt="bgr0")
        for image in images:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))


def frames_of(clip):
    source = open_source(clip)
    indices = np.linspace(0, len(source.metadata.pts) - 1, FRAMES).round().astype(int)
    return [frame.image for frame in source.frames([int(index) for index in indices])]


def with_noise(image, rng):
    return np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).round().astype(np.uint8)


def psnr(image, clean):
    return 10 * np.log10(255**2 / np.square(image.astype(float) - clean).mean())


# --- rivals


def ours(a, b):
    try:
        mix(Family([a, b]), (0.5, 0.5))
    except ModelError as error:
        return f"refuses: {str(error).split(': ', 1)[-1][:60]}"
    return f"mixes; {check([a, b], pictures=False).verdict}"


def rivals(data, _):
    yield "| files | dnirender | chaiNNer's rule | traiNNer's rule |"
    yield "|---|---|---|---|"
    sys.path.append(str(TESTS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [(pair, *files_of(data, pair)) for pair in PAIRS]
        for what, a, b in [*files, *checkpoints.made(folder)]:
            yield f"| {what} | {ours(a, b)} | {checkpoints.chainner(a, b, folder)} | {checkpoints.trainner(a, b)} |"
    yield ""
    yield "traiNNer's `-i 0` mixes half and half, as 0 counts as no option; ours copies A bit for bit."


# --- speed


def speed(data, _):
    files = files_of(data, "realesr")
    yield "| what | seconds (of one core) |"
    yield "|---|---|"
    for words, options in (("with pictures", {}), ("without pictures", {"pictures": False})):
        began, busy = time.perf_counter(), time.process_time()
        check(files, **options)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
        yield f"| a check of {', '.join(PAIRS['realesr'])} {words}, beyond the imports | {seconds:.1f} ({busy:.1f}) |"
    yield ""
    yield "| what | a frame, ms | its weights, ms | more, ms | times |"
    yield "|---|---|---|---|---|"
    image = frames_of(data / "clips/road.mp4")[0][:360, :640].copy()
    ends = {end.name: end.weights for end in Preset.load("day-to-night").network.endpoints}
    for groups in (("down.*",), ("down.*", "enc.*", "up.*")):
        network, path = load(ends, groups=groups)
        alphas = [functools.partial(tracks, len(path.names), number) for number in (1, len(groups) + 1)]
        yield added(f"{len(groups) + 1} tracks of layers, day-to-night, 640x360", network, path, image, alphas)
    network, path = load(dict(zip("ab", files_of(data, REPAIRED), strict=True)))
    seen, _ = photographs(data, REPAIRED, MEASURED, 0)
    found = repair.measure_repair(network, path, list(seen), [(0, 1)])
    alphas = [functools.partial(tracks, 2, 1)] * 2
    yield added(f"`--repair`, {REPAIRED}, 256x256", network, path, image[:256, :256].copy(), alphas, (None, found))


def tracks(ends, number, k):
    """The coefficients of so many groups of layers, each elsewhere between the first two ends."""
    rest = (0.0,) * (ends - 2)
    return sum(((1 - at, at, *rest) for at in ((k + n / number) % 1 for n in range(number))), ())


def added(what, network, path, image, alphas, repairs=(None, None)):
    """A row: a frame, the writing of its weights one way and the other, in alternation, and what the other costs."""
    engine = Engine(network, path, device="cpu")
    weights = MixedWeights(path, DTYPES[engine.dtype])
    taken = [[], []]
    for number in range(10 * ROUNDS):
        for way in (0, 1):
            path.repair = repairs[way]
            began = time.perf_counter()
            weights.write(alphas[way]((number + 1) / (10 * ROUNDS + 2)))
            taken[way].append(1e3 * (time.perf_counter() - began))
    path.repair = None
    frames = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        engine.render(image, 0.5)
        frames.append(1e3 * (time.perf_counter() - began))
    frame, write = statistics.median(frames[1:]), statistics.median(taken[0])
    more = statistics.median(two - one for one, two in zip(*taken, strict=True))
    return f"| {what} | {frame:.1f} | {write:.2f} | {more:.2f} | {1 + more / (frame + write):.3f} |"


ROWS = {"pairs": pairs, "statistics": statistics_, "noise": noise, "rivals": rivals, "speed": speed}


def put(path, name, lines):
    """Writes a section of a page of results, in place of that of an earlier run."""
    text = path.read_text("utf-8") if path.exists() else "# Pairs of networks, and tools on weights files\n"
    text = re.sub(rf"\n## {name}\n.*?(?=\n## |\Z)", "", text, flags=re.S)
    path.write_text(f"{text.rstrip()}\n\n## {name}\n\n" + "\n".join(lines).rstrip() + "\n", "utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS))
    parser.add_argument("--pairs", type=lambda text: text.split(","), default=list(PAIRS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    for row in arguments.rows:
        lines = []
        for line in ROWS[row](arguments.data, arguments):
            print(line, flush=True)
            lines.append(line)
        if arguments.out:
            stated = f"`python benchmarks/models.py --rows {row}`, {platform.processor() or platform.machine()}"
            put(arguments.out, row, [f"{stated}, PyTorch {torch.__version__}.", "", *lines])


if __name__ == "__main__":
    main()
