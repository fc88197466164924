"""Laws from file to file: every frame once, in order, at its time, under its alpha - or nothing at all."""

import contextlib
import pickle
from fractions import Fraction

import cv2
import numpy as np
import pytest

from dnirender import render
from dnirender.encoding.sink import FrameTiming
from dnirender.errors import ModelError, OutputError, UsageError
from dnirender.jobs import compose
from dnirender.jobs.frame_selection import boomerang_order, thin_out
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import prepare
from dnirender.jobs.render import run
from dnirender.media.images import read_image, write_png
from support.clips import decoded, frame_number, leftovers, make_clip, packets, paint, preset_of, tiny_endpoints

LOSSLESS = {"codec": "ffv1", "pix_fmt": "yuv444p"}


def numbers(path):
    return [frame_number(image) for _, image in decoded(path)]


def darkening(path, source, first=0):
    """How much darker than the source's each frame is where that is bright, in 0..1."""
    drops = []
    for (_, image), (_, clean) in zip(decoded(path), decoded(source)[first:], strict=False):
        bright = clean[..., 0] > 128
        drops.append(float((clean.astype(float) - image)[bright][:, 0].mean()) / 255)
    return drops


@pytest.mark.usefixtures("one_lane")
def test_a_transition_keeps_every_frame_its_time_and_the_sound(tmp_path, clip, endpoints):
    preset = preset_of(endpoints, encoding=LOSSLESS)
    report = render(clip, tmp_path / "out.mkv", preset=preset, keyframes="0:0,8:1", dtype="fp32")
    assert numbers(report.output) == list(range(12))
    assert [time for time, _ in decoded(report.output)] == [time for time, _ in decoded(clip)]
    assert [data for _, data in packets(tmp_path / "out.mkv", "audio")] == [data for _, data in packets(clip, "audio")]
    expected = [0.4 * min(i / 8, 1) for i in range(12)]
    assert darkening(report.output, clip) == pytest.approx(expected, abs=2 / 255)
    assert report.frames == 12
    assert report.weight_writes == 9  # alpha changes eight times and then holds


def test_a_variable_frame_rate_is_kept_to_the_tick(tmp_path, endpoints):
    pts = [3, 10, 11, 40, 41, 90, 200, 1000]
    clip = make_clip(tmp_path / "vfr.mp4", frames=8, pts=pts, time_base=Fraction(1, 600), b_frames=2)
    report = render(clip, tmp_path / "out.mp4", preset=preset_of(endpoints))
    assert [time for time, _ in decoded(report.output)] == [Fraction(p, 600) for p in pts]
    assert numbers(report.output) == list(range(8))


@pytest.mark.parametrize("panels", [["render"], ["source", "render", "crossfade", "night"]])
def test_results_do_not_depend_on_the_batch_size(tmp_path, clip, endpoints, panels):
    preset = preset_of(endpoints, encoding=LOSSLESS, layout={"panels": panels})
    outputs = []
    for batch in (1, 5):
        target = tmp_path / f"{batch}.mkv"
        render(clip, target, preset=preset, keyframes="0:0,4:1,9:1", batch=batch, dtype="fp32")
        outputs.append([image for _, image in decoded(target)])
    assert len(outputs[0]) == 12
    assert all(np.array_equal(one, five) for one, five in zip(*outputs, strict=True))


def test_a_range_starts_its_own_clock(tmp_path, clip, endpoints):
    preset = preset_of(endpoints, encoding=LOSSLESS)
    report = render(
        clip, tmp_path / "out.mkv", preset=preset, keyframes="0:1,4:0", start="3", end="0.36s", dtype="fp32"
    )
    assert numbers(report.output) == [3, 4, 5, 6, 7, 8]
    assert [time for time, _ in decoded(report.output)] == [Fraction(round(40 * i), 1000) for i in range(6)]
    assert darkening(report.output, clip, 3) == pytest.approx([0.4, 0.3, 0.2, 0.1, 0, 0], abs=2 / 255)
    sound = [time for time, _ in packets(tmp_path / "out.mkv", "audio")]
    assert min(sound) >= 0 and max(sound) < Fraction(24, 100)


def test_end_is_the_whole_clip(tmp_path, clip, endpoints):
    report = render(clip, tmp_path / "out.mp4", preset=preset_of(endpoints), end="end")
    assert report.frames == 12


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_boomerang_runs_back_without_doubling_its_ends(tmp_path, clip, endpoints, suffix):
    preset = preset_of(endpoints, animation={"fps": 25}, layout={"width": 96})
    report = render(clip, tmp_path / f"out{suffix}", preset=preset, end="5", boomerang=True)
    assert numbers(report.output) == [0, 1, 2, 3, 4, 3, 2, 1]
    assert report.frames == 8


def _has_audio(path):
    import av

    with av.open(str(path)) as container:
        return bool(container.streams.audio)


def test_a_boomerang_has_no_sound(tmp_path, clip, endpoints):
    render(clip, tmp_path / "out.mp4", preset=preset_of(endpoints), boomerang=True)
    assert _has_audio(clip)
    assert not _has_audio(tmp_path / "out.mp4")


@pytest.mark.parametrize(("count", "order"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2, 1]), (4, [0, 1, 2, 3, 2, 1])])
def test_boomerang_order(count, order):
    assert boomerang_order(count) == order


def test_a_still_is_held_for_the_length_of_the_timeline(tmp_path, endpoints):
    still = tmp_path / "still.png"
    write_png(still, paint(7))
    report = render(still, tmp_path / "out.mp4", preset=preset_of(endpoints), keyframes="0:0,24:1")
    assert numbers(report.output) == [7] * 25
    assert [time for time, _ in decoded(report.output)] == [Fraction(i, 24) for i in range(25)]


def test_the_closed_cycle_of_a_still_does_not_show_its_first_frame_twice(tmp_path, endpoints):
    still = tmp_path / "still.png"
    write_png(still, paint(7))
    preset = preset_of(endpoints)
    assert render(still, tmp_path / "open.gif", preset=preset, keyframes="0:0,12:1").frames == 13
    assert render(still, tmp_path / "closed.gif", preset=preset, keyframes="0:0,6:1,12:0").frames == 12


@pytest.mark.usefixtures("one_lane")
def test_a_gif_takes_the_frames_on_screen_at_its_own_rate(tmp_path, endpoints):
    clip = make_clip(tmp_path / "clip.mp4", frames=20, rate=20)
    preset = preset_of(endpoints, animation={"fps": 5, "width": 96})
    report = render(clip, tmp_path / "out.gif", preset=preset, keyframes="0:0,16:1")
    assert numbers(report.output) == [0, 4, 8, 12, 16]
    assert report.weight_writes == 5


def test_thinning_keeps_the_length_and_never_doubles_a_frame():
    seconds = [Fraction(t, 100) for t in (0, 4, 8, 60, 61, 62)]
    times = FrameTiming((0, 4, 8, 60, 61, 62), Fraction(1, 100), 38)
    shown, thinned = thin_out(seconds, times, Fraction(10))
    assert shown == [0, 2, 3, 5]  # at 0, 0.1, 0.6 and 0.7 s
    assert thinned == FrameTiming((0, 1, 6, 7), Fraction(1, 10), 3)


def test_numbered_pictures(tmp_path, clip, endpoints):
    render(clip, tmp_path / "f_%03d.png", preset=preset_of(endpoints), end="3")
    made = sorted(tmp_path.glob("f_*.png"))
    assert [path.name for path in made] == ["f_000.png", "f_001.png", "f_002.png"]
    assert [frame_number(read_image(path)[0]) for path in made] == [0, 1, 2]


def test_scaling_comes_before_the_network_and_keeps_the_aspect(tmp_path, clip, endpoints):
    preset = preset_of(endpoints, layout={"width": 48})
    render(clip, tmp_path / "out.mp4", preset=preset)
    assert {image.shape for _, image in decoded(tmp_path / "out.mp4")} == {(32, 48, 3)}


def test_the_crossfade_panel_is_the_blend_of_the_endpoints_renders(tmp_path, clip):
    # Linear networks: render and crossfade agree but for clipping; the source is brighter than both.
    files = tiny_endpoints(tmp_path, day=0.0, dusk=-0.1, night=-0.3)
    preset = preset_of(files, encoding=LOSSLESS, layout={"panels": ["crossfade", "render", "source"], "labels": False})
    render(clip, tmp_path / "out.mkv", preset=preset, keyframes="0:0.25,end:0.75", dtype="fp32")
    for _, image in decoded(tmp_path / "out.mkv"):
        crossfade, mixed, source = (image[:64, x : x + 96].astype(float) for x in _lefts(image.shape[1]))
        bright = source[..., 0] > 128
        assert abs(crossfade - mixed)[bright].mean() <= 2  # of 255: each panel was rounded to 8 bit RGB and to YUV
        assert 8 < (source - crossfade)[bright].mean() < 70


def _lefts(width):
    gap = (width - 3 * 96) // 2
    return [0, 96 + gap, 2 * (96 + gap)]


@pytest.mark.usefixtures("one_lane")
def test_weights_are_written_only_when_alpha_changes(tmp_path, clip, endpoints):
    plan = make_plan(make_job(clip, tmp_path / "out.mp4", preset_of(endpoints, timeline={"keyframes": "0:0.5"})))
    prepared = prepare(plan)
    assert run(prepared).weight_writes == plan.weight_writes == 1


@pytest.mark.usefixtures("one_lane")
def test_the_plan_counts_what_the_render_does(tmp_path, clip, endpoints):
    preset = preset_of(endpoints, layout={"panels": ["source", "render", "crossfade"]})
    prepared = prepare(make_plan(make_job(clip, tmp_path / "out.mp4", preset)))
    assert (prepared.plan.num_frames, prepared.plan.distinct_alphas) == (12, 12)
    # At the ends the render is an endpoint itself, and the other endpoint is not needed.
    assert prepared.plan.forwards == 10 * 3 + 2 * 1
    assert run(prepared).weight_writes == prepared.plan.weight_writes


def test_opencv_has_its_threads_back_after_a_render_and_after_a_failure(tmp_path, clip, endpoints):
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        for target, fails in (("a.mkv", False), ("b.mkv", True)):
            seen = []

            def progress(now, seen=seen, fails=fails):
                if now.alpha is None:
                    return
                seen.append(cv2.getNumThreads())
                if fails:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt) if fails else contextlib.nullcontext():
                render(clip, tmp_path / target, preset=preset_of(endpoints), device="cpu", progress=progress)
            assert set(seen) == {1}
            assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_progress_is_told_every_frame(tmp_path, clip, endpoints):
    told = []
    render(clip, tmp_path / "out.mp4", preset=preset_of(endpoints), progress=told.append)
    written = [now for now in told if now.alpha is not None]
    assert [now.done for now in written] == list(range(1, 13))
    assert {(now.phase, now.total) for now in written} == {("rendering", 12)}
    assert (written[0].alpha, written[-1].alpha) == ((1.0, 0.0), (0.0, 1.0))
    assert all(now.seconds_left > 0 for now in written[:-1]) and written[-1].seconds_left == 0
    begun = [(now.phase, now.done, now.total) for now in told if now.alpha is None]
    assert begun == [("loading", 0, 0), ("choosing", 0, 0), ("rendering", 0, 12), ("joining", 12, 12)]


def test_a_job_can_be_sent_to_another_process(tmp_path, clip, endpoints):
    job = make_job(clip, tmp_path / "out.mp4", preset_of(endpoints))
    assert pickle.loads(pickle.dumps(job)) == job


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "f_%02d.png"])
def test_whatever_stops_a_render_the_old_file_stays_and_nothing_else(tmp_path, clip, endpoints, error, name):
    folder = tmp_path / "target"
    folder.mkdir()
    old = folder / "out.mp4"
    old.write_bytes(b"old")

    def stop(now):
        if now.done == 5:
            raise error

    with pytest.raises(error):
        render(clip, folder / name, preset=preset_of(endpoints), progress=stop, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["out.mp4"]
    assert old.read_bytes() == b"old"


def test_a_network_that_yields_no_numbers_is_named_with_the_frame(tmp_path, clip):
    files = tiny_endpoints(tmp_path, day=0.0, night=3e38)
    preset = preset_of(files, timeline={"keyframes": "0:0, end:3", "extrapolate": True})
    with pytest.raises(ModelError, match="frame"):
        render(clip, tmp_path / "out.mp4", preset=preset, dtype="fp32")
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "out.mp4").exists()


def test_output_checks(tmp_path, clip, endpoints):
    preset = preset_of(endpoints)

    def refused(name, match, kind=OutputError, **options):
        with pytest.raises(kind, match=match):
            render(clip, tmp_path / name, preset=preset, **options)

    (tmp_path / "there.mp4").write_bytes(b"x")
    (tmp_path / "folder.mp4").mkdir()
    refused("there.mp4", "exists already; overwrite=True replaces it")
    refused("no/out.mp4", "no such folder; create it first")
    refused("clip.mp4", "is the input itself", overwrite=True)
    refused("folder.mp4", "is a folder; name a file", overwrite=True)
    refused("out.avi", "unknown output format '.avi'; expected apng gif", UsageError)
    refused("out", "unknown output format 'without extension'", UsageError)
    refused("out.png", "holds one frame, and the range has 12", UsageError)
    refused("%d_%d.png", "expected one number in the pattern", UsageError)
    refused("out.mp4", "fps=10: applies to GIF", UsageError, fps=10)
    refused("out.mp4", "no frame of 12 lies in this range", UsageError, start="9", end="3")
    assert leftovers(tmp_path) == []


def still(tmp_path):
    write_png(tmp_path / "still.png", paint(7))
    return tmp_path / "still.png"


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_range_of_a_still_starts_its_own_clock(tmp_path, endpoints, suffix):
    plan = make_plan(
        make_job(still(tmp_path), tmp_path / f"out{suffix}", preset_of(endpoints), start="2", end="6", fps=Fraction(10))
    )
    keyed = plan.job.timeline.resolve(("day", "night"), [Fraction(i, 10) for i in range(4)])
    assert plan.selection.alphas == keyed.alphas
    assert len(plan.selection.indices) == len(plan.selection.times.pts) == 4


def test_the_boomerang_of_a_closed_cycle_meets_its_end_in_the_middle(tmp_path, endpoints):
    preset = preset_of(endpoints, timeline={"keyframes": "0:0,3:1,6:0"})
    plan = make_plan(make_job(still(tmp_path), tmp_path / "out.gif", preset, boomerang=True))
    assert plan.num_frames == 12
    assert plan.selection.alphas[-1] == plan.selection.alphas[0] == (1.0, 0.0)


def test_keys_in_time_stand_on_the_track_where_their_frames_are(tmp_path, endpoints):
    pts = [60 * tenth for tenth in (0, 1, 2, 3, 4, 9, 14)]
    clip = make_clip(tmp_path / "vfr.mp4", frames=7, pts=pts, time_base=Fraction(1, 600))
    preset = preset_of(endpoints, timeline={"keyframes": "0:0, 0.3s:1, 1.4s:0"})
    plan = make_plan(make_job(clip, tmp_path / "out.mp4", preset))
    keys = compose._keys(plan, plan.job.timeline, plan.selection.track)
    assert [place for place, _ in keys] == pytest.approx([0, 3 / 6, 1])


def test_a_preset_names_the_default_output(tmp_path, clip, endpoints, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset = preset_of(endpoints).model_copy(update={"name": "Night / day"})
    assert render(clip, preset=preset, start=3, end=5).output == "clip.night-day.mp4"


def test_strict_refuses_to_lose_anything_unasked(tmp_path, endpoints):
    clip = make_clip(tmp_path / "clip.mkv", audio="aac", subtitles=True)
    preset = preset_of(endpoints)
    render(clip, tmp_path / "whole.mkv", preset=preset, strict=True)
    with pytest.raises(UsageError, match=r"^strict=True: subtitle #2 \(srt\): drop \(webm does not support srt\)$"):
        render(clip, tmp_path / "out.webm", preset=preset, strict=True)
    silent = preset.override({"encoding": {"subtitles": False}})
    render(clip, tmp_path / "out.webm", preset=silent, strict=True)  # as asked
