"""How far gradients flow in networks at initialisation and trained, and what clipping saves."""
