"""Keeps pytest, which imports every module for its doctests, out of what only oracles can run."""

collect_ignore_glob = ["make_golden.py", "by_jax.py", "oracle_*.py"]
