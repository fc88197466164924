"""`steady`: the same frames in videos, segments, after a stop, under a constant rate and in memory."""

import numpy as np
import pytest

import dnirender
from dnirender import render
from dnirender.media.images import read_image, write_png
from dnirender.media.steadying import Steadier
from support.clips import decoded, preset_of

EXACT = {"dtype": "fp32", "backend": "torch"}
KEYS = "0:0, 11:1"


class Stop(Exception):
    pass


def frames(clip, folder, endpoints, layout=None, **options):
    folder.mkdir()
    preset = preset_of(endpoints, **({"layout": layout} if layout else {}))
    render(clip, folder / "%04d.png", preset=preset, **EXACT, **({"keyframes": KEYS} | options))
    return [read_image(path)[0] for path in sorted(folder.glob("*.png"))]


def same(one, other):
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def source(clip):
    return [image for _, image in decoded(clip)]


def by_hand(source, renders, strength, alphas):
    steadier = Steadier(strength)
    return [steadier(image, made, alpha) for image, made, alpha in zip(source, renders, alphas, strict=True)]


def test_videos_and_memory_are_steadied_as_renders_by_themselves(tmp_path, clip, endpoints):
    pictures = frames(clip, tmp_path / "day", endpoints, keyframes="0:day")  # the identity
    plain, made = frames(clip, tmp_path / "a", endpoints), frames(clip, tmp_path / "b", endpoints, steady=0.7)
    alphas = [(1 - k / 11, k / 11) for k in range(12)]
    assert same(made, by_hand(pictures, plain, 0.7, alphas)) and not same(made, plain)
    assert same(frames(clip, tmp_path / "c", endpoints, steady=0), plain)
    preset = preset_of(endpoints, effect={"steady": 0.7})
    in_memory = dnirender.render_frames(pictures, KEYS, preset=preset, **EXACT)
    assert same(list(in_memory), made)


def test_frames_do_not_depend_on_segments_batches_or_a_stop(tmp_path, clip, endpoints):
    expected = frames(clip, tmp_path / "whole", endpoints, steady=1)
    for number, options in enumerate([{"segment_frames": 1}, {"segment_frames": 3}, {"segment_frames": 5, "batch": 4}]):
        assert same(frames(clip, tmp_path / f"{number}", endpoints, steady=1, **options), expected)

    def stop(now):
        if now.done == 7:
            raise Stop

    target, options = tmp_path / "out.mkv", {"preset": preset_of(endpoints, encoding={"codec": "ffv1"}), **EXACT}
    options |= {"keyframes": KEYS, "steady": 1, "segment_frames": 3}
    with pytest.raises(Stop):
        render(clip, target, progress=stop, **options)
    assert render(clip, target, **options).resumed == 6
    parts = [image for _, image in decoded(target)]
    render(clip, tmp_path / "once.mkv", **options)
    assert same(parts, [image for _, image in decoded(tmp_path / "once.mkv")])


def test_a_part_begins_anew_and_a_constant_rate_repeats(tmp_path, clip, endpoints):
    part = frames(clip, tmp_path / "part", endpoints, keyframes="0:0.5", steady=1, start="4")
    plain = frames(clip, tmp_path / "plain", endpoints, keyframes="0:0.5", start="4")
    assert np.array_equal(part[0], plain[0]) and not same(part, plain)
    once = frames(clip, tmp_path / "once", endpoints, keyframes="0:0.5", steady=1)
    twice = frames(clip, tmp_path / "twice", endpoints, keyframes="0:0.5", steady=1, cfr=50, segment_frames=3)
    assert same(twice[::2], once) and same(twice[1::2], once)


def test_a_comparison_shows_it_in_the_render_only(tmp_path, clip, endpoints):
    layout = {"panels": ["night", "render"], "labels": False}
    plain = frames(clip, tmp_path / "a", endpoints, layout, keyframes="0:night")
    made = frames(clip, tmp_path / "b", endpoints, layout, keyframes="0:night", steady=1)
    height = plain[0].shape[1] // 2
    assert same([image[:64, :height] for image in plain], [image[:64, :height] for image in made])
    assert not same(plain, made)


def test_a_still_picture_has_nothing_to_steady(tmp_path, endpoints, source):
    write_png(tmp_path / "still.png", source[0])
    options = {"keyframes": "0:0, 11:1"}
    plain = frames(tmp_path / "still.png", tmp_path / "a", endpoints, **options)
    assert same(frames(tmp_path / "still.png", tmp_path / "b", endpoints, steady=1, **options), plain)
