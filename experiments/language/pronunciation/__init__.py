"""Is reward-augmented likelihood better than maximum likelihood and label smoothing?"""
