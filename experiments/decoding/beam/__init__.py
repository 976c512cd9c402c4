"""Does a beam keep the most probable texts, and what does attention read to write them?"""
