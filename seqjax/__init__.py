"""Recurrent sequence models as pure functions in JAX."""
