"""A group of commands with a default command."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from typer.core import TyperGroup


class DefaultCommand(TyperGroup):
    """A group that runs `default` unless another command is named. Its help is that of `default`, then the commands."""

    default: ClassVar[str]
    usage: ClassVar[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Inserts the default command if none is named; a file of its name is an argument."""
        named = [name for name in self.commands if name != self.default]
        if not args:
            args = ["--help"]
        elif args[0] not in (*named, "--help") and (args[0] != self.default or Path(args[0]).exists()):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of the default, then the other commands."""
        command = self.commands[self.default]
        inner = type(ctx)(command, info_name=ctx.info_name, parent=ctx.parent)
        formatter.write_usage(ctx.command_path, self.usage)
        command.format_help_text(inner, formatter)
        command.format_options(inner, formatter)
        self.format_commands(ctx, formatter)
