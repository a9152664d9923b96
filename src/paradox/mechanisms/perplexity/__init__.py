"""Likelihood of fixed texts along training."""
