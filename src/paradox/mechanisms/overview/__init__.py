"""What all analyses say together: signatures, error rates, verdicts."""
