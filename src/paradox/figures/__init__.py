"""Figures, the report and the paper; each is drawn from the tables alone."""
