"""Comparisons of animations and pictures with their source: frames, times, loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.open import open_source
from dnirender.encoding.animation import TIME_BASES, check_rate
from dnirender.encoding.image_record import read_record
from dnirender.encoding.image_sequence import numbered_path
from dnirender.encoding.provenance import Provenance
from dnirender.errors import MediaError
from dnirender.jobs.frame_selection import animation_frames
from dnirender.media.images import read_image

FORMATS = {".gif": "gif", ".webp": "webp", ".apng": "apng"}


@dataclass(frozen=True)
class Check:
    """One comparison: its name, whether it holds, and what was found."""

    name: str
    good: bool
    found: str


def check_bytes(path: Path, provenance: Provenance) -> Check:
    """Whether the file is as it was written."""
    same = read_record(path)[1] == provenance.crc32
    return Check("file", same, "the same bytes" if same else "other bytes than were written")


def check_animation(path: Path, provenance: Provenance, source: VideoMetadata) -> Iterator[Check]:
    """The frames of an animation, their times and its loop."""
    opened = open_source(path)
    metadata, broken = opened.metadata, ""
    count = 0
    try:
        for _ in opened.frames(range(len(metadata.pts))):
            count += 1
    except MediaError as error:
        broken = f", then: {error}"
    is_webp = path.suffix.lower() == ".webp"  # whose encoder merges equal frames
    complete = count == provenance.frames or (is_webp and 0 < count < provenance.frames)
    merged = ", equal ones merged" if complete and count < provenance.frames else ""
    yield Check("frames", complete and not broken, f"{count} of {provenance.frames} decoded{merged}{broken}")
    if not (provenance.boomerang or source.still):
        times = animation_frames(source, provenance.start, provenance.stop, Fraction(provenance.fps))[1]
        unit = TIME_BASES[FORMATS[path.suffix.lower()]]
        expected = [stop for _, stop in check_rate(path, times)]
        ends = [*metadata.pts[1:], metadata.pts[-1] + metadata.last_duration]
        found = [round(end * metadata.time_base / unit) for end in ends]
        wrong = [number for number, end in enumerate(found) if end not in expected]
        good = not wrong and found[-1] == expected[-1] and (is_webp or len(found) == len(expected))
        yield Check(
            "times", good, "as in the source" if good else f"different from frame {wrong[0] if wrong else 0} on"
        )
    loops = _loops(path.read_bytes())
    yield Check("loop", loops == 0, "for ever" if loops == 0 else "once" if loops is None else f"{loops} times")


def check_sequence(pattern: Path, provenance: Provenance) -> Iterator[Check]:
    """The files of a sequence, which are all of one size, or the only picture."""
    sizes, missing = set[tuple[int, int]](), list[str]()
    for number in range(provenance.frames):
        path = numbered_path(pattern, number)
        try:
            image = read_image(path)[0]
            sizes.add((image.shape[1], image.shape[0]))
        except MediaError as error:
            missing.append(str(error))
    count = provenance.frames - len(missing)
    text = f"{count} of {provenance.frames} files are there" + (f"; {missing[0]}" if missing else "")
    yield Check("frames", not missing, text)
    yield Check("size", len(sizes) == 1, " and ".join(f"{width}x{height}" for width, height in sorted(sizes)))


def _loops(data: bytes) -> int | None:
    """How often an animation is shown, 0 for ever; None without a statement, which is once."""
    if data[:4] == b"GIF8":
        at = data.find(b"NETSCAPE2.0\x03\x01")
        return int.from_bytes(data[at + 13 : at + 15], "little") if at > 0 else None
    if data[:4] == b"RIFF":
        at = data.find(b"ANIM")
        return int.from_bytes(data[at + 12 : at + 14], "little") if at > 0 else 0
    at = data.find(b"acTL")
    return int.from_bytes(data[at + 8 : at + 12], "big") if at > 0 else None
