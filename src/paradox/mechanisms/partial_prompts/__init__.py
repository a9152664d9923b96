"""Completing questions of which the model sees the beginning."""
