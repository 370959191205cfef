from anomaly_site.cli.probe import ProbeCommand


class Command(ProbeCommand):
    help = """\
Try the market channel of /ws: connect, subscribe, print what comes.
Exit code 0 when the subscription was acknowledged and a message came in time, else 1 with the reason.

  manage.py test_market_websocket                                     30 s of every market anomaly
  manage.py test_market_websocket --types MARKET_STRESS,SECTOR_ANOMALY --severities HIGH,CRITICAL
  manage.py test_market_websocket --sectors DeFi --symbols UNIUSDT    sectors and affected symbols
  manage.py test_market_websocket --count 5 --seconds 60              5 anomalies within a minute
  manage.py test_market_websocket --no-wait                           is it up and does it answer?
  manage.py test_market_websocket --url wss://alerts.example.org/ws --seconds 0
                                                                      another server, until Ctrl-C

Too quiet? In another terminal: manage.py send_test_market_data
"""
    channel = "market"
    filter_names = ("types", "severities", "sectors", "symbols")
