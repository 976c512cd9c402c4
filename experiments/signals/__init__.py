"""Signals that are sampled in time."""
