import random
from collections.abc import Iterator

from ingestion.management.publishing import RandomPublishingCommand
from ingestion.management.testdata import random_market
from market.wire.messages import Anomaly


class Command(RandomPublishingCommand):
    help = """\
Publish random market anomalies (synchronized movements, stress, sectors) to NATS, to test the way to the clients.
They are stored and sent like real ones; their ids begin with `test-`.

  manage.py generate_test_market_data               10 anomalies, one a second
  manage.py generate_test_market_data 100 250       100 anomalies, four a second
  manage.py generate_test_market_data 0 5000        one every five seconds until Ctrl-C
  manage.py generate_test_market_data 20 0 --seed 7 20 at once, the same ones every time

To get one of every kind in a fixed order: manage.py send_test_market_data
"""

    def anomalies(self, seed: int | None, started_at: int, interval_ms: int) -> Iterator[Anomaly]:
        return random_market(random.Random(seed), started_at, interval_ms)
