"""States written from one run into another: between models, and between items."""
