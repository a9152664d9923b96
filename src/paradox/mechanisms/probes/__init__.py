"""How well a linear probe tells exposed items from their twins."""
