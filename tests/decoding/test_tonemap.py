"""Tone mapping: equals the standard curves at every code value, and happens only on request."""

import av
import numpy as np
import pytest

from dnirender import UsageError, render
from dnirender.decoding.open import open_source
from dnirender.decoding.tonemap import (
    HLG,
    PQ,
    SDR,
    eetf,
    gamut_matrix,
    hlg_inverse_oetf,
    pq_eotf,
    pq_inverse_eotf,
    tone_map,
)
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.media.colorspace import ColorSpec
from support.clips import decoded, frame_number, make_clip, preset_of, tiny_endpoints

DIFFUSE_WHITE = 0.9033  # the signal of 203 cd/m2 of 1000: knee 0.6586, T 0.3333, E2 0.7387, 159 cd/m2


def color(transfer, primaries=9):
    return ColorSpec(matrix=9, full_range=False, primaries=primaries, transfer=transfer)


def ramp():
    """Every 16-bit code value, gray [256, 256, 3]."""
    return np.repeat(np.arange(65536, dtype=np.uint16).reshape(256, 256, 1), 3, 2)


def signal_of(nits, peak=1000.0):
    codes = np.rint(pq_inverse_eotf(np.array(nits, float)) * 65535).astype(np.uint16)
    return tone_map(np.full((1, 1, 3), codes), color(PQ), peak, 16)[0, 0] / 65535


@pytest.mark.parametrize("depth", [8, 10, 16])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_black_white_and_gray_are_kept_and_the_curve_is_monotonic(transfer, depth):
    levels = tone_map(ramp(), color(transfer), 1000.0, depth)
    assert levels.dtype == (np.uint8 if depth == 8 else np.uint16)
    top = np.iinfo(levels.dtype).max
    assert (levels[0, 0] == 0).all() and (levels[-1, -1] == top).all()
    gray = levels.reshape(-1, 3).astype(int)
    assert np.ptp(gray, axis=1).max() <= (0 if depth == 8 else 3)  # floats of 24 bits
    assert (np.diff(gray[:, 1]) >= 0).all()
    assert len(np.unique(levels)) > (250 if depth == 8 else 2000)


def test_the_curves_are_those_of_the_standard():
    assert pq_inverse_eotf(np.array([0.1, 100, 203, 1000, 10000])) == pytest.approx(
        [0.0623, 0.5081, 0.5807, 0.7518, 1], abs=1e-4
    )
    codes = np.linspace(0, 1, 999)
    assert pq_inverse_eotf(pq_eotf(codes)) == pytest.approx(codes, abs=1e-6)
    assert hlg_inverse_oetf(np.array([0, 0.5, 1.0])) == pytest.approx([0, 1 / 12, 1], abs=1e-6)
    # BT.2087: BT.2020 to BT.709.
    expected = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    assert gamut_matrix(9) == pytest.approx(np.array(expected), abs=1e-4)
    assert gamut_matrix(1) == pytest.approx(np.eye(3), abs=1e-12)


def test_diffuse_white_has_the_documented_level():
    assert signal_of(203) == pytest.approx([DIFFUSE_WHITE] * 3, abs=5e-4)
    three_quarters = np.full((1, 1, 3), round(0.75 * 65535), np.uint16)  # HLG's reference white, BT.2408
    assert tone_map(three_quarters, color(HLG), 1000.0, 16) / 65535 == pytest.approx(DIFFUSE_WHITE, abs=2e-3)
    assert signal_of(1000) == pytest.approx([1] * 3) and signal_of(4000) == pytest.approx([1] * 3)
    assert signal_of(1000, peak=4000.0).max() < 0.995 and signal_of(4000, peak=4000.0) == pytest.approx([1] * 3)
    assert signal_of(100, peak=150.0) == pytest.approx(
        [(100 / 203) ** (1 / 2.4)] * 3, abs=5e-4
    )  # below the peak of SDR: linear


def test_light_below_sdr_white_is_unchanged():
    signal = np.random.default_rng(1).random((40, 50, 3)) * 0.7
    light = 203 * signal**2.4 @ np.linalg.inv(gamut_matrix(9)).T
    codes = np.rint(pq_inverse_eotf(light) * 65535).astype(np.uint16)
    for depth, slack in ((8, 0.51 / 255), (16, 1e-3)):
        mapped = tone_map(codes, color(PQ), 1000.0, depth)
        mapped = mapped / np.iinfo(mapped.dtype).max
        assert np.abs(mapped**2.4 - signal**2.4).max() < 3 * slack
        # Small components of bright colors are differences of large code values and amplify their rounding.
        clear = signal > 0.1
        assert np.abs(mapped - signal)[clear].max() < slack + 1e-3


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_tables_and_strips_equal_the_equations(transfer):
    codes = np.random.default_rng(2).integers(0, 65536, (300, 1000, 3)).astype(np.uint16)
    light = pq_eotf(codes / 65535.0)
    if transfer == HLG:
        scene = hlg_inverse_oetf(codes / 65535.0)
        light = 1000 * scene * (scene @ [0.2627, 0.6780, 0.0593])[..., None] ** 0.2
    exact = np.clip(eetf(light, 1000.0) @ gamut_matrix(9).T, 0, 1) ** (1 / 2.4) * 255
    clear = exact > 16
    assert np.abs(tone_map(codes, color(transfer), 1000.0, 8) - exact)[clear].max() < 0.7
    assert np.abs(tone_map(codes, color(transfer), 1000.0, 16) / 257 - exact)[clear].max() < 0.2
    assert np.abs(tone_map(codes, color(transfer), 1000.0, 8) - exact).max() < 3


@pytest.mark.parametrize("size", [(1, 1), (4, 1), (1, 4), (3, 7)])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_any_size_is_supported(size, transfer):
    codes = np.full((*size, 3), 30000, np.uint16)
    result = tone_map(codes, color(transfer), 1000.0, 8)
    assert result.shape == codes.shape and len(np.unique(result)) == 1


# From file to file.


def hdr_clip(path, transfer=PQ, **options):
    tags = {"matrix": 9, "primaries": 9, "transfer": transfer, "full_range": False}
    return make_clip(path, frames=3, pix_fmt="yuv420p10le", **tags, **options)


def tiny_preset(folder, **encoding):
    return preset_of(tiny_endpoints(folder), encoding=encoding)


def tags_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame, context = next(container.decode(stream)), stream.codec_context
        return (
            frame.format.name,
            int(frame.colorspace),
            int(frame.color_range),
            int(context.color_primaries),
            int(context.color_trc),
        )


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_hdr_stays_hdr_unless_requested(tmp_path, transfer, name):
    clip = hdr_clip(tmp_path / "clip.mp4", transfer)
    text = f"clip.mp4: is HDR ({name}); the networks see its code values and the tags stay (hdr='tonemap' converts it to SDR)"
    for mode, warnings in (("auto", [text]), ("keep", []), ("tonemap", [])):
        source = open_source(clip, hdr=mode)
        assert [warning for warning in source.metadata.warnings if "HDR" in warning] == warnings
        image = next(source.frames([1])).image
        assert frame_number(image) == 1
        if mode == "tonemap":
            assert image.dtype == np.uint8 and source.metadata.depth == 8 and source.metadata.color == SDR
        else:
            assert image.dtype == np.uint16 and source.metadata.color.transfer == transfer


@pytest.mark.parametrize("pix_fmt", [None, "yuv420p10le"])
def test_a_tone_mapped_render_is_sdr_and_tagged_as_sdr(tmp_path, pix_fmt):
    clip = hdr_clip(tmp_path / "clip.mp4")
    encoding = {"crf": 4} | ({"pix_fmt": pix_fmt} if pix_fmt else {})
    job = make_job(clip, tmp_path / "o.mp4", tiny_preset(tmp_path, **encoding), hdr="tonemap")
    assert make_plan(job).source.metadata.depth == (10 if pix_fmt else 8)
    render(clip, tmp_path / "o.mp4", preset=tiny_preset(tmp_path, **encoding), keyframes="0:0,end:0", hdr="tonemap")
    assert tags_of(tmp_path / "o.mp4") == (pix_fmt or "yuv420p", 1, 1, 1, 1)
    expected = next(open_source(clip, hdr="tonemap").frames([2])).image
    result = decoded(tmp_path / "o.mp4")[2][1]
    assert frame_number(result) == 2
    assert np.abs(result.astype(int) - expected).mean() < 5
    render(clip, tmp_path / "k.mp4", preset=tiny_preset(tmp_path), keyframes="0:0,end:0", hdr="keep")
    assert tags_of(tmp_path / "k.mp4") == ("yuv420p10le", 9, 1, 9, 16)


def test_sdr_is_not_tone_mapped(tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", frames=2, codec="ffv1", matrix=1, primaries=1, transfer=1, full_range=False)
    plain, tone_mapped = open_source(clip), open_source(clip, hdr="tonemap")
    assert tone_mapped.metadata.warnings == (
        *plain.metadata.warnings,
        "clip.mkv: is not HDR; hdr='tonemap' changes nothing",
    )
    assert np.array_equal(next(plain.frames([1])).image, next(tone_mapped.frames([1])).image)


def test_the_peak_of_the_mastering_display_is_read(tmp_path):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(40000000,50)"
    options = {"x265-params": f"log-level=error:master-display={display}"}
    clip = hdr_clip(tmp_path / "clip.mkv", codec="libx265", options=options)
    assert open_source(clip).metadata.mastering_peak == 4000
    assert open_source(hdr_clip(tmp_path / "plain.mp4")).metadata.mastering_peak is None


def test_other_modes_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"hdr: expected 'auto', 'keep' or 'tonemap', got 'flat'"):
        make_job(tmp_path / "a.mp4", tmp_path / "o.mp4", tiny_preset(tmp_path), hdr="flat")
