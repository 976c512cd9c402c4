"""Do small networks reach the best results that are possible, where these are known exactly?"""
