"""What does clipping of gradients prevent, and what does it cost?"""
