import django.db.models.deletion
from django.db import migrations, models

from market.indexes import AddIndexUnlessLarge, DropColumnIndexUnlessLarge


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0004_item_of_message"),
    ]

    operations = [
        migrations.CreateModel(
            name="AlertChart",
            fields=[
                (
                    "alert",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        serialize=False,
                        to="alerts.alert",
                    ),
                ),
                ("points", models.BinaryField()),
            ],
        ),
        AddIndexUnlessLarge(
            model_name="alert",
            index=models.Index(
                fields=["venue", "interval", "method", "source", "severity", "direction", "-timestamp", "-id"],
                name="alert_few_values",
            ),
        ),
        AddIndexUnlessLarge(
            model_name="alert",
            index=models.Index(
                condition=models.Q(("review_state", "new"), _negated=True),
                fields=["review_state", "-timestamp"],
                name="alert_reviewed",
            ),
        ),
        DropColumnIndexUnlessLarge(
            model_name="alert",
            name="review_state",
            field=models.CharField(
                choices=[
                    ("new", "New"),
                    ("acknowledged", "Acknowledged"),
                    ("resolved", "Resolved"),
                    ("false_positive", "False positive"),
                ],
                default="new",
                max_length=16,
            ),
        ),
    ]
