"""What lies in the data folder is for the user who runs the site, and nobody else on the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anomaly_site.privacy import close

pytestmark = pytest.mark.skipif(os.name != "posix", reason="file modes are of POSIX systems")


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:04o}"


def made(path: Path, permissions: int) -> Path:
    if path.suffix or path.name == "secret_key":
        path.write_text("x")
    else:
        path.mkdir()
    path.chmod(permissions)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "var", 0o755)


def test_a_folder_of_an_earlier_version_is_closed(folder: Path) -> None:
    database = made(folder / "anomalies.sqlite3", 0o644)
    files = [database, made(folder / "anomalies.sqlite3-wal", 0o644), made(folder / "analysis.state", 0o644)]
    streams = made(folder / "nats", 0o755)
    assert close(folder, database) == ""
    assert mode(folder) == mode(streams) == "0700"
    assert [mode(path) for path in files] == ["0600"] * 3


def test_a_new_database_is_private_from_its_first_byte(folder: Path) -> None:
    close(folder, folder / "anomalies.sqlite3")
    assert mode(folder / "anomalies.sqlite3") == "0600"


def test_a_folder_with_files_of_others_stays_open_and_the_warning_names_the_command(folder: Path) -> None:
    other, ours = made(folder / "holiday.txt", 0o644), made(folder / "secret_key", 0o644)
    warning = close(folder)
    assert warning.endswith(f"chmod 700 {folder}")
    assert (mode(folder), mode(other), mode(ours)) == ("0755", "0644", "0600")


def test_a_folder_for_everybody_stays_as_it_is(folder: Path) -> None:
    folder.chmod(0o1777)
    ours = made(folder / "secret_key", 0o644)
    assert "chmod 700" in close(folder)
    assert (mode(folder), mode(ours)) == ("1777", "0600")


def test_a_group_that_may_write_was_let_in_on_purpose(folder: Path) -> None:
    database = made(folder / "anomalies.sqlite3", 0o664)
    close(folder, database)
    assert mode(database) == "0660"


def test_a_link_does_not_lead_outside(folder: Path, tmp_path: Path) -> None:
    outside = made(tmp_path / "elsewhere.txt", 0o644)
    (folder / "secret_key").symlink_to(outside)
    close(folder)
    assert mode(outside) == "0644"


def test_nothing_is_readable_by_others_after_a_first_start(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        check=True,
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(folder)},
        umask=0o022,
    )
    assert {mode(path) for path in folder.rglob("*") if path.is_file()} == {"0600"}
    assert mode(folder) == "0700"
