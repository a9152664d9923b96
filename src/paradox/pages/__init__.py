"""The pages of a run: self-contained HTML made from tables, figures and records."""
