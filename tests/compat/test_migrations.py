"""A migration that has landed stays as it is: databases that ran it do not run it again."""

import json

import pytest

from tests.compat.migrations import PIN, hashes

PINNED: dict[str, str] = json.loads(PIN.read_text())


def test_every_migration_is_as_it_landed() -> None:
    found = hashes()
    wrong = [
        f"{path}: {'edited' if path in found else 'removed'}"
        for path, pinned in PINNED.items()
        if found.get(path) != pinned
    ]
    if wrong:
        advice = "Migrations that have landed are never edited. Restore them; put the change into a new migration."
        pytest.fail("\n".join([*wrong, advice]), pytrace=False)


def test_every_migration_is_pinned() -> None:
    if new := sorted(hashes().keys() - PINNED.keys()):
        advice = f"Run `python -m tests.compat.pin migrations` and commit {PIN.name} together with the migration."
        pytest.fail("\n".join([*(f"{path}: its hash is not pinned" for path in new), advice]), pytrace=False)
