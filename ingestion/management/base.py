"""Base classes and argument types of the management commands."""

import argparse
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter
from rich.console import Console


class _HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


class ExamplesCommand(BaseCommand):
    """A command whose `help` is printed line by line, so that it can contain examples."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=_HelpFormatter, **kwargs)


class ToolCommand(ExamplesCommand):
    """A command for interactive use. Skips the system checks and needs no database."""

    requires_system_checks = []

    def console(self, options: dict[str, Any]) -> Console:
        """The console to print to: in colour on a terminal, unless `--no-color` or `--force-color` decides."""
        return Console(
            file=cast(IO[str], self.stdout),
            no_color=options["no_color"] or None,
            force_terminal=options["force_color"] or None,
            highlight=False,
            soft_wrap=True,
        )


def not_negative(text: str) -> int:
    """A whole number from 0 up, as argument type. Raises `ArgumentTypeError`."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; expected 0 or more")
    return int(text)
