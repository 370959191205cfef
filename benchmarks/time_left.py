"""How right the time left is that `manage.py backtest` shows: what was said on the way, beside what it then took.

    python -m benchmarks.time_left RECORDING... [--processes 2]

One line for each tenth of the work: the whole time expected there, as a ratio of the whole time it took. The clock is
the CPU time of this process, which other work on the machine does not lengthen; with several processes it is the wall.
"""

import argparse
import os
import time
from pathlib import Path

import django


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()

    from ingestion.backtest.jobs import Job, run_all, weighed
    from ingestion.backtest.progress import Work, time_left_s

    jobs = weighed([Job(path.name, {None: [path]}) for path in options.recordings])
    work, clock = Work(sum(job.weight for job in jobs)), time.process_time if options.processes == 1 else time.monotonic
    started, done = clock(), 0.0
    said: list[tuple[float, float]] = []

    def advanced(more: float, of: float, weight: float) -> None:
        nonlocal done
        work.add(of, weight)
        done += more
        elapsed = clock() - started
        if (left := time_left_s(done, work.total, elapsed)) is not None:
            said.append((elapsed, elapsed + left))

    for _ in run_all(jobs, options.processes, lambda line: None, advanced):
        pass
    whole = clock() - started
    print(f"{whole:.1f} s, {len(said)} times said")
    for tenth in range(1, 10):
        elapsed, expected = min(said, key=lambda each: abs(each[0] - tenth * whole / 10))
        print(f"  after {elapsed / whole:4.0%}: {expected / whole:.2f} of the time it took")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
    django.setup()
    main()
