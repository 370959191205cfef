import random
from collections.abc import Iterator

from ingestion.management.publishing import RandomPublishingCommand
from ingestion.management.testdata import random_alerts
from market.wire.messages import Anomaly


class Command(RandomPublishingCommand):
    help = """\
Publish random alerts to NATS, to test the way to the clients. They are stored and sent like real ones; their ids
begin with `test-`, their venue is `test`.

  manage.py generate_test_alerts                    10 alerts, one a second
  manage.py generate_test_alerts 1000 5             1,000 alerts, 200 a second
  manage.py generate_test_alerts 0 2000             one every two seconds until Ctrl-C
  manage.py generate_test_alerts 20 0 --seed 7      20 at once, the same ones every time
"""

    def anomalies(self, seed: int | None, started_at: int, interval_ms: int) -> Iterator[Anomaly]:
        return random_alerts(random.Random(seed), started_at, interval_ms)
