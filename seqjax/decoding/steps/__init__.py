"""Step functions made of step functions."""
