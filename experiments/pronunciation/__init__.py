"""Pronunciations of words: maximum likelihood, label smoothing, reward-augmented likelihood."""
