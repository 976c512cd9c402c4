"""Does one recurrence do one to one, one to many, many to one, and many to many of both kinds?"""
