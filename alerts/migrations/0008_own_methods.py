from django.db import migrations, models

from market.indexes import LengthenText


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0007_vacuum_after_inserts"),
    ]

    operations = [
        LengthenText(
            model_name="alert",
            name="method",
            field=models.CharField(
                choices=[
                    ("Z_SCORE", "Z_SCORE"),
                    ("MAD", "MAD"),
                    ("EWMA", "EWMA"),
                    ("CUSUM", "CUSUM"),
                    ("VOLUME", "VOLUME"),
                    ("VOLATILITY", "VOLATILITY"),
                    ("RESIDUAL", "RESIDUAL"),
                    ("EXTERNAL", "EXTERNAL"),
                ],
                max_length=31,
            ),
        ),
    ]
