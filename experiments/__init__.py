"""Experiments: each one a folder or file, run by `python -m experiments.NAME`."""
