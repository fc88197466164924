"""Reports as files of a folder, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from dnirender.errors import OutputError
from dnirender.files import disk_errors, publish, temporary_path


def check_folder(folder: Path, names: tuple[str, ...], *, overwrite: bool) -> None:
    """Whether a report can be written into a folder, which need not exist. OutputError: a file of it exists already, or
    the folder is none."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, expected a folder for the report")
    found = next((name for name in names if (folder / name).exists()), None)
    if found and not overwrite:
        raise OutputError(f"{folder / found}: exists already; overwrite=True replaces it")


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a folder, each atomically. OutputError: the disk fails."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        temporary = temporary_path(folder / name)
        try:
            with disk_errors(folder / name):
                temporary.write_bytes(data)
                publish(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def finite(data: object) -> object:
    """Plain data with null for NaN and infinity, which JSON does not have."""
    if isinstance(data, Mapping):
        return {str(key): finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
