"""A release: one place holds the version, everything that names it agrees, and the changelog has its section."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.test import Client
from pytest_django import Settings

from anomaly_site import __version__

ROOT = Path(settings.BASE_DIR)


def test_the_project_takes_its_version_from_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "anomaly_site.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


@pytest.mark.django_db
def test_status_openapi_and_asyncapi_name_this_version(client: Client, settings: Settings) -> None:
    settings.NATS_URL = "nats://127.0.0.1:9"
    named = {
        "/status": client.get("/status").json()["versions"]["anomaly_site"],
        "/schema": yaml.safe_load(client.get("/schema").content)["info"]["version"],
        "/asyncapi.json": client.get("/asyncapi.json").json()["info"]["version"],
    }
    assert named == dict.fromkeys(named, __version__)


def releases() -> list[tuple[str, str]]:
    """Version and date ("Unreleased" or YYYY-MM-DD) of every section of the changelog, newest first."""
    text = (ROOT / "CHANGELOG.md").read_text()
    return re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (.+)$", text, re.MULTILINE)


def test_the_version_has_a_section_in_the_changelog() -> None:
    assert releases()[0][0] == __version__


def test_only_the_newest_section_may_be_undated_and_versions_descend() -> None:
    newest, *older = releases()
    assert re.fullmatch(r"Unreleased|\d{4}-\d\d-\d\d", newest[1])
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for _, date in older)
    versions = [tuple(map(int, version.split("."))) for version, _ in releases()]
    assert versions == sorted(set(versions), reverse=True)
