from importlib import import_module

import pytest
from django.contrib.auth.models import Group, Permission

_MADE = import_module("anomaly_site.people.migrations.0001_groups")
_ADDED = import_module("anomaly_site.people.migrations.0002_operators_make_tokens")


@pytest.fixture(autouse=True)
def groups(db: None) -> None:
    """As migrations make them: tests that empty the database take them away."""
    wanted = dict(_MADE._GROUPS)
    wanted["operator"] += tuple(f"anomaly_site.{codename}" for codename in _ADDED._ADDED)
    for name, permissions in wanted.items():
        group, _ = Group.objects.get_or_create(name=name)
        for label, codename in (one.split(".") for one in permissions):
            group.permissions.add(Permission.objects.get(content_type__app_label=label, codename=codename))
