"""What the tables of all analyses share: pairs, words, verdicts, sums over arms; never torch."""
