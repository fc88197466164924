"""Laws of verify: what was rendered is found good, what was changed since is not."""

import json
import shutil
from fractions import Fraction

import av
import pytest

from dnirender import MediaError, UsageError, render
from dnirender.cli.main import main
from dnirender.encoding.provenance import read_provenance
from dnirender.jobs.verify import failure, verify
from dnirender.media.images import read_image
from support import delivery
from support.clips import make_clip, packets, preset_of


def wrong(checks):
    return [check.name for check in checks if not check.good]


CLIPS = {
    "plain": {"audio": "aac", "b_frames": 2},
    "late sound": {"audio": "aac", "audio_start": 0.13},
    "vfr": {"pts": [7, 10, 11, 40, 41, 90, 200, 1000], "frames": 8, "time_base": Fraction(1, 600), "audio": "aac"},
    "words": {"subtitles": True, "audio": ["aac", "aac"], "languages": ["deu", "fra"]},
    "silent": {},
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("name", CLIPS)
def test_what_was_rendered_is_good(tmp_path, endpoints, name, suffix):
    clip = make_clip(tmp_path / "clip.mp4", **CLIPS[name])
    for number, options in enumerate([{}, {"start": "2", "end": "6"}, {"boomerang": True}]):
        target = tmp_path / f"{number}{suffix}"
        render(clip, target, preset=preset_of(endpoints), **options)
        checks = verify(target)
        assert not wrong(checks), [check for check in checks if not check.good]
        assert {"source", "frames"} <= {check.name for check in checks}


def test_a_still_is_good(tmp_path, endpoints):
    from dnirender.media.images import write_png
    from support.clips import paint

    write_png(tmp_path / "a.png", paint(3))
    render(tmp_path / "a.png", tmp_path / "a.mp4", preset=preset_of(endpoints), keyframes="0:0,9:1")
    assert not wrong(verify(tmp_path / "a.mp4"))


@pytest.fixture
def pair(tmp_path, clip, endpoints):
    target = tmp_path / "out.mp4"
    render(clip, target, preset=preset_of(endpoints, name="Tänzer", encoding={"options": {"g": "1"}}))
    return clip, target


def remuxed(source, target, change):
    """The file with packets passed through `change`, which returns the packet or None; its receipt is kept."""
    from dnirender.encoding.provenance import append_box, to_json

    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        twins = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.size and change(packet):
                packet.stream = twins[packet.stream.index]
                new.mux_one(packet)
    append_box(target, to_json(read_provenance(source)))
    return target


def test_a_dropped_frame_is_found(tmp_path, pair):
    clip, good = pair
    bad = remuxed(
        good, tmp_path / "bad.mp4", lambda p: p.stream.type == "audio" or p.pts * p.time_base < Fraction(11, 25)
    )
    assert wrong(verify(bad, clip))[:3] == ["video", "frames", "timestamps"]


def test_another_time_is_found(tmp_path, pair):
    def later(packet):
        if packet.stream.type == "video" and packet.pts > 5 * packet.duration:
            packet.pts += 1
            packet.dts += 1
        return True

    clip, good = pair
    assert "timestamps" in wrong(verify(remuxed(good, tmp_path / "bad.mp4", later), clip))


def test_sound_that_is_missing_moved_or_changed_is_found(tmp_path, pair):
    def moved(packet):
        if packet.stream.type == "audio":
            packet.pts += 480
            packet.dts += 480
        return True

    clip, good = pair
    assert packets(good, "audio")
    assert wrong(verify(remuxed(good, tmp_path / "a.mp4", moved), clip)) == ["audio #1 (aac): copy"]
    fewer = remuxed(good, tmp_path / "b.mp4", lambda p: p.stream.type == "video" or p.pts < 9000)
    assert wrong(verify(fewer, clip)) == ["audio #1 (aac): copy"]
    data = bytearray(good.read_bytes())
    place = data.index(packets(good, "audio")[3][1]) + 9
    data[place] ^= 1
    (tmp_path / "c.mp4").write_bytes(data)
    assert wrong(verify(tmp_path / "c.mp4", clip)) == ["audio #1 (aac): copy"]


def test_another_source_is_found(tmp_path, pair):
    _, good = pair
    other = make_clip(tmp_path / "other.mp4", audio="aac", b_frames=2, start_number=9)
    assert "source" in wrong(verify(good, other))


def test_the_source_is_looked_for_by_its_name(tmp_path, pair, monkeypatch):
    clip, good = pair
    away = tmp_path / "away"
    away.mkdir()
    moved = shutil.move(good, away / "out.mp4")
    with pytest.raises(
        UsageError,
        match=r"was rendered from clip.mp4, which was not found \(no /.*clip\.mp4.*; verify .* SOURCE",
    ):
        verify(away / "out.mp4")
    monkeypatch.chdir(tmp_path)
    assert not wrong(verify(away / "out.mp4"))
    shutil.copy(clip, away)
    monkeypatch.chdir("/")
    assert not wrong(verify(away / "out.mp4"))
    assert moved


def test_the_source_may_be_named_by_its_folder(tmp_path, pair):
    clip, good = pair
    away = tmp_path / "away"
    away.mkdir()
    shutil.move(clip, away)
    assert not wrong(verify(good, away)) and not wrong(verify(good, away / "clip.mp4"))
    with pytest.raises(UsageError, match=rf"\(no {tmp_path}/clip.mp4\)"):
        verify(good, tmp_path)
    with pytest.raises(MediaError, match="gone.mp4: no such file"):
        verify(good, tmp_path / "gone.mp4")


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    ("suffix", "audio"),
    [
        (".ts", "aac"),
        (".ts", "libmp3lame"),
        (".ts", "ac3"),
        (".mkv", "pcm_s16le"),
        (".avi", "pcm_s24le"),
        (".mkv", "flac"),
    ],
)
def test_packets_that_change_in_copying_as_they_must_are_good(tmp_path, suffix, audio, target):
    clip = delivery.make_clip(tmp_path / f"clip{suffix}", frames=25, audio=audio)
    delivery.identity(clip, tmp_path / f"out{target}")
    for checks in (verify(tmp_path / f"out{target}"),):
        assert not wrong(checks), checks
    delivery.identity(clip, tmp_path / f"cut{target}", start="5", end="20")
    assert not wrong(verify(tmp_path / f"cut{target}")), verify(tmp_path / f"cut{target}")


def test_a_byte_that_changed_behind_an_adts_header_is_found(tmp_path):
    clip = delivery.make_clip(tmp_path / "clip.ts", frames=25, audio="aac")
    good = tmp_path / "out.mp4"
    delivery.identity(clip, good)
    data = bytearray(good.read_bytes())
    place = data.index(packets(good, "audio")[3][1]) + 9
    data[place] ^= 1
    good.write_bytes(data)
    assert wrong(verify(good)) == ["audio #1 (aac): copy"]


def test_files_of_others_are_told(tmp_path, clip):
    with pytest.raises(UsageError, match="clip.mp4: has no provenance record"):
        verify(clip)
    with pytest.raises(UsageError, match=r"a\.txt: verify reads \.apng \.gif .* and patterns"):
        verify(tmp_path / "a.txt")
    with pytest.raises(MediaError):
        verify(tmp_path / "none.mp4")


def test_the_receipt_is_no_tag_that_players_show_and_no_path(pair, tmp_path):
    clip, good = pair
    with av.open(str(good)) as out:
        assert "DNIRENDER" not in {key.upper() for key in out.metadata}
    receipt = read_provenance(good)
    assert receipt.source == clip.name and receipt.preset == "Tänzer"
    assert str(tmp_path) not in receipt.model_dump_json()


def test_the_command_prints_a_table_and_has_an_exit_code(tmp_path, pair, capsys):
    _, good = pair
    assert main(["verify", str(good)]) == 0
    assert capsys.readouterr().out.startswith("ok     source: ")
    assert main(["verify", str(good), "--json"]) == 0
    assert all(check["good"] for check in json.loads(capsys.readouterr().out)["checks"])
    (tmp_path / "bad.mp4").write_bytes(
        good.read_bytes().replace(packets(good, "audio")[3][1], b"\0" * len(packets(good, "audio")[3][1]))
    )
    assert main(["verify", str(tmp_path / "bad.mp4")]) == 3
    out, err = capsys.readouterr()
    assert "WRONG  audio #1" in out and "does not match its source: audio #1" in err
    assert failure(verify(good)) is None


def test_damage_that_a_decoder_conceals_is_found(tmp_path, pair):
    clip, good = pair
    data, packet = good.read_bytes(), packets(good, "video")[3][1]
    place = data.index(packet)
    for offset in (40, len(packet) // 2, len(packet) - 5):
        bad = bytearray(data)
        bad[place + offset] ^= 0x10
        (tmp_path / "bad.mp4").write_bytes(bad)
        assert "video" in wrong(verify(tmp_path / "bad.mp4", clip))


def test_what_was_salvaged_is_good_and_says_so(tmp_path, endpoints):
    clip = make_clip(tmp_path / "clip.mp4", frames=60, audio="aac", container_options={"movflags": "+faststart"})
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    for suffix in (".mp4", ".mkv"):
        target = tmp_path / f"out{suffix}"
        render(clip, target, preset=preset_of(endpoints), ignore_errors=True)
        assert not wrong(verify(target))


@pytest.mark.parametrize("text", ["{}", '{"sample": 1}', "[" * 60_000, "\x00", '{"start":"a"}', "null", "1"])
def test_a_line_that_is_not_ours_is_told(tmp_path, pair, text):
    from dnirender.encoding.provenance import append_box

    clip, _ = pair
    other = make_clip(tmp_path / "other.mp4")
    append_box(other, text)
    with pytest.raises(MediaError, match="other.mp4: the embedded provenance record is invalid"):
        verify(other, clip)


def test_a_cut_result_is_called_so(tmp_path, pair):
    _, good = pair
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:-200])
    with pytest.raises(MediaError, match="cut.mp4: is cut off"):
        verify(tmp_path / "cut.mp4")


def rendered_images(folder, endpoints, name, **options):
    clip = make_clip(folder / "clip.mp4", frames=12, rate=10)
    render(clip, folder / name, preset=preset_of(endpoints, animation={"width": 96}), **options)
    return folder / name


@pytest.mark.parametrize("name", ["out.gif", "out.webp", "out.apng", "out_%03d.png"])
@pytest.mark.parametrize("options", [{}, {"start": "2", "end": "9"}, {"boomerang": True}])
def test_animations_and_sequences_are_good_as_they_were_rendered(tmp_path, endpoints, name, options):
    checks = verify(rendered_images(tmp_path, endpoints, name, **options))
    assert not wrong(checks), checks
    names = [check.name for check in checks]
    assert names[:3] == ["source", "file", "frames"]
    assert ("loop" in names) == ("%" not in name)


@pytest.mark.parametrize("name", ["out.gif", "out.webp", "out.apng"])
def test_what_was_changed_in_an_animation_is_found(tmp_path, endpoints, name):
    target = rendered_images(tmp_path, endpoints, name)
    good = target.read_bytes()
    once = {
        ".gif": (b"NETSCAPE2.0\x03\x01\0\0", b"NETSCAPE2.0\x03\x01\1\0"),
        ".webp": (b"ANIM\6\0\0\0", None),
        ".apng": (b"acTL\0\0\0\x0c\0\0\0\0", b"acTL\0\0\0\x0c\0\0\0\1"),
    }[target.suffix]
    at = good.index(once[0])
    changed = good[: at + 12] + b"\1" + good[at + 13 :] if once[1] is None else good.replace(*once)
    target.write_bytes(changed)
    if target.suffix != ".apng":  # whose checksum of the chunk is then wrong
        assert wrong(verify(target)) == ["file", "loop"]
    else:
        assert "file" in wrong(verify(target))


def test_another_time_in_an_animation_is_found(tmp_path, endpoints):
    target = rendered_images(tmp_path, endpoints, "out.webp")
    data = target.read_bytes()
    at = data.index(b"ANMF", data.index(b"ANMF") + 4) + 8 + 12
    assert data[at] == 100
    target.write_bytes(data[:at] + b"\x65" + data[at + 1 :])
    assert wrong(verify(target)) == ["file", "times"]


@pytest.mark.parametrize("name", ["out.gif", "out.webp", "out.apng"])
def test_frames_that_are_equal_may_be_merged(tmp_path, endpoints, name):
    with av.open(str(tmp_path / "clip.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame(96, 64, "yuv420p")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    render(tmp_path / "clip.mp4", tmp_path / name, preset=preset_of(endpoints), keyframes="0:0")
    assert not wrong(verify(tmp_path / name)), verify(tmp_path / name)


def test_a_missing_file_of_a_sequence_is_found(tmp_path, endpoints):
    pattern = rendered_images(tmp_path, endpoints, "out_%03d.png")
    (tmp_path / "out_007.png").unlink()
    checks = {check.name: check for check in verify(pattern)}
    assert not checks["frames"].good and "11 of 12 files are there" in checks["frames"].found
    (tmp_path / "out_000.png").unlink()
    with pytest.raises(MediaError, match="out_000.png: no such file"):
        verify(pattern)


@pytest.mark.parametrize("name", ["out.gif", "out.webp", "out.apng", "out_%03d.png"])
def test_the_record_is_read_back_and_changes_no_picture(tmp_path, endpoints, name):
    from dnirender.encoding.image_record import append_record, read_record

    target = rendered_images(tmp_path, endpoints, name)
    first = target.with_name(target.name.replace("%03d", "000"))
    record, crc32 = read_record(first)
    assert record.source == "clip.mp4" and record.crc32 == crc32
    other = target.with_name(target.name.replace("%03d", "001"))
    if other != target:  # a file of the sequence without a record
        before = read_image(other)[0]
        assert read_record(other)[0] is None
        append_record(other, record)
        assert (read_image(other)[0] == before).all() and read_record(other)[0].source == "clip.mp4"


def test_others_animations_are_told(tmp_path):
    with av.open(str(tmp_path / "a.gif"), "w") as out:
        stream = out.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb8"
        for number in range(3):
            frame = av.VideoFrame(32, 32, "rgb8")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(UsageError, match="has no provenance record"):
        verify(tmp_path / "a.gif")
