"""Drawing tokens one at a time."""
