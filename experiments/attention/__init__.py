"""Copying, reversing and expanding sequences with and without attention."""
