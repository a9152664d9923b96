"""Which items an arm unlocked, and which rules say so wrongly."""
