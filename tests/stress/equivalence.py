"""Shows that a change of the sources changes nothing that is rendered: one fixed set of command lines, run on a checkout.

    python tests/stress/equivalence.py --checkout DIR --out before.json
    python tests/stress/equivalence.py --compare before.json after.json

The first runs `python -m dnirender` with DIR/render before all else on the path and writes what came out: exit codes, and
of every file its decoded frames, the packets of its other streams, chapters and tags. The second prints what differs and
exits with 1 if anything does. Left out is what may differ: messages, the record of a file's making, tags of encoders.
Both runs belong on one machine with the same libraries: encoders and arithmetic round otherwise elsewhere.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

Facts = dict[str, Any]

# One case a line: the exit codes that are due, a name, and command lines that follow one another in one new folder, in
# which `m` holds the media and weights of `make_media`.
CASES = """
0 day-to-night: m/plain.mkv FFV1
0 painters: m/plain.mkv -p painters FFV1
0 painters-cycle: m/plain.mkv -p painters-cycle -k "0:photo, 0.3s:great_wave@smooth, 0.6s:shipwreck" FFV1
0 painters-cycle-own-timeline: m/still.png -p painters-cycle --fps 5 FFV1
0 sketchbook: m/plain.mkv -p sketchbook FFV1
0 detail: m/plain.mkv -p detail --end 8 FFV1
0 mp4: m/full.mp4 -o out.mp4 X264
0 mov: m/full.mp4 -o out.mov X264
0 mkv: m/full.mp4 -o out.mkv X264
0 mp4-of-mkv: m/full.mkv -o out.mp4 X264
0 mkv-of-mkv: m/full.mkv FFV1
0 webm: m/full.mkv -o out.webm --end 12
0 gif: m/full.mp4 -o out.gif
0 webp: m/plain.mkv -o out.webp --fps 5
0 apng: m/plain.mkv -o out.apng --boomerang
0 numbered: m/plain.mkv -o f_%04d.png --end 6
0 prores: m/deep.mkv -o out.mov --codec prores_ks --end 8
0 crf: m/plain.mkv -o out.mp4 X264 --crf 30 --pix-fmt yuv444p
0 name-by-default: m/plain.mkv -p sketchbook --end 6 X264
0,0 several: m/plain.mkv m/odd.mkv -o rendered X264 && m/plain.mkv m/odd.mkv -o rendered X264
0 numbers: m/plain.mkv -k "0:0, 10:1@easeInOutCubic, -1:0.25" FFV1
0 names-and-times: m/plain.mkv -k "0:day, 0.3s:dusk@cubic-bezier(.3,0,.2,1), 90%:night@steps(4)" FFV1
0 mixes: m/plain.mkv -k "0:0.3*golden+0.7*night@hold, 00:00:00.480:day@ease-out, end:1" FFV1
0 painted-mix: m/plain.mkv -p painters -k "0:photo, 50%:starry_night, end:0.5*the_scream+0.5*water_lilies" FFV1
0 deforum: m/plain.mkv -k "0:(0), 12:(1)" --easing easeOutBounce FFV1
0 repeat: m/plain.mkv -k 0:0,6:1 --loop repeat FFV1
0 ping-pong: m/plain.mkv -k "0:day,6:dusk" --loop ping-pong --easing smooth FFV1
0 boomerang: m/full.mp4 --boomerang FFV1
0 extrapolate: m/plain.mkv -k 0:-0.5,end:1.5@ease-out-back --extrapolate FFV1
0 part: m/plain.mkv --start 0.2s --end 75% FFV1
0 part-with-sound: m/full.mp4 --start 5 --end 0:00.8 -o out.mp4 X264
0 compare: m/plain.mkv --compare --panels source,render,crossfade,night FFV1
0 compare-by-default: m/full.mp4 --compare -o out.mp4 X264
0 one-panel: m/plain.mkv --panels crossfade FFV1
0 size: m/plain.mkv --width 64 FFV1
0 tile: m/plain.mkv -p detail -k 0:0.5 --tile 32 --end 4 FFV1
0 batch: m/plain.mkv -k 0:1 --batch 4 SEGMENT 5 FFV1
0 still: m/still.png -k 0:0,12:1,24:0 --fps 12 FFV1
0 glass-still: m/glass.png -p painters -k 0:photo,5:starry_night -o out.webp
0 glass-gif: m/glass.mkv -o out.gif
0 glass-png: m/glass.mkv -o %02d.png --end 4
0 glass-ffv1: m/glass.mkv -p sketchbook FFV1
0 glass-prores: m/glass.mkv -o out.mov --codec prores_ks --end 8
0 glass-lost: m/glass.mkv -o out.mp4 X264
0 odd: m/odd.mkv -p detail -k 0:1 --end 6 FFV1
0 odd-padded: m/odd.mkv -p detail -o out.mp4 X264 --pix-fmt yuv420p --end 6
0 deep: m/deep.mkv FFV1
0 deep-mp4: m/deep.mkv -o out.mp4 X264
0 deep-png: m/deep.mkv -o %03d.png --end 3
0 hdr: m/hdr.mkv --hdr keep FFV1
0 hdr-tonemap: m/hdr.mkv --hdr tonemap -o out.mp4 X264
0 hdr-gif: m/hdr.mkv -o out.gif
0 vfr: m/vfr.mp4 -k 0:0,0.5s:1 -o out.mp4 X264
0 vfr-mkv: m/vfr.mp4 -k 0:0,50%:1 FFV1
0 rotated: m/rotated.mp4 -o out.mp4 X264
0 woven: m/woven.mkv FFV1
0 woven-off: m/woven.mkv --deinterlace off FFV1
0 second-stream: m/two.mkv --video-stream 1 FFV1
0 left-out: m/full.mp4 --no-audio --no-subtitles -o out.mp4 X264
0 strict: m/full.mp4 -o out.mkv --strict X264
2 strict-refused: m/full.mkv -o out.mp4 --strict X264
0 own-networks: m/plain.mkv -m a=m/day.safetensors -m b=m/night.safetensors -k 0:a,end:0.5*a+0.5*b FFV1
0 own-networks-larger: m/plain.mkv -m faithful=m/faithful.safetensors -m crisp=m/crisp.safetensors --end 4 FFV1
0 own-preset: m/plain.mkv -p m/mine.yaml -o out.mkv
0 own-preset-gif: m/plain.mkv -p m/mine.yaml -o out.gif
0 sheet: sheet m/plain.mkv
0 sheet-of-some: sheet m/full.mp4 -p painters -o s.png --frames 0,3,end --alphas 0,0.5,1.2 --extrapolate --width 64
0 sheet-of-a-still: sheet m/still.png -p sketchbook -o s.png --frames 0
0,0,0,0,0,0 texts: --version && --help && presets && presets painters && presets --schema && train --help
0,0,0,3 info: info m/full.mp4 --json && info m/still.png && info m/two.mkv --video-stream 1 && info m/junk.mp4
0,0 plan: m/plain.mkv -o out.mp4 --dry-run && m/plain.mkv -o out.mp4 --dry-run --json
0 report: m/plain.mkv --json FFV1
0,0,3,3,2 verify: m/full.mp4 -o a.mp4 X264 && verify a.mp4 m/full.mp4 && verify a.mp4 m/plain.mkv \
&& verify a.mp4 m/none.mp4 && verify a.mp4
2,3,2 verify-others: verify m/plain.mkv && verify none.mkv && verify m/still.png
0 cut-ignored: m/cut.mkv --ignore-errors FFV1
3,3,3,3,3 unreadable: none.mp4 FFV1 && m/junk.mp4 FFV1 && m/cut.mkv FFV1 && m/empty.mp4 FFV1 && m FFV1
2,2,2,2 bad-keyframes: m/plain.mkv -k 0:2 FFV1 && m/plain.mkv -k 0:noon FFV1 && m/plain.mkv -k 5s FFV1 \
&& m/plain.mkv -k 0:0,9:1@wobbly FFV1
2,2,2,2 bad-presets: m/plain.mkv -p nights FFV1 && m/plain.mkv -p m/bad.yaml FFV1 && m/plain.mkv -p none.yaml FFV1 \
&& m/plain.mkv -p painters -m a=m/day.safetensors -m b=m/night.safetensors FFV1
2,2,2,2 bad-options: m/plain.mkv --nonsense && m/plain.mkv -o out.mkv --codec nonsense && m/plain.mkv -o out.xyz \
&& m/plain.mkv m/odd.mkv -o out.mkv
2,2,2 bad-parts: m/plain.mkv --start 9 --end 4 FFV1 && m/plain.mkv --start 99 FFV1 && m/plain.mkv -p painters --tile 32 FFV1
4,4,4 bad-networks: m/plain.mkv -m a=m/day.safetensors -m b=m/junk.safetensors FFV1 \
&& m/plain.mkv -m a=m/day.safetensors -m b=m/crisp.safetensors FFV1 && m/plain.mkv -m a=m/none.pth -m b=m/none.pth FFV1
0,5,0,5 bad-targets: m/still.png -k 0:0,3:1 FFV1 && m/plain.mkv FFV1 && m/plain.mkv -y FFV1 \
&& m/plain.mkv -o none/out.mkv --codec ffv1
"""
MEDIA = {".mp4", ".mov", ".mkv", ".webm", ".gif", ".apng", ".png"}
WHOLE = {".gif", ".apng", ".webp"}  # nothing but pictures in them, and how often they repeat shows in no frame
ENDPOINTS = ("day-to-night/day", "day-to-night/night", "detail/faithful", "detail/crisp")
MINE = """\
name: Mine
network: {endpoints: [{name: day, weights: day.safetensors}, {name: night, weights: night.safetensors}]}
timeline: {keyframes: "0:day, 0.5s:night@ease-out-back", loop: ping-pong}
layout: {panels: [source, render], labels: false, width: 80, height: 48}
encoding: {codec: ffv1, options: {level: "3"}, audio: false}
gif: {width: 64, fps: 12, dither: floyd_steinberg}
"""


def picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """A picture [h, w, 4] uint16 in which all moves: color gradients, grain, a disc, and an opacity that falls off."""
    width, height = size
    y, x = np.mgrid[:height, :width] / min(size)
    grain = np.random.default_rng(number).normal(0, 0.02, (height, width))
    disc = (np.hypot(x - 0.2 - 0.04 * number, y - 0.5) < 0.25) * 0.4
    waves = [
        0.45 + 0.3 * np.sin((3 + c) * x + (2 * c + 1) * y + 0.2 * number) + disc * (c - 1) + grain for c in range(3)
    ]
    opacity = 1.5 - 2 * np.hypot(x - 0.7, y - 0.5)
    return (np.clip(np.stack([*waves, opacity], -1), 0, 1) * 65535).astype(np.uint16)


def make_clip(
    path: Path, *, frames: int = 24, size: tuple[int, int] = (96, 64), codec: str = "ffv1", pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None, colors: tuple[int, int, int] = (1, 1, 1), full_range: bool = False,
    pts: list[int] | None = None, rotation: int = 0, shape: Fraction | None = None, videos: int = 1,
    sounds: tuple[str, ...] = (), words: str = "",
) -> None:  # fmt: skip
    """A clip at 25 frames per second or with `pts` in 1/600 s; with `words`, a codec, also with chapters and tags."""
    base = Fraction(1, 25) if pts is None else Fraction(1, 600)
    with av.open(str(path), "w") as out:
        streams = [out.add_stream(codec, rate=25) for _ in range(videos)]
        for stream in streams:
            context = stream.codec_context
            context.width, context.height, context.pix_fmt, context.time_base = *size, pix_fmt, base
            context.colorspace, context.color_primaries, context.color_trc = colors
            context.color_range = 1 + full_range
            # Without a tree of macroblocks, whose sums x264 rounds differently from run to run on some processors.
            fast = {"preset": "ultrafast", "mbtree": "0", "crf": "14", "threads": "1"} if codec == "libx264" else {}
            context.options = fast | dict(options or {})
            if shape:
                stream.sample_aspect_ratio = shape
            if rotation:
                stream.set_display_rotation(rotation)
        tracks = [out.add_stream(name, rate=48000, layout="stereo") for name in sounds]
        for track, language in zip(tracks, ("deu", "fra"), strict=False):
            track.metadata["language"] = language
        lines = out.add_mux_stream(words) if words else None
        if words:
            out.metadata.update({"title": "A title", "artist": "Nobody"})
            times = [(0, 400, "first"), (400, 960, "second")]
            rows = [{"start": a, "end": b, "metadata": {"title": title}} for a, b, title in times]
            out.set_chapters([{"id": i, "time_base": Fraction(1, 1000), **row} for i, row in enumerate(rows)])
        if words and path.suffix == ".mkv":
            out.add_attachment("font.ttf", "font/ttf", b"glyphs" * 20)
        for index, stamp in enumerate(pts or range(frames)):
            for number, stream in enumerate(streams):
                image = av.VideoFrame.from_ndarray(picture(index + 50 * number, size), format="rgba64le")
                frame = image.reformat(format=pix_fmt)
                frame.pts, frame.time_base = stamp, base
                frame.colorspace, frame.color_range = colors[0], 1 + full_range
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))
        for number, track in enumerate(tracks):
            phase = np.arange(46080) / 48000 * (440 + 220 * number)
            wave = (np.sin(2 * np.pi * phase * (1 + phase / 999)) * 9000).astype(np.int16).repeat(2)[None]
            tone = av.AudioFrame.from_ndarray(wave, format="s16", layout="stereo")
            tone.sample_rate, tone.time_base, tone.pts = 48000, Fraction(1, 48000), 0
            out.mux([*track.encode(tone), *track.encode(None)])
        for start, text in ((40, b"first line"), (440, b"second line")) if lines else ():
            packet = av.Packet(len(text).to_bytes(2, "big") + text if words == "mov_text" else text)
            packet.stream, packet.time_base, packet.duration = lines, Fraction(1, 1000), 300
            packet.pts = packet.dts = start
            out.mux_one(packet)


def make_media(folder: Path, checkout: Path) -> None:
    """What the cases read: clips, stills, files that are none, and weights and presets of one's own."""
    make_clip(folder / "plain.mkv")
    make_clip(
        folder / "full.mp4", codec="libx264", sounds=("aac", "aac"), words="mov_text", options={"bf": "2", "g": "6"}
    )
    make_clip(folder / "full.mkv", sounds=("flac", "libopus"), words="subrip", full_range=True)
    make_clip(folder / "odd.mkv", size=(97, 65), pix_fmt="yuv444p", frames=12)
    make_clip(folder / "deep.mkv", pix_fmt="yuv422p10le")
    make_clip(folder / "hdr.mkv", pix_fmt="yuv420p10le", colors=(9, 9, 16), frames=12)
    make_clip(folder / "vfr.mp4", codec="libx264", pts=[7, 10, 11, 40, 41, 90, 200, 340, 350, 352, 600, 601])
    make_clip(folder / "rotated.mp4", codec="libx264", rotation=90, shape=Fraction(4, 3), frames=12)
    make_clip(folder / "woven.mkv", codec="libx264", options={"x264-params": "tff=1"}, frames=12)
    make_clip(folder / "two.mkv", videos=2, frames=8)
    make_clip(folder / "glass.mkv", pix_fmt="yuva420p", frames=12)
    make_clip(folder / "long.mkv", size=(160, 96), frames=48, sounds=("flac",))
    for name, pix_fmt in (("still", "rgb24"), ("glass", "rgba")):
        with av.open(str(folder / f"{name}.png"), "w", format="image2", options={"update": "1"}) as out:
            stream = out.add_stream("png", rate=25)
            stream.width, stream.height, stream.pix_fmt = 128, 96, pix_fmt
            image = av.VideoFrame.from_ndarray(picture(7, (128, 96)), format="rgba64le").reformat(format=pix_fmt)
            out.mux([*stream.encode(image), *stream.encode(None)])
    data = (folder / "plain.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(data[: len(data) // 2])
    (folder / "empty.mp4").touch()
    for name in ("junk.mp4", "junk.safetensors"):
        (folder / name).write_bytes(b"nothing of any use " * 99)
    for name in ENDPOINTS:
        found = sorted(checkout.glob(f"**/weights/{name}.safetensors"), key=lambda path: len(path.parts))
        shutil.copy(found[0], folder)
    (folder / "mine.yaml").write_text(MINE)
    (folder / "bad.yaml").write_text(MINE.replace("timeline:", "timelines:"))


def digest(data: bytes) -> str:
    """A short fingerprint of bytes."""
    return hashlib.sha256(data).hexdigest()[:24]


def tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """Tags without those of the program and of encoders."""
    return {key: value for key, value in metadata.items() if key.lower() not in ("encoder", "dnirender")}


def pixels(frame: av.VideoFrame) -> bytes:
    """The bytes of a decoded picture, without what pads its lines."""
    if frame.format.name == "pal8":
        frame = frame.reformat(format="rgba")
    data = b""
    for index, plane in enumerate(frame.planes):
        across = sum(-(-part.bits // 8) for part in frame.format.components if part.plane == index)
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        data += lines[: plane.height, : plane.width * across].tobytes()
    return data


def fingerprint(path: Path) -> Facts:
    """What a file holds, by a plain decode: frames, packets of all other streams, chapters and tags."""
    metadata: Facts = {} if path.suffix in MEDIA - WHOLE else {"bytes": digest(path.read_bytes())}
    if path.suffix not in MEDIA:
        return metadata
    with av.open(f"file:{path}") as container:
        metadata |= {"format": container.format.name, "tags": tags(container.metadata), "streams": []}
        metadata["chapters"] = [
            [str(c["start"] * Fraction(c["time_base"])), str(c["end"] * Fraction(c["time_base"])), c["metadata"]]
            for c in container.chapters()
        ]
        for stream in container.streams:
            own: Facts = {"type": stream.type, "tags": tags(stream.metadata), "time_base": str(stream.time_base)}
            own |= {"disposition": int(stream.disposition), "start": stream.start_time, "duration": stream.duration}
            if stream.type == "attachment":
                own["data"] = digest(bytes(stream.data))
            else:
                own["codec"] = stream.codec_context.name if stream.codec_context else None
            if stream.type == "video":
                own |= {"shape": str(stream.sample_aspect_ratio), "rate": str(stream.average_rate)}
            metadata["streams"].append(own | {"content": []})
        for packet in container.demux():
            content = metadata["streams"][packet.stream.index]["content"]
            if packet.stream.type != "video":
                content += [digest(repr((packet.pts, packet.dts, bytes(packet))).encode())] if packet.size else []
                continue
            for frame in packet.decode():
                look = [frame.pts, frame.time_base, frame.format.name, frame.width, frame.height, frame.rotation]
                look += [
                    int(frame.colorspace),
                    int(frame.color_range),
                    int(frame.color_primaries),
                    int(frame.color_trc),
                ]
                content.append(digest(repr([*look, frame.interlaced_frame]).encode() + pixels(frame)))
    return metadata


def told(path: Path) -> Facts | str:
    """The fingerprint of a file, or that it has none."""
    try:
        return fingerprint(path)
    except (av.error.FFmpegError, ValueError) as error:
        return f"cannot be read: {type(error).__name__}"


class Checkout:
    """Runs the command lines of a checkout, each case in a folder of its own."""

    def __init__(self, path: Path, work: Path) -> None:
        self.path, self.workspace = path.resolve(), work
        self._environment = os.environ | {"PYTHONPATH": str(self.path / "render"), "OMP_NUM_THREADS": "1"}
        self._environment |= {"CUDA_VISIBLE_DEVICES": "", "NO_COLOR": "1", "COLUMNS": "100"}
        where = self._output("-c", "import dnirender; print(dnirender.__file__)").strip()
        if self.path not in Path(where).resolve().parents:
            raise SystemExit(f"dnirender is that of {where}, not of {self.path}")
        # What the option is called here: it was renamed once.
        spelling = re.search(r"--segment[a-z-]*", self._output("-m", "dnirender", "--help"))
        self.segment = spelling[0] if spelling else "--no-option-for-segments"
        (work / "m").mkdir()
        make_media(work / "m", self.path)

    def _output(self, *arguments: str) -> str:
        run = [sys.executable, *arguments]
        return subprocess.run(
            run, env=self._environment, cwd=self.workspace, text=True, check=True, capture_output=True
        ).stdout

    def folder(self, name: str) -> Path:
        """The new folder of a case."""
        folder = self.workspace / name
        folder.mkdir()
        (folder / "m").symlink_to(self.workspace / "m")
        return folder

    def start(self, folder: Path, command: str) -> subprocess.Popen[str]:
        """Begins a command line, with all that makes its arithmetic the same everywhere."""
        command = command.replace("X264", "--codec libx264 -e mbtree=0").replace("SEGMENT", self.segment)
        words = shlex.split(command.replace("FFV1", "--codec ffv1" if " -o " in command else "-o out.mkv --codec ffv1"))
        if words[0] == "sheet" or not (words[0] in ("info", "verify", "presets", "train") or words[0].startswith("--")):
            words += ["--device", "cpu", "--backend", "torch", "--dtype", "fp32", "--threads", "1"]
            words += [] if words[0] == "sheet" else ["--no-progress"]
        run = [sys.executable, "-m", "dnirender", *words]
        pipes: Facts = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(run, env=self._environment, cwd=folder, text=True, **pipes)

    def run(self, folder: Path, command: str, due: int) -> int:
        """Runs a command line to its end and returns its exit code; one that was not due is told with its message."""
        process = self.start(folder, command)
        text = process.communicate()[1]
        if process.returncode != due:
            sys.stderr.write(f"{folder.name}: exit code {process.returncode}, not {due}: {command}\n{text}\n")
        return process.returncode

    def stop(self, folder: Path, command: str, number: signal.Signals) -> int:
        """Runs a command line until it has finished one more segment, sends it a signal, and returns its exit code."""
        before, process = len(parts(folder)), self.start(folder, command)
        while process.poll() is None and len(parts(folder)) <= before:
            time.sleep(0.001)
        process.send_signal(number)
        process.communicate()
        return process.returncode

    def case(self, line: str) -> tuple[str, Facts]:
        """Runs a line of CASES."""
        (dues, name), text = line.partition(":")[0].split(), line.partition(": ")[2]
        folder = self.folder(name)
        steps = zip(text.split(" && "), map(int, dues.split(",")), strict=True)
        codes = [self.run(folder, step, due) for step, due in steps]
        return name, {"command": text, "codes": codes} | written(folder)

    def stopped(self, name: str, number: signal.Signals, options: str) -> tuple[str, Facts]:
        """A render that is stopped twice and goes on each time equals one that is not stopped."""
        folder, command = self.folder(name), f"m/long.mkv -p painters {options} SEGMENT 4 FFV1"
        codes = [self.stop(folder, command, number)]
        first = {path: path.stat().st_mtime_ns for path in parts(folder)}
        partial = folder / "out.partial.mkv"
        shown = fingerprint(partial)["streams"][0]["content"] if partial.exists() else []
        codes.append(self.stop(folder, command, number))
        kept = all(path.exists() and path.stat().st_mtime_ns == stamp for path, stamp in first.items())
        codes.append(self.run(folder, command, 0))
        codes.append(self.run(folder, command.replace("FFV1", "-o whole.mkv FFV1"), 0))
        files = written(folder)["files"]
        frames = files["whole.mkv"]["streams"][0]["content"]
        metadata: Facts = {"codes": codes, "equal": files["out.mkv"] == files["whole.mkv"], "names": sorted(files)}
        metadata |= {"kept": kept and bool(first), "partial": partial.exists()}
        metadata["prefix"] = shown == frames[: len(shown)] and len(shown) < len(frames) and len(shown) % 4 == 0
        return name, metadata | {"files": {"whole.mkv": files["whole.mkv"]}, "hidden": written(folder)["hidden"]}

    def tampered(self, suffix: str) -> tuple[str, Facts]:
        """What `verify` says of a result of which a byte was changed, or that was cut off."""
        name = f"tampered-{suffix}"
        folder, target = self.folder(name), f"out.{suffix}"
        codes = [self.run(folder, f"m/full.mp4 -o {target} X264 -e g=1", 0)]
        data = bytearray((folder / target).read_bytes())
        data[len(data) // 2] ^= 0xFF
        for changed in (data, data[: len(data) // 3]):
            (folder / target).write_bytes(changed)
            codes.append(self.run(folder, f"verify {target} m/full.mp4", 3))
        return name, {"codes": codes}


def parts(folder: Path) -> list[Path]:
    """The finished segments of a render, in the hidden folder beside its target."""
    return sorted(folder.glob(".*/*.part"))


def written(folder: Path) -> Facts:
    """Every file that commands have left in a folder, and how many hidden ones."""
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.relative_to(folder).parts[0] != "m"]
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    files = {str(path.relative_to(folder)): told(path) for path in shown}
    return {"files": files, "hidden": len(found) - len(shown)}


def measure(path: Path, jobs: int, only: str) -> Facts:
    """The results of all cases whose lines hold `only`, on a checkout."""
    with tempfile.TemporaryDirectory(prefix="equivalence") as work, ThreadPoolExecutor(jobs) as pool:
        checkout = Checkout(path, Path(work).resolve())
        lines = CASES.replace("\\\n", "").strip().splitlines()
        tasks = [pool.submit(checkout.case, line) for line in lines if only in line]
        for name, number, options in (
            ("killed", signal.SIGKILL, ""),
            ("interrupted", signal.SIGINT, "--keep-partial"),
            ("terminated", signal.SIGTERM, ""),
        ):
            tasks += [pool.submit(checkout.stopped, name, number, options)] if only in name else []
        tasks += [pool.submit(checkout.tampered, suffix) for suffix in ("mp4", "mkv") if only in f"tampered-{suffix}"]
        sources = {path.name: told(path) for path in sorted(Path(work, "m").iterdir()) if path.suffix in MEDIA}
        return {"sources": sources, "cases": dict(sorted(task.result() for task in tasks))}


def differences(one: Any, two: Any, where: str = "") -> Iterator[str]:
    """A line for each place where two results differ; of a list, the first such place alone. Options may be renamed."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted({*one, *two} - {"command"}):
            yield from differences(one.get(key, "nothing"), two.get(key, "nothing"), f"{where} / {key}".lstrip(" /"))
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for index, pair in enumerate(zip(one, two, strict=True)):
            found = list(differences(*pair, f"{where}[{index}]"))
            yield from found
            if found and isinstance(pair[0], str):
                return
    elif one != two:
        yield f"{where}: " + " became ".join(
            text if len(text) < 99 else f"{text[:99]}..." for text in (str(one), str(two))
        )


def main() -> int:
    """Measures a checkout, or compares two that were measured."""
    parser = argparse.ArgumentParser(description="Does a change of the sources change what is rendered?")
    parser.add_argument("--checkout", type=Path, help="the root of the sources to run")
    parser.add_argument("--out", type=Path, help="where their results go, as JSON")
    parser.add_argument("--only", default="", help="run only cases that hold this text")
    parser.add_argument("--jobs", type=int, default=2, help="command lines at a time")
    parser.add_argument("--compare", type=Path, nargs=2, metavar="JSON", help="two results that are to be equal")
    options = parser.parse_args()
    if options.compare:
        found = list(differences(*(json.loads(path.read_text()) for path in options.compare)))
        sys.stdout.write("\n".join([*found, f"{len(found)} differences"]) + "\n")
        return bool(found)
    if not options.checkout or not options.out:
        parser.error("--checkout and --out, or --compare")
    # Shells have it ignored by what runs in the background, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began, results = time.monotonic(), measure(options.checkout, options.jobs, options.only)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    sys.stdout.write(f"{options.out}: {len(results['cases'])} cases in {time.monotonic() - began:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
