"""The command line as a user meets it: what is printed where, and the exit code."""

import json

import cv2
import numpy as np
import pytest

from dnirender import __version__
from dnirender.cli.main import main
from support.clips import SHARED, decoded, frame_number, leftovers, make_clip, needs_shared, paint, tiny_endpoints


@pytest.fixture
def here(tmp_path, monkeypatch, clip, endpoints):
    """A folder with clip.mp4, day.safetensors and night.safetensors that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


MODELS = ["-m", "day=day.safetensors", "-m", "night=night.safetensors", "--no-progress"]


def dnirender(capsys, *arguments):
    """Exit code, standard output, standard error."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.usefixtures("one_lane")
def test_render_is_the_default_command(here, capsys):
    code, out, err = dnirender(capsys, "clip.mp4", *MODELS, "-k", "0:0,8:1")
    assert (code, out) == (0, "")
    assert "clip.day-night.mp4: 12 frames in " in err
    assert "9 weight writes" in err
    assert [frame_number(image) for _, image in decoded(here / "clip.day-night.mp4")] == list(range(12))


def test_help_shows_the_options_of_render_and_the_other_commands(capsys):
    for arguments in (["--help"], []):
        code, out, _ = dnirender(capsys, *arguments)
        assert code == 0
        assert out.startswith("Usage: dnirender")
        assert "--keyframes" in out and "--compare" in out
        assert all(f"\n  {name} " in out for name in ("presets", "info", "sheet", "bench"))
    assert "--alphas" in dnirender(capsys, "sheet", "--help")[1]
    code, out, err = dnirender(capsys, "model")
    assert (code, err) == (0, "") and "\n  align " in out and "\\n" not in out


def test_tiles_give_the_same_picture(here, capsys):
    for tile, target in ((["--tile", "24"], "tiled.mkv"), ([], "whole.mkv")):
        code, out, _ = dnirender(
            capsys, "clip.mp4", *MODELS, *tile, "-o", target, "--codec", "ffv1", "--json", "--dtype", "fp32"
        )
        assert code == 0
        assert json.loads(out)["tile"] == ([24, 24] if tile else None)
    for (_, tiled), (_, whole) in zip(decoded(here / "tiled.mkv"), decoded(here / "whole.mkv"), strict=True):
        assert abs(tiled.astype(int) - whole).max() <= 1
    code, _, err = dnirender(capsys, "clip.mp4", *MODELS, "--tile", "4", "-o", "small.mkv")
    assert code == 2
    assert "--tile 4: tile height 4: expected a multiple of 1 above 6, twice the receptive radius of 3" in err


def test_a_key_behind_the_clip_is_rendered_as_asked_with_a_warning(here, capsys):
    code, _, err = dnirender(capsys, "clip.mp4", *MODELS, "-k", "0:0, 22:1")
    assert code == 0
    assert (
        'warning: --keyframes: "22:1" (key 2) is behind the last frame, 11: its value is not reached, the last frame '
        "has 0.500\n"
    ) in err
    assert "behind" not in dnirender(capsys, "clip.mp4", *MODELS, "-y", "-k", "0:0,end:1")[2]


def test_a_mistake_in_an_expression_is_shown_under_the_message(here, capsys):
    code, out, err = dnirender(capsys, "clip.mp4", *MODELS, "-k", "0:(0.5+*2)")
    assert (code, out) == (2, "")
    assert err == (
        'error: --keyframes: "0:(0.5+*2)" (key 1): expected a value, got "*" at character 6\n  (0.5+*2)\n       ^\n'
    )


def test_an_expression_beyond_the_path_names_the_frame_before_anything_is_rendered(here, capsys):
    code, _, err = dnirender(capsys, "clip.mp4", *MODELS, "-k", "0:(t/10)")
    assert code == 2 and "the value at frame 11 is 1.1, outside 0..1; use --extrapolate" in err
    code, _, err = dnirender(capsys, "clip.mp4", *MODELS, "-k", "0:0, 5:(log(t-8))")
    assert code == 2 and "the value at frame 5 is nan, expected a finite number" in err
    assert not list(here.glob("*.day-night.*")) and not leftovers(here)


def test_version(capsys):
    assert dnirender(capsys, "--version")[:2] == (0, f"dnirender {__version__}\n")


def test_json_is_one_object_and_the_only_thing_on_standard_output(here, capsys):
    code, out, err = dnirender(capsys, "clip.mp4", *MODELS, "--json", "-o", "out.mp4")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report.keys() == {
        "input", "output", "frames", "resumed", "seconds", "fps", "device", "dtype", "backend", "workers", "tile", "weight_writes", "streams", "warnings", "phases", "repeated", "dropped",
    }  # fmt: skip
    assert list(report["phases"]) == ["loading", "choosing", "rendering", "joining"]
    assert sum(report["phases"].values()) >= report["seconds"] > 0
    assert (report["output"], report["frames"], report["weight_writes"]) == ("out.mp4", 12, 12)
    assert report["streams"] == ["audio #1 (aac): copy"]


def test_a_dry_run_prints_the_plan_and_writes_nothing(here, capsys):
    before = sorted(path.name for path in here.iterdir())
    code, out, _ = dnirender(capsys, "clip.mp4", *MODELS, "--dry-run", "-k", "0:0,4:1")
    assert code == 0
    plan = dict(line.split(":", 1) for line in out.splitlines())
    plan = {key: value.strip() for key, value in plan.items()}
    assert (plan["frames"], plan["distinct alphas"], plan["weight writes"]) == ("12", "5", "5")
    assert (plan["size"], plan["codec"], plan["pix fmt"]) == ("96x64", "libx264", "yuv420p")
    assert plan["streams"] == "audio #1 (aac): copy"
    assert float(plan["estimated seconds"]) >= 0
    assert sorted(path.name for path in here.iterdir()) == before


def test_several_inputs_each_have_their_output_and_one_failure_does_not_stop_the_rest(here, capsys):
    make_clip(here / "other.mp4", frames=3)
    (here / "broken.mp4").write_bytes(b"nothing")
    code, _, err = dnirender(capsys, "broken.mp4", "clip.mp4", "other.mp4", *MODELS, "-o", "out")
    assert code == 3
    assert "error: broken.mp4: cannot be opened" in err
    assert sorted(path.name for path in (here / "out").iterdir()) == ["clip.day-night.mp4", "other.day-night.mp4"]


def test_of_several_inputs_those_that_are_done_are_not_done_again(here, capsys):
    words = ("clip.mp4", "other.mp4", *MODELS, "-o", "out")
    (here / "out").mkdir()
    make_clip(here / "other.mp4", frames=3)
    assert dnirender(capsys, "clip.mp4", *MODELS, "-o", "out")[0] == 0
    (first,) = (here / "out").iterdir()
    before = first.read_bytes()
    code, _, err = dnirender(capsys, *words)
    assert code == 0 and f"out/{first.name}: already rendered by this command" in err
    assert first.read_bytes() == before and len(list((here / "out").iterdir())) == 2
    code, _, err = dnirender(capsys, *words, "--crf", "30")
    assert code == 5 and "exists already" in err
    first.write_bytes(b"another file")
    assert dnirender(capsys, *words)[0] == 5
    assert first.read_bytes() == b"another file"


def test_a_clip_too_short_for_the_range_is_named_and_the_others_are_rendered(here, capsys):
    make_clip(here / "short.mp4", frames=3)
    code, _, err = dnirender(capsys, "short.mp4", "clip.mp4", *MODELS, "--start", "8", "-o", "out")
    assert code == 2
    assert "error: short.mp4: --start 8, --end end: no frame of 3 lies in this range" in err
    assert [path.name for path in (here / "out").iterdir()] == ["clip.day-night.mp4"]


def test_no_picture_of_a_sequence_is_overwritten_unasked(here, capsys):
    (here / "f_0003.png").write_text("keep me")
    code, _, err = dnirender(capsys, "clip.mp4", *MODELS, "-o", "f_%04d.png")
    assert code == 5
    assert "f_0003.png: exists already; --overwrite replaces it" in err
    assert [path.name for path in here.glob("*.png")] == ["f_0003.png"]
    assert (here / "f_0003.png").read_text() == "keep me"


def test_a_sheet_does_not_replace_its_input(here, capsys):
    cv2.imwrite(str(here / "still.png"), paint(1))
    code, _, err = dnirender(capsys, "sheet", "still.png", *MODELS[:4], "-o", "still.png", "-y")
    assert code == 5
    assert "still.png: is the input itself; choose another name" in err


def test_what_a_format_cannot_hold_is_in_the_plan_and_no_surprise(here, capsys):
    for arguments in (["-o", "o.gif"], ["-o", "o.mp4", "--boomerang"]):
        code, out, _ = dnirender(capsys, "clip.mp4", *MODELS, *arguments, "--dry-run", "--json")
        assert code == 0
        [stream] = json.loads(out)["streams"]
        assert stream.startswith("audio #1 (aac): drop (")
        assert not any("audio" in warning for warning in json.loads(out)["warnings"])


def test_a_dry_run_refuses_what_the_run_would(here, capsys):
    cv2.imwrite(str(here / "still.png"), paint(1))
    code, _, err = dnirender(capsys, "still.png", *MODELS, "-o", "f.gif", "--fps", "200", "--dry-run")
    assert code == 2
    assert "f.gif: gif shows at most 100 frames/s; set --fps 100 or lower" in err


def test_an_animated_picture_is_not_taken_for_a_still(here, capsys):
    assert dnirender(capsys, "clip.mp4", *MODELS, "-o", "loop.webp")[0] == 0
    code, out, _ = dnirender(capsys, "info", "loop.webp")
    assert code == 0 and "animated webp" in out
    assert dnirender(capsys, "loop.webp", *MODELS, "-o", "again.mp4")[0] == 0


def test_width_and_height_are_a_box_that_keeps_the_aspect(here, capsys):
    out = dnirender(capsys, "clip.mp4", *MODELS, "--width", "60", "--height", "20", "--dry-run", "--json")[1]
    assert json.loads(out)["size"] == "30x20"


def test_compare_and_quiet(here, capsys):
    code, out, err = dnirender(capsys, "clip.mp4", *MODELS, "--compare", "-q", "-o", "out.mp4")
    assert (code, out, err) == (0, "", "")
    assert {image.shape[1] for _, image in decoded(here / "out.mp4")} == {2 * 96 + 2}


def test_no_audio_and_encoder_options(here, capsys):
    code, _, _ = dnirender(
        capsys,
        "clip.mp4",
        *MODELS,
        "--no-audio",
        "-e",
        "preset=ultrafast",
        "-e",
        "bf=0",
        "--crf",
        "30",
        "-o",
        "out.mp4",
    )
    assert code == 0
    assert "audio" not in dnirender(capsys, "info", "out.mp4")[1]


def test_verbose_says_what_was_chosen(here, capsys):
    _, _, err = dnirender(capsys, "clip.mp4", *MODELS, "-v", "--dtype", "fp32")
    assert "cpu, fp32" in err
    assert "audio #1 (aac): copy" in err


def test_info(here, capsys):
    code, out, _ = dnirender(capsys, "info", "clip.mp4")
    assert code == 0
    assert "\nframes:            12\n" in out
    assert "\nrate:              constant, 25.000 frames/s\n" in out
    assert json.loads(dnirender(capsys, "info", "clip.mp4", "--json")[1])["size"] == "96x64"


def test_info_of_a_picture_says_nothing_about_time(here, capsys):
    cv2.imwrite(str(here / "still.png"), paint(1))
    code, out, _ = dnirender(capsys, "info", "still.png")
    assert (code, out.split()) == (
        0,
        ["input:", "still.png", "video:", "still", "image,", "png", "size:", "96x64", "pixels:", "rgb24,", "8", "bits"],
    )
    assert json.loads(dnirender(capsys, "info", "still.png", "--json")[1])["frames"] == 1


def test_the_word_render_names_the_command_unless_it_is_a_file(here, capsys):
    assert dnirender(capsys, "render", "clip.mp4", *MODELS, "-o", "a.mp4")[0] == 0
    assert "Usage: dnirender render" in dnirender(capsys, "render", "--help")[1]
    (here / "clip.mp4").rename(here / "render")
    assert dnirender(capsys, "render", *MODELS, "-o", "b.mp4")[0] == 0
    assert decoded(here / "a.mp4")[3][0] == decoded(here / "b.mp4")[3][0]


@pytest.mark.parametrize("folder", ["made", "there"])
def test_an_output_without_an_extension_is_a_folder(here, capsys, folder):
    (here / "there").mkdir()
    code, _, err = dnirender(capsys, "clip.mp4", *MODELS, "-o", folder)
    assert code == 0 and f"{folder}/clip.day-night.mp4: 12 frames" in err
    assert dnirender(capsys, "clip.mp4", *MODELS, "-o", "f_%04d")[0] == 2
    assert not (here / "f_%04d").exists()


def test_a_video_of_one_frame_says_how_it_gets_longer(here, capsys):
    cv2.imwrite(str(here / "still.png"), paint(1))
    hint = "warning: out.mp4: has one frame; the last key sets the length, 5s:VALUE makes it 5 s long"
    assert hint in dnirender(capsys, "still.png", *MODELS, "-k", "0:0.5", "-o", "out.mp4")[2]
    assert "has one frame" not in dnirender(capsys, "still.png", *MODELS, "-k", "0:0.5,1:1", "-o", "b.mp4")[2]
    assert "has one frame" not in dnirender(capsys, "still.png", *MODELS, "-k", "0:0.5")[2]
    assert "has one frame" not in dnirender(capsys, "clip.mp4", *MODELS, "--end", "1", "-o", "c.mp4")[2]


def test_presets_lists_and_shows(capsys):
    assert dnirender(capsys, "presets")[1].startswith("day-to-night ")
    assert "day -> golden -> dusk -> night" in dnirender(capsys, "presets")[1]
    assert "keyframes:" in dnirender(capsys, "presets", "day-to-night")[1]
    assert json.loads(dnirender(capsys, "presets", "--schema")[1])["title"] == "Preset"


def test_sheet(here, capsys):
    code, _, err = dnirender(capsys, "sheet", "clip.mp4", *MODELS[:4], "--frames", "0,50%", "--alphas", "0,0.5,night")
    assert code == 0
    assert "clip.sheet.png" in err
    picture = cv2.imread(str(here / "clip.sheet.png"))
    assert picture.shape[1] > 3 * 96 and picture.shape[0] > 2 * 64
    assert dnirender(capsys, "sheet", "clip.mp4", *MODELS[:4])[0] == 5


def test_a_sheet_has_a_column_for_every_endpoint_and_between(here, capsys, monkeypatch):
    from dnirender.jobs import contact_sheet

    shown = {}

    def drawn(rows, row_labels, column_labels, title, width):
        shown.update(rows=rows, columns=column_labels, width=width)
        return rows[0][0]

    monkeypatch.setattr(contact_sheet.contact_sheet, "sheet", drawn)
    words = [*MODELS[:4], "-m", "dawn=day.safetensors", "--frames", "0,end"]
    assert dnirender(capsys, "sheet", "clip.mp4", *words)[0] == 0
    assert shown["columns"] == ["day", "half-way", "night", "half-way", "dawn"]
    (day, one, night, other, dawn), last = [[image.astype(int) for image in row] for row in shown["rows"]]
    assert np.array_equal(day, dawn) and np.array_equal(one, other)
    bright = night > 0  # where nothing was clipped
    assert np.abs(day + night - 2 * one)[bright].max() <= 2 and np.abs(day - night)[bright].min() > 20
    assert not np.array_equal(last[0], day)
    dnirender(capsys, "sheet", "clip.mp4", "-p", "painters", "--frames", "0", "--width", "16", "-y")
    assert shown["columns"][::2][1] == "starry_night" and len(shown["columns"]) == 19 and shown["width"] == 19 * 240
    dnirender(capsys, "sheet", "clip.mp4", *words, "--alphas", "0,night", "-y")
    assert shown["columns"] == ["0 day", "night"]


def test_interrupted(here, capsys, monkeypatch):
    from dnirender.engine.cpu import CPUWorker

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(CPUWorker, "_render_frame", interrupt)
    code, _, err = dnirender(capsys, "clip.mp4", *MODELS, "--device", "cpu")
    assert code == 130
    assert "stopped before the next segment was finished" in err
    assert leftovers(here) == []


@pytest.mark.parametrize("where", ["dnirender.jobs.plan.open_source", "dnirender.engine.cpu.CPUWorker.__init__"])
def test_a_dry_run_that_is_stopped_does_not_speak_of_going_on(here, capsys, monkeypatch, where):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    code, _, err = dnirender(capsys, "clip.mp4", *MODELS, "--device", "cpu", "--dry-run")
    assert (code, err.splitlines()[-1]) == (130, "error: stopped; a dry run writes nothing")
    assert leftovers(here) == []


BAD = [
    (["clip.mp4", "-k", "0:0,0:1"], 2, "error: --keyframes: frame 0 comes after frame 0 (key 2); positions must increase"),
    (["clip.mp4", "-k", "0"], 2, "keyframes: "),
    (["clip.mp4", "-k", ""], 2, "keyframes: empty; expected POSITION:VALUE[@EASING], for example 0:0,end:1"),
    (["clip.mp4", "-k", "0:2"], 2, "keyframes: "),
    (["-i", "clip.mp4", *MODELS], 2, "No such option: -i; inputs need none: dnirender INPUT -o OUTPUT"),
    (["clip.mp4", *MODELS, "-k", "0:nigth"], 2, 'unknown endpoint "nigth"; did you mean night?'),
    (["clip.mp4", *MODELS, "-k", "0:dawn"], 2, 'unknown endpoint "dawn"; this preset has day, night'),
    (["clip.mp4", *MODELS, "-k", "-99:0"], 2, "frame -99 is before the first frame"),
    (["clip.mp4", "--easing", "smoth"], 2, 'unknown easing "smoth"; did you mean smooth?'),
    (["clip.mp4", "--loop", "twice"], 2, "'twice' is not one of 'none', 'repeat', 'ping-pong'"),
    (["clip.mp4", "-p", "nihgt"], 2, "unknown preset 'nihgt'; there is day-to-night, denoise, detail, focus, "),
    (["clip.mp4", "-p", "mine.yaml"], 2, "mine.yaml: no such preset file"),
    (["clip.mp4", "-p", "day-to-night", *MODELS], 2, "--preset and --model exclude each other"),
    (["clip.mp4", "-m", "day.safetensors"], 2, "--model day.safetensors: expected NAME=FILE"),
    (["clip.mp4", "-m", "day=day.safetensors"], 2, "--model: expected two networks or more"),
    (["clip.mp4", "-m", "a=x", "-m", "a=y"], 2, "--model a=y: a is repeated"),
    (["clip.mp4", "-m", "a b=x", "-m", "c=y"], 2, "--model: network.endpoints[0].name: "),
    (["clip.mp4", *MODELS, "--start", "soon"], 2, "--start soon: unknown position"),
    (["clip.mp4", *MODELS, "--compare", "--panels", "render"], 2, "--panels render: a comparison needs two panels or more"),
    (["clip.mp4", *MODELS, "-o", "f_%s.png"], 2, "f_%s.png: expected one number in the pattern, as in frame_%04d.png"),
    (["clip.mp4", *MODELS, "-o", "o.gif", "--fps", "1001"], 2, "--fps: expected more than 0 and at most 1000, got 1001"),
    (["sheet", "clip.mp4", *MODELS[:4], "--alphas", "0,1.5"], 2, "--alphas 1.5: 1.5 is outside 0..1"),
    (["sheet", "clip.mp4", *MODELS[:4], "--frames", "soon"], 2, "--frames soon: unknown position"),
    (["clip.mp4", *MODELS, "--start", "8", "--end", "4"], 2, "--start 8, --end 4: no frame of 12 lies in this range, whose end is exclusive"),
    (["clip.mp4", *MODELS, "--video-stream", "3"], 2, "--video-stream 3: clip.mp4 has 1 video stream(s), numbered from 0"),
    (["clip.mp4", *MODELS, "--device", "tpu"], 2, "tpu"),
    (["clip.mp4", *MODELS, "--batch", "0"], 2, "--batch: expected greater than or equal to 1, got 0"),
    (["clip.mp4", *MODELS, "--codec", "h265"], 2, "--codec h265: unknown encoder; did you mean libx265?"),
    (["clip.mp4", *MODELS, "--codec", "aac"], 2, "--codec aac: encodes audio, expected a video encoder"),
    (["clip.mp4", *MODELS, "--codec", "libx264", "-o", "o.webm"], 2, "--codec libx264: webm does not support it; choose another codec"),
    (["clip.mp4", *MODELS, "--crf", "77"], 2, "error: --crf: expected less than or equal to 63, got 77"),
    (["clip.mp4", *MODELS, "--pix-fmt", "rgb24"], 2, "--pix-fmt rgb24: libx264 supports yuv420p"),
    (["clip.mp4", *MODELS, "-e", "preset"], 2, "-e preset: expected KEY=VALUE"),
    (["clip.mp4", *MODELS, "-e", "speed=9"], 2, "libx264 has no option speed"),
    (["clip.mp4", *MODELS, "-e", "preset=warp"], 2, "--codec libx264: cannot encode 96x64 yuv420p"),
    (["clip.mp4", *MODELS, "--width", "7"], 2, "error: --width: expected greater than or equal to 16, got 7"),
    (["clip.mp4", *MODELS, "--fps", "12"], 2, "--fps 12: applies to GIF, WebP, APNG and stills"),
    (["clip.mp4", *MODELS, "--fps", "0", "-o", "o.gif"], 2, "--fps: expected more than 0"),
    (["clip.mp4", *MODELS, "--panels", "source,left"], 2, "unknown panel 'left'; choose from source, render, crossfade, mask, day, night"),
    (["clip.mp4", *MODELS, "-o", "out.avi"], 2, "out.avi: unknown output format '.avi'"),
    (["clip.mp4", "clip.mp4", *MODELS], 2, "two inputs have the same output clip.day-night.mp4"),
    (["clip.mp4", "b.mp4", *MODELS, "-o", "o.mp4"], 2, "-o o.mp4: expected a folder for 2 inputs"),
    (["clip.mp4", "--color", "red"], 2, "No such option: --color"),
    (["missing.mp4", *MODELS], 3, "missing.mp4: no such file"),
    ([".", *MODELS], 3, ".: is a folder, expected a video or an image; name its files, as *"),
    (["there.mp4", "out.png", *MODELS], 3, "out.png: no such file; an output is named with -o out.png"),
    (["gone.mp4", "clip.mp4", *MODELS], 3, "gone.mp4: no such file"),
    (["photo.heic", *MODELS], 3, "photo.heic: is a HEIC image, which would be read in part; save it as JPEG or PNG first"),
    (["empty.mp4", *MODELS], 3, "empty.mp4: is empty"),
    (["text.mp4", *MODELS], 3, "text.mp4: cannot be opened as a video or image"),
    (["text.png", *MODELS], 3, "text.png: cannot be read as an image"),
    (["clip.mp4", "-m", "day=day.safetensors", "-m", "night=gone.pth"], 4, "gone.pth"),
    (["clip.mp4", "-m", "day=day.safetensors", "-m", "night=text.mp4"], 4, "text.mp4"),
    (["clip.mp4", "-m", "day=day.safetensors", "-m", "night=wide.safetensors"], 4, "does not fit day.safetensors"),
    (["clip.mp4", *MODELS, "-o", "there.mp4"], 5, "there.mp4: exists already; --overwrite replaces it"),
    (["clip.mp4", *MODELS, "-o", "no/out.mp4"], 5, "no: no such folder; create it first"),
    (["clip.mp4", *MODELS, "-y", "-o", "clip.mp4"], 5, "clip.mp4: is the input itself; choose another name"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "message"), BAD, ids=[" ".join(bad[0]) for bad in BAD])
def test_bad_input_is_told_in_one_line_with_its_exit_code(here, capsys, arguments, code, message):
    (here / "empty.mp4").touch()
    for name in ("text.mp4", "text.png", "there.mp4", "photo.heic"):
        (here / name).write_text("only text")
    _wide(here / "wide.safetensors")
    before = sorted(path.name for path in here.iterdir())
    found, out, err = dnirender(capsys, *arguments)
    assert message in err
    assert (found, out) == (code, "")
    last = [line for line in err.splitlines() if not line.startswith("  ")][-1]  # misfits are described under it
    assert last.startswith("error: ") and message in last
    assert sorted(path.name for path in here.iterdir()) == before


def _wide(path):
    """The tiny network with twice the channels."""
    from safetensors.numpy import load_file, save_file

    state = load_file(tiny_endpoints(path.parent, wide=0.0)["wide"])
    save_file({key: value.repeat(2, 0) if key == "body.0.weight" else value for key, value in state.items()}, path)


@needs_shared
@pytest.mark.usefixtures("one_lane")
def test_what_the_road_becomes(here, capsys):
    """The commands that the project is measured by, on the clip they are measured on."""
    road = SHARED / "data/clips/road.mp4"
    code, out, _ = dnirender(capsys, road, *MODELS, "-k", "0:0,120:1", "-o", "out.mp4", "--end", "130", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["frames"] == 130
    assert report["weight_writes"] == 121
