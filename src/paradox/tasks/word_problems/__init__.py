"""Word problems in plain English in which exposure is planted."""
