"""Seeing what a beam search does: hypotheses as a tree, an alignment as a heat map."""
