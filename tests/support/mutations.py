"""Seeded random corruption of files, and worker processes that open the corrupt files as a render opens its input.

Run as a program, this module is a worker: it reads case numbers from standard input and answers each with a line of JSON.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED = 5
HANG_SECONDS = 10
MEMORY = 1 << 30  # beyond the imports
TRUNCATIONS = 1_000_000  # case TRUNCATIONS + 100 * seed + percent truncates a seed to that size

MEDIA = (
    *("h264-aac.mp4", "faststart.mp4", "fragmented.mp4", "prores.mov", "h264.mkv", "ffv1.mkv", "vp9-opus.webm"),
    *("av1.mkv", "h264.ts", "mpeg4.avi", "colors.gif", "still.png", "still.jpg"),
)
OTHERS = ("weights.safetensors", "weights.pth", "effect.yaml")


def make_seeds(folder: Path) -> list[Path]:
    """Writes the files to corrupt: tiny, of every supported kind, videos of 24 frames."""
    import cv2
    import torch
    from safetensors.torch import save_file

    from support import clips as support_clips
    from support.clips import make_clip, paint

    forms = {".ts": "mpegts", ".avi": "avi", ".gif": "gif"}
    before, support_clips.CONTAINERS = support_clips.CONTAINERS, support_clips.CONTAINERS | forms
    gop = {"options": {"g": "6"}}
    fast, fragmented = {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    try:
        for name, make in {
            "h264-aac.mp4": {"audio": "aac", "b_frames": 2, **gop},
            "faststart.mp4": {"audio": "aac", "b_frames": 2, "container_options": fast, **gop},
            "fragmented.mp4": {"container_options": fragmented, **gop},
            "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "container_options": fast},
            "h264.mkv": {"b_frames": 2, "audio": "aac", **gop},
            "ffv1.mkv": {"codec": "ffv1"},
            "vp9-opus.webm": {"codec": "libvpx-vp9", "audio": "libopus", **gop},
            "av1.mkv": {"codec": "libsvtav1"},
            "h264.ts": {"b_frames": 2, "audio": "aac", **gop},
            "mpeg4.avi": {"codec": "mpeg4", "audio": "mp2", **gop},
            "colors.gif": {"codec": "gif", "pix_fmt": "rgb8", "rate": 10},
        }.items():
            make_clip(folder / name, frames=24, **make)
    finally:
        support_clips.CONTAINERS = before
    for name in ("still.png", "still.jpg"):
        cv2.imwrite(str(folder / name), paint(300)[..., ::-1])
    state = {f"body.{i}.weight": torch.arange(27.0).reshape(1, 3, 3, 3) for i in range(4)}
    save_file(state, folder / "weights.safetensors", {"architecture": "test"})
    torch.save({"params": state}, folder / "weights.pth")
    (folder / "effect.yaml").write_text(
        "name: Mine\nabout: A test.\nnetwork:\n  family: dni\n  endpoints:\n"
        "    - {name: day, weights: day.pth}\n    - {name: night, weights: sub/night.pth}\n"
        'timeline: {keyframes: "0:0, 12:night@smooth, end:1", loop: none}\nencoding: {crf: 18, options: {preset: fast}}\n'
    )
    return [folder / name for name in (*MEDIA, *OTHERS)]


def corrupt(data: bytes, rng: np.random.Generator) -> bytes:
    """Applies one to four of: flip bits, replace bytes, zero, remove, repeat or move a range, truncate."""
    for _ in range(rng.integers(1, 5)):
        size = len(data)
        if size < 2:
            return data
        at = (
            int(rng.integers(size) ** 2 // size) if rng.random() < 0.3 else int(rng.integers(size))
        )  # more often in the header
        length = int(min(size - at, 2 ** rng.uniform(0, np.log2(size))))
        to = int(rng.integers(size))
        piece, rest = data[at : at + length], data[at + length :]
        kind = rng.integers(8)
        if kind <= 1:
            changed = bytearray(data)
            for position in rng.integers(0, size, int(rng.integers(1, 9))) if kind else (at,):
                changed[position] ^= 1 << int(rng.integers(8))
            data = bytes(changed)
        elif kind == 2:
            data = (
                data[:at]
                + bytes([int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))]) * min(length, 8)
                + data[at + min(length, 8) :]
            )
        elif kind == 3:
            data = data[:at] + bytes(length) + rest
        elif kind == 4:
            data = data[:at] + rest
        elif kind == 5:
            data = data[:at] + piece + piece + rest
        elif kind == 6:
            data = data[:to] + piece + data[to + length :]
        else:
            data = data[:at]
    return data


def case(number: int, seeds: list[Path]) -> tuple[Path, bytes]:
    """The seed file of a case, and its corrupted content."""
    if number >= TRUNCATIONS:
        seed, percent = seeds[(number - TRUNCATIONS) // 100], number % 100
        data = seed.read_bytes()
        return seed, data[: len(data) * percent // 100]
    seed = seeds[number % len(seeds)]
    return seed, corrupt(seed.read_bytes(), np.random.default_rng([SEED, number]))


def attempt(path: Path) -> dict[str, str]:
    """Opens a file: `whole` if it is complete, or the error's text, strictly and with `ignore_errors`.

    Unexpected errors are raised.
    """
    from dnirender.decoding.open import open_source
    from dnirender.errors import MediaError, ModelError, PresetError
    from dnirender.networks.checkpoint import load_state_dict
    from dnirender.preset import Preset

    def media(ignore_errors: bool) -> str:
        try:
            source = open_source(path, ignore_errors=ignore_errors)
            indices = range(len(source.metadata.pts))
            assert [frame.index for frame in source.frames(indices)] == list(indices)
        except MediaError as error:
            return one_line(error)
        return "whole"

    def other(load: Callable[[Path], object], expected: type[Exception]) -> str:
        try:
            load(path)
        except expected as error:
            return one_line(error)
        return "whole"

    def one_line(error: Exception) -> str:
        text = str(error)
        assert "\n" not in text and text.startswith(str(path)), text
        return text.removeprefix(str(path))[:200]

    if path.suffix in (".safetensors", ".pth"):
        return {"strict": other(load_state_dict, ModelError)}
    if path.suffix == ".yaml":
        return {"strict": other(Preset.load, PresetError)}
    outcome = {"strict": media(False), "ignored": media(True)}
    assert outcome["strict"] != "whole" or outcome["ignored"] == "whole", outcome
    return outcome


def _peak() -> int:
    """Peak resident memory in bytes since the last call; 0 if unknown."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(peak.split()[1]) * 1024


def work(folder: Path) -> None:
    """Answers case numbers until the input ends."""

    seeds = [folder / name for name in (*MEDIA, *OTHERS)]
    base = min(_peak(), _peak())
    for line in sys.stdin:
        seed, data = case(int(line), seeds)
        path = folder / f"{os.getpid()}{seed.suffix}"
        path.write_bytes(data)
        try:
            answer = attempt(path)
        except Exception as error:  # noqa: BLE001 - any unexpected error is a failure of the case
            answer = {"broken": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer | {"seed": seed.name, "memory": _peak() - base}), flush=True)  # noqa: T201
    path.unlink()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case: `strict` and `ignored` as in `attempt`; `broken` describes an unacceptable failure."""

    number: int
    seed: str = ""
    strict: str = ""
    ignored: str = ""
    broken: str = ""
    memory: int = 0


class Worker:
    """A process that answers cases; it is restarted if it crashes or hangs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        self._log = (self._folder / "worker.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, args=(self._process, self._lines))
        self._listener.start()
        self._fresh = True

    @staticmethod
    def _listen(process: subprocess.Popen[str], lines: "queue.Queue[str]") -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    def answer(self, number: int) -> Outcome:
        """The outcome of one case."""
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=HANG_SECONDS + 120 * self._fresh)  # a new process needs time to import
        except queue.Empty:
            self.close()
            self._start()
            return Outcome(number, broken=f"hangs for more than {HANG_SECONDS} s")
        self._fresh = False
        if not line:
            code = self._process.wait()
            self.close()
            self._start()
            return Outcome(number, broken=f"crashed with exit code {code}")
        outcome = Outcome(number, **json.loads(line))
        if outcome.memory > MEMORY:
            return Outcome(number, outcome.seed, broken=f"takes {outcome.memory >> 20} MiB")
        return outcome

    def close(self) -> None:
        """Kills the process."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for file in (self._process.stdin, self._process.stdout, self._log):
            file.close()


def run_cases(folder: Path, numbers: Iterable[int], workers: int = 2) -> list[Outcome]:
    """The outcomes of many cases, sorted by their numbers."""
    todo: queue.Queue[int] = queue.Queue()
    for number in numbers:
        todo.put(number)
    outcomes: list[Outcome] = []

    def serve() -> None:
        worker = Worker(folder)
        try:
            while True:
                outcomes.append(worker.answer(todo.get_nowait()))
        except queue.Empty:
            pass
        finally:
            worker.close()

    threads = [threading.Thread(target=serve) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes, key=lambda outcome: outcome.number)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "render"))
    work(Path(sys.argv[1]))
