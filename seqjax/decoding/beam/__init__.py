"""Beam search, deterministic and stochastic."""
