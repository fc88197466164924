"""What was measured on this machine, kept between runs. All of it may be deleted at any time.

FOLDER/HASH.json    an entry: its key, and the value that was found for it
FOLDER/HASH.bin     bytes under a key, after their checksum
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

VARIABLE = "DNIRENDER_CACHE"
"""The environment variable that moves the folder, or, where it is empty, switches the cache off."""
MAX_ENTRIES, MAX_BYTES = 1000, 256 << 20  # what is used least goes first
MAX_ENTRY_BYTES = 1 << 16
STALE_SECONDS = 3600  # after which a file that was never finished is removed
CHECKSUM_BYTES = 32

Key = Mapping[str, Any]
"""What a value depends on: JSON. Equal keys are equal as JSON with sorted names."""


def cache_folder() -> Path | None:
    """That of DNIRENDER_CACHE, or one in the user's folder for caches; None where the variable is empty."""
    if (chosen := os.environ.get(VARIABLE)) is not None:
        return Path(chosen).expanduser() if chosen else None
    from platformdirs import user_cache_path

    return user_cache_path("dnirender", appauthor=False)


class Cache:
    """Values by key in a folder that processes share; without a folder it is always empty.

    With `fresh` only what this object has written is read, so that all is measured anew. What cannot be read, or was
    changed, is as if it were not there; what cannot be written is not kept. Files are written under another name and
    renamed, so that no process reads half of one.
    """

    def __init__(self, folder: Path | None, *, fresh: bool = False) -> None:
        self._folder = folder
        self._readable: set[str] | None = set() if fresh else None

    @property
    def is_on(self) -> bool:
        """Whether anything can be kept."""
        return self._folder is not None

    def read(self, key: Key) -> dict[str, Any]:
        """The entry's value; empty where there is none."""
        text = _canonical(key)
        try:
            entry: Any = json.loads(self._bytes(text, ".json", MAX_ENTRY_BYTES) or b"{}")
        except (ValueError, RecursionError):
            return {}
        if not isinstance(entry, dict) or _canonical(entry.get("key")) != text:
            return {}
        value = entry.get("value")
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    def write(self, key: Key, value: Mapping[str, Any]) -> None:
        """Replaces the entry's value, a JSON object."""
        self._put(_canonical(key), ".json", json.dumps({"key": key, "value": value}, indent=1).encode())

    def read_bytes(self, key: Key) -> bytes | None:
        """What was kept under the key, unchanged; None where there is nothing."""
        data = self._bytes(_canonical(key), ".bin", MAX_BYTES) or b""
        checksum, content = data[:CHECKSUM_BYTES], data[CHECKSUM_BYTES:]
        return content if content and hashlib.sha256(content).digest() == checksum else None

    def write_bytes(self, key: Key, data: bytes) -> None:
        """Keeps bytes; those that would fill a quarter of the cache are not kept."""
        if len(data) <= MAX_BYTES // 4:
            self._put(_canonical(key), ".bin", hashlib.sha256(data).digest() + data)

    def _bytes(self, text: str, suffix: str, most: int) -> bytes | None:
        name = f"{_hash(text)}{suffix}"
        if self._folder is None or (self._readable is not None and name not in self._readable):
            return None
        path = self._folder / name
        try:
            state = path.stat()
            if state.st_size > most or (hasattr(os, "getuid") and state.st_uid != os.getuid()):
                return None  # a graph from somebody else would be run
            data = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used last
        return data

    def _put(self, text: str, suffix: str, data: bytes) -> None:
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(suffix=".growing", dir=self._folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                target = f"{_hash(text)}{suffix}"
                Path(name).replace(self._folder / target)
                if self._readable is not None:
                    self._readable.add(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self._tidy(self._folder)

    def _tidy(self, folder: Path) -> None:
        """Removes what was used least, as far as there is too much, and what a killed process left."""
        files: list[tuple[float, int, str]] = []
        for item in os.scandir(folder):
            with contextlib.suppress(OSError):
                state = item.stat()
                if item.name.endswith((".json", ".bin")):
                    files.append((state.st_mtime, state.st_size, item.path))
                elif item.name.endswith(".growing") and time.time() - state.st_mtime > STALE_SECONDS:
                    Path(item.path).unlink()
        count, size = len(files), sum(size for _, size, _ in files)
        for _, length, path in sorted(files):
            if count <= MAX_ENTRIES and size <= MAX_BYTES:
                return
            Path(path).unlink(missing_ok=True)
            count, size = count - 1, size - length


def _canonical(key: Any) -> str:
    return json.dumps(key, sort_keys=True)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
