"""Recall when a few MLP neurons are amplified or suppressed."""
