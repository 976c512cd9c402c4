"""Data that several experiments read or draw."""
