"""Intervals and tests in which the item is the unit."""
