"""Pairs of third-party networks: what `dnirender model check` says of them, and what other tools do with them.

    python benchmarks/models.py --data DATA [--rows pairs,rivals,noise] [--out benchmarks/results/models.md]

pairs   correlation, path ratio, verdict, seconds of a check, on photographs of BSDS500 and on test pictures
rivals  the same files, and some that are made here, through the rules of chaiNNer's "Interpolate Models" (mix by name,
        half and half; refuse unless a white picture of 3 x 3 stays brighter than 0.5) and traiNNer's `net_interp.py`
        (mix by the names of A, an alpha of 0 counts as none), as a few lines each
noise   PSNR of DnCNN for noise 15 and 50 on a clip with noise 25, along the path
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dnirender import Engine, ModelError
from dnirender.decoding.open import open_source
from dnirender.media.resize import middle
from dnirender.models.combining import mix
from dnirender.models.compatibility import check
from dnirender.models.family import Family
from dnirender.networks import load

PAIRS = (
    ("realesr_general_x4v3", "realesr_general_wdn_x4v3"),
    ("dncnn_color_sigma10", "dncnn_color_sigma15"),
    ("dncnn_color_sigma15", "dncnn_color_sigma50"),
    ("fast_style_la_muse", "fast_style_matta"),
    ("dncnn_gray_sigma15", "dncnn_gray_sigma25"),
    ("fast_style16_candy", "fast_style16_mosaic"),
)
PHOTOS = 2
NOISE, FRAMES, SIDE = 25, 3, 160
ALPHAS = (0, 0.25, 0.5, 0.75, 1)


# --- the rules of others


def chainner(a, b, folder):
    """Refuses, or the mixture at a half."""
    a, b = (torch.load(path, map_location="cpu", weights_only=True) for path in (a, b))
    a, b = (state.get("params_ema", state.get("params", state)) for state in (a, b))  # as spandrel's loader does
    if a.keys() != b.keys():
        return "refuses: other names"
    try:
        mixture = {name: 0.5 * a[name] + 0.5 * b[name] for name in a}
    except (RuntimeError, TypeError):
        return "refuses: other shapes"
    torch.save(mixture, folder / "chainner.pth")
    try:
        import spandrel

        model = spandrel.ModelLoader().load_from_file(folder / "chainner.pth")
    except Exception as error:  # noqa: BLE001 - whatever it is, the file does not load
        return f"cannot load it ({type(error).__name__})"
    with torch.inference_mode():
        brightness = float(model.model.eval()(torch.ones(1, model.input_channels, 3, 3)).mean())
    return f"mixes (white gives {brightness:.2f})" if brightness > 0.5 else f"refuses: white gives {brightness:.2f}"


def trainner(a, b, alpha=0.5):
    a, b = (torch.load(path, map_location="cpu", weights_only=True) for path in (a, b))
    alpha = alpha or 0.5  # an option of 0 is none
    try:
        mixture = {name: (1 - alpha) * tensor + alpha * b[name] for name, tensor in a.items()}
    except KeyError as error:
        return f"stops at {error}"
    except (RuntimeError, TypeError) as error:
        return f"stops ({type(error).__name__})"
    lost = len(b.keys() - a.keys())
    floats = sum(1 for name, tensor in mixture.items() if tensor.is_floating_point() != a[name].is_floating_point())
    variances = any(name.endswith("running_var") for name in a)
    told = [f"loses {lost} tensors of B silently"] * bool(lost)
    told += ["averages raw variances"] * variances + [f"{floats} counters become floats"] * bool(floats)
    return "; ".join(["mixes", *told])


def ours(a, b):
    try:
        mix(Family([a, b]), (0.5, 0.5))
    except ModelError as error:
        return f"refuses: {str(error).split(': ', 1)[-1][:60]}"
    return f"mixes; {check([a, b], pictures=False).verdict}"


# --- made here


def rrdb(names, seed):
    """A narrow RRDB network in the names of a dialect."""
    first, block, trunk, up, hr, last = names
    shapes = {first: (8, 3)}
    for i in range(2):
        shapes |= {block.format(i, j, k): (8 if k == 5 else 32, 32 * k - 24) for j in (1, 2, 3) for k in range(1, 6)}
    ups = (3, 6) if first == "model.0" else (1, 2)
    shapes |= {trunk: (8, 8), up.format(ups[0]): (8, 8), up.format(ups[1]): (8, 8), hr: (8, 8), last: (3, 8)}
    torch.manual_seed(seed)
    state = {}
    for name, (out, into) in shapes.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(out, into, 3, 3) * 0.05, torch.zeros(out)
    return state


OLD = ("model.0", "model.1.sub.{}.RDB{}.conv{}.0", "model.1.sub.2", "model.{}", "model.8", "model.10")
MODERN = ("conv_first", "RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv{}", "HRconv", "conv_last")


def darkening(bias):
    """A network that changes nothing but brightness, a legal effect."""
    shapes = {"body.0": (8, 3, 3, 3), "body.2": (8, 8, 3, 3), "body.4": (3, 8, 3, 3)}
    state = {f"{key}.weight": torch.zeros(shape) for key, shape in shapes.items()}
    state |= {f"{key}.bias": torch.zeros(shape[0]) for key, shape in shapes.items()}
    state |= {f"body.{i}.weight": torch.full((8,), 0.25) for i in (1, 3)}
    return state | {"body.4.bias": torch.full((3,), float(bias))}


def batchnorm(seed):
    torch.manual_seed(seed)
    state, shapes, index = {}, [(6, 3), *[(6, 6)] * 6, (3, 6)], 0
    for number, shape in enumerate(shapes):
        state[f"model.{index}.weight"] = torch.randn(*shape, 3, 3) * 0.1
        state[f"model.{index}.bias"] = torch.zeros(shape[0])
        if 0 < number < len(shapes) - 1:
            norm = f"model.{index + 1}"
            state |= {f"{norm}.weight": torch.ones(6), f"{norm}.bias": torch.zeros(6)}
            state |= {f"{norm}.running_mean": torch.zeros(6), f"{norm}.running_var": torch.rand(6) + 0.1}
            state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
        index += 3 if 0 < number < len(shapes) - 1 else 2
    return state


def made(folder):
    """(what it is, A, B) of files made here."""
    renamed = rrdb(MODERN, 0)
    states = {
        "RRDB, old and modern names": (rrdb(OLD, 0), renamed),
        "one behind `module.`": (renamed, {f"module.{name}": tensor for name, tensor in rrdb(MODERN, 0).items()}),
        "one under `params_ema`": (renamed, {"params_ema": renamed}),
        "B has a layer more": (renamed, renamed | {"extra.weight": torch.ones(3)}),
        "BatchNorm": (batchnorm(0), batchnorm(1)),
        "day and night (darkens)": (darkening(0), darkening(-0.9)),
    }
    for number, (what, pair) in enumerate(states.items()):
        paths = [folder / f"{number}{name}.pth" for name in "ab"]
        for path, state in zip(paths, pair, strict=True):
            torch.save(state, path)
        yield what, *paths


# --- rows


def pairs(data):
    yield "| pair | architecture | correlation | ratio, photographs | test pictures | verdict | repaired | aligned |"
    yield "|---|---|---|---|---|---|---|---|"
    pictures = sorted((data / "photos/bsds").rglob("*.jpg"))[:: 400 // PHOTOS][:PHOTOS]
    for one, two in PAIRS:
        files = [data / "models" / f"{name}.pth" for name in (one, two)]
        found = check(files)
        ratios = [check(files, picture).pairs[0].ratio for picture in pictures]
        pair = found.pairs[0]
        yield (
            f"| `{one}` / `{two}` | {found.architecture} | {pair.correlation:.3f} | {np.mean(ratios):.2f} | "
            f"{pair.ratio:.2f} | {found.verdict} | | |"
        )
    yield ""
    files = [data / "models" / f"{name}.pth" for name in PAIRS[0]]
    for words, options in (("with pictures", {}), ("without", {"pictures": False})):
        began = time.perf_counter()
        check(files, **options)
        yield f"A check of `{PAIRS[0][0]}` {words} took {time.perf_counter() - began:.1f} s after the imports."
        yield ""


def rivals(data):
    yield "| files | dnirender | chaiNNer's rule | traiNNer's rule |"
    yield "|---|---|---|---|"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [(f"`{a}` / `{b}`", *(data / "models" / f"{n}.pth" for n in (a, b))) for a, b in PAIRS]
        for what, a, b in [*files, *made(folder)]:
            yield f"| {what} | {ours(a, b)} | {chainner(a, b, folder)} | {trainner(a, b)} |"
    yield ""
    yield "traiNNer's `-i 0` mixes half and half, as 0 counts as no option; ours copies A bit for bit."


def noise(data):
    files = {name: data / "models" / f"dncnn_color_{name}.pth" for name in ("sigma15", "sigma50")}
    engine = Engine(*load(files), device="cpu", dtype="fp32")
    source = open_source(data / "clips/road.mp4")
    indices = np.linspace(0, len(source.metadata.pts) - 1, FRAMES).round().astype(int)
    clean = [middle(frame.image, SIDE) for frame in source.frames([int(index) for index in indices])]
    rng = np.random.default_rng(0)
    noisy = [np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).round().astype(np.uint8) for image in clean]
    yield f"PSNR in dB over {FRAMES} frames of road.mp4 ({SIDE}x{SIDE} of them) with noise of sigma {NOISE}:"
    yield ""
    yield "| alpha | " + " | ".join(f"{alpha:g}" for alpha in ALPHAS) + " |"
    yield "|---|" + "---|" * len(ALPHAS)
    found = [np.mean([psnr(engine.render(x, alpha), y) for x, y in zip(noisy, clean, strict=True)]) for alpha in ALPHAS]
    yield "| sigma15 to sigma50 | " + " | ".join(f"{value:.1f}" for value in found) + " |"
    fades = [[engine.render(x, end) for x in noisy] for end in (0, 1)]
    mixed = [np.mean([psnr((1 - t) * a + t * b, y) for a, b, y in zip(*fades, clean, strict=True)]) for t in ALPHAS]
    yield "| crossfade of the ends | " + " | ".join(f"{value:.1f}" for value in mixed) + " |"


def psnr(image, clean):
    return 10 * np.log10(255**2 / np.square(image.astype(float) - clean).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", default="pairs,rivals,noise")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = []
    for row in arguments.rows.split(","):
        for line in {"pairs": pairs, "rivals": rivals, "noise": noise}[row](arguments.data):
            print(line, flush=True)
            lines.append(line)
        lines.append("")
    if arguments.out:
        arguments.out.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
