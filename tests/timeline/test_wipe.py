"""Laws of wipes as text, and of the ways between keys that they draw."""

from fractions import Fraction

import pytest

from dnirender.errors import UsageError
from dnirender.timeline.timeline import Timeline
from dnirender.timeline.wipe import EXPRESSION, NAMES, parse_wipe

ENDS = ("a", "b", "c")


def test_names_have_options_and_a_first_value():
    for name in set(NAMES) - {"image"}:
        wipe = parse_wipe(name)
        assert (wipe.name, wipe.softness, wipe.reverse, wipe.seed) == (name, 0.1, False, 0)
    assert parse_wipe("angle:30") == parse_wipe(" angle : degrees = 30 ")
    wipe = parse_wipe("radial:x=0.2, y=0.8, softness=0, reverse=1")
    assert (wipe["x"], wipe["y"], wipe.softness, wipe.reverse) == (0.2, 0.8, 0, True)
    assert parse_wipe("blinds:12,softness=0.3")["count"] == 12
    wipe = parse_wipe("image:C:/some, where/a=b.png,softness=0.4")
    assert (wipe.file, wipe.softness) == ("C:/some, where/a=b.png", 0.4)
    wipe = parse_wipe("max(x, y) * ratio:softness=0.5,seed=7")
    assert (wipe.name, wipe.softness, wipe.seed) == (EXPRESSION, 0.5, 7)
    assert wipe.expression is not None and wipe.expression.text == "max(x, y) * ratio"
    assert parse_wipe("x").name == EXPRESSION


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rigth", "unknown wipe; did you mean right"),
        ("fold", "unknown wipe; there is right, left, up"),
        ("x +", "wipe='x \\+': expected a value, got the end at character 4"),
        ("t * x", 'unknown name "t"'),
        ("right:30", "expected right:OPTION=VALUE, with softness, reverse, seed"),
        ("right:", "expected right:OPTION=VALUE"),
        ("angle:steep", "degrees expected a number from -360 to 360, got 'steep'"),
        ("iris:2", "sides expected a number from 3 to 64, got '2'"),
        ("clock:speed=3", "unknown option 'speed'; expected start, x, y, softness, reverse, seed"),
        ("radial:softness=2", "softness expected a number from 0 to 1, got '2'"),
        ("image", "expected image:FILE"),
        ("x" * 5000, "5000 characters, expected at most 4096"),
        ("x:" + "softness=0.1", None),
    ],
)
def test_what_is_wrong_is_said(text, message):
    if message is None:
        parse_wipe(text)
        return
    with pytest.raises(UsageError, match=message):
        parse_wipe(text)


def ways(text, frames=9, **options):
    seconds = [Fraction(number, 25) for number in range(frames)]
    timeline = Timeline.parse(text, **options)
    return timeline.ways(ENDS, seconds), timeline.resolve(ENDS, seconds).alphas


def at(way, progress):
    """The mixture at a place of a way."""
    for number, (start, stop) in enumerate(zip(way.nodes, way.nodes[1:], strict=False)):
        if progress <= stop:
            part = (progress - start) / (stop - start)
            pairs = zip(way.alphas[number], way.alphas[number + 1], strict=True)
            return tuple(a + (b - a) * part for a, b in pairs)
    raise AssertionError


@pytest.mark.parametrize(
    "text",
    [
        "0:0, 8:1",
        "1:0.2, 7:0.9@smooth",
        "2:a, 6:0.5*b+0.5*c",
        "0:1@smooth, 4:0, 8:b",
        "0:0@hold, 5:1",
        "0s:0.6, 0.3s:0.1",
        "0:(t/16), 4:0.5, 8:1",
    ],
)
@pytest.mark.parametrize("loop", ["none", "repeat", "ping-pong"])
def test_the_timeline_lies_on_its_ways(text, loop):
    found, alphas = ways(text, 24, loop=loop)
    for way, alpha in zip(found, alphas, strict=True):
        if way is not None:
            assert at(way, way.progress) == pytest.approx(alpha)
            assert way.nodes[0] == 0 and way.nodes[-1] == 1 and sorted(set(way.nodes)) == list(way.nodes)


def test_there_is_a_way_only_between_two_keys_that_differ():
    found, _ = ways("2:a, 4:a, 6:c")
    assert [way is None for way in found] == [True, True, True, True, False, False, True, True, True]
    assert [way.progress for way in found if way] == [0, 0.5]
    assert all(way is None for way in ways("0:(t/16)")[0])


def test_a_way_between_numbers_passes_the_endpoints_between_them():
    from dnirender.timeline.keyframes import Endpoints

    placed = Timeline.parse("0:0, 8:1").ways(Endpoints(ENDS, (0, 0.2, 1)), [Fraction(n, 25) for n in range(9)])[0]
    assert placed is not None and placed.nodes == (0, 0.2, 1)
    [way, *_], _ = ways("0:0.25, 8:1")
    assert way.nodes == pytest.approx((0, 1 / 3, 1))
    assert way.alphas == ((0.5, 0.5, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    [back, *_], _ = ways("0:1, 8:0")
    assert back.alphas[1] == (0.0, 1.0, 0.0) and back.nodes == (0, 0.5, 1)
    [straight, *_], _ = ways("0:a, 8:c")
    assert straight.alphas == ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))


def test_an_easing_that_overshoots_ends_at_its_key():
    found, _ = ways("0:0@ease-out-back, 8:0.5")
    assert max(way.progress for way in found if way) == 1
