"""Stand-ins for a GPU, on the CPU, that keep to what one guarantees and to nothing else."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from dnirender.engine import cuda_graphs
from dnirender.networks.weights import MixedWeights


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
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: clock.host.update(clock.current.known))
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
