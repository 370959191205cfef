"""What strangers send is text wherever it is shown: a terminal, a log, an error."""

import doctest
import io
import logging
from typing import Any

import pytest
from django.conf import settings
from django.core.management.base import CommandError
from django.utils.module_loading import import_string
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from ingestion.management.base import PrintableCommand
from market import printable as module
from market.printable import controls, printable
from market.terminal import Terminal

# Writes the clipboard, clears the screen, moves the cursor up; then the same by C1 controls; then reads backwards.
HOSTILE = "\x1b]52;c;aGk=\x07\x1b[2J\x1b[1A\r\x9b2J\x9d0;x\x9c \u202egnp.exe"


def harmless(text: str) -> bool:
    return not controls(text.replace("\n", "").replace("\t", ""))


@given(st.text())
def test_nothing_that_comes_out_is_a_command(text: str) -> None:
    assert not controls(printable(text))
    assert harmless(printable(text, lines=True))
    assert bool(controls(text)) is (printable(text) != text)


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_words_of_every_language_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


def test_the_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_a_terminal_gets_its_own_colours_only() -> None:
    output = io.StringIO()
    terminal = Terminal(file=output, force_terminal=True, color_system="standard", soft_wrap=True, highlight=False)
    terminal.print(Text("red", style="red"), HOSTILE, f"[bold]{HOSTILE}[/bold]")
    shown = output.getvalue()
    assert "\x1b[31mred" in shown
    assert "]52;" in shown
    for own in ("\x1b[31m", "\x1b[1m", "\x1b[0m"):
        shown = shown.replace(own, "")
    assert harmless(shown)


def test_a_log_line_is_one_line_of_text() -> None:
    logging_settings: dict[str, Any] = settings.LOGGING
    configuration = dict(logging_settings["formatters"]["line"])
    formatter = import_string(configuration.pop("()"))(
        configuration["format"], configuration["datefmt"], configuration["style"]
    )
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "%s", (f"{HOSTILE}\n12:00:00 INFO all is well",), info)
    shown = formatter.format(record)
    assert harmless(shown)
    assert "\n12:00:00" not in shown
    assert "Traceback" in shown


def test_an_error_of_a_command_is_text() -> None:
    class Command(PrintableCommand):
        requires_system_checks = []

        def handle(self, *args: object, **options: object) -> None:
            raise CommandError(f"{HOSTILE} is not a column")

    with pytest.raises(CommandError, match="is not a column") as raised:
        Command().execute(force_color=False, no_color=True, skip_checks=True, stdout=None, stderr=None)
    assert harmless(str(raised.value))
