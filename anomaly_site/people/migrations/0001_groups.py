"""The groups viewer, reviewer and operator, with the permissions that the admin asks for."""

from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations

_VIEWED = (
    "alerts.view_alert", "market.view_marketanomaly", "market.view_sectoroverride", "market.view_symbolalias",
    "market.view_storedsectormap",
)  # fmt: skip
_REVIEWED = (*_VIEWED, "alerts.change_alert", "market.change_marketanomaly")
_OPERATED = (
    *_REVIEWED,
    *(f"market.{what}_{model}" for what in ("add", "change", "delete") for model in ("sectoroverride", "symbolalias")),
    "market.delete_storedsectormap",
)
_GROUPS = {"viewer": _VIEWED, "reviewer": _REVIEWED, "operator": _OPERATED}


def make(apps: Any, schema_editor: Any) -> None:
    """A group of that name that is there already stays as it is."""
    for label in ("alerts", "market"):
        config = apps.get_app_config(label)
        config.models_module = True  # permissions are made after all migrations; here they are needed now
        create_permissions(config, apps=apps, verbosity=0, using=schema_editor.connection.alias)
        config.models_module = None
    group, permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, wanted in _GROUPS.items():
        made, is_new = group.objects.get_or_create(name=name)
        if is_new:
            for one in wanted:
                label, _, codename = one.partition(".")
                made.permissions.add(permission.objects.get(content_type__app_label=label, codename=codename))


class Migration(migrations.Migration):
    initial = True
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("alerts", "0006_signed"),
        ("market", "0011_signed"),
    ]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
