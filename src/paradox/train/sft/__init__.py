"""Imitation of rewarded samples of the base, or of worked answers."""
