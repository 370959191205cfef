"""Nothing that users and scripts rely on is removed or changed unawares. Additions pass.

`tests/data/compat/` holds the pins; `tests/compat/pin.py` says what they are and how to change them on purpose.
"""

import json
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest

from tests.compat import DATA, REPIN, recordings
from tests.compat.comparison import differences
from tests.compat.interface import SECTIONS

PINNED = json.loads((DATA / "interface.json").read_text())


def section(name: str) -> object:
    return pytest.param(name, marks=[pytest.mark.system] if name == "running" else [])


def test_every_section_is_pinned() -> None:
    assert set(SECTIONS) == set(PINNED)


@pytest.mark.parametrize("name", [section(name) for name in PINNED])
def test_nothing_that_is_relied_on_is_removed_or_changed(name: str) -> None:
    if found := list(differences(PINNED[name], SECTIONS[name]())):
        pytest.fail("\n".join([f"{name}: scripts and users rely on this.", *found, REPIN]), pytrace=False)


def test_no_request_needs_more_than_it_did() -> None:
    pinned, present = PINNED["websocket"]["requests"], SECTIONS["websocket"]()["requests"]
    more = [f"{name} › {key}" for name in pinned for key in required(present[name]) - required(pinned[name])]
    assert not more, "clients do not send these keys yet: let them be absent"


def required(keys: dict[str, Any]) -> set[str]:
    return {key for key in keys if "?" not in key}


@pytest.mark.parametrize("path", recordings.OURS, ids=lambda path: path.stem)
def test_a_recording_has_the_ids_and_revisions_it_had(path: Path) -> None:
    compare(recordings.pin_of(path), recordings.revisions(path))


def test_a_real_recording_has_the_ids_and_revisions_it_had(shared_data: Path) -> None:
    found = recordings.revisions(shared_data / recordings.REAL)
    compare(recordings.pin_of(recordings.REAL), recordings.summary(found))


def compare(pin: Path, lines: list[str]) -> None:
    pinned = pin.read_text().splitlines()
    if changed := list(unified_diff(pinned, lines, "pinned", "present", n=0, lineterm="")):
        count = sum(line[0] in "+-" for line in changed[2:])
        more = [f"… {len(changed) - 40} lines more"] if len(changed) > 40 else []
        title = f"{pin.stem}: ids or revisions of this recording changed in {count} lines of {len(pinned)}."
        pytest.fail("\n".join([title, *changed[:40], *more, REPIN]), pytrace=False)


def test_removal_and_change_are_found_and_additions_are_not() -> None:
    pinned: dict[str, Any] = {"a": {"x": "integer", "y": "string"}, "b": ["one", "two"]}
    present = {"a": {"x": "number", "z": "string"}, "b": ["three", "two"], "c": 1}
    assert list(differences(pinned, present)) == [
        "a › x: was 'integer', is 'number'",
        "a › y: removed (was 'string')",
        "b: 'one' removed",
    ]
    assert not list(differences(pinned, {"c": 1, "a": pinned["a"] | {"z": 1}, "b": ["zero", "two", "one"]}))
