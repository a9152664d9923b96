"""What all figures share; each figure is drawn from tables alone."""
