"""YAML 1.2 files as plain data, bounded before anything in them is expanded: no tags of Python, no duplicate keys."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.parser import Parser

from dnirender.errors import PresetError
from dnirender.options import shorten

MAX_BYTES = 1 << 16  # 2 us of CPU per byte of the worst kind
MAX_DEPTH = 32  # of collections in one another
MAX_NODES = 2_000  # keys and values, aliases and merge keys counted as often as they are repeated; 50 us each


def read_yaml(path: Path) -> object:
    """The plain data of a YAML 1.2 file.

    PresetError: it cannot be read, is not YAML, or is larger than MAX_BYTES, MAX_DEPTH or MAX_NODES.
    """
    if path.exists() and not path.is_file():
        raise PresetError(f"{path}: is no file, expected YAML")
    if path.exists() and path.stat().st_size > MAX_BYTES:
        raise PresetError(f"{path}: is {path.stat().st_size} bytes; a preset has at most {MAX_BYTES}")
    try:
        return _parse(path.read_text("utf-8"))
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        mark = getattr(error, "problem_mark", None)
        at = f" line {mark.line + 1}:" if mark is not None else ""
        raise PresetError(
            f"{path}:{at} not valid YAML ({shorten(getattr(error, 'problem', None) or lines[0])})"
        ) from error
    except OSError as error:
        raise PresetError(f"{path}: cannot be read ({error.strerror})") from error


def _parse(text: str) -> object:
    depth = 0
    for bracket in re.findall(r"[\[{\]}]", text):  # the scanner's time grows with the square of the depth
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        if depth > 2 * MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
    yaml = YAML(typ="safe", pure=True)
    yaml.Parser = _BoundedParser
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML allows it: the latest counts
        return yaml.load(text)


@dataclass
class _Collection:
    """A collection that is being read: its anchor and its nodes so far."""

    anchor: str | None = None
    nodes: int = 1


class _BoundedParser(Parser):  # pyright: ignore[reportUntypedBaseClass]
    """Counts nodes as they are parsed, an alias as the nodes of what it repeats, so that nothing large is built."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._open = [_Collection()]
        self._sizes: dict[str, int] = {}

    def get_event(self) -> Any:
        event = super().get_event()
        if isinstance(event, CollectionStartEvent):
            self._open.append(_Collection(event.anchor))
            if len(self._open) > MAX_DEPTH + 1:
                raise MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=event.start_mark)
        elif isinstance(event, CollectionEndEvent):
            closed = self._open.pop()
            if closed.anchor is not None:
                self._sizes[closed.anchor] = closed.nodes
            self._count(closed.nodes, event)
        elif isinstance(event, AliasEvent):
            if any(event.anchor == collection.anchor for collection in self._open):
                raise MarkedYAMLError(problem="an alias within what it repeats", problem_mark=event.start_mark)
            self._count(self._sizes.get(event.anchor, 1), event)
        elif isinstance(event, NodeEvent):
            self._count(1, event)
        return event

    def _count(self, nodes: int, event: Any) -> None:
        self._open[-1].nodes += nodes
        if sum(collection.nodes for collection in self._open) > MAX_NODES:
            problem = f"more than {MAX_NODES} keys and values, aliases counted as often as they are repeated"
            raise MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
