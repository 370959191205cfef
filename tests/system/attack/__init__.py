"""Attacks on a running system (`make attack`)."""
