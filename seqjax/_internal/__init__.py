"""Shared by every room, public in none: checks of arguments, trees, jaxprs."""
