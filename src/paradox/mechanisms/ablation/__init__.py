"""What recall loses when a block's MLP or attention says nothing of the item."""
