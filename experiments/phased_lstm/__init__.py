"""Uneven sampling: sines that only a network with a sense of time can tell apart."""
