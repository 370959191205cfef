"""Operators make and revoke tokens, and read the audit."""

from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations

_ADDED = ("add_token", "view_token", "view_auditentry")


def permit(apps: Any, schema_editor: Any) -> None:
    config = apps.get_app_config("anomaly_site")
    config.models_module = True  # permissions are made after all migrations; here they are needed now
    create_permissions(config, apps=apps, verbosity=0, using=schema_editor.connection.alias)
    config.models_module = None
    group, permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for operators in group.objects.filter(name="operator"):
        wanted = permission.objects.filter(content_type__app_label="anomaly_site", codename__in=_ADDED)
        operators.permissions.add(*wanted)


class Migration(migrations.Migration):
    dependencies = [
        ("people", "0001_groups"),
        ("anomaly_site", "0002_audit"),
    ]
    operations = [migrations.RunPython(permit, migrations.RunPython.noop)]
