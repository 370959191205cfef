"""What our command-line tools share: a help text that keeps its examples as typed, a console, checked arguments."""

import argparse
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter
from rich.console import Console


class _HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


class ToolCommand(BaseCommand):
    """A command for people: `help` is shown line by line, so it can teach by example. Needs no database."""

    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=_HelpFormatter, **kwargs)

    def console(self, options: dict[str, Any]) -> Console:
        """Where to print, in colour if that is a terminal (or as `--no-color` and `--force-color` say)."""
        return Console(
            file=cast(IO[str], self.stdout),
            no_color=options["no_color"] or None,
            force_terminal=options["force_color"] or None,
            highlight=False,
            soft_wrap=True,
        )


def not_negative(text: str) -> int:
    """An argument that counts something."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number
