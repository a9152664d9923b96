"""What base and trained model solve in many tries, and how likely their texts are."""
