"""The images of gallery.md, from the sample clip and from images in the public domain or under CC0.

    python docs/make_gallery.py --data DATA [NAME ...]

DATA holds `clips/flower.mp4` (CC0), `clips/road.mp4` (MIT) and `photos/free/skimage_*.jpg` (public domain or CC0;
gallery.md names their sources). Makes the images NAME, or all.
"""

import argparse
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np

import dnirender
from dnirender import Engine, Preset, networks, render, render_frames
from dnirender.jobs.contact_sheet import make_sheet
from dnirender.jobs.job import make_job
from dnirender.layout.contact_sheet import sheet
from dnirender.media.images import read_image
from dnirender.media.resize import limit_width

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "samples" / "boulevard.mp4"
CAT, COFFEE = "photos/free/skimage_chelsea.jpg", "photos/free/skimage_coffee.jpg"
FLOWER = "clips/flower.mp4"

# name: preset, source (None: the sample), keyframes (None: the preset's), width, frames per second
ANIMATIONS = {
    "evening": ("day-to-night", None, "0:0, 4.5s:1", 400, 10),
    "painted_flower": ("painters", FLOWER, "0:photo, 0.4s:photo, 1.2s:starry_night@smooth, 1.6s:starry_night,"
                       " 2.4s:great_wave@smooth, 2.8s:great_wave, 3.6s:the_scream@smooth, 4s:the_scream,"
                       " 4.8s:olive_trees@smooth", 360, 10),
    "drawing": ("sketchbook", CAT, "0:photo, 1.2s:pencil@smooth, 1.6s:pencil, 2.8s:ink@smooth, 3.2s:ink,"
                " 4.4s:watercolour@smooth, 5.2s:watercolour", 280, 8),
    "focus_pull": ("focus", FLOWER, "0:deep, 1s:deep, 2.4s:shallow@smooth, 4s:shallow", 400, 10),
}  # fmt: skip
SHEETS = {  # name: preset, source (None: the sample), frames, values, width
    "evening_sheet": ("day-to-night", None, "0,50%,end", "day,0.17,golden,0.5,dusk,0.83,night", 480),
    "painters_sheet": (
        "painters",
        COFFEE,
        "0",
        "starry_night,great_wave,the_scream,water_lilies,composition_vii,wheat_field,shipwreck,olive_trees",
        360,
    ),
    "between_painters": (
        "painters",
        CAT,
        "0",
        "photo,0.5*photo+0.5*great_wave,great_wave,"
        "0.5*great_wave+0.5*the_scream,the_scream,0.5*the_scream+0.5*water_lilies,water_lilies",
        360,
    ),
    "sketchbook_sheet": ("sketchbook", COFFEE, "0", "photo,0.17,pencil,0.5,ink,0.83,watercolour", 400),
    "focus_sheet": ("focus", FLOWER, "120", "deep,0.25,0.5,0.75,shallow", 480),
}


ROAD = "clips/road.mp4"
MASKED = {  # name: preset, source, keyframes, settings of the mask, last frame, width, frames per second
    "painted_sky": ("painters", ROAD, "0:starry_night", {"sky": True, "feather": 8}, "2s", 280, 8),
}
STEADIED = {"steady": ("painters", FLOWER, "0:starry_night", 30, 150, 10)}  # the first frames as they are, and steadied

CLOSE_UPS = {"detail": (ROAD, 60, 266, 366)}  # name: source, frame, first row and column of the crop


def animate(name: str, data: Path) -> None:
    """Writes one animated WebP into the folder of the gallery."""
    preset, source, keyframes, width, rate = ANIMATIONS[name]
    changes = {"layout": {"width": width}, "animation": {"width": width, "fps": rate}}
    if keyframes:
        changes["timeline"] = {"keyframes": keyframes}
    chosen = Preset.load(preset).override(changes)
    file = SAMPLE if source is None else data / source
    render(file, HERE / "gallery" / f"{name}.webp", preset=chosen, fps=rate, overwrite=True)


def mask(name: str, data: Path) -> None:
    """Writes one animated WebP of a masked render into the folder of the gallery."""
    preset, source, keyframes, settings, end, width, rate = MASKED[name]
    changes = {"layout": {"width": width}, "animation": {"width": width}, "mask": settings, "effect": {"steady": 0.8}}
    chosen = Preset.load(preset).override(changes)
    target = HERE / "gallery" / f"{name}.webp"
    render(data / source, target, preset=chosen, keyframes=keyframes, end=end, fps=rate, overwrite=True)


def steady(name: str, data: Path) -> None:
    """Writes one animated WebP: the middle of a render as it is, beside the same steadied."""
    preset, source, keyframes, count, width, rate = STEADIED[name]
    frames = [frame.image for frame in dnirender.open(data / source)[:count]]
    small = [limit_width(image, 2 * width) for image in frames]
    made = [list(render_frames(small, keyframes, preset=preset, steady=strength)) for strength in (0, 1)]
    pairs = [np.hstack([half[:, width // 2 : width // 2 + width] for half in pair]) for pair in zip(*made, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "pairs.mkv")
        with av.open(str(clip), "w") as container:
            stream = container.add_stream("ffv1", rate=30, width=2 * width, height=pairs[0].shape[0], pix_fmt="bgr0")
            for image in pairs:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="bgr0")))
            container.mux(stream.encode())
        untouched = Preset.load("day-to-night").override({"animation": {"width": 2 * width}})
        render(clip, HERE / "gallery" / f"{name}.webp", preset=untouched, keyframes="0:day", fps=rate, overwrite=True)


def contact_sheet(name: str, data: Path) -> None:
    """Writes one contact sheet as JPEG into the folder of the gallery."""
    preset, source, frames, values, width = SHEETS[name]
    chosen = Preset.load(preset).override({"layout": {"width": width}})
    target = HERE / "gallery" / f"{name}.png"
    file = SAMPLE if source is None else data / source
    make_sheet(make_job(file, target, preset=chosen, overwrite=True), frames.split(","), values.split(","), preset)
    pixels = cv2.cvtColor(read_image(target)[0], cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(target.with_suffix(".jpg")), pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])
    target.unlink()


def close_up(name: str, data: Path) -> None:
    """A crop of a frame, enlarged by two, by Lanczos and along the path of `detail`, pixels doubled."""
    source, number, top, left = CLOSE_UPS[name]
    small = dnirender.open(data / source)[number].image[top : top + 90, left : left + 120]
    preset = Preset.load("detail")
    engine = Engine(*networks.load({endpoint.name: endpoint.weights for endpoint in preset.network.endpoints}))
    renders = [cv2.resize(small, None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4)]
    renders += [engine.render(small, alpha) for alpha in ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))]
    shown = [cv2.resize(render, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) for render in renders]
    page = sheet([shown], ["x2"], ["Lanczos", "faithful", "1/2", "crisp"], "detail", width=2000)
    _, code = cv2.imencode(".jpg", cv2.cvtColor(page, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    (HERE / "gallery" / f"{name}.jpg").write_bytes(code.tobytes())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MAKERS))
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    for name in given.names or MAKERS:
        MAKERS[name](name, given.data)


MAKERS = dict.fromkeys(ANIMATIONS, animate) | dict.fromkeys(MASKED, mask) | dict.fromkeys(STEADIED, steady)
MAKERS |= dict.fromkeys(SHEETS, contact_sheet) | dict.fromkeys(CLOSE_UPS, close_up)

if __name__ == "__main__":
    main()
