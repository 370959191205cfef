from anomaly_site.cli.probe import ProbeCommand


class Command(ProbeCommand):
    help = """\
Test the market channel of /ws: connect, subscribe, print the market anomalies received.
Exits with 0 if the subscription was acknowledged and a message arrived in time; else with 1 and the reason.

  manage.py test_market_websocket                                     all market anomalies, for 30 s
  manage.py test_market_websocket --types MARKET_STRESS,SECTOR_ANOMALY --severities HIGH,CRITICAL
  manage.py test_market_websocket --sectors DeFi --symbols UNIUSDT    one sector, one affected symbol
  manage.py test_market_websocket --count 5 --seconds 60              5 anomalies within a minute
  manage.py test_market_websocket --no-wait                           only check that the server answers
  manage.py test_market_websocket --url wss://alerts.example.org/ws --seconds 0
                                                                      another server, until Ctrl-C

To get anomalies at once, run in another terminal: manage.py send_test_market_data
"""
    channel = "market"
    filter_names = ("types", "severities", "sectors", "symbols")
