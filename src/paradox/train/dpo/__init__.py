"""Direct preference optimisation on samples of the base."""
