"""Laws of what is remembered: a choice holds for the same network, weights, size and machine alone; a second run
measures and compiles nothing; what it renders is the same."""

import json

import numpy as np
import pytest
import torch

from dnirender.cache import Cache
from dnirender.engine import backend_trial, configuration, measurements, openvino
from dnirender.engine.engine import Engine
from dnirender.engine.measurements import Measured, MeasurementCache
from dnirender.networks.network import Network
from support.toys import Toy, cpu, pictures, toy

HAS_OPENVINO = openvino.is_available()
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="openvino is not installed")
SLOW, FAST = 2.0, 1.0
pytestmark = pytest.mark.usefixtures("one_lane")  # as many workers for one frame as for many


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


class Counting:
    """Counts calls of a function, and returns what it returns, or a constant."""

    def __init__(self, function, constant=None):
        self.function, self.constant, self.calls = function, constant, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        return self.function(*arguments, **options) if self.constant is None else self.constant


@pytest.fixture
def timed(monkeypatch):
    """OpenVINO takes a second per frame, PyTorch two."""

    def seconds(executor, *_):
        model = executor.workers[0]._executor._model._model
        return FAST if isinstance(model, backend_trial.CompiledModel) else SLOW

    counting = Counting(seconds)
    monkeypatch.setattr(backend_trial, "time_frames", counting)
    return counting


@pytest.fixture
def compiled(monkeypatch):
    counting = Counting(openvino._compile)
    monkeypatch.setattr(openvino, "_compile", counting)
    return counting


def tuned(cache, network=None, height=9, width=13, count=100, depth=8, **options):
    engine = Engine(*(network or toy()), device="cpu", dtype="fp32", cache=cache, **options)
    phases = []
    engine.autotune(height, width, count, depth, phases.append)
    return engine, phases


def test_measurements_are_read_as_they_were_written_and_nothing_else(cache):
    kept = MeasurementCache(cache, *toy())
    for measured in (Measured(), Measured(0.5, 0.25, 1.0, 0.001), Measured(torch=0.5, failed=True)):
        kept.remember(measured, {"size": 1})
        assert MeasurementCache(cache, *toy()).measured({"size": 1}) == measured
        assert kept.measured({"size": 2}) == Measured()
    assert Measured.read({"torch": "soon", "openvino": -1.0, "error": float("nan"), "failed": 1}) == Measured()


def test_the_identity_tells_apart_what_renders_otherwise(cache, monkeypatch):
    network, path = toy()

    def identity(network=network, path=path):
        return json.dumps(MeasurementCache(cache, network, path).identity, sort_keys=True)

    known = [identity()]
    assert identity(*toy()) == known[0]
    other = toy()[1]
    other.stack[1, 3] += 1e-3
    known.append(identity(path=other))
    known.append(identity(path=toy(3)[1]))
    known.append(identity(Network("toy", Toy(), multiple=8, fp32_input=True)))
    wider = Toy()
    wider.fine = torch.nn.Conv2d(3, 3, 5, padding=2)
    known.append(identity(Network("toy", wider, multiple=4, fp32_input=True)))
    for change in ({"torch": "9.9"}, {"openvino": "none"}, {"processor": "another"}, {"program": "changed"}):
        monkeypatch.setattr(measurements, "_machine", lambda change=change: {"torch": "1"} | change)
        known.append(identity())
    assert len(set(known)) == len(known)


def test_the_dtype_is_measured_once(cache, monkeypatch):
    measure = Counting(configuration._measure_dtypes)
    monkeypatch.setattr(configuration, "_measure_dtypes", measure)
    first = cpu(*toy(), dtype="auto", cache=cache)
    again = cpu(*toy(), dtype="auto", cache=cache)
    assert (first.dtype, first.decision, measure.calls) == (again.dtype, again.decision, 1)
    cpu(*toy(), dtype="bf16", cache=cache)
    cpu(*toy(3), dtype="auto", cache=cache)
    cpu(*toy(), dtype="auto")
    assert measure.calls == 4


@needs_openvino
def test_a_second_run_measures_nothing_compiles_nothing_and_renders_the_same(cache, timed, compiled):
    first, phases = tuned(cache)
    assert (first.backend, compiled.calls) == ("openvino", 2)  # the graph, and a small one to compare
    assert phases == ["choosing", "compiling", "choosing", "compiling"]
    measured = timed.calls
    second, phases = tuned(cache)
    assert (second.backend, compiled.calls, timed.calls) == ("openvino", 2, measured)
    assert phases == ["choosing", "compiling"]
    assert (second.pace, second.workers) == (first.pace, first.workers) == (FAST, first.workers)
    for alpha in [(1.0, 0.0), (0.3, 0.7)]:
        [image] = pictures(1)
        assert np.array_equal(first.render(image, alpha), second.render(image, alpha))


@needs_openvino
@pytest.mark.parametrize("change", [{"height": 10}, {"width": 14}, {"depth": 10}, {"threads": 2}, {"tile": 32}])
def test_another_size_depth_tile_or_number_of_threads_is_measured_anew(cache, timed, compiled, change):
    before = torch.get_num_threads()
    try:
        tuned(cache, threads=1, height=60, width=70)
        calls = timed.calls, compiled.calls
        tuned(cache, **{"threads": 1, "height": 60, "width": 70} | change)
        assert timed.calls > calls[0] and compiled.calls > calls[1]
    finally:
        torch.set_num_threads(before)


@needs_openvino
def test_what_was_measured_decides_for_clips_of_every_length(cache, timed):
    tuned(cache)
    for count, backend in ((1, "openvino"), (100, "openvino")):
        assert tuned(cache, count=count)[0].backend == backend
    engine, _ = tuned(cache)
    details = backend_trial.details_of(engine._configuration, engine._tuned_for)
    engine.measurements.remember(Measured(0.02, 0.01, 1.0, 0.0), details)
    found = [tuned(cache, count=count)[0].backend for count in (10, 39, 41, 100)]
    assert found == ["torch", "torch", "openvino", "openvino"]  # loading the graph takes 40 frames' gain


@needs_openvino
@pytest.mark.parametrize(
    ("known", "backend"),
    [
        (Measured(2.0, 1.0, 1.0, 0.0), "openvino"),
        (Measured(2.0, 1.0, 1.0, 0.1), "torch"),
        (Measured(2.0, 1.0, 1.0, None), "torch"),
        (Measured(1.0, 2.0, 1.0, 0.0), "torch"),
        (Measured(2.0, None, None, None, failed=True), "torch"),
    ],
)
def test_a_remembered_error_or_failure_counts_like_a_measured_one(cache, timed, known, backend):
    engine, _ = tuned(cache, count=1)
    engine.measurements.remember(known, backend_trial.details_of(engine._configuration, engine._tuned_for))
    calls = timed.calls
    assert tuned(cache)[0].backend == backend
    assert timed.calls == calls


@needs_openvino
def test_a_graph_that_openvino_does_not_take_is_compiled_anew(cache, timed, compiled, monkeypatch):
    first, _ = tuned(cache)
    details = backend_trial.details_of(first._configuration, first._tuned_for)
    for graph in (b"nonsense", first.measurements.graph(details)[:-100]):
        first.measurements.remember_graph(graph, details)
        before = compiled.calls
        again, _ = tuned(cache)
        assert (again.backend, compiled.calls) == ("openvino", before + 1)
        [image] = pictures(1)
        assert np.array_equal(again.render(image, (0.3, 0.7)), first.render(image, (0.3, 0.7)))


@needs_openvino
def test_a_requested_backend_is_compared_once_and_never_timed(cache, timed, compiled):
    first, _ = tuned(cache, backend="openvino")
    second, _ = tuned(cache, backend="openvino")
    assert (first.backend, second.backend, compiled.calls, timed.calls) == ("openvino", "openvino", 2, 0)


@needs_openvino
def test_a_fresh_cache_measures_anew_and_remembers(cache, timed, tmp_path):
    tuned(cache)
    calls = timed.calls
    tuned(Cache(tmp_path / "cache", fresh=True))
    assert timed.calls > calls
    calls = timed.calls
    tuned(cache)
    assert timed.calls == calls


def test_memory_that_runs_out_is_not_remembered_as_a_failure(cache, timed, monkeypatch):
    pytest.importorskip("openvino")

    def fail(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(openvino, "_compile", fail)
        assert tuned(cache)[0].backend == "torch"
    assert tuned(cache)[0].backend == "openvino"


def test_recalling_measures_nothing_and_finds_what_tuning_finds(cache, timed):
    engine = cpu(*toy(), cache=cache)
    engine.recall(9, 13, 100)
    assert (engine.pace, timed.calls, engine.backend) == (None, 0, "torch")
    tuned(cache)
    calls = timed.calls
    engine.recall(9, 13, 100)
    expected, _ = tuned(cache)
    assert (engine.backend, engine.pace, engine.workers) == (expected.backend, expected.pace, expected.workers)
    assert timed.calls == calls
    if HAS_OPENVINO:
        assert engine.backend == "openvino"
    [image] = pictures(1)
    assert np.array_equal(engine.render(image, (1.0, 0.0)), cpu(*toy()).render(image, (1.0, 0.0)))


def test_a_pace_that_nothing_else_measures_is_measured_once(cache, monkeypatch):
    seconds = Counting(None, 0.125)
    monkeypatch.setattr("dnirender.engine.engine.seconds_per_frame", seconds)
    for _ in range(2):
        engine, _ = tuned(cache, backend="torch")
        assert (engine.measure_pace(), engine.measure_pace(), seconds.calls) == (0.125, 0.125, 1)
