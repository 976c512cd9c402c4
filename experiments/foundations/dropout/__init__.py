"""Where may dropout stand in a recurrent network, and what does it do to its memory?"""
