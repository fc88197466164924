"""Media for the tests: tiny clips whose frames carry their own number, and networks with a known output."""

import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

REPO = Path(__file__).resolve().parents[2]
SHARED = REPO.parent / "shared"
CLIPS = SHARED / "data" / "clips"
MODELS = SHARED / "data" / "models"
needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="third-party weights (../shared/data/models) are absent")
needs_shared = pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips (../shared/data/clips) are absent")

# A frame has twelve cells: a white and a black reference, nine bits of its number and their parity.
COLUMNS, ROWS = 4, 3
BITS = COLUMNS * ROWS - 3
ON, OFF = (235, 205, 160), (25, 35, 60)  # warm and cool, so that swapped channels are detected

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
FAST = {
    "libx264": {"preset": "ultrafast", "crf": "12"},
    "libx265": {"preset": "ultrafast", "crf": "12", "x265-params": "log-level=error"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "16", "b": "0"},
    "libsvtav1": {"preset": "12", "crf": "16"},
    "ffv1": {},
}


def paint(number: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """An image [h, w, 3] uint8 of `size` (width, height) that encodes `number` (below 512) in its cells."""
    bits = [number >> bit & 1 for bit in range(BITS)]
    cells = np.array([1, 0, *bits, sum(bits) % 2], bool).reshape(ROWS, COLUMNS)
    width, height = size
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return np.where(cells[rows][:, columns, None], ON, OFF).astype(np.uint8)


def frame_number(image: np.ndarray) -> int:
    """Decodes the number that `paint` encoded, at any size, also from a compressed, darkened or 16-bit image.

    Raises AssertionError if there is none: a rotated or cropped image, a blend of two frames.
    """
    gray = np.asarray(image, np.float64)
    gray = gray.mean(axis=2) if gray.ndim == 3 else gray
    gray = gray / (65535 if image.dtype == np.uint16 else 255)
    height, width = gray.shape
    cells = np.array(
        [
            gray[
                (4 * row + 1) * height // (4 * ROWS) : -(-(4 * row + 3) * height // (4 * ROWS)),
                (4 * column + 1) * width // (4 * COLUMNS) : -(-(4 * column + 3) * width // (4 * COLUMNS)),
            ].mean()
            for row in range(ROWS)
            for column in range(COLUMNS)
        ]
    )
    white, black = cells[:2]
    assert white - black > 0.1, f"no painted number: the references are {white:.2f} and {black:.2f}"
    levels = (cells[2:] - black) / (white - black)
    assert not ((levels > 0.3) & (levels < 0.7)).any(), f"no painted number: the cells are {levels.round(2)}"
    *bits, parity = (levels > 0.5).astype(int).tolist()
    assert sum(bits) % 2 == parity, f"no painted number: the parity of {bits} is not {parity}"
    return sum(bit << position for position, bit in enumerate(bits))


def make_clip(
    path: Path,
    *,
    frames: int = 12,
    size: tuple[int, int] = (96, 64),
    rate: Fraction | int = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    b_frames: int = 0,
    options: dict[str, str] | None = None,
    rotation: int = 0,
    sar: Fraction | None = None,
    matrix: int = 2,
    full_range: bool | None = None,
    primaries: int = 2,
    transfer: int = 2,
    audio: str | Sequence[str] | bool | None = None,
    audio_seconds: float | None = None,
    audio_start: float | Sequence[float] = 0.0,
    layout: str = "stereo",
    subtitles: str | bool | None = None,
    texts: Sequence[tuple[float, float, str]] = ((0.04, 0.12, "first line"), (0.2, 0.1, "second line")),
    chapters: Sequence[tuple[float, float, str]] = (),
    metadata: dict[str, str] | None = None,
    languages: Sequence[str] = (),
    container_options: dict[str, str] | None = None,
    start_number: int = 0,
) -> Path:
    """Writes a clip whose upright frame i is `paint(start_number + i, size)`, and returns its path.

    `pts` (strictly increasing, in `time_base`) makes the frame rate variable; the default is a constant `rate`. `audio`
    and `subtitles` name codecs (True: aac, or opus in webm; mov_text or subrip). `audio` may name several; they start at
    `audio_start` seconds (one value for all, or one each) and are rising tones, so that no two moments sound alike.
    `rotation` is counterclockwise, written as a display matrix with frames that are stored rotated. `languages` are
    those of the audio streams.
    """
    form = CONTAINERS[path.suffix]
    base = time_base or (1 / Fraction(rate) if pts is None else Fraction(1, 90000))
    frame_pts = list(pts) if pts is not None else [round(i / Fraction(rate) / base) for i in range(frames)]
    width, height = (size[1], size[0]) if rotation % 180 else size
    extra = {"video_track_timescale": str(base.denominator)} if form in ("mp4", "mov") else {}
    with av.open(f"file:{path}", "w", format=form, container_options=extra | (container_options or {})) as out:
        out.metadata.update(metadata or {})
        video = out.add_stream(codec, rate=Fraction(rate))
        context = video.codec_context
        context.width, context.height, context.pix_fmt = width, height, pix_fmt
        context.time_base = base
        context.max_b_frames = b_frames
        bframes = {"bf": str(b_frames)} if codec in ("libx264", "libx265") else {}
        context.options = FAST.get(codec, {}) | bframes | (options or {})
        context.colorspace, context.color_primaries, context.color_trc = matrix, primaries, transfer
        if full_range is not None:
            context.color_range = 2 if full_range else 1
        if sar is not None:
            video.sample_aspect_ratio = sar
        if rotation:
            video.set_display_rotation(rotation)
        names = [audio] if isinstance(audio, str) else list(audio or ()) if not isinstance(audio, bool) else []
        names = ["libopus" if form == "webm" else "aac"] if audio is True else names
        tracks = [out.add_stream(name, rate=48000, layout=layout) for name in names]
        for track, language in zip(tracks, languages, strict=False):
            track.metadata["language"] = language
        subs = ("mov_text" if form in ("mp4", "mov") else "subrip") if subtitles is True else subtitles
        text_stream = out.add_mux_stream(subs) if subs else None
        if text_stream is not None:
            text_stream.metadata["language"] = "fra"
        if chapters:
            out.set_chapters(
                [
                    {"id": i, "start": round(a * 1000), "end": round(b * 1000), "time_base": Fraction(1, 1000)}
                    | {"metadata": {"title": title}}
                    for i, (a, b, title) in enumerate(chapters)
                ]
            )
        for index, frame_time in enumerate(frame_pts):
            image = np.rot90(paint(start_number + index, size), -rotation // 90)
            frame = _frame(np.ascontiguousarray(image), pix_fmt, matrix, full_range)
            frame.pts, frame.time_base = frame_time, base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        length = (
            audio_seconds
            if audio_seconds is not None
            else float((frame_pts[-1] - frame_pts[0]) * base + 1 / Fraction(rate))
        )
        starts = [audio_start] * len(tracks) if isinstance(audio_start, float | int) else audio_start
        for number, (track, start) in enumerate(zip(tracks, starts, strict=True)):
            _write_tone(out, track, length, start, 220.0 * (number + 1))
        if text_stream is not None:
            _write_subtitles(out, text_stream, texts, subs == "mov_text")
    return path


def _frame(image: np.ndarray, pix_fmt: str, matrix: int, full_range: bool | None) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    spaces = {1: "ITU709", 9: "ITU709"}
    form = av.VideoFormat(pix_fmt)
    color_range = "JPEG" if full_range or pix_fmt.startswith("yuvj") else "MPEG"
    target = frame.reformat(format=pix_fmt, dst_colorspace=spaces.get(matrix, "ITU601"), dst_color_range=color_range)
    if not form.is_rgb:
        target.colorspace = matrix
        target.color_range = 0 if full_range is None else 2 if full_range else 1
    return target


def _write_tone(
    out: av.container.OutputContainer, track: av.AudioStream, seconds: float, start: float, hertz: float
) -> None:
    """Encodes a tone that rises by 600 Hz per second, in frames of the encoder's size."""
    channels = track.codec_context.layout.nb_channels
    total, step = round(seconds * 48000), 960
    resampler = av.AudioResampler(
        format=track.codec_context.format,
        layout=track.codec_context.layout,
        rate=48000,
        frame_size=track.codec_context.frame_size or None,
    )
    for first in range(0, total, step):
        time = np.arange(first, min(first + step, total)) / 48000
        wave = (
            np.tile(np.sin(2 * np.pi * (hertz + 300 * time) * time) * 0.25, (channels, 1))
            .T.reshape(1, -1)
            .astype(np.float32)
        )
        frame = av.AudioFrame.from_ndarray(wave, format="flt", layout=track.codec_context.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), first + round(start * 48000)
        for resampled in resampler.resample(frame):
            out.mux(track.encode(resampled))
    for resampled in resampler.resample(None):
        out.mux(track.encode(resampled))
    out.mux(track.encode(None))


def _write_subtitles(out: av.container.OutputContainer, stream: av.stream.Stream, texts, length_prefix: bool) -> None:
    for start, length, text in texts:
        data = text.encode()
        packet = av.Packet(len(data).to_bytes(2, "big") + data if length_prefix else data)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round(length * 1000)
        out.mux_one(packet)


def deliver(sink, images, folder: Path, segment: int = 1 << 30) -> list[Path]:
    """Encodes images with a sink in segments of `segment` frames and joins them, as a render does."""
    from dnirender.encoding.segment_file import SegmentReader, SegmentWriter

    images, paths = list(images), []
    with tempfile.TemporaryDirectory(prefix=".scratch", dir=folder) as scratch:
        for start in range(0, len(images), segment):
            paths.append(Path(scratch, f"{start}.part"))
            encoder = sink.new_encoder()
            with SegmentWriter(paths[-1], encoder.header) as writer:
                for index, image in enumerate(images[start : start + segment], start):
                    writer.extend(encoder.encode(index, sink.convert(image)))
                writer.extend(encoder.flush())
        with SegmentReader(paths) as reader:
            files = sink.finalize(reader, Path(scratch))
        for file, target in files:
            file.replace(target)
    return [target for _, target in files]


def tiny_endpoints(folder: Path, **biases: float | Sequence[float]) -> dict[str, Path]:
    """Writes weights of one residual 1x network per name, which adds its bias (one number or R, G, B) to its input.

    Images are in 0..1. The default is `day`, which changes nothing, and `night`, which is 0.4 darker. The output for any
    mix of the endpoints is the input plus the same mix of their biases, clamped to 0..1.
    """
    from safetensors.numpy import save_file

    files: dict[str, Path] = {}
    for name, bias in (biases or {"day": 0.0, "night": -0.4}).items():
        shapes = {"body.0": (8, 3, 3, 3), "body.2": (8, 8, 3, 3), "body.4": (3, 8, 3, 3)}
        state = {f"{key}.weight": np.zeros(shape, np.float32) for key, shape in shapes.items()}
        state |= {f"{key}.bias": np.zeros(shape[0], np.float32) for key, shape in shapes.items()}
        state |= {f"body.{i}.weight": np.full(8, 0.25, np.float32) for i in (1, 3)}
        state["body.4.bias"] = np.broadcast_to(np.asarray(bias, np.float32), 3).copy()
        files[name] = folder / f"{name}.safetensors"
        save_file(state, files[name])
    return files


def preset_of(files: dict[str, Path], name: str = "test", **sections):
    """A preset of these networks, in order; `sections` are those of a preset file."""
    from dnirender import Preset

    endpoints = [{"name": end, "weights": file} for end, file in files.items()]
    return Preset.checked({"name": name, "network": {"endpoints": endpoints}, **sections}, "test")


def _open(path: Path) -> av.container.InputContainer:
    tags = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
    return av.open(f"file:{path}", **tags)


def decoded(path: Path, index: int = 0) -> list[tuple[Fraction, np.ndarray]]:
    """Decodes video stream `index` to (seconds, RGB image), with PyAV and swscale only."""
    with _open(path) as container:
        stream = container.streams.video[index]
        return [
            (frame.pts * _exact(frame.time_base), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(stream)
        ]


def packets(path: Path, kind: str, index: int = 0) -> list[tuple[Fraction, bytes]]:
    """The packets of stream `index` of a kind as (seconds, bytes), in file order."""
    with _open(path) as container:
        stream = [s for s in container.streams if s.type == kind][index]
        return [
            (packet.pts * _exact(packet.time_base), bytes(packet)) for packet in container.demux(stream) if packet.size
        ]


def _exact(value) -> Fraction:
    return Fraction(value.numerator, value.denominator)


def leftovers(folder: Path) -> list[str]:
    """Names in a folder that start with a dot or end in .part: the temporary files of unfinished outputs."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".") or path.suffix == ".part")


def feature_network(folder):
    """Writes the distilled VGG19 of the perceptual loss, with random weights."""
    import torch
    from safetensors.torch import save_file

    from dnirender.train.features import DISTILLED

    torch.manual_seed(0)
    widths = {"0": (3, 3, 1), "11": (3, 16, 3), "12": (16, 16, 3), "21": (16, 32, 3), "22": (32, 32, 3)}
    widths |= {"31": (32, 64, 3), "32": (64, 64, 3), "33": (64, 64, 3), "34": (64, 64, 3), "41": (64, 128, 3)}
    state = {}
    for layer, (inputs, outputs, side) in widths.items():
        conv = torch.nn.Conv2d(inputs, outputs, side)
        torch.nn.init.kaiming_normal_(conv.weight)
        state |= {f"conv{layer}.weight": conv.weight.detach(), f"conv{layer}.bias": conv.bias.detach()}
    folder.mkdir()
    save_file(state, folder / DISTILLED)
