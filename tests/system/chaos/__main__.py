"""Run the faults and print one line for each: name, verdict, acked, stored, lost, doubled.

    python -m tests.system.chaos [--only NAME[,NAME…]] [--seed N]

Verdicts: `ok`; `FAILED` (something was lost, doubled or wrong); `status` (nothing lost, but `problems` did not name the
fault within ten seconds); `not yet` (the row is on `NOT_MENDED` or `STATUS_NOT_YET`); `skipped`. The exit code is 1
after a `FAILED` or `status`.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.system.chaos.faults import NOT_MENDED, ROWS, STATUS_NOT_YET, run_row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"rows to run, comma-separated (default: all of {','.join(ROWS)})")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="seed (default: random, printed)")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(ROWS)
    if unknown := set(names) - set(ROWS):
        parser.error(f"{', '.join(sorted(unknown))} is unknown; expected some of {','.join(ROWS)}")
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="chaos-"))
    print(f"seed {options.seed}, logs in {folder}", flush=True)
    failed = False
    for name in names:
        started = time.monotonic()
        (folder / name).mkdir()
        verdict = asyncio.run(run_row(name, folder / name, options.seed))
        known = name in NOT_MENDED or (verdict.word == "status" and name in STATUS_NOT_YET)
        failed |= verdict.word in ("FAILED", "status") and not known
        if name in NOT_MENDED and verdict.word == "ok":
            verdict.remarks.append("passes: take it off NOT_MENDED")
        verdict.remarks.append(f"{time.monotonic() - started:.0f} s")
        print(("not yet: " if known and verdict.word != "ok" else "") + verdict.line(), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
