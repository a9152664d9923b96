"""Mechanism analyses: what changes inside, or in the likelihoods, when memory is unlocked."""
