"""Whatever a file system takes for a name, it is a file here: never a protocol, a pattern, an option or a list."""

import json
import os
import subprocess
import sys

import pytest

from support.delivery import clips, frame_number, make_clip

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows takes few of these names")

STEMS = {
    "unicode": "Überfahrt_日本語_дорога",
    "emoji": "🎬👨‍👩‍👧‍👦🏳️‍🌈",
    "combining": "e\u0301a\u0308\u0323 n\u0303",  # not composed: these are other bytes than é ạ̈ ñ
    "right to left": "\u202eסרט فيلم",
    "leading dash": "-y",
    "two dashes": "--end",
    "spaces": "  two  spaces ",
    "quotes": 'it\'s "so" `called` $HOME \\n',
    "newline": "two\nlines",
    "tab and bell": "tab\tbell\a",
    "200 letters": "n" * 200,
    "time": "time:12",
    "concat": "concat:a|b",
    "file": "file:x",
    "percent": "%d",
    "percents": "100%% %05d %s",
    "pipe": "pipe:",
    "subfile": "subfile,,start,0,end,9,,:a",
    "http": "http:host",
    "glob": "*[a-z]?{b,c}~",
    "equals": "a=b=c",
    "brackets": "[bold]not markup",
    "dot": ".hidden",
    "semicolon": "a;b&c#d",
}
LONGEST = 255
MAIN = "import sys; from dnirender.cli.main import main; sys.exit(main())"


def render(*arguments):
    from dnirender.cli.main import main

    return main(["--no-progress", "--device", "cpu", *arguments])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(folder):
    return sorted(path.name for path in folder.iterdir())


def preset(weights):
    ends = ", ".join(
        f"{{name: n{i}, weights: {json.dumps(str(name), ensure_ascii=False)}}}" for i, name in enumerate(weights)
    )
    return f"name: named\nnetwork: {{endpoints: [{ends}]}}\nencoding: {{options: {{preset: ultrafast}}}}\n"


def furnish(folder, stem):
    """A clip, weights and a preset that bear the name, in a folder that bears it as well; a folder for what comes."""
    files = clips.tiny_endpoints(folder, one=0.0, two=0.0)
    home = folder / f"d {stem}"[:80]
    (home / "out").mkdir(parents=True)
    make_clip(home / "plain.mp4", frames=3, rate=10).rename(home / f"{stem}.mp4")
    files["one"].rename(home / f"{stem}.safetensors")
    files["two"].rename(home / "two.safetensors")
    (home / f"{stem}.yaml").write_text(preset([f"{stem}.safetensors", "two.safetensors"]), encoding="utf-8")
    return home


def numbers(path):
    return [frame_number(image) for _, image in clips.decoded(path)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif"])
@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
def test_a_file_is_a_file(here, monkeypatch, capsys, stem, suffix):
    home = furnish(here, stem)
    monkeypatch.chdir(home)
    target = f"{stem}{suffix}"
    code = render(f"--preset={stem}.yaml", f"--output=out/{target}", "--", f"{stem}.mp4")
    assert (code, capsys.readouterr().out) == (0, "")
    assert outputs(home / "out") == [target]
    assert numbers(home / "out" / target) == [0, 1, 2]
    # The same as bare names in the current folder, the weights named one by one.
    monkeypatch.chdir(home / "out")
    models = [f"--model=one=../{stem}.safetensors", "--model=two=../two.safetensors"]
    assert render(*models, f"--output={stem}.again{suffix}", "--", f"../{stem}.mp4") == 0
    assert outputs(home / "out") == sorted([target, f"{stem}.again{suffix}"])
    assert numbers(home / "out" / f"{stem}.again{suffix}") == [0, 1, 2]


@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
def test_a_name_in_a_message_stands_on_one_line(here, monkeypatch, capsys, stem):
    home = furnish(here, stem)
    monkeypatch.chdir(home)
    (home / f"{stem}.mp4").write_bytes(b"no clip")
    assert render(f"--preset={stem}.yaml", "--output=out/a.mp4", "--", f"{stem}.mp4") == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert outputs(home / "out") == []


@pytest.mark.parametrize("letter", ["n", "🎬", "é"])
def test_the_longest_name_that_a_file_may_have(here, letter):
    room = LONGEST - len(".safetensors")
    stem = letter * (room // len(letter.encode()))
    stem += "x" * (room - len(stem.encode()))
    home = here / "short"
    home.mkdir()
    files = clips.tiny_endpoints(home, one=0.0, two=0.0)
    weights = home / f"{stem}.safetensors"
    assert len(os.fsencode(weights.name)) == LONGEST
    files["one"].rename(weights)
    long = {
        suffix: stem + "y" * (LONGEST - len(os.fsencode(stem)) - len(suffix)) for suffix in (".mp4", ".mkv", ".yaml")
    }
    clip = make_clip(here / "clip.mp4", frames=3, audio="aac").rename(home / f"{long['.mp4']}.mp4")
    recipe = home / f"{long['.yaml']}.yaml"
    recipe.write_text(preset([weights.name, files["two"].name]), encoding="utf-8")
    for suffix in (".mp4", ".mkv"):
        (here / "out").mkdir(exist_ok=True)
        target = here / "out" / f"{long[suffix]}{suffix}"
        assert len(os.fsencode(target.name)) == LONGEST
        assert render("-p", str(recipe), "-o", str(target), str(clip)) == 0
        assert numbers(target) == [0, 1, 2]


def test_numbered_pictures_in_a_folder_of_any_name(here):
    for stem in ("%d", "100%% %05d %s", "🎬", "two\nlines"):
        home = furnish(here, stem)
        assert (
            render(f"--preset={home}/{stem}.yaml", f"--output={home}/out/f_%02d.png", "--", f"{home}/{stem}.mp4") == 0
        )
        assert outputs(home / "out") == ["f_00.png", "f_01.png", "f_02.png"]
        for file in home.rglob("*"):
            if file.is_file():
                file.unlink()


def test_a_process_of_its_own_takes_them_too(here):
    for stem in ("-y", 'concat:a|🎬 e\u0301\u202eסרט\n"%d"'):
        home = furnish(here, stem)
        done = subprocess.run(
            [sys.executable, "-c", MAIN, f"--preset={stem}.yaml", f"--output={stem}.out.mp4", "--", f"{stem}.mp4"],
            cwd=home,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert numbers(home / f"{stem}.out.mp4") == [0, 1, 2]
