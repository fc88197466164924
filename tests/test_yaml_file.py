"""YAML of strangers: read, or refused in one short line, with work and memory in proportion to a small file."""

import sys
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnirender.errors import PresetError
from dnirender.yaml_file import MAX_BYTES, MAX_NODES, read_yaml

MAX_CALLS = 3_000_000  # of Python functions: half a second
MAX_MEMORY = 50_000_000


def laughs(levels):
    return "a: &a [x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in pairwise(levels)
    )


def merges(levels):
    """Merge keys that double at every level."""
    head = "a0: &a0 {k0: 1}\n"
    return head + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: 1}}\n" for i in range(1, levels))


FILL = MAX_BYTES - 100
HOSTILE = {
    "aliases": laughs("abcdefghijklmnopqrstuvwxyz"),
    "merges of 15 levels": merges(15),
    "merges of 40 levels": merges(40),
    "flat merges": "a: &a {x: 1}\n" + "".join(f"k{i}: &k{i} {{<<: [*a, *a]}}\n" for i in range(1500)),
    "itself": "&a [*a]",
    "merged into itself": "&a {<<: *a, x: 1}",
    "anchors in keys": "".join(f"? &k{i} [a, *k{max(0, i - 1)}]\n: 1\n" for i in range(1, 900)),
    "brackets": "[" * 60_000,
    "closed brackets": "[" * 30_000 + "]" * 30_000,
    "brackets and braces": "[{a: " * 10_000,
    "a megabyte of brackets": "[" * 1_000_000,
    "block lists": "- " * (FILL // 2),
    "questions": "? " * (FILL // 2),
    "deep mappings": "".join(" " * level + "a:\n" for level in range(350)),
    "many keys": "".join(f"k{i}: v\n" for i in range(FILL // 9)),
    "the same key": "{" + "a: 1, " * (FILL // 6) + "}",
    "empty entries": "[" + "[]," * (FILL // 3) + "]",
    "long scalar": "a: [" + "x" * FILL + "]]",
    "long tag": "!" + "a" * FILL + " x",
    "tags": "!" * FILL,
    "code": "name: !!python/object/apply:os.mkdir [pwned]\n",
    "directives": "%X y\n" * (FILL // 15),
    "a version": "%YAML " + "1" * FILL,
    "digits": "{a: " + "9" * FILL,
    "quoted lines": 'a: "' + "x\n " * (FILL // 9),
    "documents": "---\n" * (FILL // 4),
    "undefined": "a: *nope",
    "not text": "a: \0",
}


def bounded(path):
    """What `read_yaml` returns or raises, while calls and memory are counted."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"
        if calls > MAX_CALLS:
            raise AssertionError(f"more than {MAX_CALLS} calls for {path.stat().st_size} bytes")

    tracemalloc.start()
    sys.setprofile(count)
    try:
        return read_yaml(path)
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_MEMORY


def refused(path):
    with pytest.raises(PresetError) as caught:
        bounded(path)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_expands_is_refused_before_it_does(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.yaml"
    path.write_text(HOSTILE[name], "utf-8")
    refused(path)
    assert [found.name for found in tmp_path.iterdir()] == ["x.yaml"]


def test_the_limit_and_the_line_are_named(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(merges(40))
    text = f"more than {MAX_NODES} keys and values, aliases counted as often as they are repeated"
    assert refused(path) == f"{path}: line 8: not valid YAML ({text})"
    path.write_text("a:\n- [[[" + "[" * 40 + "]" * 43)
    assert refused(path) == f"{path}: line 2: not valid YAML (nested more than 32 deep)"
    path.write_text("a: &a\n  b: [*a]\n")
    assert refused(path) == f"{path}: line 2: not valid YAML (an alias within what it repeats)"


def nodes(data, left=10 * MAX_NODES):
    """Keys and values of plain data, what is shared counted as often as it is met."""
    if left < 0:
        raise AssertionError("endless")
    children = [*data, *data.values()] if isinstance(data, dict) else data if isinstance(data, list) else []
    count = 1
    for child in children:
        count += nodes(child, left - count)
    return count


names = st.integers(0, 5).map("a{}".format)
scalars = st.sampled_from(
    ["1", ".inf", "x", "'q'", '"\\u00e9"', "~", "!!str 3", "!t x", "<<", "0x1F", "2001-01-01", ""]
)
alias = names.map("*{}".format)
values = st.recursive(
    scalars | alias,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
        st.tuples(st.lists(alias, min_size=1, max_size=4), inner).map(
            lambda merge: f"{{<<: [{', '.join(merge[0])}], z: {merge[1]}}}"
        ),
        st.tuples(st.integers(1, 40), inner).map(lambda deep: "[" * deep[0] + deep[1] + "]" * deep[0]),
        st.tuples(names, inner).map(lambda anchored: f"&{anchored[0]} {anchored[1]}"),
    ),
    max_leaves=30,
)
lines = st.tuples(st.sampled_from(["k", "? k", "- ", "", "#", "%Y", "..."]), st.integers(0, 99), names, values).map(
    lambda line: f"{line[0]}{line[1]}: &{line[2]} {line[3]}\n"
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, max_size=12), st.integers(1, 30))
def test_any_yaml_is_small_data_or_one_line(tmp_path, parts, times):
    path = tmp_path / "x.yaml"
    path.write_text("".join(parts) * times, "utf-8")
    try:
        data = bounded(path)
    except PresetError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
    else:
        assert nodes(data) <= MAX_NODES + 1


def test_aliases_and_merge_keys_in_measure_are_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("base: &base {crf: 16, options: {preset: slow}}\nencoding: {<<: *base, crf: 20}\nagain: *base\n")
    assert read_yaml(path) == {
        "base": {"crf": 16, "options": {"preset": "slow"}},
        "encoding": {"crf": 20, "options": {"preset": "slow"}},
        "again": {"crf": 16, "options": {"preset": "slow"}},
    }
