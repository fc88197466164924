"""Laws of the cache: what was kept is read unchanged or not at all, and it never grows without end."""

import json
import os
import subprocess
import sys
import time

import pytest

from dnirender import cache as module
from dnirender.cache import Cache, cache_folder

KEY = {"what": "pace", "size": [3, 4], "weights": "abc"}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def files(folder):
    return sorted(path.suffix for path in folder.iterdir())


def test_what_was_written_is_read_under_an_equal_key_alone(cache, tmp_path):
    assert cache.read(KEY) == {} and cache.read_bytes(KEY) is None
    cache.write(KEY, {"torch": 0.25})
    cache.write_bytes(KEY, b"graph")
    for reader in (cache, Cache(tmp_path / "cache")):
        assert reader.read(dict(reversed(KEY.items()))) == {"torch": 0.25}
        assert reader.read(KEY | {"size": (3, 4)}) == {"torch": 0.25}
        assert reader.read_bytes(KEY) == b"graph"
        for other in (KEY | {"size": [4, 3]}, KEY | {"more": 1}, {"what": "pace"}):
            assert reader.read(other) == {} and reader.read_bytes(other) is None
    cache.write(KEY, {"torch": 0.5})
    assert cache.read(KEY) == {"torch": 0.5}
    assert files(tmp_path / "cache") == [".bin", ".json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"key": 1}', b"[" * 60_000])
def test_a_file_that_was_changed_is_as_if_it_were_not_there(cache, tmp_path, content):
    cache.write(KEY, {"torch": 0.25})
    cache.write_bytes(KEY, b"graph")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(content)
    assert cache.read(KEY) == {} and cache.read_bytes(KEY) is None
    cache.write(KEY, {"torch": 0.5})
    assert cache.read(KEY) == {"torch": 0.5}


def test_an_entry_under_the_name_of_another_is_not_taken_for_it(cache, tmp_path):
    cache.write(KEY, {"torch": 0.25})
    [path] = (tmp_path / "cache").iterdir()
    entry = json.loads(path.read_text())
    path.write_text(json.dumps(entry | {"key": KEY | {"weights": "abd"}}))
    assert cache.read(KEY) == {}
    path.write_text(json.dumps(entry | {"value": [1]}))
    assert cache.read(KEY) == {}
    path.write_text(json.dumps({"key": entry["key"]}))
    assert cache.read(KEY) == {}


def test_one_flipped_bit_of_bytes_is_noticed(cache, tmp_path):
    cache.write_bytes(KEY, b"graph" * 100)
    [path] = (tmp_path / "cache").iterdir()
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    assert cache.read_bytes(KEY) is None


def test_without_a_folder_nothing_is_kept():
    off = Cache(None)
    off.write(KEY, {"torch": 0.25})
    off.write_bytes(KEY, b"graph")
    assert (off.read(KEY), off.read_bytes(KEY), off.is_on) == ({}, None, False)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    cache.write(KEY, {"torch": 0.25})
    cache.write_bytes(KEY, b"graph")
    assert cache.read(KEY) == {} and cache.read_bytes(KEY) is None


def test_what_is_used_least_goes_first(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    for number in range(3):
        cache.write({"n": number}, {"v": number})
        for path in (tmp_path / "cache").iterdir():
            os.utime(path, (state := path.stat()) and (state.st_atime, state.st_mtime - 100))
    assert cache.read({"n": 0}) == {"v": 0}  # used: now 1 is the oldest
    cache.write({"n": 3}, {"v": 3})
    assert [cache.read({"n": number}) != {} for number in range(4)] == [True, False, True, True]


def test_bytes_are_bounded_in_total_and_each(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 4000)
    cache.write_bytes({"n": "large"}, bytes(1001))
    assert cache.read_bytes({"n": "large"}) is None
    for number in range(8):
        cache.write_bytes({"n": number}, b"x" * 900)
        assert cache.read_bytes({"n": number}) is not None
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 4000


def test_what_a_killed_process_left_goes_after_an_hour(cache, tmp_path):
    cache.write(KEY, {"torch": 0.25})
    old, new = tmp_path / "cache" / "a.growing", tmp_path / "cache" / "b.growing"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, time.time() - module.STALE_SECONDS - 1))
    cache.write(KEY, {"torch": 0.5})
    assert not old.exists() and new.exists()


def test_a_fresh_cache_reads_only_what_it_has_written(cache, tmp_path):
    cache.write(KEY, {"torch": 0.25})
    cache.write_bytes(KEY, b"graph")
    fresh = Cache(tmp_path / "cache", fresh=True)
    assert fresh.read(KEY) == {} and fresh.read_bytes(KEY) is None
    fresh.write(KEY, {"torch": 0.5})
    assert fresh.read(KEY) == cache.read(KEY) == {"torch": 0.5}
    assert fresh.read_bytes(KEY) is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="the system has no owners of files")
def test_files_of_somebody_else_are_not_read(cache, monkeypatch):
    cache.write_bytes(KEY, b"graph")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert cache.read_bytes(KEY) is None


def test_the_variable_moves_the_folder_or_switches_it_off(tmp_path, monkeypatch):
    monkeypatch.setenv("DNIRENDER_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.setenv("DNIRENDER_CACHE", "")
    assert cache_folder() is None
    monkeypatch.delenv("DNIRENDER_CACHE")
    assert cache_folder().name == "dnirender"


def test_processes_share_it_and_never_read_half_of_an_entry(cache, tmp_path):
    """Two others replace one entry all the time."""
    program = (
        "import sys; from pathlib import Path; from dnirender.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "for number in range(400): cache.write({'n': 0}, {'same': [number] * 500})"
    )
    others = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "cache")]) for _ in range(2)]
    seen = set()
    while any(other.poll() is None for other in others):
        value = cache.read({"n": 0})
        if value:
            assert len(set(value["same"])) == 1 and len(value["same"]) == 500
        else:
            assert True not in seen  # what was there once is never missing
        seen.add(bool(value))
    assert all(other.wait() == 0 for other in others)
    assert True in seen
    assert files(tmp_path / "cache") == [".json"]
