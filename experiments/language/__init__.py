"""Sequences of labels, phones and characters."""
