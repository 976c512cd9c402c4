"""What do initial values and gates do for a dependency over a hundred steps?"""
