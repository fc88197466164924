"""Where the main subject and the sky of an image are, by a SegmentNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dnirender.errors import ModelError
from dnirender.frames import Image
from dnirender.networks.architectures.segment import from_state_dict
from dnirender.networks.checkpoint import load_state_dict


class Segmenter:
    """The network in a file, on the CPU. ModelError: it is missing or holds another network."""

    def __init__(self, path: Path) -> None:
        try:
            net = from_state_dict(load_state_dict(path).state)
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"{path}: expected the weights of a SegmentNet; install dnirender again") from error
        self._net = net.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def __call__(self, image: Image) -> npt.NDArray[np.float32]:
        """How likely each pixel is subject and sky, [h, w, 2] in 0..1, of an image uint8 [h, w, 3] of a few hundred
        pixels: the mean of what is found in it and in its mirror image."""
        height, width = image.shape[:2]
        x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
        x = F.pad(x, (0, -width % self._net.multiple, 0, -height % self._net.multiple), mode="replicate")
        both = torch.cat([x, x.flip(3)]).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            found, mirrored = self._net(both).sigmoid()
        mean = (found + mirrored.flip(2)) / 2
        return mean[:, :height, :width].permute(1, 2, 0).contiguous().numpy()
