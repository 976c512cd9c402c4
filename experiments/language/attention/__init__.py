"""What is attention for, as the sequences to be copied, reversed and expanded get longer?"""
