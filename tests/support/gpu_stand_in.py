"""Stand-ins for a GPU, on the CPU, that keep to what one guarantees and to nothing else."""

import contextlib
import copy
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from dnirender.engine import cuda_graphs
from dnirender.networks.weights import MixedWeights
from dnirender.train import features, loop, losses


class Clock:
    """Stand-ins for streams and events that run everything at once, on the CPU, but know what a GPU would only guarantee
    to have happened: operations of the same stream, and those before an event that the stream, or the host, waited for.

    `happened` notes an operation on the current stream; `expect` fails where it is not certain that an operation has
    happened before.
    """

    def __init__(self):
        self.host, self.count = set(), 0
        self.current = SimpleNamespace(known=set())

    def stream(self, _):
        stream = SimpleNamespace(known=set(self.host))
        stream.wait_event = lambda event: stream.known.update(event.known)
        stream.synchronize = lambda: self.host.update(stream.known)
        return stream

    def event(self):
        event = SimpleNamespace(known=set())
        event.record = lambda: setattr(event, "known", set(self.current.known) | self.host)
        event.synchronize = lambda: self.host.update(event.known)
        return event

    @contextlib.contextmanager
    def use(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def happened(self, name):
        self.count += 1
        self.current.known.add((name, self.count))
        return name, self.count

    def expect(self, operation, why):
        assert operation is None or operation in self.current.known | self.host, why


class Recorder:
    """Stand-in for `record`: a replay runs again and writes into the tensors of the first result. `refuses`: an error
    that recording raises."""

    def __init__(self):
        self.recorded = self.replayed = 0
        self.refuses = None

    def __call__(self, run, *_):
        if self.refuses is not None:
            raise self.refuses
        self.recorded += 1
        result = run()

        def replay():
            self.replayed += 1
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(MixedWeights, "write", lambda *_: None)  # what Python does is not replayed
                for target, value in zip(result or (), run() or (), strict=True):
                    target.copy_(value)

        for tensor in result or ():
            tensor.zero_()  # nothing is computed while recording
        return replay, result


def gpu_stand_in(monkeypatch):
    """A clock and a recorder, in the place of what torch.cuda and `cuda_graphs.record` do."""
    clock = Clock()
    monkeypatch.setattr(torch.cuda, "default_stream", clock.stream)
    monkeypatch.setattr(torch.cuda, "Event", clock.event)
    monkeypatch.setattr(torch.cuda, "Stream", clock.stream)
    monkeypatch.setattr(torch.cuda, "stream", clock.use)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: clock.current)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **{**k, "pin_memory": False}))

    recorder = Recorder()
    monkeypatch.setattr(cuda_graphs, "record", recorder)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    return clock, recorder


def step_on_gpu(task):
    """One step of a training with tensors of which only shapes, dtypes and devices are known, on a GPU that need not be
    there. An operation on tensors of different devices fails, as on a real one; there are no gradients."""
    generator = torch.Generator().manual_seed(0)
    stage, number = task.recipe.stages[-1], len(task.recipe.endpoints)
    mix = (0.5, 0.5, *[0.0] * (number - 2))
    losses._rings()  # has values
    example = loop.Example(mix, task.batch(mix, generator), generator.get_state())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"item": 1.0, "__float__": 1.0, "__bool__": True, "tolist": [4, 4]}.items():
            patch.setattr(torch.Tensor, name, lambda *_, value=value: value)
        patch.setattr(torch.nn.Module, "to", _moved)
        patch.setattr(torch.Tensor, "backward", lambda *_: None)  # needs a GPU
        patch.setattr(features, "load_file", _loaded)
        patch.setattr(torch, "autocast", lambda *_: contextlib.nullcontext())
        with FakeTensorMode(allow_non_fake_inputs=True):
            run = loop.Run(task, torch.device("cuda"))
            terms = run.step(stage, 0.5, example)
    assert {tensor.device.type for tensor in (*run.space.tensors(), *run.mean)} == {"cuda"}
    return terms


class OnTheGPU(TorchDispatchMode):
    """Fails where an operation makes a tensor elsewhere, to be copied to the GPU: that cannot be recorded."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        places = {tensor.device.type for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)}
        assert places <= {"cuda"}, f"{func} makes a tensor on {places}"
        return result


def render_on_gpu(network, pixels):
    """Renders uint8 pixels n h w 3 of which only the shape counts, as for `step_on_gpu`; returns a shape and a dtype.
    What waits for the GPU fails too."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        module = _moved(copy.deepcopy(network.module).eval(), "cuda")
        pixels = pixels.to("cuda")
        with torch.inference_mode(), OnTheGPU():
            rendered, sums = network.render(module, pixels)
    assert rendered.device.type == sums.device.type == "cuda"
    return tuple(rendered.shape), rendered.dtype


def _loaded(path):
    """Files have values."""
    with _disable_current_modes():
        return load_file(path)


def _moved(module, *device, memory_format=None):
    """`Module.to`, which refuses tensors without values."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, old in tensors.items():
                if old is not None and (memory_format is None or old.dim() == 4):
                    new = old.detach().to(
                        *device, **({} if memory_format is None else {"memory_format": memory_format})
                    )
                    tensors[name] = torch.nn.Parameter(new) if tensors is part._parameters else new
    return module
