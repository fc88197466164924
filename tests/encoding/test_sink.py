"""The `Sink` protocol: the minimal format in its docstring is a complete output format."""

import inspect
import textwrap

import numpy as np
import pytest

from dnirender.encoding.segment_file import EncodedPacket, check_frame_indices
from dnirender.encoding.sink import Sink
from dnirender.errors import OutputError
from dnirender.files import disk_errors
from dnirender.frames import to_uint8
from support.clips import deliver, paint


@pytest.fixture
def raw_sink():
    """The class `RawSink` of the docstring of `Sink`."""
    text = inspect.getdoc(Sink)
    scope = {
        "EncodedPacket": EncodedPacket,
        "check_frame_indices": check_frame_indices,
        "disk_errors": disk_errors,
        "to_uint8": to_uint8,
    }
    exec(textwrap.dedent(text[text.index("    class RawEncoder") :]), scope)
    return scope["RawSink"]


@pytest.mark.parametrize("segment", [1, 3, 7, 100])
def test_the_example_writes_every_frame_in_order(tmp_path, raw_sink, segment):
    images = [paint(number) for number in range(7)]
    deliver(raw_sink(tmp_path / "out.rgb", 7), images, tmp_path, segment)
    assert (tmp_path / "out.rgb").read_bytes() == np.stack(images).tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out.rgb"]


def test_the_example_refuses_missing_frames(tmp_path, raw_sink):
    with pytest.raises(OutputError, match="out.rgb: expected 7 frames, got 5; nothing was published"):
        deliver(raw_sink(tmp_path / "out.rgb", 7), map(paint, range(5)), tmp_path)
    assert not list(tmp_path.iterdir())
