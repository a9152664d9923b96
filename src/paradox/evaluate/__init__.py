"""Behaviour of a checkpoint on the items: what it answers and how it goes about it."""
