"""Finite automata over tokens: words, regular expressions, anything explored."""
