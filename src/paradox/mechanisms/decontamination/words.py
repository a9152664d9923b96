"""Words in the tables of step ``tradeoff`` that its figure shows as well."""

# What is lost with memory: worked chains, and likelihood of documents.
COSTS = ("chain", "text")
