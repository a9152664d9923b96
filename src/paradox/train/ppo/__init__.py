"""Proximal policy optimisation with a value model."""
