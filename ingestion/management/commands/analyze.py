from typing import Any

from django.core.management.base import CommandError, CommandParser

from ingestion.analysis.role import run_analyze
from ingestion.daemon import FATAL, add_role_options, run_in_loop, run_role
from ingestion.management.base import ExamplesCommand


class Command(ExamplesCommand):
    help = """\
Detect anomalies: read candles from NATS (candles.>), publish anomalies on alerts.<SYMBOL> and market.<TYPE>.
Of several processes one works for a venue, and the others stand by. After a restart it resumes from its saved state
(DATA_DIR/analysis.state, or NATS: ANALYSIS_STATE); without one it
warms up on the candles that the stream still has.

  manage.py analyze                          until Ctrl-C or SIGTERM
  manage.py analyze --metrics-port 9101      with Prometheus metrics at http://localhost:9101/metrics
"""

    def add_arguments(self, parser: CommandParser) -> None:
        add_role_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run_in_loop(run_role("analyze", run_analyze, options["metrics_port"]))
        except FATAL as error:
            raise CommandError(str(error)) from None
