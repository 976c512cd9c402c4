"""Sequential Monte Carlo over tokens."""
