"""Which recurrences track a state over words longer than those they were trained on?"""
