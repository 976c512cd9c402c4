"""The adding problem: what initial values and gates do for a dependency over a hundred steps."""
