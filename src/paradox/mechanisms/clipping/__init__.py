"""Whether clipping alone moves a model under a reward without information."""
