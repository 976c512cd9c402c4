"""Newton's method over time: where it converges, and what that takes."""
