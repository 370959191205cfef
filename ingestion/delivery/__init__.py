"""The role `deliver`: plans messages to people, stores them, and sends them. What it plans is in `alerts.delivery`."""
