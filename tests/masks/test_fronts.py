"""Laws of fronts: nothing has changed at 0, everything has at 1, no pixel goes back, and the names mean what they say."""

import itertools

import cv2
import numpy as np
import pytest

from dnirender.errors import MediaError, UsageError
from dnirender.masks.fronts import ARRAY_FUNCTIONS, Front, draw, evaluate
from dnirender.timeline.expression import FUNCTIONS, parse_expression
from dnirender.timeline.wipe import NAMES, VARIABLES, parse_wipe
from support.clips import paint

WIDTH, HEIGHT = 96, 64
IMAGE = paint(300)


def texts():
    names = [name for name in NAMES if name != "image"]
    yield from itertools.chain(names, ("angle:30", "iris:4", "blinds:5,degrees=90", "noise:0.3,seed=4"))
    yield from ("x*y", "sqrt((x-.5)**2+(y-.5)**2)", "min(1, max(0, 2*progress-x))", "clock:reverse=1")


@pytest.mark.parametrize("softness", ["0", "0.1", "1"])
@pytest.mark.parametrize("text", list(texts()))
def test_a_front_passes_every_pixel_once(text, softness):
    front = Front(parse_wipe(f"{text}{',' if ':' in text else ':'}softness={softness}"))
    shares = [front.share(step / 20, IMAGE, WIDTH, HEIGHT) for step in range(21)]
    assert (shares[0] == 0).all() and (shares[-1] == 1).all()
    for before, after in itertools.pairwise(shares):
        assert before.dtype == np.float32 and before.min() >= 0 and before.max() <= 1
        assert (after >= before).all()
    assert 0.05 < shares[10].mean() < 0.95


def first(text):
    """Where it begins, (x, y) in 0..1 from the left and the bottom."""
    order = draw(parse_wipe(text), WIDTH, HEIGHT)
    assert order.min() >= 0 and order.max() <= 1
    row, column = np.unravel_index(np.argmin(order), order.shape)
    return (column + 0.5) / WIDTH, 1 - (row + 0.5) / HEIGHT


def test_names_say_where_a_front_moves():
    assert first("right")[0] < 0.02 and first("left")[0] > 0.98
    assert first("up")[1] < 0.02 and first("down")[1] > 0.98
    assert first("angle:45") == pytest.approx((0, 0), abs=0.02)
    assert np.abs(draw(parse_wipe("angle:90"), 9, 7) - draw(parse_wipe("up"), 9, 7)).max() < 1e-6
    for name in ("radial", "iris", "iris:3"):
        assert first(name) == pytest.approx((0.5, 0.5), abs=0.02)
    assert first("radial:x=0.25,y=0.75") == pytest.approx((0.25, 0.75), abs=0.02)
    assert first("x*x+(1-y)") == pytest.approx((0, 1), abs=0.02)
    x, y = first("clock")
    assert x == pytest.approx(0.5, abs=0.02) and y > 0.5
    clock = draw(parse_wipe("clock"), WIDTH, HEIGHT)
    quarters = [clock[HEIGHT // 2, -1], clock[-1, WIDTH // 2], clock[HEIGHT // 2, 0]]
    assert quarters == pytest.approx([0.25, 0.5, 0.75], abs=0.02)
    assert (np.diff(draw(parse_wipe("blinds:4"), WIDTH, HEIGHT)[0]) < 0).sum() == 3


def test_circles_are_round_in_a_wide_picture():
    changed = draw(parse_wipe("radial"), 200, 100) < 0.2
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert abs((rows[-1] - rows[0]) - (columns[-1] - columns[0])) <= 1


def test_noise_is_even_seeded_and_smooth():
    one, other = (draw(parse_wipe(f"noise:seed={seed}"), 160, 90) for seed in (1, 2))
    assert np.abs(one - other).mean() > 0.1
    np.testing.assert_array_equal(one, draw(parse_wipe("noise:seed=1"), 160, 90))
    for progress in (0.2, 0.5, 0.8):
        assert (one < progress).mean() == pytest.approx(progress, abs=0.001)
    assert np.abs(np.diff(one, axis=1)).mean() < 0.05


def test_luma_and_pictures_change_their_dark_parts_first(tmp_path):
    half = Front(parse_wipe("luma")).share(0.5, IMAGE, WIDTH, HEIGHT)
    dark, bright = IMAGE.sum(2) < 200, IMAGE.sum(2) > 500
    assert (half[dark] == 1).all() and (half[bright] == 0).all()
    reverse = Front(parse_wipe("luma:reverse=1")).share(0.5, IMAGE, WIDTH, HEIGHT)
    assert (reverse[dark] == 0).all() and (reverse[bright] == 1).all()
    ramp = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1))
    cv2.imwrite(str(tmp_path / "ramp.png"), ramp)
    front = Front(parse_wipe(f"image:{tmp_path / 'ramp.png'},softness=0"))
    changed = front.share(0.5, IMAGE, WIDTH, HEIGHT)
    assert changed[:, :44].min() == 1 and changed[:, 52:].max() == 0
    cv2.imwrite(str(tmp_path / "other.png"), ramp[::-1, ::-1])
    assert front.identity != Front(parse_wipe(f"image:{tmp_path / 'other.png'}")).identity
    with pytest.raises(MediaError, match=r"none\.png: "):
        Front(parse_wipe(f"image:{tmp_path / 'none.png'}"))


def test_softness_is_the_width_of_the_front():
    for softness in (0.1, 0.5):
        row = Front(parse_wipe(f"right:softness={softness}")).share(0.5, IMAGE, 1000, 8)[4]
        assert ((row > 0) & (row < 1)).sum() == pytest.approx(1000 * softness, abs=3)


EXPRESSIONS = [
    "x + y*2 - progress/3 % 0.4",
    "-x**2 + (y - seed)**3",
    "where(x < y, sin(pi*x), cos(y))",
    "(x < 0.3) & (y >= 0.5) | (x == y) | (x != 1) & (y <= 0.2) & (x > 0.1)",
    "min(x, y, 0.4) + max(0.2, x) + min(y)",
    "abs(x-0.5) + floor(5*x)/5 + ceil(3*y)/3 + sqrt(x) + exp(-y) + log(1+x) + log10(1+y)",
    "tan(x) + arcsin(x) + arccos(y) + arctan(x) + arctan2(x, y) + sinh(x) + cosh(y) + tanh(x)",
    "ratio * 0 + 0.25",
    "(sin(x*12.9898 + y*78.233 + seed) * 43758.5453) % 1",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_has_at_every_pixel_the_value_that_numbers_have(text):
    expression = parse_expression(text, VARIABLES)
    found = evaluate(expression, 12, 8, 0.3, 0.7)
    for row, column in itertools.product(range(8), range(12)):
        values = {"x": (column + 0.5) / 12, "y": 1 - (row + 0.5) / 8, "progress": 0.3, "ratio": 1.5, "seed": 0.7}
        assert found[row, column] == pytest.approx(by_numbers(expression, values | {"pi": np.pi}), abs=2e-5)


def by_numbers(expression, variables):
    stack = []
    for step in expression.program:
        if isinstance(step, tuple):
            function, count = step
            arguments = stack[-count:]
            del stack[-count:]
            stack.append(float(function(*arguments)))
        else:
            stack.append(variables[step] if isinstance(step, str) else step)
    return stack[0]


def test_every_function_of_expressions_has_one_for_pixels():
    from dnirender.timeline.expression import OPERATORS, negate

    assert {function for _, function in FUNCTIONS.values()} | set(OPERATORS.values()) | {negate} == set(ARRAY_FUNCTIONS)


def test_an_expression_that_is_not_finite_is_refused_with_the_place():
    with pytest.raises(UsageError, match=r"wipe='1/\(x-x\)': is (nan|inf) at x 0\.0417, y 0\.938, progress 0\.5"):
        evaluate(parse_expression("1/(x-x)", VARIABLES), 12, 8, 0.5, 0)


def test_progress_in_an_expression_is_the_front_itself():
    share = Front(parse_wipe("where(x < progress, 1, 0)")).share(0.25, IMAGE, WIDTH, HEIGHT)
    assert (share[:, :24] == 1).all() and (share[:, 24:] == 0).all()
    turned = Front(parse_wipe("1 - where(x < progress, 1, 0):reverse=1")).share(0.25, IMAGE, WIDTH, HEIGHT)
    np.testing.assert_array_equal(turned, share)
