from anomaly_site.cli.probe import ProbeCommand


class Command(ProbeCommand):
    help = """\
Try the alerts channel of /ws: connect, subscribe, print what comes.
Exit code 0 when the subscription was acknowledged and a message came in time, else 1 with the reason.

  manage.py test_channel_websocket                                    30 s of every alert
  manage.py test_channel_websocket --symbols BTCUSDT,ETHUSDT --severities HIGH,CRITICAL
  manage.py test_channel_websocket --count 5 --seconds 60             5 alerts within a minute
  manage.py test_channel_websocket --no-wait                          is it up and does it answer?
  manage.py test_channel_websocket --origin https://app.tealstreet.io --no-wait
                                                                      is this page let in?
  manage.py test_channel_websocket --url wss://alerts.example.org/ws --seconds 0
                                                                      another server, until Ctrl-C

Too quiet? In another terminal: manage.py generate_test_alerts
"""
    channel = "alerts"
    filter_names = ("symbols", "methods", "severities")
