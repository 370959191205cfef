"""Hashes of the migrations. One that has landed ran on somebody's database: it is never edited or removed."""

import hashlib
from typing import Final

from tests.compat import DATA, ROOT

PIN: Final = DATA / "migrations.json"


def hashes() -> dict[str, str]:
    """Path of every migration of ours → SHA-256 of the file."""
    files = sorted([*ROOT.glob("[a-z]*/migrations/[0-9]*.py"), *ROOT.glob("anomaly_site/*/migrations/[0-9]*.py")])
    return {path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
