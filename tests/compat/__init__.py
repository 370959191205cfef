"""What users and scripts rely on, pinned in `tests/data/compat/`; `python -m tests.compat.pin` writes the pins."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DATA: Final = ROOT / "tests" / "data" / "compat"
# What version 0.1 wrote; README.md there says how it was made.
OLD: Final = DATA / "0.1"
SHARED_DATA: Final = ROOT.parent / "shared" / "data"
# Ends every failure: what to do when the change is intended.
REPIN: Final = (
    "If this is intended, run `python -m tests.compat.pin` and commit its result alone, with the counts it prints in "
    "the commit's body and a line in CHANGELOG.md."
)
