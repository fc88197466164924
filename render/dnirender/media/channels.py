"""The channels of audio: their layout, and a name for those that a file leaves unnamed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

# FFmpeg's av_channel_layout_default: what so many channels without names are taken for.
DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@dataclass(frozen=True)
class ChannelLayout:
    """`name` as FFmpeg describes it, and the names of the channels in their order."""

    name: str
    channels: tuple[str, ...]

    @property
    def is_unspecified(self) -> bool:
        """Whether only the number of channels is known."""
        return self.name == f"{len(self.channels)} channels"

    @property
    def standard(self) -> str:
        """The layout's own name; that of the default for so many channels if it has none ("" without a default).

        FFmpeg describes a layout without a name of its own as "2 channels" or "2 channels (FL+LFE)".
        """
        count = len(self.channels)
        return DEFAULT_LAYOUTS.get(count, "") if self.name.startswith(f"{count} channels") else self.name


def channel_layout(context: Any) -> ChannelLayout:
    """The layout of an audio codec context. Other code must not read `context.layout` of a source.

    PyAV 18 shares the list of channels of a layout in a custom order between the object it returns and the context, and
    both free it. So the object of such a layout is never freed.
    """
    layout = context.layout
    name = layout.name
    if "(" in name:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return ChannelLayout(name, tuple(channel.name for channel in layout.channels))
