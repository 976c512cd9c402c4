"""Does a tagger err less on its own if it reads its own labels in training?"""
