"""The study: its configuration and the plan that follows from it."""
