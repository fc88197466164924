"""A network that changes nothing leaves pictures as they are, in every matrix, range and depth, and their tags too.

The measure is a floating-point conversion of its own, straight from the planes of both files: H.273's equations.
"""

from functools import cache

import av
import cv2
import numpy as np
import pytest

from support.delivery import clips, identity

KR_KB = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
TAGS = {1: (1, 1), 6: (6, 6), 9: (9, 14)}  # primaries and transfer that belong to a matrix
NAMES = {1: "709", 6: "601", 9: "2020"}
PHOTOS = sorted((clips.SHARED / "data" / "photos" / "urban").glob("*.*"))[:3]
SIZE = (320, 240)
LOSSLESS = {".mkv": ("ffv1", {}), ".mp4": ("libx264", {"qp": "0", "preset": "ultrafast"})}


def smooth():
    """[n, h, w, 3] in 0..1: soft shapes of all hues and brightnesses, as a picture out of focus has them."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]].astype(np.float64)
    waves = [[np.sin(x / a + y / b + c * n) for a, b, c in ((41, 57, 1), (67, -53, 2), (73, 37, 3))] for n in range(3)]
    return np.moveaxis(np.array(waves), 1, 3) * 0.42 + 0.5


@cache
def photographs():
    """[n, h, w, 3] in 0..1, the mean of at least four pixels each, so that there is something below 8 bits."""
    images = [cv2.imread(str(path))[..., ::-1].astype(np.float64) / 255 for path in PHOTOS]
    return np.array([np.clip(cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA), 0, 1) for image in images])


def codes(depth, full):
    """(offset, span) of luma and of chroma."""
    step, top = 1 << (depth - 8), (1 << depth) - 1
    return ((0, top), (128 * step, top)) if full else ((16 * step, 219 * step), (128 * step, 224 * step))


def to_planes(image, matrix, full, depth, sampling):
    (kr, kb), (luma, chroma) = KR_KB[matrix], codes(depth, full)
    y = image @ [kr, 1 - kr - kb, kb]
    planes = [y * luma[1] + luma[0]]
    for channel, k in ((2, kb), (0, kr)):
        plane = (image[..., channel] - y) / (2 * (1 - k)) * chroma[1] + chroma[0]
        if sampling == "420":
            wide = np.pad(plane, ((0, 0), (1, 1)), "edge")
            plane = (wide[:, :-2:2] + 2 * wide[:, 1:-1:2] + wide[:, 2::2]) / 4
            plane = (plane[::2] + plane[1::2]) / 2
        planes.append(plane)
    return [
        np.clip(np.rint(plane), 0, (1 << depth) - 1).astype(np.uint8 if depth == 8 else np.uint16) for plane in planes
    ]


def from_planes(planes, matrix, full, depth):
    """RGB in codes of 8 bits, not rounded; chroma as it lies, each sample once for all of its pixels."""
    (kr, kb), (luma, chroma) = KR_KB[matrix], codes(depth, full)
    y, cb, cr = [plane.astype(np.float64) for plane in planes]
    y = (y - luma[0]) / luma[1]
    cb, cr = (
        np.kron((p - chroma[0]) / chroma[1], np.ones((y.shape[0] // p.shape[0], y.shape[1] // p.shape[1])))
        for p in (cb, cr)
    )
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack([red, green, blue], axis=2) * 255


def write(path, images, matrix, full, depth, sampling):
    pix_fmt = f"yuv{sampling}p" + ("10le" if depth == 10 else "")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = *SIZE, pix_fmt
        context.colorspace, context.color_range = matrix, 2 if full else 1
        context.color_primaries, context.color_trc = TAGS[matrix]
        for image in images:
            frame = av.VideoFrame(*SIZE, pix_fmt)
            for plane, values in zip(frame.planes, to_planes(image, matrix, full, depth, sampling), strict=True):
                rows = np.frombuffer(plane, values.dtype).reshape(plane.height, -1)
                rows[:, : plane.width] = values
            frame.colorspace, frame.color_range = matrix, 2 if full else 1
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def read(path):
    """(pix_fmt, tags, the planes of every frame) by a plain decode."""
    with clips._open(path) as container:
        context = container.streams.video[0].codec_context
        frames = list(container.decode(container.streams.video[0]))
        kind = np.uint8 if frames[0].format.components[0].bits == 8 else np.uint16
        planes = [
            [np.frombuffer(p, kind).reshape(p.height, -1)[:, : p.width].copy() for p in frame.planes]
            for frame in frames
        ]
        tags = [int(frames[0].colorspace), int(frames[0].color_range), context.color_primaries, context.color_trc]
        return frames[0].format.name.replace("yuvj", "yuv"), [int(tag) for tag in tags], planes


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("sampling", ["420", "444"])
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", KR_KB, ids=NAMES.get)
@pytest.mark.parametrize("pictures", [smooth, pytest.param(photographs, marks=clips.needs_shared)])
def test_nothing_is_what_changes(tmp_path, pictures, matrix, full, depth, sampling, suffix):
    write(tmp_path / "clip.mkv", pictures(), matrix, full, depth, sampling)
    codec, options = LOSSLESS[suffix]
    identity(tmp_path / "clip.mkv", tmp_path / f"out{suffix}", codec, options=options)
    source, target = read(tmp_path / "clip.mkv"), read(tmp_path / f"out{suffix}")
    assert source[1] == [matrix, 2 if full else 1, *TAGS[matrix]]
    assert target[:2] == source[:2]
    delta = np.stack(
        [
            from_planes(after, matrix, full, depth) - from_planes(before, matrix, full, depth)
            for before, after in zip(source[2], target[2], strict=True)
        ]
    )
    bias, error = np.abs(delta.mean(axis=(0, 1, 2))).max(), np.abs(delta).mean(axis=(0, 1, 2)).max()

    assert bias <= 0.1
    assert error <= (0.6 if depth == 8 else 0.1)
