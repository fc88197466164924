"""Comparisons and contact sheets."""

import numpy as np
import pytest

from dnirender.errors import UsageError
from dnirender.layout.alpha_track import AlphaTrack
from dnirender.layout.contact_sheet import sheet
from dnirender.layout.drawing import ACCENT
from dnirender.layout.panels import check_panels, compare, compare_size, crossfade, layout
from dnirender.media.resize import resize_to

SIZES = [(16, 16), (33, 17), (64, 48), (101, 57), (320, 180), (181, 321)]
DTYPES = [np.uint8, np.uint16]


def noise(width, height, dtype=np.uint8, seed=0):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width, 3), dtype, endpoint=True)


def ramp(count=25):
    return [(1 - t, t) for t in np.linspace(0, 1, count)]


def track():
    return AlphaTrack(ramp(), [(0.0, (1.0, 0.0)), (1.0, (0.0, 1.0))])


@pytest.mark.parametrize("dtype", DTYPES)
def test_crossfade_at_an_endpoint_is_that_render(dtype):
    renders = [noise(40, 30, dtype, seed) for seed in range(3)]
    for index, render in enumerate(renders):
        alpha = tuple(float(index == other) for other in range(3))
        blend = crossfade(renders, alpha)
        assert blend.dtype == dtype
        np.testing.assert_array_equal(blend, render)


@pytest.mark.parametrize("dtype", DTYPES)
def test_crossfade_is_rounded_once(dtype):
    renders = [noise(40, 30, dtype, seed) for seed in range(3)]
    exact = sum(a * r.astype(np.float64) for a, r in zip((0.3, 0.45, 0.25), renders, strict=True))
    assert np.abs(crossfade(renders, (0.3, 0.45, 0.25)) - exact).max() <= 0.51


def test_crossfade_clips_what_extrapolation_drives_out_of_range():
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert crossfade([black, white], (-0.5, 1.5)).min() == 255
    assert crossfade([black, white], (1.5, -0.5)).max() == 0


@pytest.mark.parametrize("count", range(1, 50))
def test_layout_holds_all_panels_and_no_row_or_column_too_many(count):
    rows, columns = layout(count)
    assert (rows - 1) * columns < count <= rows * columns
    assert count > 3 or rows == 1
    assert rows * (columns - 1) < count
    assert count <= 3 or rows <= columns <= rows + 1


def test_layout_examples():
    assert [layout(n) for n in (1, 3, 4, 5, 6, 7, 9)] == [(1, 1), (1, 3), (2, 2), (2, 3), (2, 3), (3, 3), (3, 3)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tracked", [True, False])
def test_compare_size_is_even_and_what_compare_returns(size, tracked):
    for count in range(1, 10):
        panels = [(f"panel {index}", noise(*size)) for index in range(count)]
        image = compare(panels, track() if tracked else None, 0.5)
        assert image.shape == (*compare_size(*size, count, tracked)[::-1], 3)
        assert image.shape[0] % 2 == image.shape[1] % 2 == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_each_panel_appears_once_and_unchanged_without_labels(dtype, size):
    width, height = size
    for count in (1, 2, 3, 5, 7):
        images = [noise(width, height, dtype, seed) for seed in range(count)]
        sheet_of_panels = compare([("", image) for image in images], track(), 0.3, labels=False)
        assert sheet_of_panels.dtype == dtype
        for image in images:
            assert occurrences(sheet_of_panels, image) == 1


def occurrences(image, crop):
    """How often `crop` occurs in `image`, pixel for pixel."""
    height, width = crop.shape[:2]
    ys, xs = np.nonzero((image == crop[0, 0]).all(axis=2))
    return sum(np.array_equal(image[y : y + height, x : x + width], crop) for y, x in zip(ys, xs, strict=True))


def test_an_incomplete_last_row_is_centered_and_gaps_are_equal():
    white = np.full((36, 64, 3), 255, np.uint8)
    shown = (compare([("", white)] * 5, None, 0, labels=False) == 255).all(axis=2)
    first, last = np.flatnonzero(shown[0]), np.flatnonzero(shown[-1])
    assert last[0] > 0
    assert abs(last[0] - (shown.shape[1] - 1 - last[-1])) <= 1
    assert shown.shape[1] - len(first) == 2 * (shown.shape[0] - shown.any(axis=1).sum())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_label_changes_the_top_left_corner_alone(dtype):
    image = noise(320, 180, dtype)
    panel = compare([("source", image)], None, 0)
    changed = np.argwhere((panel != image).any(axis=2))
    assert len(changed)
    assert (changed.max(axis=0) < (180 / 6, 320 / 4)).all()


def test_a_label_looks_the_same_in_8_and_16_bits():
    image = noise(321, 181)
    eight = compare([("day", image), ("night", image)], track(), 0.4)
    sixteen = compare([("day", image), ("night", image.astype(np.uint16) * 257)], track(), 0.4)
    assert np.abs(sixteen / 257 - eight).max() <= 1


def test_a_label_is_light_on_dark_whatever_the_picture():
    for value in (0, 128, 255):
        image = compare([("night", np.full((180, 320, 3), value, np.uint8))], None, 0)
        assert image[:40, :80].max() >= 225
        assert image[:40, :80].min() < 120


def test_different_labels_look_different_and_empty_ones_leave_the_picture():
    image = noise(320, 180)
    assert (compare([("day", image)], None, 0) != compare([("night", image)], None, 0)).any()
    np.testing.assert_array_equal(compare([("", image)], None, 0), image)


@pytest.mark.parametrize("label", ["夜", "forêt", "ночь", "a\nb\t", "🌙", " ", "x" * 300])
def test_any_label_can_be_written(label):
    assert compare([(label, noise(64, 48)), (label, noise(64, 48))], track(), 0.5).shape[2] == 3
    assert sheet([[noise(64, 48)]], [label], [label], label).dtype == np.uint8


def test_accents_are_dropped_and_other_scripts_become_question_marks():
    image = noise(320, 180)
    np.testing.assert_array_equal(compare([("forêt 夜", image)], None, 0), compare([("foret ?", image)], None, 0))


def test_panels_of_mixed_depth_become_16_bits():
    image = compare([("source", noise(64, 48)), ("render", noise(64, 48, np.uint16))], None, 0, labels=False)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image[:48, :64], noise(64, 48).astype(np.uint16) * 257)


def test_small_panels_grow_to_the_largest_or_all_to_the_size_asked():
    panels = [("source", noise(32, 24)), ("render", noise(128, 96))]
    assert compare(panels, None, 0).shape[1::-1] == compare_size(128, 96, 2, track=False)
    assert compare(panels, None, 0, size=(50, 40)).shape[1::-1] == compare_size(50, 40, 2, track=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(10, 10), (200, 100), (33, 91)])
def test_fit_keeps_a_flat_picture_flat(dtype, size):
    flat = np.full((41, 67, 3), 200, dtype)
    fitted = resize_to(flat, *size)
    assert fitted.dtype == dtype
    assert fitted.shape == (size[1], size[0], 3)
    assert (fitted == 200).all()


def test_fit_grows_without_blocks():
    edge = np.zeros((8, 2, 3), np.uint8)
    edge[:, 1] = 200
    assert len(np.unique(resize_to(edge, 16, 64))) > 4


def test_fit_leaves_the_right_size_alone():
    image = noise(31, 17)
    assert resize_to(image, 31, 17) is image


@pytest.mark.parametrize("width", [128, 640, 3840])
def test_the_playhead_moves_forward(width):
    course = AlphaTrack([(1.0, 0.0)] * 10, [])
    height = max(20, width // 20)
    heads = []
    for progress in np.linspace(0, 1, 41):
        picture = course.draw(width, height, progress).astype(int)
        white = np.clip(picture[height // 3].min(axis=1) - 60, 0, None)
        heads.append((white * np.arange(width)).sum() / white.sum())
    assert (np.diff(heads) > 0).all()
    assert heads[0] < width * 0.1
    assert heads[-1] > width * 0.9


def test_the_played_part_is_bright_and_grows():
    course = track()
    lit = [(course.draw(640, 32, progress)[..., 0] > 200).sum() for progress in np.linspace(0.02, 0.98, 20)]
    assert (np.diff(lit) > 0).all()


def test_progress_is_held_within_the_clip():
    course = track()
    np.testing.assert_array_equal(course.draw(640, 32, -1), course.draw(640, 32, 0))
    np.testing.assert_array_equal(course.draw(640, 32, 2), course.draw(640, 32, 1))


def test_the_curve_rises_with_the_position_along_the_path():
    def height_of(alpha):
        all_in_use = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
        picture = AlphaTrack([*all_in_use, *[alpha] * 97], []).draw(640, 64, 0)[:, 320].astype(int)
        return -float((picture.sum(axis=1) * np.arange(64)).sum() / picture.sum())

    heights = [height_of(alpha) for alpha in [(1, 0, 0), (0.5, 0.5, 0), (0, 1, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]]
    assert heights[0] < heights[1] < heights[2] < heights[4]
    assert heights[2] == heights[3]


def test_the_curve_spans_the_height_between_the_endpoints_in_use():
    """photo -> the_scream of ten painters, there and back, looks like 0 -> 1 -> 0 of two."""
    there = [(1 - t, t) for t in np.linspace(0, 1, 30)]
    two = [*there, *there[::-1]]
    ten = [(a, 0, 0, 0, b, 0, 0, 0, 0, 0) for a, b in two]
    keys = [(0.0, 0), (0.5, 29), (1.0, 59)]
    plain = AlphaTrack(two, [(time, two[frame]) for time, frame in keys]).draw(640, 64, 0.5)
    np.testing.assert_array_equal(
        AlphaTrack(ten, [(time, ten[frame]) for time, frame in keys]).draw(640, 64, 0.5), plain
    )
    three = [(1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 0, 0, 1)]
    dense = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    np.testing.assert_array_equal(AlphaTrack(three, []).draw(640, 64, 0), AlphaTrack(dense, []).draw(640, 64, 0))


def test_keys_are_marked_and_those_outside_the_clip_are_not():
    alphas = ramp()
    plain = AlphaTrack(alphas, []).draw(640, 32, 0)
    marked = AlphaTrack(alphas, [(0.5, (0.5, 0.5))]).draw(640, 32, 0)
    changed = np.argwhere((plain != marked).any(axis=2))
    assert len(changed)
    assert np.abs(changed[:, 1] - 319.5).max() <= 8
    np.testing.assert_array_equal(AlphaTrack(alphas, [(1.005, (0.0, 1.0))]).draw(640, 32, 0), plain)


def test_one_frame_one_endpoint_and_extrapolation_have_a_track():
    for alphas in ([(1.0,)], [(1.0, 0.0)], [(1.5, -0.5), (-0.5, 1.5)]):
        picture = AlphaTrack(alphas, [(0, alphas[0])]).draw(100, 20, 0.9)
        assert picture.shape == (20, 100, 3)
        assert (picture[:, 12:80].max(axis=(0, 2)) > 150).all()


def test_a_track_drawn_at_one_size_and_then_another_is_as_if_new():
    course = track()
    course.draw(640, 32, 0.2)
    np.testing.assert_array_equal(course.draw(320, 24, 0.7), track().draw(320, 24, 0.7))


@pytest.mark.parametrize("size", [(64, 36), (640, 360), (1920, 1080)])
def test_a_sheet_shows_every_picture_within_its_width(size):
    values = [[20 * row + 50 * column + 30 for column in range(5)] for row in range(2)]
    rows = [[np.full((size[1], size[0], 3), value, np.uint8) for value in row] for row in values]
    image = sheet(rows, ["frame 0  0.00 s", "frame 9  0.36 s"], ["0 day", "0.25", "0.5", "0.75", "1 night"], "title")
    assert image.shape[1] <= 2400
    gray = image[(image == image[..., :1]).all(axis=2)][:, 0]
    for value in np.ravel(values):
        assert (gray == value).sum() >= min(size[0] * size[1], 400 * 225)


def test_a_sheet_of_small_pictures_shows_their_very_pixels_in_8_bits():
    image = noise(80, 60, np.uint16)
    result = sheet([[image]], ["a"], ["0"], "t")
    assert result.dtype == np.uint8
    assert occurrences(result, ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)) == 1


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        (
            ["source", "sorce"],
            "panels: unknown panel 'sorce'; choose from source, render, crossfade, mask, day, night.",
        ),
        (["Render"], "panels: unknown panel 'Render'; choose from source, render, crossfade, mask, day, night."),
        ([], "panels: empty; choose from source, render, crossfade, mask, day, night."),
    ],
)
def test_unknown_panels_are_named(panels, message):
    with pytest.raises(UsageError) as error:
        check_panels(panels, ["day", "night"])
    assert str(error.value) == message


def test_known_panels_pass():
    check_panels(["source", "render", "crossfade", "night", "render"], ["day", "night"])


def test_a_comparison_of_nothing_is_an_error():
    with pytest.raises(UsageError, match=r"^panels: a comparison needs at least one, got 0\.$"):
        layout(0)


def test_headings_of_narrow_columns_do_not_run_into_each_other():
    cells = [[np.full((60, 120, 3), 255, np.uint8)] * 12]
    page = sheet(cells, [""], ["composition_vii"] * 12, "", width=4000)
    inside = (page == 255).all(axis=2).sum(axis=0) >= 60
    first, last = np.flatnonzero(inside)[[0, -1]]
    heading = (page == ACCENT).all(axis=2).any(axis=0)
    assert heading[inside].any()
    assert not heading[first:last][~inside[first:last]].any()
