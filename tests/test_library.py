"""Laws of the library: sources as sequences, frames from memory, networks from modules."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import dnirender
from dnirender import Engine, MediaError, ModelError, Timeline, UsageError, render
from support.clips import decoded, frame_number, make_clip, paint, preset_of, tiny_endpoints


def test_a_clip_is_a_sequence_of_its_frames(tmp_path):
    clip = dnirender.open(make_clip(tmp_path / "clip.mp4", frames=12))
    assert len(clip) == 12
    assert [frame_number(frame.image) for frame in clip] == list(range(12))
    assert [frame.index for frame in clip[2:9:3]] == [2, 5, 8]
    assert clip[-1].index == 11 and clip[3].seconds == clip[3].pts * clip.metadata.time_base - clip[0].seconds
    assert [frame.index for frame in clip.between(Fraction(2, 25), Fraction(1, 5))] == [2, 3, 4]  # 25 frames a second
    assert [frame.index for frame in clip[4:].between(0, Fraction(1, 5))] == [4]
    with pytest.raises(IndexError):
        _ = clip[12]
    with pytest.raises(UsageError, match="expected 1 or more; a clip is decoded forward"):
        _ = clip[::-1]
    with pytest.raises(MediaError, match="no such file"):
        dnirender.open(tmp_path / "none.mp4")


@pytest.fixture
def preset(tmp_path):
    return preset_of(tiny_endpoints(tmp_path))


@pytest.mark.parametrize("known", [True, False])
def test_frames_from_memory_equal_those_of_a_file(tmp_path, preset, known):
    clip = make_clip(tmp_path / "clip.mkv", codec="ffv1", pix_fmt="bgr0", frames=12)
    options = {"preset": preset, "keyframes": "0:0, 7:1, 11:0.5", "dtype": "fp32", "device": "cpu"}
    render(clip, tmp_path / "out.mkv", codec="ffv1", pix_fmt="bgr0", **options)
    images = [frame.image for frame in dnirender.open(clip)]
    made = list(dnirender.render_frames(images if known else iter(images), **options))
    assert len(made) == 12
    for one, (_, other) in zip(made, decoded(tmp_path / "out.mkv"), strict=True):
        assert np.array_equal(one, other)


def test_many_frames_of_unknown_number_have_the_alphas_of_a_known_one(preset):
    image, keys = np.full((8, 8, 3), 200, np.uint8), "0:0, 100:1@smooth, 150:0"
    many = [image] * 160
    known = [int(made[0, 0, 0]) for made in dnirender.render_frames(many, keys, preset=preset, dtype="fp32")]
    unknown = [int(made[0, 0, 0]) for made in dnirender.render_frames(iter(many), keys, preset=preset, dtype="fp32")]
    assert unknown == known and len(set(known)) > 50


def test_keys_are_text_tuples_or_a_timeline_and_an_easing_may_be_a_function(preset):
    images = [np.full((8, 8, 3), 200, np.uint8)] * 5

    def made(keyframes, **options):
        rendered = dnirender.render_frames(images, keyframes, preset=preset, dtype="fp32", **options)
        return [int(image[0, 0, 0]) for image in rendered]

    text = made("0:day, 4:night@smooth")
    assert made([(0, "day"), (4, "night", "smooth")]) == text == made(Timeline.parse("0:day, 4:night@smooth"))
    squared = made("0:0, 4:1", easing=lambda t: t * t)
    assert squared == [round(200 - 102 * t * t) for t in (0, 0.25, 0.5, 0.75, 1)]


def test_an_expression_is_evaluated_for_the_frames_that_come_and_no_others(preset):
    images = [np.full((8, 8, 3), 200, np.uint8)] * 40
    known = list(dnirender.render_frames(images, "0:(t/39)", preset=preset, dtype="fp32"))
    unknown = list(dnirender.render_frames(iter(images), "0:(t/39)", preset=preset, dtype="fp32"))
    assert all(np.array_equal(one, other) for one, other in zip(known, unknown, strict=True))
    by_position = list(dnirender.render_frames(images, {0: 0, 39: 1}, preset=preset, dtype="fp32"))
    assert all(np.abs(one.astype(int) - other).max() <= 1 for one, other in zip(known, by_position, strict=True))
    with pytest.raises(UsageError, match="the value at frame 31 is 1.0000033"):
        list(dnirender.render_frames(iter(images), "0:(0.9999+t/300000)", preset=preset, dtype="fp32"))
    with pytest.raises(UsageError, match=r"0:\(t/max_f\) depends on the last frame; give frames that have a len"):
        dnirender.render_frames(iter(images), "0:(t/max_f)", preset=preset)


def test_frames_and_keys_that_do_not_suit_are_refused_by_number_and_name(preset):
    def refused(frames, keyframes, match, **options):
        with pytest.raises(UsageError, match=match):
            list(dnirender.render_frames(frames, keyframes, preset=preset, **options))

    good = np.zeros((8, 8, 3), np.uint8)
    refused(iter([good]), "0:0, end:1", "end depends on the last frame; give frames that have a len")
    refused([good, good[..., 0]], "0:0", r"frame 1: expected an array \[h, w, 3\], got shape \[8, 8\]")
    refused([good.astype(np.float64)], "0:0", "frame 0: expected uint8 or uint16, got float64")
    refused([good], "0:0", "divice: unknown option; did you mean device", divice="cpu")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"batch": -1}, "batch: expected greater than or equal to 1, got -1"),
        ({"batch": 0}, "batch: expected greater than or equal to 1, got 0"),
        ({"batch": "a"}, "batch: expected a valid integer, got 'a'"),
        ({"batch": True}, "batch: expected a valid integer, got True"),
        ({"device": 0}, "device: expected a valid string, got 0"),
        ({"tile": (0, 0)}, r"tile: expected a side from 1 to 16384, or \(height, width\), got \(0, 0\)"),
        ({"segment_frames": -1}, "segment_frames: expected greater than or equal to 1, got -1"),
        ({"fps": 0}, "fps: expected more than 0 and at most 1000, got 0"),
        ({"fps": float("nan")}, "fps: expected a number of frames per second, got nan"),
        ({"dtype": "fp64"}, "dtype: expected 'auto', 'fp32', 'bf16' or 'fp16', got 'fp64'"),
        ({"crf": 99}, "encoding.crf: expected less than or equal to 63, got 99"),
        ({"start": []}, "start: expected a valid string"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(tmp_path, preset, option, message):
    with pytest.raises(UsageError, match=message):
        render(tmp_path / "clip.mp4", tmp_path / "out.mp4", preset=preset, **option)


def test_a_preset_refuses_sections_that_it_does_not_have_and_values_that_are_none(preset):
    with pytest.raises(UsageError, match="timelin: unknown key; did you mean timeline"):
        preset.override({"timelin": {}})
    with pytest.raises(
        UsageError, match="timeline: expected a valid dictionary or instance of TimelineSettings, got 5"
    ):
        preset.override({"timeline": 5})


def test_the_gif_section_of_older_presets_is_read_with_a_hint(preset):
    data = preset.model_dump() | {"gif": {"fps": 8}}
    data.pop("animation")
    with pytest.warns(FutureWarning, match="gif: is now called animation"):
        assert type(preset).checked(data, "test").animation.fps == 8


class Scaled(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x):
        return nn.functional.interpolate(x * self.gain, scale_factor=2.0)


def test_modules_are_mixed_and_stay_as_they_are():
    modules = {"half": Scaled(0.5), "full": Scaled(1.0)}
    network, path = dnirender.networks.from_modules(modules)
    engine = Engine(network, path, device="cpu", dtype="fp32")
    image = paint(5)
    made = engine.render(image, (0.5, 0.5))
    expected = np.rint(image.astype(float) * 0.75).repeat(2, 0).repeat(2, 1)
    assert np.abs(made - expected).max() <= 1
    assert modules["half"].gain.item() == 0.5 and modules["half"].gain.requires_grad


def test_modules_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="expected two modules or more, got 1"):
        dnirender.networks.from_modules({"one": Scaled(1.0)})
    with pytest.raises(ModelError, match="does not fit"):
        dnirender.networks.from_modules({"one": nn.Conv2d(3, 3, 1), "two": nn.Conv2d(3, 3, 3, padding=1)})
    with pytest.raises(ModelError, match=r"Conv2d makes \[1, 4, 32, 32\] of \[1, 3, 32, 32\]"):
        dnirender.networks.from_modules({"one": nn.Conv2d(3, 4, 1), "two": nn.Conv2d(3, 4, 1)})


def test_an_option_of_the_version_before_is_read_with_a_hint(tmp_path, preset):
    clip = make_clip(tmp_path / "clip.mp4", frames=4)
    with pytest.warns(FutureWarning, match="segment: is now called segment_frames"):
        assert render(clip, tmp_path / "out.mp4", preset=preset, segment=2).frames == 4
