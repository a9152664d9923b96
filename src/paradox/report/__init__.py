"""The paper, and the blocks of numbers in the README and the docs, in words."""
