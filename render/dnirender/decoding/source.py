"""What is known of a source, and what every source can do: give its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dnirender.decoding.metadata import VideoMetadata
from dnirender.frames import Frame


class Source:
    """Something that gives frames: a video file, or a still picture held for a number of frames."""

    def __init__(self, path: Path, metadata: VideoMetadata) -> None:
        self.path = path
        self.metadata = metadata
        self.concealed_frames: set[int] = set()  # with --ignore-errors: the frames given so far that show another one

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """The frames at `indices`, which must increase, decoded in one pass from the nearest keyframe.

        Raises MediaError where the file yields other frames than the scan promised, unless errors are ignored: then a
        frame that cannot be decoded shows the one before it (at the beginning: the first that can), and is counted in
        `repaired`.
        """
        raise NotImplementedError

    def concealment_warnings(self) -> tuple[str, ...]:
        """What to tell the user of the frames given so far, when all have been."""
        if not self.concealed_frames:
            return ()
        first, metadata = min(self.concealed_frames), self.metadata
        at = float((metadata.pts[first] - metadata.pts[0]) * metadata.time_base)
        return (
            f"{self.path.name}: {len(self.concealed_frames)} of {len(metadata.pts)} frames could not be decoded, "
            f"the first at frame {first}, {at:.1f} s: each shows the one before it",
        )
