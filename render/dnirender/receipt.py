"""What a rendered video says of itself, so that it can be checked against its source at any later time.

A line of JSON: in Matroska and WebM a tag, in MP4 and MOV a box of its own kind behind all others, which every player
passes over (ISO/IEC 14496-12, 4.2).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnirender.containers import open_container
from dnirender.errors import MediaError

TAG = "DNIRENDER"
KIND = uuid.UUID("6c1b7a52-2f6e-4d0b-9d7e-6b7f0d5a1c3e").bytes
LONGEST = 1 << 16

Receipt = Mapping[str, Any]


def as_text(receipt: Receipt) -> str:
    """The line."""
    return json.dumps(dict(receipt), ensure_ascii=False, separators=(",", ":"))


def append_box(file: Path, text: str) -> None:
    """Puts the line behind the last box of an MP4 or MOV file."""
    data = text.encode()
    with file.open("ab") as out:
        out.write((24 + len(data)).to_bytes(4, "big") + b"uuid" + KIND + data)


def read_receipt(path: Path) -> Receipt | None:
    """That of a file; None where it has none. MediaError: it cannot be opened."""
    with open_container(path) as container:
        text = container.metadata.get(TAG)
    try:
        found = json.loads(text if text is not None else _boxed(path))
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: what it says of its making cannot be read ({error})") from error
    return found if isinstance(found, dict) else None


def _boxed(path: Path) -> str:
    """The line in the box, `null` where there is none."""
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
    return "null"
