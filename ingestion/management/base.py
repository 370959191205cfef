"""Base classes and argument types of the management commands."""

import argparse
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter

from market.printable import printable
from market.terminal import Terminal


class _HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


class PrintableCommand(BaseCommand):
    """A command whose errors are text, whatever message or file of others they quote."""

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            error.args = (printable(str(error), lines=True),)
            raise


class ExamplesCommand(PrintableCommand):
    """A command whose `help` is printed line by line, so that it can contain examples."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=_HelpFormatter, **kwargs)


class ToolCommand(ExamplesCommand):
    """A command for interactive use. Skips the system checks and needs no database."""

    requires_system_checks = []

    def console(self, options: dict[str, Any]) -> Terminal:
        """The console to print to: in colour on a terminal, unless `--no-color` or `--force-color` decides."""
        return Terminal(
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
