"""Laws of frames that stay planes until they are on a GPU, and are planes again when they leave it."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from dnirender.decoding.open import open_source
from dnirender.engine.cuda import CUDAExecutor
from dnirender.engine.cuda_graphs import graphed
from dnirender.engine.torch_model import TorchModel
from dnirender.jobs import pipeline
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import prepare
from dnirender.jobs.render import run
from dnirender.media import pixel_formats
from dnirender.media.colorspace import ColorSpec, rgb_to_planes
from dnirender.media.pixel_formats import _planes, planar_format, to_frame
from dnirender.media.planar import PlanarImage
from support.clips import decoded, make_clip, paint, preset_of
from support.gpu_stand_in import gpu_stand_in

FFV1 = {"codec": "ffv1"}
KEYS = {"timeline": {"keyframes": "0:0, end:1"}}


@pytest.mark.parametrize(
    ("pix_fmt", "planar"),
    [("yuv420p", True), ("yuv422p10le", True), ("yuv444p", True), ("yuv411p", False), ("gray", False)],
)
def test_planes_of_a_video_are_the_frames_that_it_has(tmp_path, pix_fmt, planar):
    clip = make_clip(tmp_path / "clip.mkv", frames=4, size=(34, 22), pix_fmt=pix_fmt, **FFV1)
    source = open_source(clip)
    frames, found = (list(read([0, 2, 3])) for read in (source.frames, source.planar_frames))
    for frame, other in zip(frames, found, strict=True):
        assert isinstance(other.image, PlanarImage) == planar
        assert other.image.shape == frame.image.shape and other.image.dtype == frame.image.dtype
        assert np.array_equal(np.asarray(other.image), frame.image) and other.index == frame.index


@pytest.mark.parametrize("changes", [{"rotation": 90}, {"pix_fmt": "yuva420p", **FFV1}])
def test_frames_that_are_turned_or_have_opacity_are_not_planes(tmp_path, changes):
    suffix = ".mkv" if "codec" in changes else ".mp4"
    source = open_source(make_clip(tmp_path / f"clip{suffix}", frames=2, **changes))
    for frame, other in zip(source.frames([0, 1]), source.planar_frames([0, 1]), strict=True):
        assert np.array_equal(other.image, frame.image) and not isinstance(other.image, PlanarImage)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p10le", "yuv420p12le"])
def test_a_frame_of_planes_is_the_frame_of_its_colors(pix_fmt):
    image, color = paint(5, (34, 22)), ColorSpec(9, full_range=True)
    form = planar_format(pix_fmt, 34, 22, color)
    planes = rgb_to_planes(image, form.sampling, form.depth, form.color)
    got = to_frame(PlanarImage(np.concatenate([plane.ravel() for plane in planes]), form), pix_fmt, color)
    expected = to_frame(image, pix_fmt, color)
    for plane, wanted in zip(*(_planes(frame, form.depth) for frame in (got, expected)), strict=True):
        assert np.array_equal(plane, wanted)
    assert (got.colorspace, got.color_range) == (expected.colorspace, expected.color_range)


@pytest.mark.parametrize("pix_fmt", ["nv12", "yuva420p", "yuvj420p", "gray", "rgb24", "yuv411p", "yuv420p10be"])
def test_other_formats_have_no_such_planes(pix_fmt):
    assert planar_format(pix_fmt, 34, 22, ColorSpec(1, full_range=False)) is None


def prepared_job(tmp_path, endpoints, name, clip, **options):
    preset = preset_of(endpoints, encoding={**FFV1, "pix_fmt": "yuv420p"}, **KEYS)
    options = {"width": None, "panels": ("render",)} | options
    preset = preset.override({"layout": {"width": options.pop("width"), "panels": options.pop("panels")}})
    job = make_job(clip, tmp_path / f"{name}.mkv", preset, device="cpu", dtype="fp32", backend="torch", **options)
    return prepare(make_plan(job))


@pytest.fixture
def planar(monkeypatch):
    """Renders take the path of a GPU; counts the frames that arrive as planes."""
    arrived = []
    build = pixel_formats._from_planar
    monkeypatch.setattr(pipeline, "is_on_gpu", lambda _: True)
    monkeypatch.setattr(pixel_formats, "_from_planar", lambda *given: arrived.append(given) or build(*given))
    return arrived


def test_an_engine_that_converts_nothing_renders_planes_as_colors(tmp_path, clip, endpoints, planar, monkeypatch):
    got = run(prepared_job(tmp_path, endpoints, "planes", clip)).output
    monkeypatch.setattr(pipeline, "is_on_gpu", lambda _: False)
    expected = run(prepared_job(tmp_path, endpoints, "colors", clip)).output
    assert not planar
    assert [image.tobytes() for _, image in decoded(got)] == [image.tobytes() for _, image in decoded(expected)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_the_path_of_a_gpu_is_the_path_of_the_cpu_within_a_code(
    tmp_path, endpoints, planar, monkeypatch, batch, pix_fmt
):
    pts = [3, 10, 11, 40, 41, 90, 200]
    codec = {"codec": "ffv1", "pix_fmt": pix_fmt}
    clip = make_clip(tmp_path / "vfr.mkv", frames=7, pts=pts, time_base=Fraction(1, 600), **codec)
    expected = run(prepared_job(tmp_path, endpoints, "cpu", clip, batch=batch)).output
    gpu_stand_in(monkeypatch)
    prepared = prepared_job(tmp_path, endpoints, "gpu", clip, batch=batch)
    engine = prepared.engine
    models = [TorchModel(engine.network, engine.path, "fp32") for _ in range(2)]
    engine._executor = CUDAExecutor(graphed(models), torch.device("cpu"))
    got = run(prepared).output
    assert len(planar) == 7
    for (time, image), (other, wanted) in zip(decoded(got), decoded(expected), strict=True):
        assert time == other
        assert np.abs(image.astype(int) - wanted).max() <= 4  # a code of each plane is up to two of a color


@pytest.mark.parametrize(
    "options", [{"width": 48}, {"panels": ("source", "render")}, {"keep_colors": True}, {"steady": 0.5}]
)
def test_what_needs_colors_gets_colors(tmp_path, clip, endpoints, planar, options):
    prepared = prepared_job(tmp_path, endpoints, "out", clip, **options)
    assert pipeline._planar_format(prepared) is None
    assert len(decoded(run(prepared).output)) == 12
    assert not planar
