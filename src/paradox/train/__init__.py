"""Training: bases from a corpus, and arms from a base by reinforcement learning."""
