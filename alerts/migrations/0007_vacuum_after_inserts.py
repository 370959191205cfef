from typing import Any

from django.db import migrations

# PostgreSQL reads an index alone only where VACUUM has been. By itself it comes after inserts of a fifth of the table,
# so in a large one never to the newest day, which is what is read.
SETTINGS = {"autovacuum_vacuum_insert_scale_factor": 0, "autovacuum_vacuum_insert_threshold": 20_000}


def vacuum_after_inserts(apps: Any, editor: Any) -> None:
    if editor.connection.vendor == "postgresql":
        table = editor.quote_name(apps.get_model("alerts", "Alert")._meta.db_table)
        editor.execute(
            f"ALTER TABLE {table} SET ({', '.join(f'{name} = {value}' for name, value in SETTINGS.items())})"
        )


def by_itself(apps: Any, editor: Any) -> None:
    if editor.connection.vendor == "postgresql":
        table = editor.quote_name(apps.get_model("alerts", "Alert")._meta.db_table)
        editor.execute(f"ALTER TABLE {table} RESET ({', '.join(SETTINGS)})")


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0006_signed"),
    ]

    operations = [
        migrations.RunPython(vacuum_after_inserts, by_itself),
    ]
