"""The interface of a source of frames."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

from dnirender.decoding.metadata import VideoMetadata
from dnirender.frames import Frame


class Source:
    """A source of frames: a video file, or a still image that is repeated for a number of frames."""

    def __init__(self, path: Path, metadata: VideoMetadata) -> None:
        self.path = path
        self.metadata = metadata
        self.concealed_frames: set[int] = set()  # yielded so far; only with ignore_errors

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yields the frames at `indices`, which must increase, decoded in one pass from the nearest keyframe.

        Raises MediaError where the decoded frames differ from `metadata`. With `ignore_errors`, a frame that cannot be
        decoded is replaced by the last decodable frame before it (at the start: by the first one), and its index is
        added to `concealed_frames`.
        """
        raise NotImplementedError

    def again(self) -> Source:
        """The same source for another reader, whose concealed frames count by themselves."""
        other = copy.copy(self)
        other.concealed_frames = set()
        return other

    def planar_frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """`frames`, whose images may be a `PlanarImage` where the source has such planes."""
        return self.frames(indices)

    def concealment_warnings(self) -> tuple[str, ...]:
        """Warnings about concealed frames; complete once all frames have been yielded."""
        if not self.concealed_frames:
            return ()
        first, metadata = min(self.concealed_frames), self.metadata
        at = float((metadata.pts[first] - metadata.pts[0]) * metadata.time_base)
        return (
            f"{self.path.name}: {len(self.concealed_frames)} of {len(metadata.pts)} frames could not be decoded, "
            f"the first at frame {first}, {at:.1f} s: each is replaced by the frame before it",
        )
