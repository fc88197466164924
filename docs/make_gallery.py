"""The pictures of gallery.md, from the sample clip and from pictures in DATA.

    python docs/make_gallery.py --data DATA [NAME ...]

Only the pictures named are made, or all.
"""

import argparse
from pathlib import Path

import cv2

from dnirender import Job, Preset, render
from dnirender.pictures import read_picture
from dnirender.sheet import make_sheet

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "samples" / "boulevard.mp4"

ANIMATIONS = {  # name: preset, source (None: the sample), keyframes, width, frames per second, other options
    "evening": ("day-to-night", None, "0:0, 4.5s:1", 400, 10, {}),
}
SHEETS = {  # name: preset, source (None: the sample), frames, values, width
    "evening_sheet": ("day-to-night", None, "0,50%,end", "day,0.17,golden,0.5,dusk,0.83,night", 480),
}


def animate(name: str, data: Path) -> None:
    """One animated WebP, into the gallery's folder."""
    preset, source, keyframes, width, rate, more = ANIMATIONS[name]
    changes = {"timeline": {"keyframes": keyframes}, "layout": {"width": width}, "gif": {"width": width, "fps": rate}}
    chosen = Preset.load(preset).override(changes)
    file = SAMPLE if source is None else data / source
    render(file, HERE / "gallery" / f"{name}.webp", preset=chosen, fps=rate, overwrite=True, **more)


def contact_sheet(name: str, data: Path) -> None:
    """One contact sheet as JPEG, into the gallery's folder."""
    preset, source, frames, values, width = SHEETS[name]
    chosen = Preset.load(preset).override({"layout": {"width": width}})
    target = HERE / "gallery" / f"{name}.png"
    file = SAMPLE if source is None else data / source
    make_sheet(Job(file, target, preset=chosen, overwrite=True), frames.split(","), values.split(","), preset)
    pixels = cv2.cvtColor(read_picture(target)[0], cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(target.with_suffix(".jpg")), pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])
    target.unlink()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*ANIMATIONS, *SHEETS)))
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    for name in given.names or (*ANIMATIONS, *SHEETS):
        (animate if name in ANIMATIONS else contact_sheet)(name, given.data)


if __name__ == "__main__":
    main()
