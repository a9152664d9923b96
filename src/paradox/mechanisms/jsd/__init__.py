"""What each part of each MLP does to the output distribution."""
