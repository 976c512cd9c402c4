"""Decoding: sampling and searching over any step function."""
