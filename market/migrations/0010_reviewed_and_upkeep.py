from django.db import migrations, models

from market.indexes import AddIndexUnlessLarge, DropColumnIndexUnlessLarge


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0009_item_of_message"),
    ]

    operations = [
        migrations.CreateModel(
            name="Upkeep",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("place", models.CharField(blank=True, default="", max_length=80)),
                ("done", models.BooleanField(default=False)),
            ],
            options={"verbose_name_plural": "upkeep"},
        ),
        AddIndexUnlessLarge(
            model_name="marketanomaly",
            index=models.Index(
                condition=models.Q(("review_state", "new"), _negated=True),
                fields=["review_state", "-timestamp"],
                name="market_reviewed",
            ),
        ),
        DropColumnIndexUnlessLarge(
            model_name="marketanomaly",
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
