"""Mutants: faults put into the code one at a time, each of which the tests of its module have to notice.

    python tests/stress/mutate.py [--groups weights,timeline,engine,timestamps,streams,color,workspace,presets]
                                  [--sample 25] [--seed 0] [--limit SECONDS] [--faults]

A mutant is one change to the syntax tree of one module: another operator, bound or constant, a condition reversed, a
statement, argument or result left out. Of every group a seeded sample is drawn, and each mutant runs the tests of its
group, up to the first failure, in a process of its own; no file is changed. Survivors are printed: each needs a law, or
a reason in docs/reliability.md. `--faults` runs the faults of `FAULTS` instead, which were made up by hand. Needs fork.
"""

import argparse
import ast
import contextlib
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "render" / "dnirender"
PRELOADED = ("torch", "numpy", "cv2", "av", "openvino", "safetensors.torch", "filelock", "pydantic")
SLACK = 60  # seconds that a mutant may take, beside ten times what the tests take without one

# Modules of every group, and the tests that concern them, quick ones first.
GROUPS = {
    "weights": (["networks/weights"], ["networks/test_weights", "engine/test_engine"]),
    "timeline": (
        ["timeline/timeline", "timeline/keyframes", "timeline/parser", "timeline/mixture", "timeline/easing"],
        ["timeline/test_timeline", "timeline/test_expression"],
    ),
    "engine": (
        [f"engine/{name}" for name in ("engine", "cpu", "cuda", "parallel", "fp32_retry", "memory_retry", "executor")]
        + ["engine/backend_trial", "engine/autotune"],
        [f"engine/test_{name}" for name in ("engine", "cuda", "cpu", "parallel", "fp32_retry", "memory", "autotune")]
        + [f"engine/test_{name}" for name in ("arrays", "measurements", "openvino")],
    ),
    "timestamps": (
        ["decoding/timestamps", "decoding/reorder", "encoding/sink", "jobs/frame_selection"],
        [
            *("jobs/test_frame_selection", "decoding/test_damage", "decoding/test_reorder", "decoding/test_clock"),
            *("decoding/test_video", "encoding/test_sink", "encoding/test_video", "jobs/test_constant_rate"),
            "jobs/test_pipeline",
        ],
    ),
    "streams": (
        ["encoding/stream_copy", "encoding/stream_plan"],
        [
            *("encoding/test_stream_plan", "encoding/test_stream_copy", "encoding/test_conventions"),
            *("decoding/test_damage", "jobs/test_verify"),
        ],
    ),
    "color": (
        ["media/colorspace", "media/pixel_formats", "media/luma"],
        ["media/test_luma", "media/test_colorspace", "encoding/test_opacity"],
    ),
    "workspace": (["jobs/workspace"], ["jobs/test_workspace", "jobs/test_resume"]),
    "presets": (["preset", "options", "timeline_settings"], ["test_preset", "cli/test_options"]),
}

# Tests, module, code, what it becomes: faults of kinds that tests once let through.
FAULTS = {
    "a weight write skipped when the first two coefficients are equal": (
        ["networks/test_weights"],
        "networks/weights",
        "if alpha == self.alpha and self._repair is self.path.repair:",
        "if self.alpha and alpha[:2] == self.alpha[:2]:",
    ),
    "endpoints unevenly spaced never gathered": (
        ["networks/test_weights"],
        "networks/weights",
        "evenly_spaced = nonzero == list(range(nonzero[0], nonzero[-1] + 1, step))",
        "evenly_spaced = True",
    ),
    "a frame rendered again in fp32 under the alpha of another": (
        ["engine/test_fp32_retry"],
        "engine/fp32_retry",
        "self._retry(frame, batch.alpha) for",
        "self._retry(frame, self.__dict__.setdefault('first', batch.alpha)) for",
    ),
    "a batch on a GPU that does not wait for its upload": (
        ["engine/test_cuda"],
        "engine/cuda",
        "streams.compute.wait_event(in_flight.uploaded)",
        "pass",
    ),
    "workers and graphs not forgotten after measuring": (
        ["engine/test_autotune", "engine/test_engine", "engine/test_openvino"],
        "engine/executor",
        "        weights.alpha = None\n",
        "        pass\n",
    ),
    "10-bit codes not clipped at 1023": (
        ["media/test_colorspace"],
        "media/colorspace",
        "return np.minimum(codes, (1 << depth) - 1) if 8 < depth < 16 else codes",
        "return codes",
    ),
    "the last duration of a clip taken from its first step": (
        ["decoding/test_damage"],
        "decoding/timestamps",
        "return times[-1] - times[-2] if",
        "return times[1] - times[0] if",
    ),
    "the last duration of a range taken from its first step": (
        ["jobs/test_frame_selection"],
        "jobs/frame_selection",
        "last = metadata.pts[stop] - metadata.pts[stop - 1] if",
        "last = metadata.pts[start + 1] - metadata.pts[start] if",
    ),
    "a cut subtitle that keeps its length": (
        ["encoding/test_stream_copy"],
        "encoding/stream_copy",
        "        packet.duration = round((last - first) / base)\n",
        "",
    ),
    "corrupt packets copied with ignore_errors": (
        ["encoding/test_stream_copy"],
        "encoding/stream_copy",
        " and not (packet.is_corrupt and self._ignore_errors)",
        "",
    ),
    "inf and nan in presets": (["test_preset"], "timeline_settings", ", allow_inf_nan=False", ""),
}


@dataclass(frozen=True)
class Mutant:
    """A change to the module at `path`, relative to the package: `number` of those that `changes` finds."""

    path: str
    number: int
    line: int
    text: str


def source_of(module):
    return (PACKAGE / f"{module}.py").read_text("utf-8")


# Changes to a syntax tree

SWAPPED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
OTHER_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}


def skipped(tree):
    """Ids of nodes whose changes no test could see, or should pin: annotations, docstrings, words of errors."""
    found = set()
    for node in ast.walk(tree):
        parts = [getattr(node, name, None) for name in ("annotation", "returns")]
        parts += node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.ImportFrom | ast.Import):
            parts.append(node)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            parts.append(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("cast", "TypeVar"):
            parts.append(node.args[0] if node.args else None)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.append(node)
        found |= {id(inner) for part in parts if part is not None for inner in ast.walk(part)}
    return found


def changes(tree):
    """(line, text, function that makes the change) of every change to this tree."""
    left_out = skipped(tree)
    for node in ast.walk(tree):
        if id(node) not in left_out:
            for text, change in _of_node(node):
                yield getattr(node, "lineno", 0), text, change


def _of_node(node):
    before = ast.unparse(node).splitlines()[0] if isinstance(node, ast.expr | ast.stmt) else ""

    def now(change, text):
        return f"{before}  ->  {text}", change

    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        other = SWAPPED[type(node.ops[0])]
        yield now(lambda: node.ops.__setitem__(0, other()), other.__name__)
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPPED:
        other = SWAPPED[type(node.op)]
        yield now(lambda: setattr(node, "op", other()), other.__name__)
    if isinstance(node, ast.If | ast.IfExp | ast.comprehension):
        tests = node.ifs if isinstance(node, ast.comprehension) else [node.test]
        for place, test in enumerate(tests):
            flipped = ast.UnaryOp(ast.Not(), test)

            def flip(place=place, flipped=flipped):
                if isinstance(node, ast.comprehension):
                    node.ifs[place] = flipped
                else:
                    node.test = flipped

            yield f"{ast.unparse(test)}  ->  reversed", flip
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield now(lambda: setattr(node, "value", value), value)
    if isinstance(node, ast.Name) and node.id in OTHER_NAMES and isinstance(node.ctx, ast.Load):
        yield now(lambda: setattr(node, "id", OTHER_NAMES[node.id]), OTHER_NAMES[node.id])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        other = ast.UAdd() if isinstance(node.op, ast.USub) else None
        if other:
            yield now(lambda: setattr(node, "op", other), "without -")
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield now(lambda: setattr(node, "value", ast.Constant(None)), "None")
    if isinstance(node, ast.Call) and node.keywords:
        for place, keyword in enumerate(node.keywords):
            if keyword.arg:
                yield now(lambda place=place: node.keywords.pop(place), f"without {keyword.arg}")
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        for place, statement in enumerate(block if isinstance(block, list) else []):
            if _can_go(statement):
                text = f"{ast.unparse(statement).splitlines()[0]}  ->  left out"
                yield (
                    text,
                    lambda block=block, place=place: block.__setitem__(
                        place, ast.copy_location(ast.Pass(), block[place])
                    ),
                )


def _can_go(statement):
    """Whether the code still runs without it, as far as names go."""
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant | ast.Yield | ast.YieldFrom)
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Attribute | ast.Subscript) for target in statement.targets)
    return isinstance(statement, ast.AugAssign | ast.Raise | ast.Delete)


def mutants(group):
    """All of a group."""
    for module in GROUPS[group][0]:
        for number, (line, text, _) in enumerate(changes(ast.parse(source_of(module)))):
            yield Mutant(module, number, line, text)


def changed(mutant):
    """The syntax tree of the mutant's module."""
    tree = ast.parse(source_of(mutant.path))
    _, _, change = list(changes(tree))[mutant.number]
    change()
    return ast.fix_missing_locations(tree)


# Running


class Loader(importlib.machinery.SourceFileLoader):
    """Loads other code than is in the file."""

    def __init__(self, name, path, code):
        super().__init__(name, path)
        self.code = code

    def get_code(self, _):
        return self.code


class Finder:
    """Finds one module of the package with this code."""

    def __init__(self, module, code):
        self.name, self.path, self.code = f"dnirender.{module.replace('/', '.')}", str(PACKAGE / f"{module}.py"), code

    def find_spec(self, name, *_):
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=Loader(name, self.path, self.code))


def passes(tests, limit, module=None, code=None):
    """Whether tests pass with this code for a module; the first that fails, or why there is none."""
    with tempfile.TemporaryDirectory(prefix="mutant") as folder:
        child = os.fork()
        if not child:
            _test(tests, Path(folder), module, code)
        status = _wait(child, time.monotonic() + limit)
        if status is None:
            return False, "takes too long"
        told = (Path(folder) / "out").read_text("utf-8", "replace")
        failed = [line for line in told.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return status == 0, failed[0].split(" - ")[0] if failed else told.strip()[-200:]


def _wait(child, until):
    """The exit code of a child; None where it ran out of time and was killed, with what it started."""
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _test(tests, folder, module, code):
    """Runs tests in this process, and ends it."""
    os.setpgid(0, 0)
    status = 70
    try:
        out = os.open(folder / "out", os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1), os.dup2(out, 2)
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder)
        if module:
            sys.meta_path.insert(0, Finder(module, code))
        import pytest

        files = [str(REPO / "tests" / f"{name}.py") for name in tests]
        options = ["-x", "-q", "-rfE", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--basetemp={folder}/t"]
        status = int(
            pytest.main(
                [f"--rootdir={REPO}", f"--confcutdir={REPO}", "-c", str(REPO / "pyproject.toml"), *options, *files]
            )
        )
    except BaseException:  # noqa: BLE001 - this process ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def limit_of(group):
    """Seconds that a mutant may take. Exits where the tests fail without one."""
    began = time.monotonic()
    ok, told = passes(GROUPS[group][1], 3600)
    if not ok:
        sys.exit(f"{group}: the tests fail without a mutant: {told}")
    taken = time.monotonic() - began
    print(f"{group}: the tests take {taken:.0f} s", flush=True)
    return 10 * taken + SLACK


def is_killed(name, tests, limit, module, code):
    """Runs the tests and prints what becomes of a mutant."""
    ok, told = passes(tests, limit, module, code)
    print(f"  {'SURVIVES' if ok else 'killed  '} {name}   {'' if ok else told}", flush=True)
    return not ok


def run_sample(groups, sample, seed, limit):
    """Names of the survivors."""
    survivors = []
    for group in groups:
        everything = list(mutants(group))
        chosen = random.Random(f"{seed} {group}").sample(everything, min(sample, len(everything)))
        seconds, alive = limit or limit_of(group), []
        for mutant in chosen:
            code = compile(changed(mutant), str(PACKAGE / f"{mutant.path}.py"), "exec")
            name = f"{mutant.path}.py:{mutant.line}: {mutant.text}"
            if not is_killed(name, GROUPS[group][1], seconds, mutant.path, code):
                alive.append(name)
        killed = f"{len(chosen) - len(alive)} of {len(chosen)} killed, of {len(everything)} that there are"
        print(f"{group}: {killed}", flush=True)
        survivors += alive
    return survivors


def run_faults(limit):
    """Names of the survivors."""
    survivors = []
    for name, (tests, module, old, new) in FAULTS.items():
        source = source_of(module)
        if source.count(old) != 1:
            sys.exit(f"{name}: {module}.py has {source.count(old)} times: {old}")
        code = compile(source.replace(old, new), str(PACKAGE / f"{module}.py"), "exec")
        survivors += [] if is_killed(name, tests, limit, module, code) else [name]
    return survivors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--sample", type=int, default=25, help="mutants of each group")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, help="seconds that a mutant may take  [default: measured]")
    parser.add_argument("--faults", action="store_true", help="run the faults made up by hand instead")
    given = parser.parse_args()
    sys.path.insert(0, str(REPO / "render"))
    for name in PRELOADED:  # once, for all processes
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if given.faults:
        survivors = run_faults(given.limit or 3600)
    else:
        survivors = run_sample(given.groups.split(","), given.sample, given.seed, given.limit)
    print("survivors:", *(survivors or ["none"]), sep="\n  ")
    sys.exit(1 if survivors and given.faults else 0)


if __name__ == "__main__":
    main()
