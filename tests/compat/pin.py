"""Pins what users and scripts rely on: `python -m tests.compat.pin` writes `tests/data/compat/` from the code as it is.

    interface.json      commands and options, settings, wire keys, REST, metrics, tables, NATS subjects, …
    recordings/*.txt    ids and revisions of what the analysis finds in recordings
    migrations.json     hashes of the migrations

`python -m tests.compat.pin interface`, `… recordings`, `… migrations` write one of them.

The tests of `tests/compat` refuse that anything pinned is removed or changed. Additions to the interface pass without a
pin; the next run pins them. To remove or change something on purpose: run this, look through the difference, and commit
it alone, with the counts that it prints in the commit's body and a line in CHANGELOG.md that says who must do what.

A new migration fails until it is pinned, in the commit that brings it. The pin of one that has landed never changes:
this adds new ones only. What 0.1 wrote (`0.1/`) is never written again.

The pin of the real recording needs `../shared/data`; without it, that file stays as it is.
"""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

import django

from tests.compat import DATA, SHARED_DATA, migrations

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
django.setup()

# These import models, which wait for Django to be set up.
from tests.compat import recordings  # noqa: E402
from tests.compat.comparison import additions, differences  # noqa: E402
from tests.compat.interface import SECTIONS  # noqa: E402


def main() -> None:
    parts = {"interface": pin_interface, "recordings": pin_recordings, "migrations": pin_migrations}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)} (default: all)")
    wanted = parser.parse_args().parts or list(parts)
    if unknown := set(wanted) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; choose from {', '.join(parts)}")
    for name in wanted:
        parts[name]()


def pin_interface() -> None:
    path = DATA / "interface.json"
    before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    now = {name: collect() for name, collect in SECTIONS.items()}
    for name, present in now.items():
        pinned = before.get(name, type(present)())
        lost = list(differences(pinned, present))
        print(f"{name}: {additions(pinned, present)} added, {len(lost)} removed or changed")
        print(*(f"  {line}\n" for line in lost), sep="", end="")
    path.write_text(json.dumps(now, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def pin_recordings() -> None:
    for path in recordings.OURS:
        pin_findings(path.name, recordings.revisions(path))
    if SHARED_DATA.is_dir():
        pin_findings(recordings.REAL, recordings.summary(recordings.revisions(SHARED_DATA / recordings.REAL)))
    else:
        print(f"{recordings.REAL}: not pinned, {SHARED_DATA} is not here")


def pin_findings(recording: str, lines: Sequence[str]) -> None:
    path = recordings.pin_of(recording)
    before = path.read_text().splitlines() if path.exists() else []
    path.write_text("\n".join(lines) + "\n")
    lost, new = set(before) - set(lines), set(lines) - set(before)
    print(f"{recording}: {len(new)} lines added, {len(lost)} removed or changed, {len(lines)} in all")


def pin_migrations() -> None:
    before = json.loads(migrations.PIN.read_text()) if migrations.PIN.exists() else {}
    now = migrations.hashes()
    migrations.PIN.write_text(json.dumps(dict(sorted((now | before).items())), indent=1) + "\n")
    changed = [path for path, pinned in before.items() if now.get(path) != pinned]
    print(f"migrations: {len(now.keys() - before.keys())} added, {len(before)} as they were")
    print(*(f"  {path}: edited or removed since it landed; restore it\n" for path in changed), sep="", end="")


if __name__ == "__main__":
    main()
