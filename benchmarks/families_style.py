"""Tunable networks compared on styles: from one painting to another, with the same base, data, steps and seed.

    python benchmarks/families_style.py --data DIR --work DIR [--base painters] [--steps 300] [--sheet FILE.jpg]

The base is the endpoint `starry_night` of the preset `painters`; it stays as it is, and every family is trained to
paint like `great_wave` in `--steps` steps, by the loss of the painters. With `--base style` it is that endpoint of the
network for any style, on which FTN and fine-tuning (DNI) are compared with its own path (AdaIN), which nothing is
trained for.

At 11 levels, on pictures of BSDS500 that no training has seen: the loss of each painting, which is the style error
that is trained for, by VGG19 (pictures together); style and content distance as in quality/painters.py, by SqueezeNet.
`blend` mixes the pixels of the ends of the fine-tuned pair. Smoothness and costs are those of families.py. `--sheet`
draws one picture along the path of each.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "quality"))
from painters import CONTENT_LAYER, mean, tensor, unseen

from dnirender import Preset
from dnirender.families.loading import load_family
from dnirender.layout.panels import crossfade
from dnirender.media.images import read_image
from dnirender.media.resize import limit_width, resize_to
from dnirender.networks.architectures import paint
from dnirender.preset_files import preset_folder
from dnirender.train.features import Moments, distilled_vgg19, gram, squeezenet
from dnirender.train.recipe import Recipe
from dnirender.train.tasks.style import resized
from families import FAMILIES, LEVELS, costs, engine_of, smoothness, trained

ENDS = ("starry_night", "great_wave")
SIZE = 576  # pixels, short side of a painting in the loss
PAINTING = 768  # pixels, its width where it is looked at
ON_ANY_STYLE = ("DNI", "FTN")
SHOWN = (0, 4, 6, 10)  # numbers of levels on the sheet


def load_ends(preset):
    """The network and path of both paintings, as a preset has them."""
    settings = Preset.load(preset).network
    files = {name: settings.files[name] for name in ENDS}
    return load_family(settings.family, files, settings.levels, settings.styles)


def recipe(family, kernel, chosen):
    """From the base to the second painting; both ends begin at the base."""
    ends = [{"name": name, "image": f"styles/{name}.jpg", "size": SIZE} for name in ENDS]
    ends[0]["share"] = 0
    data = {"name": f"{family} {kernel}", "kind": "style", "family": family, "endpoints": ends}
    data |= {"photos": chosen.photos, "held_out": chosen.held_out, "settings": chosen.settings | {"kernel": kernel}}
    data |= {"stages": [{"train": "endpoints", "steps": chosen.steps}]}
    settings = {"batch": chosen.batch, "crop": chosen.crop, "learning_rate": chosen.rate, "seed": chosen.seed}
    return Recipe.checked(data | {"training": settings}, "families_style")


def path_renders(engine, picture):
    return [engine.render(picture, (1 - level, level)) for level in LEVELS]


class View:
    """What both feature networks see of the paintings, and how far renders are from it."""

    def __init__(self, squeeze, vgg, paintings):
        self._squeeze, self._vgg = squeeze, vgg
        large = [limit_width(painting, PAINTING) for painting in paintings]
        self._grams = [self._look(painting)[0] for painting in large]
        short = [tensor(painting) for painting in paintings]
        with torch.inference_mode():
            self._goals = [
                [Moments.of(f) for f in vgg(resized(painting, SIZE / min(painting.shape[-2:])))] for painting in short
            ]

    @torch.inference_mode()
    def _look(self, image):
        maps = self._squeeze(tensor(image))
        return [gram(f) for f in maps], maps[CONTENT_LAYER]

    def figures(self, renders, pictures):
        """{what: [painting]} of renders of pictures."""
        looks = [self._look(render) for render in renders]
        contents = [self._look(picture)[1] for picture in pictures]
        pairs = zip(looks, contents, strict=True)
        content = mean((found - c).square().mean() / c.square().mean() for (_, found), c in pairs)
        styles = [
            mean(
                sum((g - goal).square().sum() / goal.square().sum() for g, goal in zip(grams, goals, strict=True))
                for grams, _ in looks
            )
            for goals in self._grams
        ]
        return {"loss": self._losses(renders), "style distance": styles, "content distance": [content]}

    @torch.inference_mode()
    def _losses(self, renders):
        """The style error of the training, of all renders together, for each painting."""
        several = [[Moments.of(f) for f in self._vgg(tensor(render))] for render in renders]
        means = [torch.stack([m.mean for m in level]).mean(0) for level in zip(*several, strict=True)]
        powers = [torch.stack([m.power for m in level]).mean(0) for level in zip(*several, strict=True)]
        pooled = [Moments(m, p - m[:, :, None] * m[:, None]) for m, p in zip(means, powers, strict=True)]
        return [sum(float(m.distance(g)) for m, g in zip(pooled, goals, strict=True)) for goals in self._goals]


def along(renders, view, pictures):
    """{what: [level][painting]} of renders [picture][level]; content distance has no paintings."""
    rows = [view.figures(column, pictures) for column in zip(*renders, strict=True)]
    return {what: [row[what] for row in rows] for what in rows[0]}


def engines(chosen):
    """(name, engine, what `costs` and the training found) of every path."""
    network, path = load_ends(chosen.base)
    if chosen.base == "style":
        yield "AdaIN", engine_of((network, path)), None
    base = {view.name: view.of(path.stack[0]).clone() for view in path.layout}
    for name, (family, kernel) in FAMILIES.items():
        if chosen.base != "style" or name in ON_ANY_STYLE:
            folder = chosen.work / f"{chosen.base}-seed{chosen.seed}" / f"{family}{kernel}"
            found, seconds, files = trained(recipe(family, kernel, chosen), folder, chosen, base)
            yield name, engine_of(found), (*costs(family, kernel, files[ENDS[-1]], paint), seconds)


def measure(chosen, view, pictures):
    """{name: figures} of every path; draws the sheet, if there is to be one."""
    figures, rows = {}, []
    for name, engine, facts in engines(chosen):
        renders = [path_renders(engine, picture) for picture in pictures]
        smooth = mean(smoothness(one) for one in renders)
        figures[name] = along(renders, view, pictures) | {"smoothness": smooth, "facts": facts}
        rows.append([renders[chosen.shown][level] for level in SHOWN])
        if name == "DNI":
            blends = [[crossfade((one[0], one[-1]), (1 - n, n)) for n in LEVELS] for one in renders]
            figures["blend"] = along(blends, view, pictures) | {
                "smoothness": mean(smoothness(one) for one in blends), "facts": None
            }  # fmt: skip
    if chosen.sheet:
        write_sheet(rows, chosen.sheet)
    return figures


def write_sheet(rows, target, width=170, quality=65):
    """A JPEG: a row for each path, a column for each level of `SHOWN`."""
    import cv2

    height = round(width * rows[0][0].shape[0] / rows[0][0].shape[1])
    image = np.vstack([np.hstack([resize_to(cell, width, height) for cell in row]) for row in rows])
    cv2.imwrite(str(target), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def report(figures):
    """Prints the tables."""
    for what, of in (("loss", ENDS), ("style distance", ENDS), ("content distance", ())):
        title = f"{what}: {', '.join(of)}" if of else what
        print(f"| {title} | " + " | ".join(f"{level:.1f}" for level in LEVELS) + " |\n|" + "---|" * (len(LEVELS) + 1))
        for name, found in figures.items():
            cells = [", ".join(f"{value:.2f}" for value in values) for values in found[what]]
            print(f"| {name} | " + " | ".join(cells) + " |")
        print()
    print("| | smoothness | parameters added | cost as in the paper | cost here | seconds of training |")
    print("|" + "---|" * 6)
    for name, found in figures.items():
        cells = ["", "", "", ""]
        if found["facts"]:
            paper, ours, added, seconds = found["facts"]
            cells = [f"{100 * added:.1f} %", f"{paper:.2f}", f"{ours:.2f}", f"{seconds:.0f}"]
        print(f"| {name} | {found['smoothness']:.2f} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints; trainings resume there")
    parser.add_argument("--base", choices=("painters", "style"), default="painters", help="the preset of the base")
    parser.add_argument("--photos", type=Path, default="photos/cid22", help="a folder in the data folder")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=192)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--every", type=int, default=2, help="one picture in so many, of the eight of painters.py")
    parser.add_argument("--shown", type=int, default=0, help="number of the picture on the sheet")
    parser.add_argument("--sheet", type=Path, metavar="FILE.jpg")
    chosen = parser.parse_args()
    shipped = Recipe.load(preset_folder() / "recipes" / "painters.yaml")
    chosen.photos, chosen.held_out, chosen.settings = [chosen.photos], shipped.held_out, shipped.settings
    paintings = [read_image(chosen.data / "styles" / f"{name}.jpg")[0] for name in ENDS]
    pictures = unseen(chosen.data)[:: chosen.every]
    print(f"{len(pictures)} pictures, {chosen.steps} steps of {chosen.batch} crops, seed {chosen.seed}\n")
    networks = chosen.data / "perceptual"
    view = View(squeezenet(networks), distilled_vgg19(networks), paintings)
    report(measure(chosen, view, pictures))


if __name__ == "__main__":
    main()
