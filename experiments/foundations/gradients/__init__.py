"""How far do gradients flow in networks new and trained, and what does clipping prevent?"""
