"""Edge attribution: which edges act on the answer, and how training changed them."""
