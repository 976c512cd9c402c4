"""Which recurrences can track a state, and which cannot: parity, counting, permutations."""
