from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ingestion", "0002_stream_incarnation"),
    ]

    operations = [
        migrations.CreateModel(
            name="StoredSettings",
            fields=[
                ("hash", models.CharField(max_length=16, primary_key=True, serialize=False)),
                ("values", models.JSONField()),
                ("first_used_at", models.DateTimeField()),
                ("last_started_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "verbose_name_plural": "stored settings",
            },
        ),
    ]
