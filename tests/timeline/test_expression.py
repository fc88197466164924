"""Expressions: what Python's arithmetic gives at every frame, within limits, or an error at the right character."""

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnirender.errors import PresetError, TimelineError
from dnirender.preset import Preset
from dnirender.timeline.expression import MAX_CHARACTERS, MAX_DEPTH, parse_expression
from dnirender.timeline.keyframes import SINGLE_FRAME_DURATION
from dnirender.timeline.timeline import Timeline
from support.clips import preset_of

NAMES = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "abs": abs, "min": min, "max": max, "sqrt": math.sqrt,
    "exp": math.exp, "log": math.log, "floor": lambda x: float(math.floor(x)), "ceil": lambda x: float(math.ceil(x)),
    "where": lambda condition, yes, no: yes if condition else no,
}  # fmt: skip


def at_fps(count, fps=24):
    return [Fraction(frame, fps) for frame in range(count)]


def along(text, count, fps=24, endpoints=("a", "b"), **options):
    """The place of every frame along two endpoints."""
    return [alpha[1] for alpha in Timeline.parse(text, **options).resolve(endpoints, at_fps(count, fps)).alphas]


numbers = st.sampled_from(["0", "1", "2.5", ".5", "3.", "1e-2", "60", "2E1"])
atoms = numbers | st.sampled_from(["t", "max_f", "fps", "pi"])
binary = st.sampled_from(["+", "-", "*", "/", "%", "**", " + ", " * "])
compared = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, binary, inner).map("".join),
        st.tuples(inner, compared, inner).map(lambda parts: f"({''.join(parts)})"),
        st.tuples(st.sampled_from(["-", "+", "--", "-+"]), inner).map("".join),
        inner.map("({})".format),
        st.tuples(st.sampled_from(["sin", "cos", "tan", "abs", "sqrt", "exp", "log", "floor", "ceil"]), inner).map(
            lambda call: f"{call[0]}({call[1]})"
        ),
        st.tuples(st.sampled_from(["min", "max"]), st.lists(inner, min_size=2, max_size=4)).map(
            lambda call: f"{call[0]}({', '.join(call[1])})"
        ),
        st.tuples(inner, inner, inner).map(lambda parts: f"where({', '.join(parts)})"),
    ),
    max_leaves=12,
)


def by_python(text, **variables):
    """What Python gives with floats, None where it is not a finite real number."""
    code = compile(text, "expression", "eval")
    floats = code.replace(co_consts=tuple(float(c) if isinstance(c, int) else c for c in code.co_consts))
    try:
        value = eval(floats, {"__builtins__": {}}, NAMES | {k: float(v) for k, v in variables.items()})
    except (ArithmeticError, ValueError, TypeError):
        return None
    return float(value) if not isinstance(value, complex) and math.isfinite(value) else None


@settings(max_examples=300, deadline=None)
@given(expressions, st.integers(0, 200))
def test_values_are_those_of_pythons_arithmetic(text, frame):
    expected = by_python(text, t=frame, max_f=120, fps=25, pi=math.pi)
    value = parse_expression(text)(frame, 120, 25)
    if expected is not None:
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-2**2", -4), ("2**-1", 0.5), ("2**3**2", 512), ("-1 % 3", 2), ("7 % 4", 3), ("2-3-4", -5), ("8/4/2", 1),
        ("t<5", 1), ("t>5", 0), ("(t>1) & (t<5)", 1), ("t>1 & t<3", 0), ("t<1 | t>2", 1),
        ("min(t)", 3), ("max(1, t, 2)", 3), ("where(t==3, 0.25, 1/0)", 0.25), ("max_f/fps", 4), ("arctan2(0, 1)", 0),
        ("log10(100)", 2), ("floor(-0.5)", -1), ("abs(-t)", 3), ("1+2*t", 7), ("(1+2)*t", 9),
    ],
)  # fmt: skip
def test_examples(text, value):
    assert parse_expression(text)(3, 100, 25) == value


@pytest.mark.parametrize(
    "text", ["1/0", "1/(t-t)", "log(0)", "sqrt(-1)", "(-8)**(1/3)", "exp(1000)", "exp(1e300)-exp(1e300)", "min(log(0), 1)", "0**-1", "10.0**400"]
)  # fmt: skip
def test_what_is_not_finite_ends_with_the_frame(text):
    with pytest.raises(TimelineError, match=r"the value at frame 0 is (nan|inf|-inf), expected a finite number$"):
        along(f"0:({text})", 3)


MISTAKES = {
    "0.5+*2": ('expected a value, got "*"', 5),
    "0.5+": ("expected a value, got the end", 5),
    "2^t": ('expected an operator, got "^"', 2),
    "(t+1": ('expected an operator or ")", got the end', 5),
    "sin(t": ('expected an operator or ")", got the end', 6),
    "t)": ('expected an operator, got ")"', 2),
    "()": ('expected a value, got ")"', 2),
    "sin t": ('expected "(" behind sin, got "t"', 5),
    "sin()": ('expected a value, got ")"', 5),
    "sin(1, 2)": ("sin takes 1 value", 1),
    "1+where(t, 2)": ("where takes 3 values", 3),
    "0.5*sinn(t)": ('unknown name "sinn"; did you mean sin', 5),
    "2*zzz": ('unknown name "zzz"; there is t, max_f, fps, pi, sin,', 3),
    "0<t<9": ("comparisons cannot be chained", 4),
    "t//2": ('expected a value, got "/"', 3),
    "t;1": ('expected an operator, got ";"', 2),
    "1e999": ("the number is out of range", 1),
    "t.real": ('expected an operator, got "."', 2),
    "t[0]": ('expected an operator, got "["', 2),
    "__import__(t)": ('unknown name "__import__"', 1),
    "lambda: t": ('unknown name "lambda"', 1),
    "(" * 51 + "t" + ")" * 51: ("nested more than 50 deep", 51),
    "-" * 60 + "t": ("nested more than 50 deep", 51),
    "2**" * 60 + "t": ("nested more than 50 deep", 151),
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text[:15])
def test_a_mistake_is_shown_at_its_character(text):
    reason, character = MISTAKES[text]
    with pytest.raises(TimelineError) as caught:
        parse_expression(text)
    assert reason in str(caught.value) and f"at character {character}" in str(caught.value)
    shown, caret = "".join(caught.value.__notes__).split("\n")
    assert caret.strip() == "^" and len(shown) <= 62
    assert shown[caret.index("^") :][:1] == text[character - 1 : character]


def test_limits():
    assert parse_expression("(" * (MAX_DEPTH - 1) + "t" + ")" * (MAX_DEPTH - 1))(3, 9, 25) == 3
    longest = "t" + "+1" * ((MAX_CHARACTERS - 1) // 2)
    assert parse_expression(longest)(3, 9, 25) == 3 + (MAX_CHARACTERS - 1) // 2
    with pytest.raises(TimelineError, match=f"the expression has 1001 characters, expected at most {MAX_CHARACTERS}"):
        parse_expression(longest + "+1")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789.e+-*/%()<>=!&|,^ tfpisnmax_[]{}:'\"@", max_size=60))
def test_any_text_is_an_expression_or_one_line(text):
    try:
        parse_expression(text)(1, 2, 3)
    except TimelineError as error:
        assert "\n" not in str(error)


# In keyframes


def test_deforums_example_is_evaluated_at_every_frame():
    expected = [0.5 + 0.5 * math.sin(2 * 3.14 * t / 60) for t in range(100)]
    assert along("0:(0.5+0.5*sin(2*3.14*t/60))", 100) == pytest.approx(expected, abs=1e-12)
    path = Timeline.parse("0: (0.5+0.5*sin(2*3.14*t/60))").resolve(["a", "b", "c", "d"], at_fps(100)).alphas
    places = [sum(index * part for index, part in enumerate(alpha)) / 3 for alpha in path]
    assert places == pytest.approx(expected, abs=1e-12)


def test_an_expression_holds_until_the_next_key():
    assert along("2:(t/10), 5:0.9, 7:(1-t/10), 9:1", 12) == pytest.approx(
        [0.2, 0.2, 0.2, 0.3, 0.4, 0.9, 0.6, 0.3, 0.2, 1, 1, 1]
    )
    assert along("0:0, 4:(t/8)", 7) == pytest.approx([0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75])


def test_the_variables_are_the_frame_the_last_frame_and_the_rate():
    assert along("0:(t/max_f)", 5) == [0, 0.25, 0.5, 0.75, 1]
    assert along("0:(t/fps)", 5, 50) == pytest.approx([0, 0.02, 0.04, 0.06, 0.08])
    assert along("0:(fps/100)", 2, Fraction(24000, 1001)) == pytest.approx([0.24 / 1.001] * 2)
    assert along("0:(min(1, 0.1*pi))", 1) == [0.1 * math.pi]
    assert along("0:(fps/100)", 1) == [0.24]


def test_frames_are_counted_among_time_keys_too():
    uneven = [Fraction(t, 10) for t in (0, 1, 5, 6, 10)]
    track = Timeline.parse("0s:(t/10), 0.6s:0.9").resolve(["a", "b"], uneven)
    assert [alpha[1] for alpha in track.alphas] == pytest.approx([0, 0.1, 0.2, 0.9, 0.9])
    towards = Timeline.parse("0s:0, 0.55s:(t/10)").resolve(["a", "b"], uneven)  # half-way between frames 2 and 3
    assert towards.keys[1][1][1] == pytest.approx(0.25)
    beyond = Timeline.parse("0s:0, 1.5s:(t/10)").resolve(["a", "b"], uneven)  # two mean durations behind frame 4
    assert beyond.keys[1][1][1] == pytest.approx(0.6)


@pytest.mark.parametrize("loop", ["repeat", "ping-pong"])
def test_loops_repeat_what_the_expression_gave(loop):
    once = along("0:(t/8), 4:0", 5)
    track = along("0:(t/8), 4:0", 13, loop=loop)
    expected = {"repeat": [*once, *once[1:], *once[1:]], "ping-pong": [*once, *once[3::-1], *once[1:]]}
    assert track == pytest.approx(expected[loop])


def test_values_outside_the_path_name_the_frame():
    with pytest.raises(TimelineError) as caught:
        along("0:0.5, 3:(0.2*t)", 8)
    assert str(caught.value) == (
        'keyframes: "3:(0.2*t)" (key 2): the value at frame 6 is 1.2, outside 0..1; '
        "use extrapolate=True to go beyond the endpoints"
    )
    assert along("0:(0.2*t)", 8, extrapolate=True)[-1] == pytest.approx(1.4)
    with pytest.raises(TimelineError, match=r"frame 2 is 200, out of range; extrapolate=True allows -100 to 100$"):
        along("0:(100*t)", 8, extrapolate=True)
    assert along("0:(0.1*3+0.7)", 1) == [1.0]  # 1.0000000000000002 in floats


def test_plain_arithmetic_and_variables_are_no_names():
    assert along("0:t/8, 4:1 - 0.5, 5:t-4.5, 6:max_f-6.5, 7:0.5*t-3", 8) == pytest.approx(
        [0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.5]
    )
    assert Timeline.parse("0:t-rex").keyframes[0].alpha(["a", "t-rex"]) == (0, 1)
    assert Timeline.parse("0:0.5*pi-rate+0.5*a").keyframes[0].alpha(["a", "pi-rate"]) == (0.5, 0.5)
    assert not Timeline.parse("0:(t), 5:(t)").is_closed(["a", "b"])


def test_a_still_is_held_for_a_second_of_an_expression():
    assert Timeline.parse("0:(t/30)").num_frames(Fraction(24)) == 25
    assert Timeline.parse("0:0, 48:(t/90)").num_frames(Fraction(24)) == 73
    assert Timeline.parse("0:(t/90), 48:0").num_frames(Fraction(24)) == 49


# As pasted

PASTED = [
    "0:(0), 120:(1),",
    "0:(0), 120:(1) ,\n",
    "0:(0),\n120:(1)\n",
    "0:(0)\n120:(1)",
    "\n  0 : (0) ,\r\n  120 : (1),,\n",
    '"0:(0), 120:(1)"',
    "'0:(0), 120:(1)',",
    '"0": "(0)", "120": "(1)"',
    "'0': (0), '120': 1",
    '{"0": "(0)", "120": "(1)"}',
    '{"0": 0, "120": 1.0}',
    "{\n  \"0\": '0',\n  \"120\": '1',\n}",
    '"{\\"0\\": \\"(0)\\",\\n \\"120\\": \\"(1)\\"}"',
    "\u201c0\u201d: \u201c(0)\u201d, \u201c120\u201d: \u201c(1)\u201d",
    "0:(0%), 120:(100%)",
    "0:0%, 120:100 %",
    '{"0": "0%", "120": "100%"}',
    json.dumps({"0": "(0)", "120": "(1)"}, indent=2),
]


@pytest.mark.parametrize("text", PASTED)
def test_what_is_pasted_is_read(text):
    plain = [(key.position, key.value) for key in Timeline.parse("0:0, 120:1").keyframes]
    timeline = Timeline.parse(text)
    assert [(key.position, key.value) for key in timeline.keyframes] == plain
    assert Timeline.parse(str(timeline)) == timeline


def test_commas_in_brackets_and_quotes_belong_to_the_value():
    texts = ["0:(min(t/10, 0.5)), 9:0", '{"0": "min(t/10, 0.5)", "9": "(0)"}', "0:min(t/10,\n 0.5)\n9:0"]
    assert {tuple(along(text, 10)) for text in texts} == {(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0)}
    assert along("0:30%*a+70%*b", 1) == [0.7]
    assert along('"0": "0.3*a+0.7*b@hold", "1:30": b', 2) == [0.7, 0.7]


@pytest.mark.parametrize(
    ("text", "reason", "caret"),
    [
        ("0:(0.1+(0.2)", 'keyframes: unbalanced parenthesis in "0:(0.1+(0.2)"', "0:"),
        ("0:0), 5:1", 'keyframes: unbalanced parenthesis in "0:0), 5:1"', "0:0"),
        ('"0": "0, 5: 1', 'keyframes: unbalanced quote in "\\"0\\": \\"0, 5: 1"', '"0": '),
    ],
)
def test_what_is_not_closed_is_shown(text, reason, caret):
    with pytest.raises(TimelineError) as caught:
        Timeline.parse(text)
    assert str(caught.value) == reason
    assert caught.value.__notes__ == [f"  {text}\n  {' ' * len(caret)}^"]


def test_the_caret_survives_the_preset(tmp_path):
    with pytest.raises(PresetError) as caught:
        preset_of({"a": tmp_path, "b": tmp_path}, timeline={"keyframes": "0:(1+*t)"})
    assert caught.value.__notes__ == ["  (1+*t)\n     ^"]


def test_keyframes_of_a_preset_may_be_a_mapping(tmp_path):
    files = {"a": tmp_path, "b": tmp_path}
    assert preset_of(files, timeline={"keyframes": {0: "(0)", "50%": 0.5}}).timeline.keyframes == "0:(0), 50%:0.5"
    assert isinstance(preset_of(files), Preset)


def test_a_single_frame_has_the_rate_of_its_duration():
    rate = float(1 / SINGLE_FRAME_DURATION)
    track = Timeline.parse("0:(fps/100)").resolve(("a", "b"), [Fraction(0)])
    assert track.alphas == ((pytest.approx(1 - rate / 100), pytest.approx(rate / 100)),)
