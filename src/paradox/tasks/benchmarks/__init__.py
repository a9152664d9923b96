"""Real benchmarks, whose contamination nobody controls."""
