"""Provenance record embedded in a rendered video, so that it can be verified against its source later.

One line of JSON: a tag in Matroska and WebM, a `uuid` box at the end of the file in MP4 and MOV, which players skip
(ISO/IEC 14496-12, 4.2).
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from dnirender.errors import MediaError
from dnirender.media.containers import open_container

TAG = "DNIRENDER"
BOX_UUID = uuid.UUID("6c1b7a52-2f6e-4d0b-9d7e-6b7f0d5a1c3e").bytes
MAX_BOX_BYTES = 1 << 16


class Provenance(BaseModel):
    """The source of a rendered video and the options it was rendered with.

    The frames are `start` (inclusive) to `stop` (exclusive) of the source. `sample` is the sampling hash of the source.
    `cfr` is the constant frame rate that was made of its times, `fps` that of an animation. `crc32` is the CRC-32 of
    the video packets, or of a file of images without this record; `job` is the short hash of the job, empty for a
    partial render.
    """

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
    cfr: str = ""
    fps: str = ""
    crc32: int | None = None


def to_json(provenance: Provenance) -> str:
    """The record as one line of JSON."""
    return provenance.model_dump_json()


def append_box(file: Path, text: str) -> None:
    """Appends `text` as a `uuid` box to an MP4 or MOV file."""
    data = text.encode()
    with file.open("ab") as out:
        out.write((24 + len(data)).to_bytes(4, "big") + b"uuid" + BOX_UUID + data)


def read_provenance(path: Path) -> Provenance | None:
    """The provenance record of a video, None if it has none.

    Raises:
        MediaError: the file cannot be opened, or the record is invalid.
    """
    with open_container(path) as container:
        text = container.metadata.get(TAG)
    try:
        text = _read_box(path) if text is None else text
        return None if text is None else Provenance.model_validate_json(text)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: the embedded provenance record is invalid") from error


def _read_box(path: Path) -> str | None:
    """The text of the `uuid` box, None if there is none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while offset + 24 <= size:
            file.seek(offset)
            header = file.read(24)
            length = int.from_bytes(header[:4], "big")
            if header[4:8] == b"uuid" and header[8:] == BOX_UUID and length <= MAX_BOX_BYTES:
                return file.read(length - 24).decode()
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if length < 8:
                break
            offset += length
    return None
