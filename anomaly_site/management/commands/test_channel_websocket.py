from anomaly_site.cli.probe import ProbeCommand


class Command(ProbeCommand):
    help = """\
Test the alerts channel of /ws: connect, subscribe, print the alerts received.
Exits with 0 if the subscription was acknowledged and a message arrived in time; else with 1 and the reason.

  manage.py test_channel_websocket                                    all alerts, for 30 s
  manage.py test_channel_websocket --symbols BTCUSDT,ETHUSDT --severities HIGH,CRITICAL
  manage.py test_channel_websocket --count 5 --seconds 60             5 alerts within a minute
  manage.py test_channel_websocket --no-wait                          only check that the server answers
  manage.py test_channel_websocket --origin https://app.tealstreet.io --no-wait
                                                                      check that this origin is allowed
  manage.py test_channel_websocket --url wss://alerts.example.org/ws --seconds 0
                                                                      another server, until Ctrl-C

To get alerts at once, run in another terminal: manage.py generate_test_alerts
"""
    channel = "alerts"
    filter_names = ("symbols", "methods", "severities")
