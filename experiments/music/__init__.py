"""The main job: a character model that writes tunes, against the best n-gram on the same split."""
