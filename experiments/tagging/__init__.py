"""Tags that a hidden Markov model gave, and what one or two directions can know of them."""
