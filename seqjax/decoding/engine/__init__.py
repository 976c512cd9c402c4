"""What every decoder shares: its start, rows, logits, candidates, records."""
