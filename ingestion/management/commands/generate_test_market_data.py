import random
from collections.abc import Iterator

from ingestion.management.publishing import RandomPublishingCommand
from ingestion.management.testdata import random_market
from market.wire.messages import Anomaly


class Command(RandomPublishingCommand):
    help = """\
Publish random market anomalies (synchronized movements, stress, sectors) to NATS.

  manage.py generate_test_market_data               10 anomalies, one a second
  manage.py generate_test_market_data 100 250       100 anomalies, four a second
  manage.py generate_test_market_data 0 5000        one every five seconds until Ctrl-C
  manage.py generate_test_market_data 20 0 --seed 7 the same 20 every time, at once

for one of every kind in a fixed order see `manage.py send_test_market_data`.
"""

    def anomalies(self, seed: int | None, started_at: int, interval_ms: int) -> Iterator[Anomaly]:
        return random_market(random.Random(seed), started_at, interval_ms)
