"""A group of commands of which one need not be named."""

from __future__ import annotations

from typing import Any, ClassVar

from typer.core import TyperGroup


class DefaultCommand(TyperGroup):
    """A group whose command is `default` unless another one is named; its help is that of `default` and the list."""

    default: ClassVar[str]
    usage: ClassVar[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the default in front of arguments that name no command."""
        named = [name for name in self.commands if name != self.default]
        if not args:
            args = ["--help"]
        elif args[0] not in (*named, "--help"):
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
