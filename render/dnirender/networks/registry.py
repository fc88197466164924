"""Architectures by name: our own, those that a program registers, and those that installed packages offer."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType

from torch import Tensor, nn

from dnirender.errors import ModelError, PackageWarning, UsageError
from dnirender.networks.checkpoint import State
from dnirender.networks.network import Network, call_module, with_measured_scale

GROUP = "dnirender.architectures"
"""Entry points of this group name a function without arguments, which calls `register_architecture`."""


def _relight(state: State) -> nn.Module:
    from dnirender.networks.architectures import relight

    return relight.from_state_dict(state)


def _paint(state: State) -> nn.Module:
    from dnirender.networks.architectures import paint

    return paint.from_state_dict(state)


def _compact(state: State) -> nn.Module:
    from dnirender.networks.architectures import compact

    return compact.from_state_dict(state)


def _focus(state: State) -> nn.Module:
    from dnirender.networks.architectures import focus

    return focus.from_state_dict(state)


def _denoise(state: State) -> nn.Module:
    from dnirender.networks.architectures import denoise

    return denoise.from_state_dict(state)


ARCHITECTURES: dict[str, Callable[[State], nn.Module]] = {
    "relight": _relight,
    "paint": _paint,
    "compact": _compact,
    "focus": _focus,
    "denoise": _denoise,
}
"""Our architectures, by the `architecture` in the metadata of a safetensors file.

A module declares the `multiple` its input sides must have, a `minimum` side and its `scale`, all optionally. Its output
has the dtype of its input, and it convolves in the dtype of its weights. A module with a `side` also has
`forward_unshuffled`, which maps images that are pixel-unshuffled by that factor to such by side * scale (see
`pixel_shuffle`)."""


@dataclass(frozen=True)
class Architecture:
    """What was registered, see `register_architecture`. `package` is the one that offers it, None for the program."""

    name: str
    build: type[nn.Module] | Callable[[State], nn.Module]
    detect: Callable[[State], bool]
    channels: int = 3
    multiple: int = 1
    minimum: int = 0
    square: bool = False
    input_range: tuple[float, float] = (0, 1)
    output_range: tuple[float, float] = (0, 1)
    supports_half: bool = True
    supports_bf16: bool = True
    fp32_input: bool = False
    package: str | None = None
    luma: bool = False

    def __post_init__(self) -> None:
        _expect("name", self.name, "a text", _is_text(self.name))
        _expect(
            "name", self.name, f"another than the built-in {', '.join(ARCHITECTURES)}", self.name not in ARCHITECTURES
        )
        module = not isinstance(self.build, type) or issubclass(self.build, nn.Module)
        _expect("build", self.build, "a class of torch.nn.Module or a function", module and callable(self.build))
        _expect("detect", self.detect, "a function", callable(self.detect))
        _expect("channels", self.channels, "1 or 3", self.channels in (1, 3))
        _expect("multiple", self.multiple, "1 or more", _is_count(self.multiple) and self.multiple >= 1)
        _expect("minimum", self.minimum, "0 or more", _is_count(self.minimum) and self.minimum >= 0)
        for field in ("input_range", "output_range"):
            _expect(field, getattr(self, field), "(low, high) with low < high", _is_range(getattr(self, field)))

    def network(self, path: Path, state: State) -> Network:
        """The network of this state dict. ModelError: the module cannot be built, or its output has another form."""
        where = f"{path}: architecture {self.name}" + (f" of {self.package}" if self.package else "")
        try:
            module = self._module(state)
        except Exception as error:  # code of others
            raise ModelError(f"{where}: the weights do not fit: {short_message(error)}") from error
        if not isinstance(module, nn.Module):
            raise ModelError(f"{where}: build made a {type(module).__name__}, expected a torch.nn.Module")
        network = Network(
            self.name,
            module.float().cpu(),
            _call_in_ranges(self.input_range, self.output_range),
            channels=self.channels,
            multiple=self.multiple,
            minimum=self.minimum,
            square=self.square,
            supports_half=self.supports_half,
            supports_bf16=self.supports_bf16,
            fp32_input=self.fp32_input,
            luma=self.luma,
        )
        return with_measured_scale(network, where)

    def _module(self, state: State) -> object:
        if not isinstance(self.build, type):
            return self.build(MappingProxyType(dict(state)))
        module = self.build()
        module.load_state_dict(dict(state))
        return module


_registered: dict[str, Architecture] = {}
_loaded: set[EntryPoint] = set()
_package: contextvars.ContextVar[str | None] = contextvars.ContextVar("package", default=None)


def register_architecture(
    name: str,
    build: type[nn.Module] | Callable[[State], nn.Module],
    detect: Callable[[State], bool],
    *,
    channels: int = 3,
    multiple: int = 1,
    minimum: int = 0,
    square: bool = False,
    input_range: tuple[float, float] = (0, 1),
    output_range: tuple[float, float] = (0, 1),
    supports_half: bool = True,
    supports_bf16: bool = True,
    fp32_input: bool = False,
) -> None:
    """Makes weights of another architecture loadable, for presets, `load` and `render`.

    `build` is a class, which is made without arguments and then loads the state dict, or a function that returns the
    module of a state dict. `detect` tells by names and shapes alone whether a state dict belongs to it; a safetensors
    file whose metadata has `architecture: name` is not asked. State dicts map names to CPU tensors, floats as float32.

    The module maps n c h w, float32, c = `channels` (3: RGB, 1: each color by itself) in `input_range`, to n c scale*h
    scale*w in `output_range`; the scale is measured. h and w are multiples of `multiple`, at least `minimum`, and equal
    if `square`. `supports_half`, `supports_bf16`: it works in fp16, bf16, where it gets its input in that dtype too,
    unless `fp32_input`.

    A name that was registered before is replaced, so that a cell of a notebook can be run again. An installed package
    registers from a function that its entry point in the group `dnirender.architectures` names; such functions are
    called when no other architecture fits, and one that raises is skipped with a PackageWarning.

    UsageError: a value out of range, the name of a built-in architecture, or of a package one that is registered.
    """
    package = _package.get()
    if package and name in _registered and _registered[name].package != package:
        raise UsageError(f"name: {name} is registered already, by {_registered[name].package or 'the program'}")
    _registered[name] = Architecture(
        name,
        build,
        detect,
        channels,
        multiple,
        minimum,
        square,
        input_range,
        output_range,
        supports_half,
        supports_bf16,
        fp32_input,
        package,
    )


def identities() -> dict[str, str]:
    """What frames depend on, by the name of each architecture that the program registered: its settings, and the source
    of the module that builds it, or of the builder alone; empty where Python has neither."""
    return {
        found.name: f"{_settings(found)} {_source(found.build)}" for found in _registered.values() if not found.package
    }


def _settings(architecture: Architecture) -> str:
    values = ((field.name, getattr(architecture, field.name)) for field in fields(architecture))
    return " ".join(f"{name}={value}" for name, value in values if not callable(value))


def _source(build: Callable[..., object]) -> str:
    for holder in (inspect.getmodule(build), build):
        with contextlib.suppress(OSError, TypeError):
            if holder is not None:
                return inspect.getsource(holder)
    return ""


def find_architecture(path: Path, state: State, name: str | None) -> Architecture | None:
    """What the program registered and fits a state dict, whose metadata may name it. ModelError: several fit."""
    return choose(path, state, name, [found for found in _registered.values() if found.package is None])


def find_in_packages(path: Path, state: State, name: str | None) -> Architecture | None:
    """As `find_architecture`, of what installed packages offer; calls those that were not called yet."""
    for entry in entry_points(group=GROUP):
        if entry not in _loaded:
            _load(entry)
    return choose(path, state, name, [found for found in _registered.values() if found.package is not None])


def _load(entry: EntryPoint) -> None:
    package = entry.dist.name if entry.dist else entry.value
    before, token = dict(_registered), _package.set(package)
    try:
        entry.load()()
        _loaded.add(entry)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of others, and reported
        _registered.clear()
        _registered.update(before)
        _skip(package, "its architectures are skipped", error)
    finally:
        _package.reset(token)


def choose(path: Path, state: State, name: str | None, known: Sequence[Architecture]) -> Architecture | None:
    """The one of `known` that metadata names or that detects a state dict. ModelError: several detect it."""
    named = [found for found in known if found.name == name]
    if len(named) == 1:
        return named[0]
    fitting = [found for found in known if _detects(path, found, state)]
    if len(fitting) > 1:
        names = ", ".join(found.name for found in fitting)
        raise ModelError(f"{path}: {names} all detect these weights; expected one, or `architecture` in the metadata")
    return fitting[0] if fitting else None


def _detects(path: Path, architecture: Architecture, state: State) -> bool:
    try:
        return bool(architecture.detect(MappingProxyType(dict(state))))
    except Exception as error:  # code of others
        if architecture.package is None:
            raise ModelError(
                f"{path}: detect of the architecture {architecture.name} failed ({type(error).__name__}: "
                f"{short_message(error)}); let it return False for weights of others"
            ) from error
        _skip(architecture.package, f"its architecture {architecture.name} is skipped", error)
        return False


def _skip(package: str, what: str, error: BaseException) -> None:
    message = f"{package}: {what}, as it failed ({type(error).__name__}: {short_message(error)})"
    warnings.warn(message, PackageWarning, stacklevel=2)


def _call_in_ranges(given: tuple[float, float], made: tuple[float, float]) -> Callable[[nn.Module, Tensor], Tensor]:
    """A call that maps 0..1 to 0..1 of a module that has other ranges."""
    if given == made == (0, 1):
        return call_module

    def call(module: nn.Module, x: Tensor) -> Tensor:
        return (module(x * (given[1] - given[0]) + given[0]) - made[0]) / (made[1] - made[0])

    return call


def _expect(field: str, got: object, expected: str, ok: bool) -> None:
    if not ok:
        raise UsageError(f"{field}: expected {expected}, got {got!r}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_range(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2 or not all(isinstance(end, int | float) for end in value):
        return False
    return math.isfinite(value[0]) and math.isfinite(value[1]) and value[0] < value[1]


def short_message(error: BaseException) -> str:
    """The first two lines of an error in one line: `load_state_dict` writes a page."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] or type(error).__name__
