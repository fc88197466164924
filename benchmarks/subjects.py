"""What benchmarks run where there are no data: the shipped networks, enlarging ones with random weights, made clips."""

import copy
from fractions import Fraction
from itertools import count, islice

import av
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dnirender import Preset
from dnirender.encoding.encoders import encoder_options
from dnirender.engine.calibration import calibration_image
from dnirender.frames import Batch, Frame
from dnirender.networks import load

PRESETS = ("painters", "day-to-night", "detail")
COMPACT, RRDB = "Real-ESRGAN compact x4", "RRDB x4"


class Subject:
    """A network and its path of weights. Random ones are written to `folder`; `tiny` ones have few features."""

    def __init__(self, name, folder, tiny=False):
        self.name = name
        if name in PRESETS:
            self.preset = Preset.load(name)
        else:
            small = (8, 2) if name == COMPACT else (8, 1)
            state = (compact_state if name == COMPACT else rrdb_state)(*small) if tiny else None
            files = _saved(state or (compact_state() if name == COMPACT else rrdb_state()), folder, name)
            ends = [{"name": end, "weights": file} for end, file in files.items()]
            self.preset = Preset.checked({"name": name, "network": {"endpoints": ends}}, name)
        self.network, self.path = load({end.name: end.weights for end in self.preset.network.endpoints})

    def path_on(self, device):
        """The path for one model: each has its own place for the endpoints."""
        path = copy.copy(self.path)
        path.to(device)
        return path

    def alphas(self):
        """A new mixture of two neighbors at every call."""
        names = self.path.names
        for step in count():
            t, first = (step * 0.381966) % 1, step // 8 % (len(names) - 1)
            yield tuple((1 - t) * (k == first) + t * (k == first + 1) for k in range(len(names)))

    def states(self):
        """The state dicts of the first and the last endpoint, as files have them."""
        whole = {name: t for name, t in self.network.module.state_dict().items() if not t.is_floating_point()}
        return [{e.name: e.of(self.path.stack[row]).contiguous() for e in self.path.layout} | whole for row in (0, -1)]

    def cost(self, height, width):
        """Operations of one frame, and bytes that its layers read and write in 16 bits."""
        module, numbers = copy.deepcopy(self.network.module), []
        for leaf in module.modules():
            if not list(leaf.children()):
                leaf.register_forward_hook(lambda _, inputs, output: numbers.extend(_sizes((inputs, output))))
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            self.network.forward(module, torch.rand(1, 3, 64, 64))
        scale = height * width / 64**2
        return counter.get_total_flops() * scale, 2 * sum(numbers) * scale


def _sizes(values):
    if torch.is_tensor(values):
        return [values.numel()]
    return [size for value in values for size in _sizes(value)] if isinstance(values, tuple) else []


def _saved(state, folder, name):
    files = {}
    for number, end in enumerate("ab"):
        torch.manual_seed(number)
        files[end] = folder / f"{name.split()[0]}.{end}.pth"
        torch.save(
            {key: value * (1 + 0.1 * number * torch.rand_like(value)) for key, value in state.items()}, files[end]
        )
    return files


def _layer(name, outputs, inputs, gain=1.0):
    weight = gain * (2 / (9 * inputs)) ** 0.5 * torch.randn(outputs, inputs, 3, 3)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(outputs)}


def compact_state(features=64, convolutions=32, scale=4):
    torch.manual_seed(0)
    state = {}
    for number, inputs in enumerate((3, *[features] * convolutions)):
        state |= _layer(f"body.{2 * number}", features, inputs)
        state[f"body.{2 * number + 1}.weight"] = torch.full((features,), 0.2)
    return state | _layer(f"body.{2 * convolutions + 2}", 3 * scale**2, features, 0.02)


def rrdb_state(features=64, blocks=23, grown=32):
    torch.manual_seed(0)
    state = _layer("conv_first", features, 3)
    for block in range(blocks):
        for dense in range(1, 4):
            for number in range(5):
                outputs = features if number == 4 else grown
                state |= _layer(f"body.{block}.rdb{dense}.conv{number + 1}", outputs, features + number * grown, 0.5)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        state |= _layer(name, features, features)
    return state | _layer("conv_last", 3, features, 0.05) | {"conv_last.bias": torch.full((3,), 0.5)}


def random_jobs(subject, number, height, width, distinct=None):
    """Batches of one frame each, with a new alpha for each; `distinct` frames in turn."""
    rng, alphas = np.random.default_rng(number), subject.alphas()
    images = [random_image(rng, height, width) for _ in range(distinct or number)]
    return [Batch((Frame(n, n, images[n % len(images)]),), next(alphas)) for n in range(number)]


def random_image(rng, height, width):
    """Flat areas, edges and noise in random places and colors; of noise alone networks make little."""
    image = np.roll(calibration_image(height, width), rng.integers(0, 192, 2), (0, 1)).astype(int)
    return np.clip(image[:, :, rng.permutation(3)] + rng.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)


def make_film(path, height, width, frames):
    """A clip in H.264 of a picture that moves."""
    picture = calibration_image(height, width)
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "16"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(picture, 3 * number, 1)), format="rgb24")
            sink.mux(stream.encode(frame.reformat(format="yuv420p")))
        sink.mux(stream.encode(None))


def transcode(clip, target, frames, codec, hwaccel=None):
    """Decodes and, with a `codec`, encodes on threads of the codecs, with no color between."""
    with av.open(str(clip), hwaccel=hwaccel) as source, av.open(str(target), "w") as sink:
        video = source.streams.video[0]
        video.thread_type = "AUTO"
        decoded = islice(source.decode(video), frames)
        if codec is None:
            sum(1 for _ in decoded)
            return
        stream = sink.add_stream(codec, rate=25, options=encoder_options(codec, None, {}))
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for number, frame in enumerate(decoded):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.pict_type = av.video.frame.PictureType.NONE
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
