"""Does a small LSTM know more of Irish tunes than an n-gram, and can it write some?"""
