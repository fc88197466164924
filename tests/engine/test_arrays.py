"""Laws of `Engine.render` for users: every form of images and alphas, and what is refused."""

import cv2
import numpy as np
import pytest
import torch

import dnirender
from dnirender import Engine, UsageError
from dnirender.networks import load
from support.clips import make_clip, preset_of, tiny_endpoints
from support.toys import cpu, pictures, toy

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def engine():
    return cpu(*toy(3))


def forms(image):
    """(name, image or batch as a user has it, what makes h w c of the result) for RGB h w c."""
    yield "h w c", image, lambda y: y
    yield "n h w c", image[None], lambda y: y[0]
    for name, to, back in (
        ("c h w", lambda x: torch.from_numpy(x.transpose(2, 0, 1).copy()), lambda y: y.numpy().transpose(1, 2, 0)),
        (
            "n c h w",
            lambda x: torch.from_numpy(x.transpose(2, 0, 1)[None].copy()),
            lambda y: y[0].permute(1, 2, 0).numpy(),
        ),
    ):
        yield name, to(image), back


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [1, 2])
def test_kind_rank_and_dtype_come_back_and_all_forms_agree(dtype, scale):
    engine = cpu(*toy(2, scale=scale))
    [image] = pictures(1, dtype=np.uint16 if dtype == np.float32 else dtype)
    expected = engine.render(image, 0.5)
    if dtype == np.float32:
        image, expected = (x.astype(np.float32) / np.float32(65535) for x in (image, expected))
    for name, given, back in forms(image):
        made = engine.render(given, 0.5)
        assert (type(made), made.dtype, made.ndim) == (type(given), given.dtype, given.ndim), name
        assert made.shape[-2:] == given.shape[-2:] or scale == 2 or "w c" in name
        assert np.array_equal(back(made), expected), name
        assert made.is_contiguous() if isinstance(made, torch.Tensor) else made.flags.c_contiguous
    assert expected.shape == (scale * 9, scale * 13, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_gray_is_the_luma_of_the_rendered_colors(engine, dtype):
    peak = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    gray = (np.linspace(0, 1, 63).reshape(7, 9) * peak).astype(dtype)
    color = engine.render(np.repeat(gray[:, :, None], 3, axis=2), 0.3).astype(float)
    expected = 0.2126 * color[..., 0] + 0.7152 * color[..., 1] + 0.0722 * color[..., 2]
    assert np.abs(color[..., 0] - color[..., 2]).max() > 0.01 * peak  # the network colors it
    for given in (gray, gray[:, :, None], gray[None, :, :, None], torch.tensor(gray), torch.tensor(gray)[None, None]):
        made = engine.render(given, 0.3)
        assert made.shape == given.shape and made.dtype == given.dtype
        assert np.abs(np.asarray(made).reshape(7, 9) - expected).max() <= (1e-5 if dtype == np.float32 else 0.51)


@pytest.mark.parametrize("scale", [1, 2])
def test_opacity_bypasses_the_network_and_gets_the_size_of_the_result(scale):
    engine = cpu(*toy(2, scale=scale))
    [image] = pictures(1, 8, 12)
    opacity = np.linspace(0, 255, 96).reshape(8, 12).astype(np.uint8)
    made = engine.render(np.dstack([image, opacity]), 0.5)
    assert np.array_equal(made[..., :3], engine.render(image, 0.5))
    expected = opacity if scale == 1 else cv2.resize(opacity, (24, 16), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(made[..., 3], expected)
    tensor = torch.from_numpy(np.dstack([image, opacity])).permute(2, 0, 1)
    assert np.array_equal(engine.render(tensor, 0.5).permute(1, 2, 0).numpy(), made)


def test_alpha_is_a_number_a_tuple_a_dict_or_a_list_of_them(engine):
    images = np.stack(pictures(6))
    ways = [0.25, (0.5, 0.5, 0.0), {"a": 0.5, "b": 0.5}, {"c": 1}, 1, np.float32(0.25)]
    alphas = [*[(0.5, 0.5, 0.0)] * 3, (0.0, 0.0, 1.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.0)]
    expected = np.stack([engine.render(image, alpha) for image, alpha in zip(images, alphas, strict=True)])
    assert len({image.tobytes() for image in expected}) == 6
    singles = [engine.render(image, way) for image, way in zip(images, ways, strict=True)]
    assert np.array_equal(np.stack(singles), expected)
    assert np.array_equal(engine.render(images, ways), expected)
    assert np.array_equal(engine.render(images, 0.25)[3], engine.render(images[3], 0.25))
    beyond = engine.render(images[0], 1.25, extrapolate=True)
    assert np.array_equal(beyond, engine.render(images[0], {"b": -0.5, "c": 1.5}, extrapolate=True))


def test_a_batch_writes_weights_once_for_each_change_of_alpha():
    engine = cpu(*toy(2))
    engine.render(np.stack(pictures(9)), [0, 0, 0, 0, 0, 1, 1, 0.5, 0.5])
    assert engine.weight_writes == 3


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (1.5, "alpha: expected 0 to 1, got 1.5; extrapolate=True allows other numbers"),
        (float("nan"), "alpha: expected a finite number, a tuple of coefficients or a dict by name, got nan"),
        (True, "alpha: expected a finite number, .*, got True"),
        ("a", "alpha: expected a finite number, .*, got 'a'"),
        ((0.5, 0.5), r"alpha: expected 3 coefficients \(a, b, c\), got 2"),
        ((0.5, 0.5, 0.5), r"alpha: expected coefficients that sum to 1, got \(0.5, 0.5, 0.5\), which sums to 1.5"),
        ((1.5, -0.5, 0.0), "alpha: expected 0 to 1, got 1.5; extrapolate=True"),
        ((1.0, 0.0, "x"), "alpha: expected a finite number, .*, got 'x'"),
        ({"a": 0.3, "b": 0.6}, "alpha: expected coefficients that sum to 1, .* which sums to 0.9"),
        ({"ab": 1.0}, "alpha: unknown endpoint .ab.; did you mean [ab]"),
        ({"night": 1.0}, "alpha: unknown endpoint .night.; expected a, b, c"),
        ([0.5], "alpha: a list has one alpha for each image; expected a tuple of coefficients for one image, got 1"),
    ],
    ids=str,
)
def test_an_alpha_of_another_form_is_refused(engine, alpha, message):
    with pytest.raises(UsageError, match=message):
        engine.render(pictures(1)[0], alpha)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[1]], "images: expected a numpy array or a torch tensor, got list"),
        (np.zeros((4, 4, 3)), "images: expected uint8, uint16 or float32 in 0..1, got float64"),
        (torch.zeros(3, 4, 4, dtype=torch.bfloat16), "expected uint8, uint16 or float32 in 0..1, got bfloat16"),
        (np.zeros((5, 4, 2), np.uint8), r"expected h w, h w c or n h w c with c 1, 3 or 4, got shape \[5, 4, 2\]$"),
        (np.zeros((3, 8, 8), np.uint8), r"got shape \[3, 8, 8\]; an array has its channels last"),
        (
            torch.zeros(8, 8, 3),
            r"expected h w, c h w or n c h w .* \[8, 8, 3\]; a tensor has its channels before h and w",
        ),
        (np.zeros((0, 8, 8, 3), np.uint8), r"got shape \[0, 8, 8, 3\]"),
        (np.zeros(3, np.uint8), r"got shape \[3\]"),
        (np.full((2, 4, 4, 3), 255, np.float32), "expected float32 in 0..1, got 255 to 255 in image 0"),
        (np.full((4, 4), np.nan, np.float32), "expected float32 in 0..1, got nan to nan in image 0"),
    ],
    ids=["list", "float64", "bfloat16", "channels", "first", "last", "empty", "rank", "range", "nan"],
)
def test_images_of_another_form_are_refused(engine, images, message):
    with pytest.raises(UsageError, match=message):
        engine.render(images, 0.5)


def test_a_list_of_another_length_is_refused(engine):
    with pytest.raises(UsageError, match="for each image; expected 3 for this batch, got 2"):
        engine.render(np.stack(pictures(3)), [0, 1])


@pytest.mark.parametrize("pix_fmt", ["bgr0", "bgra", "gbrp16le"])
def test_what_comes_equals_the_frames_of_a_rendered_video(tmp_path, pix_fmt):
    files = tiny_endpoints(tmp_path, day=0.0, dusk=(0.1, -0.2, 0.05), night=-0.4)
    clip = make_clip(tmp_path / "clip.mkv", codec="ffv1", pix_fmt=pix_fmt, frames=6)
    options = {"device": "cpu", "dtype": "fp32", "codec": "ffv1", "pix_fmt": pix_fmt}
    dnirender.render(clip, tmp_path / "out.mkv", preset=preset_of(files), keyframes="0:0, 5:1", **options)
    source, made = (dnirender.open(path) for path in (clip, tmp_path / "out.mkv"))
    images = np.stack([frame.image for frame in source])
    assert images.dtype == (np.uint16 if pix_fmt == "gbrp16le" else np.uint8)
    engine = Engine(*load(files), device="cpu", dtype="fp32")
    expected = np.stack([frame.image for frame in made])
    assert np.array_equal(engine.render(images, [step / 5 for step in range(6)]), expected)
    assert not np.array_equal(images, expected)
