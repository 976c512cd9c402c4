"""When does Newton's method over time converge in few iterations, and is it any faster?"""
