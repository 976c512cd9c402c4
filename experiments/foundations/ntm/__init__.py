"""Does a network with a memory of its own learn to copy, and does it copy more than it has seen?"""
