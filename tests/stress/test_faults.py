"""Whatever fails, at whichever call: one clean error, the target untouched, and the same job goes on afterwards."""

import errno
import hashlib
import itertools
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import av.error
import pytest

from dnirender import OutputError, Preset, RenderError
from dnirender.decoding import video as decode_module
from dnirender.encoding import video as encode
from dnirender.engine.torch_model import TorchModel
from dnirender.jobs import plan, render
from dnirender.jobs import prepare as ready_module
from dnirender.jobs.job import make_job
from support.clips import decoded, leftovers, make_clip, tiny_endpoints

FRAMES, SEGMENT = 60, 12


class Calls:
    """Counts calls of a function and lets number `fatal` of them fail."""

    def __init__(self, function, fatal, error):
        self.function, self.fatal, self.error, self.count = function, fatal, error, 0

    def __call__(self, *args, **options):
        self.count += 1
        if self.count == self.fatal:
            raise self.error
        return self.function(*args, **options)


class Muxer:
    def __init__(self, inner, calls):
        self._inner, self._calls = inner, calls
        calls.function = lambda inner, packet: inner.mux_one(packet)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def mux_one(self, packet):
        return self._calls(self._inner, packet)


class Encoder:
    def __init__(self, inner, calls):
        self.__dict__.update(_inner=inner, _calls=calls)
        calls.function = lambda inner, picture: inner.encode(picture)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __setattr__(self, name, value):
        setattr(self._inner, name, value)

    def encode(self, picture):
        return self._calls(self._inner, picture)


def faulty(patch, site, fatal):
    """Lets call number `fatal` of a site fail as it would in earnest; returns what counts the calls."""
    if site == "decode":
        calls = Calls(decode_module.decode_packets, 0, None)

        def packets(*args, **options):
            for pair in calls.function(*args, **options):
                calls.count += 1
                if calls.count == calls.fatal:
                    raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input", "clip.mp4")
                yield pair

        calls.fatal = fatal
        patch.setattr(decode_module, "decode_packets", packets)
        return calls
    if site == "forward":
        calls = Calls(TorchModel.__call__, fatal, RuntimeError("injected"))
        patch.setattr(TorchModel, "__call__", lambda *args: calls(*args))
    elif site == "encode":
        calls = Calls(None, fatal, av.error.ExternalError(542398533, "Generic error in an external library", "x264"))
        create = encode.CodecContext.create
        patch.setattr(encode, "CodecContext", SimpleNamespace(create=lambda *args: Encoder(create(*args), calls)))
    elif site == "mux":
        calls = Calls(None, fatal, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        create = encode.create_container
        patch.setattr(encode, "create_container", lambda *args: Muxer(create(*args), calls))
    elif site == "fsync":
        calls = Calls(os.fsync, fatal, OSError(errno.EIO, os.strerror(errno.EIO)))
        patch.setattr(os, "fsync", lambda *args: calls(*args))
    else:
        calls = Calls(Path.replace, fatal, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        patch.setattr(Path, "replace", lambda *args: calls(*args))
    return calls


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Runs the job, its networks loaded once."""
    folder = tmp_path_factory.mktemp("job")
    clip = make_clip(folder / "clip.mp4", frames=FRAMES, audio="aac", b_frames=2)
    endpoints = [{"name": name, "weights": file} for name, file in tiny_endpoints(folder).items()]
    encoding = {"codec": "libx264", "options": {"preset": "ultrafast", "qp": "0"}}
    preset = Preset.checked({"name": "t", "network": {"endpoints": endpoints}, "encoding": encoding}, "t")
    engines = []

    def run(target, **options):
        job = make_job(clip, target, preset, dtype="fp32", threads=1, segment_frames=SEGMENT, **options)
        made = ready_module.prepare(plan.make_plan(job), engines[0] if engines else None)
        engines[:] = [made.engine]
        return render.run(made)

    return run


def shown(path):
    return [(at, hashlib.sha256(image.tobytes()).hexdigest()) for at, image in decoded(path)]


@pytest.mark.parametrize("site", ["decode", "forward", "encode", "mux", "fsync", "replace"])
def test_every_call_may_fail(tmp_path, prepared, monkeypatch, site):
    prepared(tmp_path / "whole.mp4")
    wanted = shown(tmp_path / "whole.mp4")
    kinds, failed = set(), 0
    for fatal in itertools.count(1):
        target = tmp_path / f"{site}{fatal}.mp4"
        with monkeypatch.context() as patch:
            calls = faulty(patch, site, fatal)
            try:
                prepared(target)
            except RenderError as error:
                kinds.add(f"{type(error).__name__}: {str(error).split(str(tmp_path))[-1][:70]}")
            else:
                assert calls.count < fatal, f"{site} {fatal} failed, and nobody noticed"
                break
        failed += 1
        complete = target.exists()
        # Only what makes the folder durable comes after the name is given.
        assert not complete or (site == "fsync" and shown(target) == wanted)
        report = prepared(target)
        assert report.frames == FRAMES and shown(target) == wanted, fatal
        assert leftovers(tmp_path) == []
        target.unlink()
    print(f"\n{site}: {failed} calls failed one by one; told as {sorted(kinds)[:3]}")
    assert failed >= {"fsync": 14, "replace": 7}.get(site, FRAMES)


@pytest.mark.parametrize("kilobytes", [16, 64, 200, 400, 600, 800])
def test_a_small_disk(tmp_path, prepared, kilobytes):
    mount, umount = shutil.which("mount"), shutil.which("umount")
    disk = tmp_path / "disk"
    disk.mkdir()
    size = f"size={kilobytes}k"
    if not mount or subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        target = disk / "out.mp4"
        try:
            prepared(target)
        except OutputError as error:
            assert "the disk is full: about " in str(error) or "the disk is too small: about " in str(error)
            assert not target.exists()
            subprocess.run([mount, "-o", "remount,size=8m", disk], check=True)
            report = prepared(target)
            print(f"\n{kilobytes} kB: {report.resumed} frames were kept; {str(error).split(':', 1)[1][:90]}")
        assert len(decoded(target)) == FRAMES and leftovers(disk) == []
    finally:
        subprocess.run([umount, disk], check=True)
