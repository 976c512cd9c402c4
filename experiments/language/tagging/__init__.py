"""How much of what can be known do taggers of one and two directions know, and read off where?"""
