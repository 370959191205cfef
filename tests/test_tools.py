"""What runs before a commit is what `make check` runs, and comes from the project's own environment."""

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings

ROOT = Path(settings.BASE_DIR)


def hooks() -> list[dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    found: list[dict[str, Any]] = config["repos"][0]["hooks"]
    return found


def tools(text: str, prefix: str) -> set[str]:
    """The tools that a text starts from the virtual environment, with the subcommand for ruff."""
    return set(re.findall(rf"{re.escape(prefix)}(ruff \w+|mypy|lint-imports)", text))


def test_the_hooks_download_nothing() -> None:
    assert {hook["language"] for hook in hooks()} == {"system"}


def test_the_hooks_run_every_tool_of_make_check() -> None:
    check = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert check is not None
    wanted = tools(check[1], "$(BIN)/")
    assert len(wanted) == 4
    assert tools("\n".join(hook["entry"] for hook in hooks()), ".venv/bin/") == wanted


def test_editors_wrap_where_ruff_does() -> None:
    editors = configparser.ConfigParser()
    editors.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert editors["*"].getint("max_line_length") == ruff["line-length"]
