"""What lets a command that needs PyTorch start sooner."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import sys
import threading
from pathlib import Path
from typing import Any


def leave_out_unused() -> None:
    """Keeps `import openvino` from importing its converter of models, which is not used here, imports a client for
    telemetry, and takes longer than the rest of OpenVINO. For a process of our own: other programs may want it."""
    modules: dict[str, Any] = sys.modules  # pyright: ignore[reportAssignmentType]
    modules.setdefault("openvino.tools.ovc", None)


def load_ahead() -> None:
    """Begins to load the largest library of PyTorch while other modules are imported: the system's loader needs no
    interpreter. Where that is not possible, `import torch` does it later."""
    if sys.platform != "linux" or "torch" in sys.modules or not (found := importlib.util.find_spec("torch")):
        return
    library = Path(*(found.submodule_search_locations or ())[:1], "lib", "libtorch_cpu.so")

    def load() -> None:
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(library))

    threading.Thread(target=load, name="load", daemon=True).start()
