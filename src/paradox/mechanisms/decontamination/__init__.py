"""Taking memory out of a model without training it, and what that costs."""
