"""What every decoder shares: its start, rows of carries, logits, candidates."""
