"""What a rendered video says of itself, so that it can be checked against its source at any later time.

A line of JSON: in Matroska and WebM a tag, in MP4 and MOV a box of its own kind behind all others, which every player
passes over (ISO/IEC 14496-12, 4.2).
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from dnirender.errors import MediaError
from dnirender.media.containers import open_container

TAG = "DNIRENDER"
KIND = uuid.UUID("6c1b7a52-2f6e-4d0b-9d7e-6b7f0d5a1c3e").bytes
LONGEST = 1 << 16


class Provenance(BaseModel):
    """From what a file was made, and how its frames follow from that: frames `start` to `stop` of the source, all other
    streams as the options say. `crc32` is the CRC-32 of the video's packets, `job` the mark of the job if this is all
    of it."""

    model_config = ConfigDict(frozen=True)

    program: str
    source: str
    sample: str
    preset: str
    keyframes: str
    video_stream: Annotated[int, Field(ge=0)] | None
    start: int = Field(ge=0)
    stop: int = Field(ge=1)
    frames: int = Field(ge=1)
    boomerang: bool
    audio: bool
    subtitles: bool
    ignore_errors: bool
    job: str = ""
    crc32: int | None = None


def to_json(provenance: Provenance) -> str:
    """The line."""
    return provenance.model_dump_json()


def append_box(file: Path, text: str) -> None:
    """Puts the line behind the last box of an MP4 or MOV file."""
    data = text.encode()
    with file.open("ab") as out:
        out.write((24 + len(data)).to_bytes(4, "big") + b"uuid" + KIND + data)


def read_provenance(path: Path) -> Provenance | None:
    """That of a file; None where it has none. MediaError: it cannot be opened."""
    with open_container(path) as container:
        text = container.metadata.get(TAG)
    try:
        text = _boxed(path) if text is None else text
        return None if text is None else Provenance.model_validate_json(text)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: what it says of its making is not what dnirender writes") from error


def _boxed(path: Path) -> str | None:
    """The line in the box; None where there is none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        while place + 24 <= size:
            file.seek(place)
            head = file.read(24)
            length = int.from_bytes(head[:4], "big")
            if head[4:8] == b"uuid" and head[8:] == KIND and length <= LONGEST:
                return file.read(length - 24).decode()
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                break
            place += length
    return None
