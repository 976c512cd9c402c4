"""Small problems whose answers are known: gradients, gates, memories, states."""
