"""Small tasks whose best possible result is known exactly."""
