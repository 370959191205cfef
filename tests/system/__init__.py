"""The real thing: processes of our own on free ports, and what a person, a browser or a client makes of them."""

import os

# Some of these modules are programs of their own, without pytest's settings.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")

# How long anything may take on a machine that is busy otherwise. A test that has waited so long has failed.
PATIENCE_S = 120.0
