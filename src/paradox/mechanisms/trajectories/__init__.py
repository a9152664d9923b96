"""How exposed items and twins come apart along the layers."""
