"""Still pictures: held as a source, written as numbered PNG files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from dnirender.decoding.source import Facts, Source
from dnirender.encoding.segment_file import Packet, Parts, check_numbers
from dnirender.errors import MediaError, OutputError
from dnirender.files import disk_errors, part_path, publish
from dnirender.frames import Frame, Image, Opacity
from dnirender.media.colorspace import Colour

STILL_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def is_still(path: Path) -> bool:
    """Whether the name is that of a picture rather than a video."""
    return path.suffix.lower() in STILL_SUFFIXES


def read_picture(path: Path) -> tuple[Image, Opacity | None]:
    """An upright RGB picture of 8 or 16 bits, and how opaque it is, if it says so."""
    try:
        data = np.fromfile(path, np.uint8)
        if data[:2].tobytes() == b"\xff\xd8":  # of a JPEG that is cut off OpenCV gives nothing, without this mark
            data = np.append(data, np.frombuffer(b"\xff\xd9", np.uint8))
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MediaError(f"{path}: cannot be read as a picture ({error.err})") from error
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if _is_animated(data.tobytes()):
        raise MediaError(f"{path}: is animated, and of moving pictures only GIF and video are read; convert it first")
    if image is None or image.dtype.name not in ("uint8", "uint16"):
        raise MediaError(f"{path}: cannot be read as a picture of 8 or 16 bits")
    opacity = _upright_opacity(raw, image) if raw is not None and raw.ndim == 3 and raw.shape[2] == 4 else None
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), opacity


def _upright_opacity(raw: Image, upright: Image) -> Opacity:
    """The opacity of a picture as stored, turned as its colours were: OpenCV gives a fourth channel only unturned."""
    for mirrored in (raw, raw[:, ::-1]):
        for turns in range(4):
            turned = np.rot90(mirrored, turns)
            if turned.shape[:2] == upright.shape[:2] and np.array_equal(turned[..., :3], upright):
                return np.ascontiguousarray(turned[..., 3])
    return np.ascontiguousarray(cv2.resize(raw[..., 3], (upright.shape[1], upright.shape[0])))


def _is_animated(data: bytes) -> bool:
    """Whether these are the bytes of an animated WebP or PNG."""
    webp = data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and b"ANIM" in data[16:64]
    return webp or (data[:8] == b"\x89PNG\r\n\x1a\n" and b"acTL" in data[:128])


class Still(Source):
    """A picture, held: every frame is the same pixels."""

    def __init__(self, path: Path, num_frames: int, rate: Fraction) -> None:
        self._image, self._opacity = read_picture(path)
        depth = 8 if self._image.dtype == np.uint8 else 16
        height, width = self._image.shape[:2]
        facts = Facts(
            width=width,
            height=height,
            pix_fmt="rgb24" if depth == 8 else "rgb48le",
            depth=depth,
            sampling=None,
            colour=Colour(matrix=1, full_range=False, primaries=1, transfer=1),
            sample_aspect_ratio=Fraction(1),
            rotation=0,
            time_base=1 / rate,
            pts=tuple(range(num_frames)),
            last_duration=1,
            format="image",
            codec=path.suffix.lower().lstrip("."),
            still=True,
            opacity=self._opacity is not None,
        )
        super().__init__(path, facts)

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        for index in indices:
            yield Frame(index, self.facts.pts[index], self._image, self._opacity)


class PngRecorder:
    """Pictures as PNG: whole, each for itself, 16 bits where they have them."""

    header = b""

    def record(self, index: int, picture: Any) -> Iterator[Packet]:
        yield Packet(index, True, encode_png(picture))

    def flush(self) -> Iterator[Packet]:
        return iter(())


class PictureSink:
    """Numbered PNG files after a pattern such as `frame_%04d.png`, numbered from 0; 16 bits where the picture has.

    `order` lists the number of each file's picture, where pictures come back. All get their names at the end: what an
    older sequence left under them stays until the new one is complete.
    """

    def __init__(self, pattern: Path, order: Sequence[int]) -> None:
        self._pattern, self._order = pattern, order

    def converted(self, image: Image) -> Image:
        """The picture."""
        return image

    def recorder(self) -> PngRecorder:
        """One that makes PNG."""
        return PngRecorder()

    def deliver(self, parts: Parts, folder: Path) -> list[tuple[Path, Path]]:
        """One file for each picture."""
        check_numbers(parts, max(self._order) + 1, self._pattern)
        files: list[tuple[Path, Path]] = []
        for number, picture in enumerate(self._order):
            target = numbered(self._pattern, number)
            files.append((folder / f"{number}.png", target))
            with disk_errors(target):
                files[-1][0].write_bytes(parts[picture].data)
        return files


def numbered(pattern: Path, number: int) -> Path:
    """The path of picture `number`."""
    return pattern.with_name(pattern.name % number)


def write_png(target: Path, image: Image) -> None:
    """Writes one picture under its name when it is whole."""
    part = part_path(target)
    try:
        with disk_errors(target):
            part.write_bytes(encode_png(image))
        publish(part, target)
    finally:
        part.unlink(missing_ok=True)


def encode_png(image: Image) -> bytes:
    """The bytes of a PNG file of the picture [h, w, 3 or 4]."""
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(".png", cv2.cvtColor(image, order))
    if not done:
        raise OutputError(f"a picture of {image.shape[1]}x{image.shape[0]} could not be encoded as PNG")
    return data.tobytes()


def decode_png(data: bytes) -> Image:
    """The picture that `encode_png` was given."""
    image = cast(Image, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB))
