"""Figures of what models answer and how likely texts are, before and after training."""
