"""Arithmetic chains in which exposure is planted: the model organism."""
