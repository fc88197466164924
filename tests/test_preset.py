"""Presets: what is accepted, what is refused and in which words."""

import json
from fractions import Fraction
from itertools import pairwise
from typing import get_args

import pytest
from pydantic import BaseModel

from dnirender.errors import PresetError, UsageError
from dnirender.preset import Preset, preset_names, schema
from dnirender.preset_files import preset_folder
from dnirender.train.recipe import Recipe

ENDPOINTS = "network: {endpoints: [{name: day, weights: day.pth}, {name: night, weights: sub/night.pth}]}\n"


def written(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_minimal_preset_takes_every_default(tmp_path):
    preset = Preset.load(written(tmp_path, "name: Mine\n" + ENDPOINTS))
    assert preset.endpoints == ("day", "night")
    assert (preset.timeline.keyframes, preset.timeline.loop, preset.layout.panels) == (
        "0:0, end:1",
        "none",
        ("render",),
    )
    assert (preset.encoding.codec, preset.encoding.crf, preset.animation.width, preset.animation.fps) == (
        "auto",
        None,
        480,
        15,
    )


def test_weights_are_relative_to_the_presets_folder(tmp_path, monkeypatch):
    path = written(tmp_path, "name: Mine\n" + ENDPOINTS)
    monkeypatch.chdir("/")
    assert [e.weights for e in Preset.load(path).network.endpoints] == [
        tmp_path / "day.pth",
        tmp_path / "sub" / "night.pth",
    ]


def test_yaml_1_2_reads_timecodes_and_no_as_they_are_written(tmp_path):
    text = "name: no\n" + ENDPOINTS + "timeline: {keyframes: 1:30:0.5}\n"
    preset = Preset.load(written(tmp_path, text))
    assert preset.name == "no"
    assert preset.timeline.keyframes == "1:30:0.5"


BAD = {
    "name: x": "network: is missing",
    "name: x\nnetwork: {}": "network.endpoints: is missing",
    "name: x\nnetwork: {endpoints: [{name: a, weights: b}]}": (
        "network.endpoints: Tuple should have at least 2 items after validation, not 1"
    ),
    "name: x\nnetwork: {endpoints: [{name: a, weights: b}, {name: a, weights: c}]}": (
        "network.endpoints: two endpoints are called 'a'; names must differ"
    ),
    "name: x\nnetwork: {endpoints: [{name: a, weights: b}, {name: source, weights: c}]}": (
        "network.endpoints[1].name: 'source' is the name of a panel; choose another, got 'source'"
    ),
    "name: x\nnetwork: {endpoints: [{name: a, weights: b}, {name: '1.5', weights: c}]}": (
        "network.endpoints[1].name: '1.5' is a number, and keyframes would read it as one; choose another, got '1.5'"
    ),
    "name: x\nnetwork: {endpoints: [{name: a, weights: b}, {name: t, weights: c}]}": (
        "network.endpoints[1].name: 't' is a variable of expressions in keyframes; choose another, got 't'"
    ),
    "name: x\nnetwork: {endpoints: [{name: a, weights: b, position: 0}, {name: c, weights: d}]}": (
        "network.endpoints: c has no position; give one to all endpoints, or to none"
    ),
    "name: x\nnetwork: {endpoints: [{name: a, weights: b, position: 0}, {name: c, weights: d, position: 0.5}]}": (
        "network.endpoints: positions must increase from 0 to 1, got 0, 0.5"
    ),
    "name: x\nnetwork: {endpoints: [{name: a, weights: b}, {name: c, weights: d, level: 0.5}]}": (
        "network: c has a level; expected none of family dni, whose files have none"
    ),
    "name: x\n" + ENDPOINTS + "animatoin: {}": "animatoin: unknown key; did you mean animation?",
    "name: x\n" + ENDPOINTS + "animation: {fsp: 3}": "animation.fsp: unknown key; did you mean fps?",
    "name: x\n" + ENDPOINTS + "animation: {zzz: 3}": "animation.zzz: unknown key; expected one of width, fps, dither",
    "name: x\n" + ENDPOINTS + "animation: {fps: fast}": (
        "animation.fps: expected a valid number, unable to parse string as a number, got 'fast'"
    ),
    "name: x\n" + ENDPOINTS + "encoding: {crf: 99}": "encoding.crf: expected less than or equal to 63, got 99",
    "name: x\n" + ENDPOINTS + "timeline: {keyframes: '0:0, 0:1'}": "timeline: keyframes: frame 0 comes after frame 0",
    "name: x\n" + ENDPOINTS + "timeline: {easing: smoth}": 'timeline: unknown easing "smoth"; did you mean smooth?',
    "name: x\n" + ENDPOINTS + "timeline: {loop: twice}": (
        "timeline.loop: expected 'none', 'repeat' or 'ping-pong', got 'twice'"
    ),
    "just a line": "preset: expected a valid dictionary or instance of Preset, got 'just a line'",
    "name: x\nname: y\n" + ENDPOINTS: 'not valid YAML (found duplicate key "name"',
    "name: [": "not valid YAML",
    "name: !!python/object:os.system x\n": "not valid YAML",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_errors_name_the_file_the_key_what_was_expected_and_what_was_found(tmp_path, text):
    path = written(tmp_path, text)
    with pytest.raises(PresetError) as caught:
        Preset.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert BAD[text] in message
    assert "\n" not in message


def test_a_preset_that_is_no_preset_is_refused_unread(tmp_path):
    with pytest.raises(PresetError, match=r"my\.yaml: is 200000 bytes; a preset has at most 65536$"):
        Preset.load(written(tmp_path, "#" * 200_000))


def test_names_and_paths(tmp_path):
    with pytest.raises(PresetError, match="unknown preset 'day-to-nihgt'; did you mean day-to-night?"):
        Preset.load("day-to-nihgt")
    with pytest.raises(PresetError, match=r"nowhere\.yaml: no such preset file"):
        Preset.load(str(tmp_path / "nowhere.yaml"))


def test_options_override_fields_through_the_same_checks():
    preset = Preset.load("day-to-night")
    assert preset.override({"animation": {"fps": 8}}).animation.fps == 8
    assert preset.override({"animation": {"fps": 8}}).animation.width == preset.animation.width
    with pytest.raises(PresetError, match=r"options: encoding\.crf: expected greater than or equal to 0, got -1"):
        preset.override({"encoding": {"crf": -1}})


def float_fields(model, place=()):
    """The key paths of all numbers with fractions in a model, an index or a key for those in lists and mappings."""
    for name, field in model.model_fields.items():
        for kind in kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from float_fields(kind, (*place, name))
            elif kind is float:
                yield (*place, name)


def kinds(annotation):
    """The types that an annotation is made of."""
    parts = [part for part in get_args(annotation) if part is not ...]
    return [kind for part in parts for kind in kinds(part)] if parts else [annotation]


RECIPE = {
    "name": "x", "kind": "relight", "photos": ["p"], "endpoints": [{"name": "a"}, {"name": "b"}],
    "stages": [{"train": "path", "steps": 1}],
}  # fmt: skip
FLOATS = [(Preset, place) for place in float_fields(Preset)] + [(Recipe, place) for place in float_fields(Recipe)]


def test_all_numbers_with_fractions_are_known():
    assert {place for model, place in FLOATS if model is Preset} == {
        ("effect", "strength"), ("effect", "steady"), ("animation", "fps"), ("timeline", "beat_attack"), ("timeline", "beat_decay"),
        ("network", "endpoints", "position"), ("network", "endpoints", "level"),
        ("mask", "range_softness"), ("mask", "grow"), ("mask", "feather"),
    }  # fmt: skip
    assert {(*place[:1], place[-1]) for model, place in FLOATS if model is Recipe} == {
        ("endpoints", "weight"), ("endpoints", "share"), ("stages", "learning_rate"), ("training", "learning_rate"),
        ("endpoints", "sigma"), ("training", "average"), ("training", "fall"), ("settings", "settings"),
    }  # fmt: skip


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(("model", "place"), FLOATS, ids=lambda part: ".".join(part) if isinstance(part, tuple) else "")
def test_numbers_that_are_not_finite_are_refused_by_name(tmp_path, model, place, value):
    endpoints = [{"name": name, "weights": name, "position": at} for at, name in enumerate("ab")]
    data = {Preset: {"name": "x", "network": {"family": "ftn", "endpoints": endpoints}}, Recipe: RECIPE}[model]
    data = json.loads(json.dumps(data))
    inner = data
    for key in place[:-1]:
        inner = inner.setdefault(key, {})
        inner = inner[0] if isinstance(inner, list) else inner
    good = {"animation.fps": 5.0, "network.endpoints.position": 0.0}.get(".".join(place), 0.5)
    inner[place[-1]] = {"loss": good} if place == ("settings",) else good
    model.model_validate(data)
    inner[place[-1]] = {"loss": "VALUE"} if place == ("settings",) else "VALUE"
    path = tmp_path / "x.yaml"
    path.write_text(json.dumps(data).replace('"VALUE"', value))
    with pytest.raises(PresetError) as caught:
        model.load(path)
    name = place[-1] if place != ("settings",) else "loss"
    assert f"{name}: expected a finite number" in str(caught.value)


@pytest.mark.parametrize("text", ["0:.inf", "0:nan", ".inf:0", "nan%:0", "0:(1/0)", "0:a@steps(inf)", "infs:0"])
def test_keyframes_that_are_not_finite_are_refused(tmp_path, text):
    path = written(tmp_path, "name: x\n" + ENDPOINTS + f"timeline: {{keyframes: '{text}'}}\n")
    with pytest.raises(UsageError):
        Preset.load(path).timeline.parsed().resolve(["day", "night"], [Fraction(0)])


@pytest.mark.parametrize("name", preset_names())
def test_shipped_presets_are_whole(name):
    preset = Preset.load(name)
    assert all(endpoint.weights.is_file() for endpoint in preset.network.endpoints)
    assert preset.about
    first_line = (preset_folder() / f"{name}.yaml").read_text("utf-8").splitlines()[0]
    assert first_line == "# yaml-language-server: $schema=schema.json"


def test_the_schema_beside_the_presets_is_that_of_the_models():
    assert (preset_folder() / "schema.json").read_text("utf-8") == schema()
    assert json.loads(schema())["properties"].keys() == Preset.model_fields.keys()


@pytest.mark.parametrize("weights", ["../day.pth", "a/../../day.pth", "/etc/passwd", "sub/.."])
def test_weights_stay_in_the_folder_of_their_preset(tmp_path, weights):
    text = "name: Mine\n" + ENDPOINTS.replace("sub/night.pth", weights)
    with pytest.raises(PresetError) as caught:
        Preset.load(written(tmp_path, text))
    assert str(caught.value).endswith(
        f"my.yaml: network.endpoints[1].weights: expected a file in the preset's folder or below, got {weights!r}; "
        "put the weights there, or render them as endpoints of your own"
    )


LAUGHS = "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in pairwise("abcdefghijklmnopqrstuvwxyz")
)
HOSTILE = {
    "aliases": "a: &a [x, x]\n" + LAUGHS,
    "merges": "a: &a {x: 1}\n" + "".join(f"k{i}: &k{i} {{<<: [*a, *a]}}\n" for i in range(900)),
    "itself": "name: &a [*a]\n",
    "braces": "{name: " * 5000 + "}" * 5000,
    "depth": "".join(" " * level + "a:\n" for level in range(500)),
    "tag": "name: !!python/object/apply:os.mkdir [pwned]\n",
    "long": "name: " + "x" * 100_000,
    "digits": "name: " + "9" * 100_000,
    "key": "x" * 900 + ": 1\n",
    "nul": "name: \0",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_ends_in_one_short_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PresetError) as caught:
        Preset.load(written(tmp_path, HOSTILE[name]))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.yaml"]


def test_half_a_letter_is_no_name_of_a_file(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        'name: a\nnetwork:\n  endpoints:\n    - {name: a, weights: "\\ud83c.pth"}\n    - {name: b, weights: b.pth}\n'
    )
    with pytest.raises(PresetError, match=r"weights: '\\ud83c.pth' is no name that a file can have; write it as it is"):
        Preset.load(path)


def test_a_misspelt_section_is_named_rather_than_the_one_that_is_missing(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("name: a\nnetwrk: {endpoints: []}\n")
    with pytest.raises(PresetError, match=r"a.yaml: netwrk: unknown key; did you mean network\? \(and 1 more\)"):
        Preset.load(path)
